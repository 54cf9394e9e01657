//! Golden plans: `tests/plans/<case>/`, from `case.yaml` and `observed.yaml` to `plan.txt`, its form for
//! pull requests in `plan.md`, and in `learnt.txt` what the accounts taught beside.
//!
//! Every case also runs four properties: after a simulated apply the plan is empty; the same
//! input gives the same bytes whatever the order of accounts; `plan::check` is silent; a partial
//! listing removes nobody and creates nobody. `ROSTERD_BLESS=1` writes the plans anew.

mod case;
mod checks;
mod guards;
mod limits;
mod properties;
mod random;
mod simulator;
mod truth;

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use rosterd::model::plan::Plan;
use rosterd::model::plan::SkipReason;
use rosterd::plan::Planned;
use rosterd::plan::render;
use rosterd::plan::silence;

use crate::golden::case::Case;
use crate::golden::case::World;

#[test]
fn every_plan_is_the_one_on_file() {
    let mut wrong = Vec::new();
    for folder in folders() {
        let case = Case::read(&folder);
        let world = case.world();
        let planned = world.guarded();
        let views = [
            ("plan.txt", render::text(&planned.plan)),
            ("plan.md", render::markdown(&planned.plan, false)),
            ("learnt.txt", learnt(&world, &planned)),
        ];
        for (name, text) in views {
            let file = folder.join(name);
            if std::env::var_os("ROSTERD_BLESS").is_some() {
                fs::write(&file, &text).unwrap();
            }
            let expected = fs::read_to_string(&file).unwrap_or_default();
            if text != expected {
                wrong.push(format!("{}\n--- on file\n{expected}\n--- now\n{text}", file.display()));
            }
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

#[test]
fn sensitive_values_are_in_no_view() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans/ownership-of-attributes");
    let plan = Case::read(&folder).world().guarded().plan;
    let views = [render::text(&plan), render::markdown(&plan, true), render::canonical_json(&plan)];
    for view in views {
        assert!(view.contains("pin") && !view.contains("4711") && !view.contains("0815"), "{view}");
    }
}

#[test]
fn a_plan_is_read_back_from_its_canonical_form() {
    for folder in folders() {
        let json = render::canonical_json(&Case::read(&folder).world().guarded().plan);
        let plan: Plan = serde_json::from_str(&json).unwrap();
        assert_eq!(render::canonical_json(&plan), json, "{}", folder.display());
    }
}

#[test]
fn what_a_target_calls_its_accounts_cannot_mislead_a_reader() {
    let case = "users: { u-1: { values: { userName: ada } } }\nlinks: { u-1: { account: \"a\\e[31m|\\u202e@all\" } }";
    let observed = r#"[{ id: "a\e[31m|\u202e@all", values: { userName: "<b>`[x](y)" } }]"#;
    let plan = Case::from_text(case, observed).world().guarded().plan;
    assert_eq!(plan.changes.len(), 1);
    let (text, shared) = (render::text(&plan), render::markdown(&plan, true));
    for view in [&text, &shared] {
        assert!(!view.contains(['\u{1b}', '\u{202e}']), "{view}");
    }
    assert!(shared.contains("\\|") && !shared.contains("<b>") && shared.contains("\\[x]("), "{shared}");
}

/// What a plan hands on beside its changes.
fn learnt(world: &World, planned: &Planned) -> String {
    let in_view = planned.in_view.iter().map(|account| {
        let owner = account.record.as_ref().map_or("nobody", |record| record.as_str());
        let name = account.user_name.as_deref().unwrap_or("without a name");
        format!("seen {} {:?} {name}, of {owner}", account.account, account.state)
    });
    let kept = planned.seen.values().map(|account| format!("kept {} {:?}", account.id, account.state));
    let notes = planned.notes.iter().map(|(record, note)| {
        let link = note.link.as_ref().map(|link| format!(" link {}", serde_json::to_string(link).unwrap()));
        let hand = note.hand.as_ref().map(|hand| format!(" hand {}", serde_json::to_string(hand).unwrap()));
        format!("note {record}{}{}", link.unwrap_or_default(), hand.unwrap_or_default())
    });
    let because = planned.plan.changes.iter().map(|change| {
        let lines: Vec<_> = change.origins.iter().map(|origin| origin.what.to_string()).collect();
        let off: Vec<_> =
            silence::switched_off(&world.target, change).map(|(path, was)| format!("{path} was {was}")).collect();
        format!("because of {:?}: {} {}; mails off {off:?}", lines, change.action.as_str(), change.record)
    });
    let without = planned.plan.skips.iter().filter_map(|skip| {
        let SkipReason::NotEntitled(why) = &skip.reason else { return None };
        Some(format!("nothing for {}: {why}", skip.record))
    });
    let quiet = &planned.plan.quiet;
    let counts =
        format!("{} in sync, {} not entitled, {} accepted", quiet.in_sync, quiet.not_entitled, planned.accepted);
    let lines: Vec<String> =
        in_view.chain(kept).chain(notes).chain(because).chain(without).chain([counts, String::new()]).collect();
    lines.join("\n")
}

fn folders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans");
    let mut folders: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}
