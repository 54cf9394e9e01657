//! Users, roles, a target's mapping and the time, made into projections.
//!
//! Three questions, in this order and apart: may this user have an account here and with which
//! entitlements ([`Projector::access`]); how would it look ([`Projector::desired`]); and does
//! anybody else want the same user name ([`Table`]).
//!
//! Contradictions are conflicts of the user concerned, never guesses, and only users who would
//! otherwise have an account can be in one: who has lost access is [`Desired::None`], whatever
//! else is wrong with the documents, so that a conflict never keeps a leaver in.

mod access;
mod expected;
mod mapping;
mod name;
mod revoked;
mod table;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::DateTime;
use chrono::Utc;

use crate::expr::Condition;
use crate::expr::Context;
use crate::expr::ExprError;
use crate::expr::Names;
use crate::model::ids::EntitlementName;
use crate::model::ids::RoleName;
use crate::model::origin::Origin;
use crate::model::path::AttributePath;
use crate::model::projection::Conflict;
use crate::model::projection::Desired;
use crate::model::projection::Projected;
use crate::model::projection::Projection;
use crate::model::role::Role;
use crate::model::target::Mark;
use crate::model::target::Own;
use crate::model::target::Target;
use crate::model::user::User;
use crate::project::access::Held;
use crate::project::mapping::Applied;
use crate::project::mapping::Rule;

pub use crate::project::access::Access;
pub use crate::project::revoked::Revocation;
pub use crate::project::revoked::Revoked;
pub use crate::project::table::Projections;
pub use crate::project::table::Table;

/// A target with its templates compiled. Cheap to share, costly to make: one a target and load.
#[derive(Debug)]
pub struct Projector {
    target: Arc<Target>,
    when: Option<Condition>,
    user_name: Rule,
    attributes: BTreeMap<AttributePath, Rule>,
    /// Grant attributes that any mapping reads.
    grant_reads: BTreeSet<String>,
    /// Paths that the partition condition reads.
    partition_paths: BTreeSet<AttributePath>,
}

/// What one user's documents say, before user names are compared.
#[derive(Debug)]
struct Alone {
    desired: Desired,
    /// The user name that the user would use, compared as the target compares; known for some
    /// conflicts too, because such a user may own an account of that name already.
    name: Option<String>,
}

/// What one projection starts from.
struct Inputs<'a> {
    user: &'a User,
    held: Vec<Held<'a>>,
    given: mapping::Given<'a>,
    lapsed: BTreeSet<EntitlementName>,
}

impl<'a> Inputs<'a> {
    fn context(&'a self, target: &'a Target) -> Context<'a> {
        Context::new(self.user, &self.given.values, target)
    }
}

impl Projector {
    /// Compiles every template of a target.
    ///
    /// # Errors
    /// All that are wrong, each with the key it stands under.
    pub fn new(target: Arc<Target>) -> Result<Self, Vec<ExprError>> {
        let mut errors = Vec::new();
        let mut keep = |error: ExprError, key: &str| {
            errors.push(ExprError { message: format!("{key}: {}", error.message), ..error });
        };
        let condition = |source: &Option<String>, names: Names| {
            source.as_deref().map(|source| Condition::compile(source, &names)).transpose()
        };
        let when = condition(&target.scope.when, Names::user()).map_err(|error| keep(error, "scope.when"));
        let partition = condition(&target.partition, Names::account()).map_err(|error| keep(error, "partition"));
        let user_name = Rule::compile(&target.account.user_name).map_err(|error| keep(error, "account.userName"));
        let mut attributes = BTreeMap::new();
        for (path, mapping) in &target.account.attributes {
            match Rule::compile(mapping) {
                Ok(rule) => drop(attributes.insert(path.clone(), rule)),
                Err(error) => keep(error, &format!("account.attributes.{path}")),
            }
        }
        let (Ok(when), Ok(partition), Ok(user_name), true) = (when, partition, user_name, errors.is_empty()) else {
            return Err(errors);
        };
        let rules = attributes.values().chain([&user_name]);
        let grant_reads = rules.flat_map(Rule::grant_attributes).map(str::to_owned).collect();
        let partition_paths = partition.iter().flat_map(Condition::references).filter_map(|name| account_path(name));
        let partition_paths = partition_paths.collect();
        Ok(Self { target, when, user_name, attributes, grant_reads, partition_paths })
    }

    /// The target.
    pub fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// Every path that planning for this target compares: what a listing must bring.
    pub fn shape_paths(&self) -> BTreeSet<AttributePath> {
        let policy = &self.target.account;
        let keys = policy.match_keys.iter().chain(&policy.trusted_keys).flat_map(|key| key.0.iter().cloned());
        let mark = match &policy.mark {
            Mark::At(path) => Some(path.clone()),
            Mark::None => None,
        };
        let always = [AttributePath::user_name()];
        let mapped = self.attributes.keys().chain(&self.partition_paths).cloned();
        let switches = policy.notifications.iter().cloned();
        let blockers = policy.blockers.values().map(|blocker| blocker.at.clone());
        always.into_iter().chain(mapped).chain(keys).chain(mark).chain(switches).chain(blockers).collect()
    }

