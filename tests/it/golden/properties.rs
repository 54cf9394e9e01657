//! What must hold of every plan, whatever it is made from.

use rosterd::model::change::Action;
use rosterd::model::change::Change;
use rosterd::model::change::Effect;
use rosterd::model::plan::Coverage;
use rosterd::model::plan::SkipReason;
use rosterd::plan::check;
use rosterd::plan::render;

use crate::golden::case::World;
use crate::golden::simulator;

/// Every property that the world's plan breaks.
pub(super) fn broken(world: &World) -> Vec<String> {
    let mut broken = laws(world);
    broken.extend(settles(world));
    broken.extend(same_bytes(world));
    broken.extend(partial_is_harmless(world));
    broken
}

fn laws(world: &World) -> Vec<String> {
    check::check_seen(&world.guarded(), &world.input())
}

/// L3: with every change confirmed, the next plan is empty, but for what must see the first one done: the
/// mails of an account that was ended, and with `members: exact` what an adopted one has beside.
fn settles(world: &World) -> Option<String> {
    // A deletion is a person's to release, so no plan counts on it.
    let unattended = |world: &World| {
        let mut plan = world.guarded().plan;
        plan.changes.retain(|change| change.action != Action::Delete);
        plan
    };
    let first = unattended(world);
    let adopted = |record| first.changes.iter().any(|it| it.action == Action::Adopt && it.record == record);
    let follows =
        |change: &Change| change.is_silencing() || (change.action == Action::Narrow && adopted(change.record.clone()));
    let mut after = simulator::applied(world, &first.changes);
    let mut again = unattended(&after);
    if again.changes.iter().all(follows) {
        after = simulator::applied(&after, &again.changes);
        again = unattended(&after);
    }
    (!again.changes.is_empty()).then(|| format!("a second plan is not empty:\n{}", render::text(&again)))
}

/// L18: equal inputs give equal bytes, whatever the order of pages.
fn same_bytes(world: &World) -> Vec<String> {
    let first = render::canonical_json(&world.guarded().plan);
    let mut broken = Vec::new();
    for turn in 0..world.accounts.len() {
        for backwards in [false, true] {
            let mut other = world.clone();
            other.accounts.rotate_left(turn);
            if backwards {
                other.accounts.reverse();
            }
            let bytes = render::canonical_json(&other.guarded().plan);
            if bytes != first {
                broken.push(format!("accounts in another order give another plan:\n{first}\n{bytes}"));
            }
        }
    }
    broken
}

/// Whatever part of the accounts is missing: nobody who was not seen loses anything, nobody is
/// created or adopted, nobody is called vanished or unmanaged.
fn partial_is_harmless(world: &World) -> Vec<String> {
    let mut broken = Vec::new();
    for missing in 0..=world.accounts.len() {
        let mut part = world.clone();
        part.coverage = Coverage::Partial("cut".to_owned());
        if missing < part.accounts.len() {
            part.accounts.remove(missing);
        } else {
            part.accounts.clear();
        }
        let planned = part.planned();
        broken.extend(check::check_seen(&planned, &part.input()));
        for change in &planned.plan.changes {
            let seen = part.accounts.iter().any(|account| Some(&account.id) == change.account.as_ref());
            if matches!(change.action, Action::Create | Action::Adopt) || (change.effect == Effect::Narrows && !seen) {
                broken.push(format!("a partial listing leads to {} of {}", change.action.as_str(), change.record));
            }
        }
        if planned.plan.skips.iter().any(|skip| skip.reason == SkipReason::Vanished)
            || !planned.plan.unmanaged.is_empty()
        {
            broken.push("a partial listing calls accounts vanished or unmanaged".to_owned());
        }
    }
    broken
}
