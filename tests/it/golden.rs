//! Golden plans: `tests/plans/<case>/{case.yaml,observed.yaml,plan.txt}`.
//!
//! Every case also runs four properties: after a simulated apply the plan is empty; the same
//! input gives the same bytes whatever the order of accounts; `plan::check` is silent; a partial
//! listing removes nobody and creates nobody. `ROSTERD_BLESS=1` writes the plans anew.

mod case;
mod checks;
mod guards;
mod properties;
mod random;
mod simulator;
mod truth;

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use rosterd::plan::render;

use crate::golden::case::Case;

#[test]
fn every_plan_is_the_one_on_file() {
    let mut wrong = Vec::new();
    for folder in folders() {
        let case = Case::read(&folder);
        let text = render::text(&case.world().guarded().plan);
        let file = folder.join("plan.txt");
        if std::env::var_os("ROSTERD_BLESS").is_some() {
            fs::write(&file, &text).unwrap();
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        if text != expected {
            wrong.push(format!("{}\n--- on file\n{expected}\n--- now\n{text}", folder.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_case_keeps_the_four_properties() {
    let folders = folders();
    assert!(folders.len() >= 15, "only {} cases", folders.len());
    for folder in folders {
        let broken = properties::broken(&Case::read(&folder).world());
        assert!(broken.is_empty(), "{}:\n{}", folder.display(), broken.join("\n"));
    }
}

#[test]
fn markdown_shows_field_names_and_no_personal_value() {
    for folder in folders() {
        let case = Case::read(&folder);
        let plan = case.world().guarded().plan;
        let shared = render::markdown(&plan, false);
        let fields = plan.changes.iter().flat_map(|change| &change.fields);
        for field in fields {
            assert!(shared.contains(field.path.as_str()), "{}: {} is missing", folder.display(), field.path);
            let values = [&field.before, &field.after].into_iter().flatten().filter(|_| field.personal);
            for value in values {
                let value = value.to_string();
                assert!(!shared.contains(&value), "{}: {value} is shown\n{shared}", folder.display());
            }
        }
    }
}

fn folders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans");
    let mut folders: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}
