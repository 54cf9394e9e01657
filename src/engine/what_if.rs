//! What a change of one user's document would make of the snapshot. Nothing is stored or sent.

use std::sync::Arc;

use chrono::DateTime;
use chrono::Utc;

use crate::engine::EngineError;
use crate::manifest;
use crate::manifest::OperatorDocuments;
use crate::manifest::Rules;
use crate::model::ids::RecordId;
use crate::model::ids::RoleName;
use crate::model::origin::Origin;
use crate::model::snapshot::Snapshot;
use crate::model::user::RoleHeld;
use crate::model::user::User;
use crate::model::user::Validity;

/// What may stand in a change, for messages.
const FORMS: &str = "write `active=false`, `role+=NAME`, `role-=NAME`, `validFrom=TIME`, `validUntil=TIME` (several with \
                     `,` between them), `gone`, or a whole `User` document";

/// The snapshot as it would be after `change` of the document of `record`.
///
/// # Errors
/// [`EngineError::Stale`] with what is wrong with the change.
pub fn changed(snapshot: &Snapshot, record: &RecordId, change: &str) -> Result<Snapshot, EngineError> {
    let mut snapshot = snapshot.clone();
    let change = change.trim();
    if change == "gone" {
        if !snapshot.users.remove(record) {
            return Err(EngineError::NoUser(record.clone()));
        }
        return Ok(snapshot);
    }
    let user = if change.contains("kind:") || change.starts_with('{') {
        document(record, change)?
    } else {
        let mut user = snapshot.users.get(record).ok_or_else(|| EngineError::NoUser(record.clone()))?;
        for part in change.split(',') {
            edit(&mut user, part.trim())?;
        }
        user
    };
    if let Some(unknown) = user.roles.iter().find(|held| !snapshot.roles.contains_key(&held.name)) {
        return Err(wrong(format!("there is no role `{}`", unknown.name)));
    }
    snapshot.users.insert(&user);
    Ok(snapshot)
}

fn wrong(what: impl std::fmt::Display) -> EngineError {
    EngineError::Invalid(format!("{what}; {FORMS}"))
}

/// One edit of a user.
fn edit(user: &mut User, edit: &str) -> Result<(), EngineError> {
    if let Some(role) = edit.strip_prefix("role+=") {
        let name = RoleName::from(role);
        if user.roles.iter().all(|held| held.name != name) {
            user.roles.push(RoleHeld { name, valid: Validity::default(), line: user.origin.line });
        }
        return Ok(());
    }
    if let Some(role) = edit.strip_prefix("role-=") {
        let before = user.roles.len();
        user.roles.retain(|held| held.name.as_str() != role);
        return if user.roles.len() == before {
            Err(wrong(format!("`{}` does not hold `{role}`", user.id)))
        } else {
            Ok(())
        };
    }
    match edit.split_once('=') {
        Some(("active", "true")) => user.active = true,
        Some(("active", "false")) => user.active = false,
        Some(("validFrom", time)) => user.valid.from = Some(instant(time)?),
        Some(("validUntil", time)) => user.valid.until = Some(instant(time)?),
        Some(_) | None => return Err(wrong(format!("`{edit}` is not a change"))),
    }
    Ok(())
}

fn instant(text: &str) -> Result<DateTime<Utc>, EngineError> {
    let time = DateTime::parse_from_rfc3339(text);
    time.map(|time| time.to_utc()).map_err(|_| wrong(format!("`{text}` is no time like `2027-03-31T18:00:00+02:00`")))
}

/// The user of a whole document, read as a manifest is.
fn document(record: &RecordId, text: &str) -> Result<User, EngineError> {
    let file = Arc::new(manifest::parse_file("--if", text.as_bytes()));
    if let Some(problem) = file.problems().first() {
        return Err(wrong(manifest::render(problem, false)));
    }
    let documents = manifest::combine([file], &OperatorDocuments::default(), &Rules::default());
    let user = documents.users.get(record).ok_or_else(|| wrong(format!("the document is not about `{record}`")))?;
    let origin = Origin { what: format!("{} (as it would be)", user.origin.what).into(), ..user.origin.clone() };
    Ok(User { origin, ..user })
}
