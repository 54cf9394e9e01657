//! Which users may have an account, and with which entitlements.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::DateTime;
use chrono::Utc;
use serde_json::Value;

use crate::expr::Condition;
use crate::expr::Context;
use crate::model::ids::EntitlementName;
use crate::model::ids::RoleName;
use crate::model::list::List;
use crate::model::origin::Origin;
use crate::model::projection::Conflict;
use crate::model::projection::NoAccess;
use crate::model::projection::NoAccessReason;
use crate::model::projection::ProjectedGrant;
use crate::model::role::Grant;
use crate::model::role::Role;
use crate::model::role::TargetRef;
use crate::model::target::Ending;
use crate::model::target::Target;
use crate::model::user::RoleHeld;
use crate::model::user::User;
use crate::project::user_line;

/// Whether a user may have an account in a target.
#[derive(Clone, Debug, PartialEq)]
pub enum Access {
    /// Yes, and these entitlements.
    Granted(BTreeSet<EntitlementName>),
    /// No.
    Denied(NoAccess),
    /// The scope's condition cannot be evaluated for this user: neither gives nor takes.
    Undecided(Conflict),
}

/// Why there is nothing to project.
pub(crate) enum Refused {
    Denied(NoAccess),
    Undecided(Conflict),
}

/// One grant that reaches the target through a role that the user holds now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held<'a> {
    role: &'a RoleHeld,
    pub(crate) grant: &'a Grant,
}

impl Held<'_> {
    /// The user's line and the grant's.
    pub(crate) fn origins(&self, user: &User) -> [Origin; 2] {
        [Origin { line: self.role.line, ..user.origin.clone() }, self.grant.origin.clone()]
    }
}

/// The grants that give access, in document order; at least one.
///
/// A role that has no document gives nothing. Both levels give an account: what tells them apart
/// is how much the target's people let it see, which their entitlements say.
pub(crate) fn resolve<'a>(
    target: &Target,
    when: Option<&Condition>,
    user: &'a User,
    roles: &'a BTreeMap<RoleName, Arc<Role>>,
    now: DateTime<Utc>,
) -> Result<Vec<Held<'a>>, Refused> {
    let denied = |reason, origins| Err(Refused::Denied(no_access(target, reason, origins)));
    if !user.active {
        return denied(NoAccessReason::Inactive, vec![user_line(user, "active")]);
    }
    if user.valid.ended(now) {
        return denied(NoAccessReason::Ended, vec![user_line(user, "validUntil")]);
    }
    if !user.valid.contains(now) {
        return denied(NoAccessReason::NotYetValid, vec![user_line(user, "validFrom")]);
    }
    let (held, lapsed) = grants(target, user, roles, now);
    match (held.is_empty(), lapsed) {
        (false, _) => {}
        (true, Some(role)) => {
            return denied(NoAccessReason::RoleEnded, vec![Origin { line: role.line, ..user.origin.clone() }]);
        }
        (true, None) => return denied(NoAccessReason::NotGranted, vec![user_line(user, "roles")]),
    }
    if let Some(types) = &target.scope.user_types
        && !user.user_type.as_ref().is_some_and(|kind| types.contains(kind))
    {
        return denied(NoAccessReason::UserType, vec![user_line(user, "userType"), target.origin.clone()]);
    }
    match when.map(|when| when.holds(&Context::of_user(user))) {
        None | Some(Ok(true)) => Ok(held),
        Some(Ok(false)) => denied(NoAccessReason::Condition, vec![target.origin.clone()]),
        Some(Err(error)) => Err(Refused::Undecided(Conflict {
            code: "expression".to_owned(),
            message: format!("`scope.when` of target `{}` fails for user `{}`: {error}", target.name, user.id),
            hint: error.hint.unwrap_or_else(|| "correct the condition, or the value that it reads".to_owned()),
        })),
    }
}

fn no_access(target: &Target, reason: NoAccessReason, origins: Vec<Origin>) -> NoAccess {
    let ending = match reason {
        NoAccessReason::Gone => target.account.on_gone,
        // "No access anywhere" is the person's own state: no policy of a target softens it.
        NoAccessReason::Inactive | NoAccessReason::NotYetValid | NoAccessReason::Ended | NoAccessReason::Revoked => {
            Ending::Disable
        }
        NoAccessReason::NotGranted
        | NoAccessReason::RoleEnded
        | NoAccessReason::UserType
        | NoAccessReason::Condition => target.account.on_out_of_scope,
    };
    NoAccess { reason, ending, origins: origins.into() }
}

/// The grants of roles held now, and the first role that would grant the target at another time.
fn grants<'a>(
    target: &Target,
    user: &'a User,
    roles: &'a BTreeMap<RoleName, Arc<Role>>,
    now: DateTime<Utc>,
) -> (Vec<Held<'a>>, Option<&'a RoleHeld>) {
    let mut held = Vec::new();
    let mut lapsed = None;
    for role in &user.roles {
        let Some(document) = roles.get(&role.name) else { continue };
        for grant in document.grants.iter().filter(|grant| reaches(&grant.target, target)) {
            if role.valid.contains(now) {
                held.push(Held { role, grant });
            } else {
                lapsed = lapsed.or(Some(role));
            }
        }
    }
    (held, lapsed)
}

