//! What a document says against its own user while the rest of the load does not count.

use chrono::DateTime;
use chrono::Utc;

use crate::manifest::Documents;
use crate::model::snapshot::Snapshot;
use crate::model::user::RoleHeld;
use crate::model::user::User;
use crate::model::user::Validity;

/// The previous snapshot, in which sound documents of its users narrow those users.
///
/// # Guarantees
/// At no moment does anybody have access in the result who has none in `previous`; a document
/// that is missing takes nothing away; attributes, labels and everything else stay as they were.
pub(crate) fn narrowed(previous: &Snapshot, documents: &Documents) -> Snapshot {
    let mut narrowed = previous.clone();
    for new in previous.users.edits(&documents.users).filter_map(|edit| edit.after()) {
        let renamed = if previous.users.contains_key(&new.id) { &[][..] } else { &new.formerly[..] };
        for record in renamed.iter().chain([&new.id]) {
            let Some(old) = previous.users.get(record) else { continue };
            let user = overlay(&old, &new);
            if user.active != old.active || user.valid != old.valid || user.roles != old.roles {
                narrowed.users.insert(&user);
            }
        }
    }
    narrowed
}

/// The old user, less what the new document takes away: inactive, an earlier end, fewer roles.
fn overlay(old: &User, new: &User) -> User {
    let mut user = User {
        active: old.active && new.active,
        valid: Validity { until: earlier(old.valid.until, new.valid.until), ..old.valid },
        roles: roles(old, new),
        ..old.clone()
    };
    // The line that ends access is the one to show; everything else still comes from the old text.
    if old.origin.file == new.origin.file {
        let deciding = ["active", "validUntil"].into_iter();
        let lines = deciding.filter_map(|field| Some((field.to_owned(), *new.lines.get(field)?)));
        user.lines.extend(lines);
    }
    user
}

/// The old roles, less those that the new document leaves out or ends earlier.
///
/// A document that names a role which the user did not hold does not only narrow: it swaps. The
/// role that it swaps to cannot be given now, and may be the very document that is broken; so no
/// role is taken away for it. Its earlier ends still act.
fn roles(old: &User, new: &User) -> Vec<RoleHeld> {
    let swaps = new.roles.iter().any(|role| !old.roles.iter().any(|held| held.name == role.name));
    let keep = |held: &RoleHeld| {
        let named: Vec<&RoleHeld> = new.roles.iter().filter(|role| role.name == held.name).collect();
        if named.is_empty() {
            return swaps.then(|| held.clone());
        }
        // Where the document holds it twice, the later end counts.
        let ends = named.iter().map(|role| role.valid.until);
        let end = if ends.clone().any(|end| end.is_none()) { None } else { ends.flatten().max() };
        let valid = Validity { until: earlier(held.valid.until, end), ..held.valid };
        Some(RoleHeld { valid, ..held.clone() })
    };
    old.roles.iter().filter_map(keep).collect()
}

/// The earlier of two ends, where none is never.
fn earlier(left: Option<DateTime<Utc>>, right: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left.min(right)),
        (end, None) | (None, end) => end,
    }
}
