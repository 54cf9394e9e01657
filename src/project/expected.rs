//! The account that somebody is going to have, whatever keeps it from them now: a date that is to come, or a
//! contradiction that a person must settle.
//!
//! It gives nothing to anybody. It is asked for where an account would be lost for good that may be theirs.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::DateTime;
use chrono::Utc;

use crate::model::ids::RoleName;
use crate::model::list::List;
use crate::model::path::AttributePath;
use crate::model::projection::Projection;
use crate::model::role::Role;
use crate::model::user::User;
use crate::project::Inputs;
use crate::project::Projector;
use crate::project::access;
use crate::project::access::Held;
use crate::project::access::Refused;
use crate::project::mapping::Applied;
use crate::project::mapping::Given;
use crate::project::name;
use crate::schedule;

impl Projector {
    /// How the account would look, as far as that can be told; no entitlements. `None`: by the documents of
    /// today the user has no account at any time from now on.
    pub(crate) fn expected(
        &self,
        user: &User,
        roles: &BTreeMap<RoleName, Arc<Role>>,
        now: DateTime<Utc>,
    ) -> Option<Projection> {
        let mut at = Some(now).filter(|_| user.active);
        while let Some(moment) = at {
            if let Some(held) = self.held(user, roles, moment) {
                return Some(self.likeness(user, held));
            }
            at = schedule::next_transition(user, moment);
        }
        None
    }

    fn held<'a>(
        &'a self,
        user: &'a User,
        roles: &'a BTreeMap<RoleName, Arc<Role>>,
        at: DateTime<Utc>,
    ) -> Option<Vec<Held<'a>>> {
        match access::resolve(&self.target, self.when.as_ref(), user, roles, at) {
            Ok(held) => Some(held),
            Err(Refused::Denied(_)) => None,
            // What the condition says once it can be evaluated nobody knows.
            Err(Refused::Undecided(_)) => access::resolve(&self.target, None, user, roles, at).ok(),
        }
    }

    /// What the mapping gives, without what it cannot tell.
    fn likeness(&self, user: &User, held: Vec<Held<'_>>) -> Projection {
        let given = Given::new(&held, &self.grant_reads);
        let inputs = Inputs { user, held, given, lapsed: BTreeSet::new() };
        let context = inputs.context(&self.target);
        let mut values = BTreeMap::new();
        let user_name = self.user_name.apply(&context).ok().and_then(Applied::into_value);
        if let Some(text) = user_name.as_ref().and_then(name::text) {
            let projected = self.user_name.projected(Some(text.into()), user, &inputs.given);
            values.insert(AttributePath::user_name(), projected);
        }
        for (path, rule) in &self.attributes {
            if let Some(value) = rule.apply(&context).ok().and_then(Applied::into_value) {
                values.insert(path.clone(), rule.projected(Some(value), user, &inputs.given));
            }
        }
        values.extend(self.mark(user));
        Projection {
            record: user.id.clone(),
            formerly: user.formerly.clone(),
            values,
            entitlements: BTreeMap::new(),
            lapsed: BTreeSet::new(),
            origins: List::default(),
        }
    }
}
