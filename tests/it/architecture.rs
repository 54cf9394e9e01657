//! Keeps the module tree a set of floors: a module may name itself and lower
//! floors, nothing beside it and nothing above. That rules out cycles.

use std::fs;
use std::path::{Path, PathBuf};

/// Bottom floor first. Modules on one floor do not name each other.
const FLOORS: &[&[&str]] = &[
    &["model"],
    &["expr", "schedule", "correlate", "retry"],
    &["manifest"],
    &["project", "plan"],
    &["accept", "clock", "metrics", "secrets"],
    &["http", "connector", "source", "store", "audit", "notify"],
    &["connectors", "sources", "stores", "notifiers", "engine"],
    &["settings", "telemetry", "server"],
    &["app"],
    &["cli"],
];

/// Folders whose children are independent adapters of one port.
const ADAPTERS: &[&str] = &["connectors", "sources", "stores", "notifiers"];

#[test]
fn modules_name_only_lower_floors() {
    let mut broken = Vec::new();
    for source in sources() {
        let Some(floor) = floor_of(source.module()) else { continue };
        let outside = source.named("crate::").into_iter().filter(|name| *name != source.module());
        broken.extend(
            outside
                .filter(|name| floor_of(name) >= Some(floor))
                .map(|name| format!("{} names crate::{name}", source.path)),
        );
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn adapters_of_one_port_are_strangers() {
    let mut broken = Vec::new();
    for source in sources() {
        let Some(child) = source.child() else { continue };
        if !ADAPTERS.contains(&source.module()) {
            continue;
        }
        let prefix = format!("crate::{}::", source.module());
        let siblings = source.named(&prefix).into_iter().filter(|name| *name != child);
        broken.extend(siblings.map(|name| format!("{} names its sibling {name}", source.path)));
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// The two tests above read paths as text, so paths must be written plainly.
#[test]
fn paths_are_written_from_the_crate_root() {
    for source in sources() {
        let text = source.text.replace("super::*", "");
        assert!(!text.contains("super::"), "{}: write crate:: instead of super::", source.path);
        assert!(!text.contains("crate::{"), "{}: one path per use line", source.path);
    }
}

struct Source {
    /// Relative to `src`, with forward slashes.
    path: String,
    text: String,
}

impl Source {
    /// `plan` for both `plan.rs` and `plan/diff.rs`.
    fn module(&self) -> &str {
        self.path.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    /// `scim` for both `connectors/scim.rs` and `connectors/scim/filter.rs`.
    fn child(&self) -> Option<&str> {
        Some(self.path.split('/').nth(1)?.trim_end_matches(".rs"))
    }

    /// Every identifier that follows `prefix` in the text.
    fn named(&self, prefix: &str) -> Vec<&str> {
        let tails = self.text.split(prefix).skip(1);
        tails
            .map(|tail| tail.split(|c: char| !(c.is_alphanumeric() || c == '_')).next())
            .map(Option::unwrap_or_default)
            .collect()
    }
}

/// `None` for `main` and `lib`, which wire everything.
fn floor_of(module: &str) -> Option<usize> {
    if module == "lib" || module == "main" {
        return None;
    }
    let floor = FLOORS.iter().position(|floor| floor.contains(&module));
    Some(floor.unwrap_or_else(|| panic!("give `{module}` a floor in FLOORS")))
}

fn sources() -> Vec<Source> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    rust_files(&src)
        .into_iter()
        .map(|file| {
            let path = file.strip_prefix(&src).expect("file is under src");
            Source {
                path: path.to_string_lossy().replace('\\', "/"),
                text: fs::read_to_string(&file).expect("source is UTF-8"),
            }
        })
        .collect()
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).expect("directory is readable") {
        let path = entry.expect("entry is readable").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
