//! What becomes of a user who has no link.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::correlate::keys::written;
use crate::correlate::matches::Match;
use crate::model::account::Account;
use crate::model::change::Action;
use crate::model::change::Change;
use crate::model::change::Effect;
use crate::model::ids::AccountId;
use crate::model::ids::RecordId;
use crate::model::link::Link;
use crate::model::list::List;
use crate::model::plan::Skip;
use crate::model::plan::SkipReason;
use crate::model::projection::Conflict;
use crate::model::projection::Projection;
use crate::model::target::Existing;
use crate::model::target::MatchKey;
use crate::plan::diff;
use crate::plan::identity;
use crate::plan::input::PlanInput;
use crate::plan::linked::Decided;
use crate::plan::linked::wanted_name;

/// What the observation says about one user without a link.
pub struct Unlinked<'c> {
    /// What the plan is made from.
    pub input: &'c PlanInput<'c>,
    /// What the user should have.
    pub projection: &'c Projection,
    /// The account or accounts that fit.
    pub found: Option<&'c Match>,
    /// Accounts that fit anybody.
    pub candidates: &'c BTreeMap<AccountId, Arc<Account>>,
    /// An account that has the wanted user name and keeps it, with the link of its user.
    pub name_held_by: Option<(&'c AccountId, Option<&'c Link>)>,
    /// Whether "no other account fits" is proven.
    pub proven: bool,
}

impl Unlinked<'_> {
    /// Decides.
    pub fn decide(&self) -> Decided {
        if self.input.is_protected(wanted_name(self.projection)) {
            return self.skip(None, SkipReason::Protected);
        }
        match self.found {
            None => self.absent(),
            Some(Match::Ambiguous { accounts, users, key }) => self.ambiguous(accounts, users, *key),
            Some(Match::One { account, key }) => match self.candidates.get(account) {
                Some(account) => self.exists(account, *key),
                None => self.skip(None, SkipReason::LookUpFirst),
            },
        }
    }

    fn absent(&self) -> Decided {
        if !self.proven {
            return self.skip(None, SkipReason::LookUpFirst);
        }
        if wanted_name(self.projection).is_empty() {
            return self.conflict(
                None,
                "no-user-name",
                format!("`{}` has no user name here", self.projection.record),
                "give the user the attribute that `account.userName` reads".to_owned(),
            );
        }
        if let Some((holder, link)) = self.name_held_by {
            return self.name_taken(holder, link);
        }
        let reason = "the user's roles give access and no account matches";
        let change = Change {
            fields: diff::initial(self.projection),
            grant: diff::grants(self.projection, &BTreeSet::new()).into(),
            active: Some(true),
            ..self.change(None, Action::Create, reason)
        };
        Decided { changes: vec![change], skips: Vec::new() }
    }

    fn name_taken(&self, holder: &AccountId, link: Option<&Link>) -> Decided {
        let record = &self.projection.record;
        let (whose, hint) = match link {
            Some(_) => (" of another user", "give one of the two another user name".to_owned()),
            None => (
                ", which nobody declares,",
                format!(
                    "`rosterd link {record} {holder}` says that they belong together; else give one of the two another \
                     user name"
                ),
            ),
        };
        let message = format!("account `{holder}`{whose} has the user name that `{record}` wants");
        self.conflict(Some(holder), "user-name-taken", message, hint)
    }

    fn exists(&self, account: &Account, key: usize) -> Decided {
        let at = Some(&account.id);
        if self.input.is_untouchable(account) {
            return self.skip(at, SkipReason::Protected);
        }
        let policy = &self.input.target.account;
        let Some(key) = policy.match_keys.get(key) else { return self.skip(at, SkipReason::LookUpFirst) };
        if self.input.known.was_anothers(&account.id, self.projection) {
            let conflict = identity::anothers(&self.projection.record, &account.id);
            return self.skip(at, SkipReason::Conflict(conflict));
        }
        match policy.existing {
            Existing::Refuse => {
                self.refused(account, key, "accounts that exist are not taken over (`existing: refuse`)")
            }
            Existing::Ask => {
                let user_name = account.user_name().map(str::to_owned);
                self.skip(at, SkipReason::Proposal { user_name, key: written(key) })
            }
            Existing::Adopt if !policy.trusted_keys.contains(key) => {
                self.refused(account, key, "this key is not one of `trustedKeys`")
            }
            Existing::Adopt => self.adopt(account, key),
        }
    }

    fn adopt(&self, account: &Account, key: &MatchKey) -> Decided {
        let at = Some(&account.id);
        let comparison = self.input.comparison();
        if diff::foreign_mark(&comparison, self.projection, account).is_some() {
            return self.refused(account, key, "its mark names somebody else, and a foreign mark is never replaced");
        }
        if !account.state.gives_access() {
            return self.skip(at, SkipReason::OtherHand(account.state));
        }
        if !self.proven {
            // An earlier key may fit an account that was not seen.
            return self.skip(at, SkipReason::LookUpFirst);
        }
        let reason = format!("the account matches by the trusted key `{}`", written(key));
        let change = Change {
            fields: diff::adopted_fields(&comparison, self.projection, account).into(),
            grant: diff::grants(self.projection, &account.memberships).into(),
            ..self.change(at, Action::Adopt, &reason)
        };
        Decided { changes: vec![change], skips: Vec::new() }
    }

    fn refused(&self, account: &Account, key: &MatchKey, why: &str) -> Decided {
        let record = &self.projection.record;
        let message = format!("account `{}` matches `{record}` by `{}`; {why}", account.id, written(key));
        let hint =
            format!("`rosterd link {record} {}` says that they belong together, or set `existing: ask`", account.id);
        self.conflict(Some(&account.id), "exists", message, hint)
    }

    fn ambiguous(&self, accounts: &BTreeSet<AccountId>, users: &BTreeSet<RecordId>, key: usize) -> Decided {
        let key = self.input.target.account.match_keys.get(key).map(written).unwrap_or_default();
        let accounts_named = named(accounts.iter().map(AccountId::as_str));
        let users_named = named(users.iter().map(RecordId::as_str));
        let message = format!(
            "accounts {accounts_named} and users {users_named} match by `{key}`: which is whose is not guessed"
        );
        let hint = format!("`rosterd link {} ACCOUNT` says which one is right", self.projection.record);
        let only = if accounts.len() == 1 { accounts.first() } else { None };
        self.conflict(only, "ambiguous", message, hint)
    }

    fn conflict(&self, account: Option<&AccountId>, code: &str, message: String, hint: String) -> Decided {
        self.skip(account, SkipReason::Conflict(Conflict { code: code.to_owned(), message, hint }))
    }

    fn skip(&self, account: Option<&AccountId>, reason: SkipReason) -> Decided {
        let skip = Skip { record: self.projection.record.clone(), account: account.cloned(), reason };
        Decided { changes: Vec::new(), skips: vec![skip] }
    }

    fn change(&self, account: Option<&AccountId>, action: Action, reason: &str) -> Change {
        Change {
            record: self.projection.record.clone(),
            account: account.cloned(),
            action,
            effect: Effect::Widens,
            cause: None,
            fields: List::default(),
            grant: List::default(),
            revoke: List::default(),
            active: None,
            reason: reason.into(),
            origins: self.projection.origins.clone(),
        }
    }
}

fn named<'t>(names: impl Iterator<Item = &'t str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
