//! Outside bytes: what fuzzing found is replayed, and the samples are spoilt a little, the same way
//! in every run. `fuzz/run` searches further.

#[path = "../../fuzz/src/targets.rs"]
mod targets;

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use crate::fuzz::targets::ALL;
use crate::fuzz::targets::Target;

/// A parser that takes longer than this over a few kilobytes hangs, even on a busy machine.
const LIMIT: Duration = Duration::from_mins(1);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    let below = found.into_iter().flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] });
    below.collect()
}

fn fed(target: Target, data: &[u8], what: &str) {
    let begun = Instant::now();
    target(data);
    assert!(begun.elapsed() < LIMIT, "{what} took {:?}", begun.elapsed());
}

#[test]
fn what_fuzzing_found_does_no_harm_any_more() {
    for (name, target) in ALL {
        for path in files(&root().join("fuzz/regressions").join(name)) {
            fed(target, &fs::read(&path).unwrap(), &path.display().to_string());
        }
    }
}

#[test]
fn every_target_has_a_name_that_the_script_knows() {
    let script = fs::read_to_string(root().join("fuzz/run")).unwrap();
    let known = script.lines().find_map(|line| line.strip_prefix("known=(")?.strip_suffix(')')).unwrap();
    assert_eq!(known.split(' ').collect::<Vec<_>>(), ALL.map(|(name, _)| name));
}

/// Cuts, doubled pieces and odd bytes in the samples and in the documents that are broken already.
#[test]
fn spoilt_samples_are_refused_in_words() {
    let samples = files(&root().join("manifests")).into_iter().chain(files(&root().join("tests/it/broken")));
    let odd: [&[u8]; 6] = [b"\t", b"\xff", b"&a [*a, *a]", b"{{ user.", b"\n---\n", b": |\n"];
    let mut number = 0_usize;
    for path in samples {
        let text = fs::read(&path).unwrap();
        for more in odd {
            number = number.wrapping_mul(6_364_136_223).wrapping_add(1_442_695_041);
            let at = number % text.len();
            let (before, after) = text.split_at(at);
            let whole = [before, more, &after[after.len() / 2..]].concat();
            for name in ["manifests", "settings"] {
                let target = ALL.iter().find(|(known, _)| *known == name).unwrap().1;
                fed(target, &whole, &format!("{name} of {} at {at}", path.display()));
            }
        }
    }
}