/// Entitlements of the target that roles of the user give at another time than now.
pub(crate) fn lapsed(
    target: &Target,
    user: &User,
    roles: &BTreeMap<RoleName, Arc<Role>>,
    now: DateTime<Utc>,
) -> BTreeSet<EntitlementName> {
    let documents = user.roles.iter().filter(|role| !role.valid.contains(now)).filter_map(|role| roles.get(&role.name));
    let grants = documents.flat_map(|role| &role.grants).filter(|grant| reaches(&grant.target, target));
    grants.flat_map(|grant| grant.entitlements.iter().cloned()).collect()
}

/// Whether a grant names the target. A selector without pairs would name every target that is
/// ever added, so it names none.
fn reaches(named: &TargetRef, target: &Target) -> bool {
    match named {
        TargetRef::Name(name) => *name == target.name,
        TargetRef::Selector(pairs) => {
            !pairs.is_empty() && pairs.iter().all(|(label, value)| target.labels.get(label) == Some(value))
        }
    }
}

/// The catalogue's words that the grants give. A word outside the catalogue is refused at load;
/// one that comes through a selector to a target that does not know it gives nothing there.
pub(crate) fn entitlements(target: &Target, held: &[Held<'_>]) -> BTreeMap<EntitlementName, ProjectedGrant> {
    let mut given: BTreeMap<EntitlementName, ProjectedGrant> = BTreeMap::new();
    for grant in held.iter().map(|held| held.grant) {
        for name in &grant.entitlements {
            let Some(word) = target.entitlements.get(name) else { continue };
            let entry = given.entry(name.clone()).or_insert_with(|| ProjectedGrant {
                membership: word.membership.clone(),
                privileged: word.privileged,
                origins: List::default(),
            });
            if !entry.origins.contains(&grant.origin) {
                entry.origins.edit(|origins| origins.push(grant.origin.clone()));
            }
        }
    }
    given
}

/// Refuses two entitlements that nobody may hold together; saying so on one of them is enough.
pub(crate) fn check_exclusive(
    target: &Target,
    user: &User,
    given: &BTreeMap<EntitlementName, ProjectedGrant>,
) -> Result<(), Conflict> {
    for (name, grant) in given {
        let Some(word) = target.entitlements.get(name) else { continue };
        let other = given.iter().find(|(other, _)| *other != name && word.exclusive_with.contains(*other));
        if let Some((other, other_grant)) = other {
            let message = format!(
                "user `{}` is granted both `{name}` ({}) and `{other}` ({}) of target `{}`, which exclude each other",
                user.id,
                places(&grant.origins),
                places(&other_grant.origins),
                target.name
            );
            let hint = "take one of the roles away from the user".to_owned();
            return Err(Conflict { code: "exclusive".to_owned(), message, hint });
        }
    }
    Ok(())
}

/// Refuses more values of the attribute under `cardinality` than one account can stand for.
pub(crate) fn check_cardinality(target: &Target, user: &User, held: &[Held<'_>]) -> Result<(), Conflict> {
    let Some(limit) = &target.account.cardinality else { return Ok(()) };
    let own = user.attributes.get(&limit.attribute);
    let own = own.map(|value| (value, user_line(user, &format!("attributes.{}", limit.attribute))));
    let granted =
        held.iter().filter_map(|held| Some((held.grant.attributes.get(&limit.attribute)?, held.grant.origin.clone())));
    let mut values: BTreeMap<String, Origin> = BTreeMap::new();
    for (value, origin) in own.into_iter().chain(granted) {
        for value in scalars(value) {
            values.entry(value).or_insert_with(|| origin.clone());
        }
    }
    let max = usize::try_from(limit.max).unwrap_or(usize::MAX);
    if values.len() <= max {
        return Ok(());
    }
    let named: Vec<String> = values.iter().map(|(value, origin)| format!("{value} ({})", place(origin))).collect();
    Err(Conflict {
        code: "cardinality".to_owned(),
        message: format!(
            "user `{}` has {} values of `{}` where target `{}` allows {}: {}",
            user.id,
            values.len(),
            limit.attribute,
            target.name,
            limit.max,
            named.join(", ")
        ),
        hint: "take the others away: an account there stands for one, and rosterd does not choose".to_owned(),
    })
}

/// The value as JSON text, or each element of a list; nothing for what is absent.
fn scalars(value: &Value) -> Vec<String> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(items) => items.iter().flat_map(scalars).collect(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => vec![value.to_string()],
    }
}

/// `roles/a.yaml:4`
pub(crate) fn place(origin: &Origin) -> String {
    format!("{}:{}", origin.file, origin.line)
}

fn places(origins: &[Origin]) -> String {
    origins.iter().map(place).collect::<Vec<_>>().join(", ")
}
