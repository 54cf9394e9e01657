//! Mails that a target sends to accounts: switched off with the access, remembered, and switched on again
//! with it (`account.notifications`).
//!
//! # Guarantees
//! - What was on is in the store before it is switched off: it goes with the intent of that very call.
//! - Access ends whatever becomes of the mails: they are a change of their own, once it has ended.
//! - A mapping that owns an attribute speaks for it as soon as the user is back; memory speaks for the rest.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::model::account::Account;
use crate::model::change::Change;
use crate::model::change::FieldChange;
use crate::model::hand::Hand;
use crate::model::link::Link;
use crate::model::list::List;
use crate::model::path::AttributePath;
use crate::model::projection::Projection;
use crate::model::target::Own;
use crate::model::target::Target;
use crate::plan::input::PlanInput;

/// What is switched off of an account that rosterd ended. What another hand ended is left as that hand
/// left it.
pub fn off(input: &PlanInput<'_>, link: &Link, account: &Account) -> Vec<FieldChange> {
    if !link.disabled_by_us {
        return Vec::new();
    }
    let hand = input.hand(&account.id);
    let on = input.target.account.notifications.iter().filter(|path| is_on(account, path));
    let kept = |path: &&AttributePath| hand.given_up.get(*path) != Some(&Value::Bool(false));
    on.filter(kept).map(|path| field(path, account, Value::Bool(false))).collect()
}

/// What a user who is back gets switched on again.
pub fn on(input: &PlanInput<'_>, projection: &Projection, account: &Account) -> Vec<FieldChange> {
    let hand = input.hand(&account.id);
    let missing = hand.silenced.iter().filter(|(path, value)| {
        let kept = hand.given_up.get(*path) == Some(*value);
        !is_owned(projection, path) && account.values.get(*path) != Some(*value) && !kept
    });
    missing.map(|(path, value)| field(path, account, value.clone())).collect()
}

/// What is still to be switched on again after a look at the account of a user who is back.
pub fn left(projection: &Projection, hand: &Hand, account: &Account) -> BTreeMap<AttributePath, Value> {
    let open = account.state.gives_access();
    let mut silenced = hand.silenced.clone();
    silenced.retain(|path, value| {
        let done = open && account.values.get(path) == Some(value);
        !done && !is_owned(projection, path) && hand.given_up.get(path) != Some(value)
    });
    silenced
}

/// What a change switches off of mails, each with what it was.
pub fn switched_off<'c>(
    target: &'c Target,
    change: &'c Change,
) -> impl Iterator<Item = (&'c AttributePath, &'c Value)> {
    let off = change.fields.iter().filter(|field| field.after == Some(Value::Bool(false)));
    let ours = off.filter(|field| target.account.notifications.contains(&field.path));
    ours.filter_map(|field| Some((&field.path, field.before.as_ref()?)))
}

fn is_owned(projection: &Projection, path: &AttributePath) -> bool {
    projection.values.get(path).is_some_and(|projected| projected.own == Own::Always)
}

/// Some targets show switches as texts.
fn is_on(account: &Account, path: &AttributePath) -> bool {
    match account.values.get(path) {
        Some(Value::Bool(on)) => *on,
        Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
        Some(_) | None => false,
    }
}

fn field(path: &AttributePath, account: &Account, after: Value) -> FieldChange {
    FieldChange {
        path: path.clone(),
        before: account.values.get(path).cloned(),
        after: Some(after),
        personal: false,
        sensitive: false,
        origins: List::default(),
    }
}