    /// Whether the user may have an account, and with which entitlements: neither the mapping
    /// nor other users have a say in it.
    pub fn access(&self, user: &User, roles: &BTreeMap<RoleName, Arc<Role>>, now: DateTime<Utc>) -> Access {
        match access::resolve(&self.target, self.when.as_ref(), user, roles, now) {
            Ok(held) => Access::Granted(access::entitlements(&self.target, &held).into_keys().collect()),
            Err(access::Refused::Denied(none)) => Access::Denied(none),
            Err(access::Refused::Undecided(conflict)) => Access::Undecided(conflict),
        }
    }

    /// What one user should have here, other users apart.
    pub fn desired(&self, user: &User, roles: &BTreeMap<RoleName, Arc<Role>>, now: DateTime<Utc>) -> Desired {
        self.alone(user, roles, now).desired
    }

    fn alone(&self, user: &User, roles: &BTreeMap<RoleName, Arc<Role>>, now: DateTime<Utc>) -> Alone {
        let held = match access::resolve(&self.target, self.when.as_ref(), user, roles, now) {
            Ok(held) => held,
            Err(access::Refused::Denied(none)) => return Alone { desired: Desired::None(none), name: None },
            Err(access::Refused::Undecided(conflict)) => {
                return Alone { desired: Desired::Conflict(conflict), name: None };
            }
        };
        let given = mapping::Given::new(&held, &self.grant_reads);
        let lapsed = access::lapsed(&self.target, user, roles, now);
        let inputs = Inputs { user, held, given, lapsed };
        // The name is computed first: a user in conflict still holds it against others.
        let name = self.name(&inputs);
        let folded = name.as_ref().ok().map(|(text, _)| name::folded(text, self.target.account.fold_user_name));
        let desired = self.projection(&inputs, name);
        Alone { desired: desired.map_or_else(Desired::Conflict, Desired::Account), name: folded }
    }

    fn projection(
        &self,
        inputs: &Inputs<'_>,
        name: Result<(String, Projected), Conflict>,
    ) -> Result<Projection, Conflict> {
        let Inputs { user, held, given, lapsed } = inputs;
        let entitlements = access::entitlements(&self.target, held);
        access::check_exclusive(&self.target, user, &entitlements)?;
        access::check_cardinality(&self.target, user, held)?;
        given.check(user)?;
        let (_, name) = name?;
        let context = inputs.context(&self.target);
        let mut values = BTreeMap::from([(AttributePath::user_name(), name)]);
        for (path, rule) in &self.attributes {
            let value = rule.apply(&context).map_err(|error| mapping::unusable(user, path.as_str(), &error))?;
            if value != Applied::Unset {
                values.insert(path.clone(), rule.projected(value.into_value(), user, given));
            }
        }
        if let Some((path, mark)) = self.mark(user) {
            values.insert(path, mark);
        }
        let record = user.id.clone();
        let origins = held.iter().flat_map(|held| held.origins(user)).collect();
        let lapsed = lapsed.iter().filter(|name| !entitlements.contains_key(*name)).cloned().collect();
        Ok(Projection { record, formerly: user.formerly.clone(), values, entitlements, lapsed, origins })
    }

    fn name(&self, inputs: &Inputs<'_>) -> Result<(String, Projected), Conflict> {
        let Inputs { user, given, held: _, lapsed: _ } = inputs;
        let value = self.user_name.apply(&inputs.context(&self.target));
        let value = value.map_err(|error| mapping::unusable(user, "userName", &error))?.into_value();
        let text = value.as_ref().and_then(name::text).ok_or_else(|| name::no_user_name(user, &self.target))?;
        name::check_protected(user, &text, &self.target)?;
        let projected = self.user_name.projected(Some(text.clone().into()), user, given);
        Ok((text, projected))
    }

    /// The mark of ownership. It is written where there is none, and a foreign one is never
    /// replaced: `own: if-empty`.
    fn mark(&self, user: &User) -> Option<(AttributePath, Projected)> {
        let Mark::At(path) = &self.target.account.mark else { return None };
        if *path == AttributePath::user_name() {
            return None;
        }
        let mark = Projected {
            value: Some(user.id.as_str().into()),
            own: Own::IfEmpty,
            personal: false,
            sensitive: false,
            origins: vec![user.origin.clone()].into(),
        };
        Some((path.clone(), mark))
    }
}

/// The path that `account.name.familyName` reads; `None` for `id` and `state`, which are none.
fn account_path(reference: &str) -> Option<AttributePath> {
    match reference.strip_prefix("account.")? {
        "id" | "state" => None,
        path => AttributePath::parse(path).ok(),
    }
}

/// The line of one field of a user's document; the document itself where it has none.
fn user_line(user: &User, field: &str) -> Origin {
    let line = user.lines.get(field).copied().unwrap_or(user.origin.line);
    Origin { line, ..user.origin.clone() }
}

#[cfg(test)]
mod tests;
