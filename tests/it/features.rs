//! Holds `docs/features.md` to its word.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The words between back quotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The names of all functions of the sources under `folder`.
fn functions(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            functions(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let found = text.lines().filter_map(|line| line.trim_start().split_once("fn ")?.1.split_once('('));
            names.extend(found.map(|(name, _)| name.to_owned()));
        }
    }
}

#[test]
fn every_feature_that_is_there_names_tests_that_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut known = BTreeSet::new();
    for folder in ["src", "tests"] {
        functions(&root.join(folder), &mut known);
    }
    let text = fs::read_to_string(root.join("docs/features.md")).unwrap();
    let mut rows = 0;
    for row in text.lines().filter(|line| line.starts_with("| ")) {
        let word = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        if word == "not yet" || word == "rosterd" || word.starts_with("---") {
            continue;
        }
        let tests: Vec<_> = quoted(word).collect();
        assert!(word.starts_with("yes (") && !tests.is_empty(), "neither `yes (test)` nor `not yet`: {row}");
        let missing: Vec<_> = tests.iter().filter(|name| !known.contains(**name)).collect();
        assert!(missing.is_empty(), "no such tests: {missing:?}");
        rows += 1;
    }
    assert!(rows > 0);
}
