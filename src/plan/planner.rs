//! The fold over observed accounts.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use crate::correlate::matches::Index;
use crate::correlate::matches::Matches;
use crate::model::account::Account;
use crate::model::account::AccountState;
use crate::model::administrators::Census;
use crate::model::change::Action;
use crate::model::history::SeenAccount;
use crate::model::ids::AccountId;
use crate::model::ids::RecordId;
use crate::model::link::Link;
use crate::model::path::AttributePath;
use crate::model::plan::Coverage;
use crate::model::plan::Explained;
use crate::model::plan::Plan;
use crate::model::plan::Quiet;
use crate::model::plan::Skip;
use crate::model::plan::SkipReason;
use crate::model::plan::Unmanaged;
use crate::model::projection::Conflict;
use crate::model::projection::Desired;
use crate::model::projection::Projection;
use crate::model::target::Exception;
use crate::model::target::Mark;
use crate::plan::claims;
use crate::plan::diff;
use crate::plan::identity;
use crate::plan::input::PlanInput;
use crate::plan::linked;
use crate::plan::linked::Decided;
use crate::plan::notes;
use crate::plan::notes::Note;
use crate::plan::order;
use crate::plan::partition::Partition;
use crate::plan::unlinked::Unlinked;

/// A finished plan and the accounts that it speaks about.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// The plan, unguarded.
    pub plan: Plan,
    /// Accounts that changes touch, as they were seen.
    pub seen: BTreeMap<AccountId, Arc<Account>>,
    /// Every account that was seen, for lists, by id; empty in keyed plans.
    pub in_view: Vec<SeenAccount>,
    /// What is to be remembered of linked accounts that were seen.
    pub notes: BTreeMap<RecordId, Note>,
    /// Accounts with a difference that `drift: accept` takes as right.
    pub accepted: u64,
    /// Who may do everything there, where `administrators` asks.
    pub census: Census,
}

/// Makes one plan from accounts that stream past, in any order.
///
/// Whole accounts are kept only where something may have to be done about them.
pub struct Planner<'a> {
    input: PlanInput<'a>,
    owners: BTreeMap<&'a AccountId, &'a Link>,
    /// Links that share their account with another link, which the store rules out.
    doubled: BTreeSet<&'a AccountId>,
    index: Index<'a>,
    /// Users outside a keyed plan, once one of them may have to be known.
    others: Option<Index<'a>>,
    matches: Matches,
    /// Linked users whose account was seen and is in sync.
    in_sync: BTreeSet<&'a RecordId>,
    /// What was decided about the others.
    linked: BTreeMap<&'a RecordId, Box<Touched>>,
    /// Unlinked accounts that fit some user.
    candidates: BTreeMap<AccountId, Arc<Account>>,
    /// Users who want a user name that some account has.
    names_held: BTreeMap<RecordId, BTreeSet<AccountId>>,
    /// Users without a link who fit accounts of users who are no longer declared, by those users.
    displaced: BTreeMap<RecordId, BTreeMap<&'a RecordId, &'a Link>>,
    /// Accounts that nobody is linked to and that bear the mark of a linked user.
    twins: BTreeMap<&'a RecordId, BTreeSet<AccountId>>,
    /// As they came, perhaps the same account twice.
    in_view: Vec<SeenAccount>,
    notes: BTreeMap<RecordId, Note>,
    accepted: BTreeSet<&'a RecordId>,
    partition: Partition,
    census: Census,
}

#[derive(PartialEq)]
struct Touched {
    decided: Decided,
    account: Arc<Account>,
    /// The account was seen twice and not alike: nothing may follow from it.
    unsteady: bool,
}

impl<'a> Planner<'a> {
    /// Begins a plan.
    pub fn new(input: PlanInput<'a>) -> Self {
        // Collected whole, the map is full; filled one by one, it is little more than half full.
        let links = || input.links.values();
        let owners: BTreeMap<_, _> = links().map(|link| (&link.account, link)).collect();
        let shared = links().filter(|link| owners.get(&link.account).is_some_and(|owner| owner.record != link.record));
        let doubled = shared.map(|link| &link.account).collect();
        let mut index = Index::new(input.comparison());
        wanting(&input, |record| input.concerns(record)).for_each(|projection| index.add(&projection));
        Self {
            input,
            owners,
            doubled,
            index,
            others: None,
            matches: Matches::default(),
            in_sync: BTreeSet::new(),
            linked: BTreeMap::new(),
            candidates: BTreeMap::new(),
            names_held: BTreeMap::new(),
            displaced: BTreeMap::new(),
            twins: BTreeMap::new(),
            in_view: Vec::new(),
            notes: BTreeMap::new(),
            accepted: BTreeSet::new(),
            partition: Partition::new(input.target.partition.as_deref()),
            census: Census::default(),
        }
    }

    /// Shows one account. Showing it again does no harm.
    pub fn observe(&mut self, account: Account) {
        // Whoever administers a realm does so in every part of it.
        if let Some(wanted) = &self.input.target.limits.administrators {
            self.census.see(wanted, &account);
        }
        if !self.partition.holds(&account) {
            return;
        }
        let owner = self.owners.get(&account.id).copied();
        // A million ids are kept twice as cheaply where they are those of the links.
        let id = owner.map_or(&account.id, |link| &link.account).clone();
        self.in_view.push(SeenAccount {
            account: id,
            user_name: account.user_name().map(str::to_owned),
            state: account.state,
            record: owner.map(|link| link.record.clone()),
        });
        for record in self.index.wanting_name_of(&account) {
            self.names_held.entry(record.clone()).or_default().insert(account.id.clone());
        }
        if let Some(link) = owner {
            self.note_displaced(link, &account);
            self.observe_linked(link, account);
        } else {
            self.note_twin(&account);
            self.observe_unlinked(account);
        }
    }

    fn observe_linked(&mut self, link: &'a Link, account: Account) {
        if !self.input.concerns(&link.record) || self.doubled.contains(&link.account) {
            return;
        }
        let desired = self.input.desired.of(&link.record);
        let decided = linked::decide(&self.input, link, &account, desired.as_deref());
        self.take_note(link, &account, desired.as_deref());
        let in_sync =
            decided.changes.is_empty() && matches!(decided.skips.as_slice(), [Skip { reason: SkipReason::InSync, .. }]);
        let touched = (!in_sync).then(|| Box::new(Touched { decided, account: Arc::new(account), unsteady: false }));
        let before = self.linked.remove(&link.record);
        let again = self.in_sync.remove(&link.record) || before.is_some();
        let outcome = if again && before != touched {
            before.or(touched).map(|touched| Box::new(Touched { unsteady: true, ..*touched }))
        } else {
            touched
        };
        match outcome {
            None => drop(self.in_sync.insert(&link.record)),
            Some(touched) => drop(self.linked.insert(&link.record, touched)),
        }
    }

    fn take_note(&mut self, link: &'a Link, account: &Account, desired: Option<&Desired>) {
        if self.input.is_untouchable(account) {
            return;
        }
        let note = notes::note(&self.input, link, account, desired);
        if !note.is_blank() {
            self.notes.insert(link.record.clone(), note);
        }
        if let Some(Desired::Account(projection)) = desired
            && diff::accepts_any(&self.input.target.account)
            && !diff::fields(&self.input.comparison(), projection, account, self.input.hand(&account.id))
                .accepted
                .is_empty()
        {
            self.accepted.insert(&link.record);
        }
    }

    /// An account whose user is gone and that fits another user: the same person under another record
    /// id, or somebody who was given the mail. Neither is guessed.
    fn note_displaced(&mut self, link: &'a Link, account: &Account) {
        if self.input.desired.contains(&link.record) {
            return;
        }
        let mut claimants: BTreeSet<RecordId> = self.index.hits(account).into_keys().collect();
        claimants.extend(self.index.wanting_name_of(account).cloned());
        claimants.extend(self.rivals(account).into_keys());
        if let Some(others) = &self.others {
            claimants.extend(others.wanting_name_of(account).cloned());
        }
        for claimant in claimants {
            let declared = match self.input.desired.of(&claimant).as_deref() {
                Some(Desired::Account(projection)) => projection.formerly.contains(&link.record),
                Some(Desired::None(_) | Desired::Conflict(_)) | None => false,
            };
            if !declared {
                self.displaced.entry(claimant).or_default().insert(&link.record, link);
            }
        }
    }

    /// Two accounts with one user's mark: whatever made the second, it is not touched and is told.
    fn note_twin(&mut self, account: &Account) {
        let Mark::At(path) = &self.input.target.account.mark else { return };
        let Some(mark) = account.values.get(path).and_then(serde_json::Value::as_str) else { return };
        let Some((record, link)) = self.input.links.get_key_value(&RecordId::from(mark)) else { return };
        if self.input.concerns(record) && link.account != account.id {
            self.twins.entry(record).or_default().insert(account.id.clone());
        }
    }

    fn observe_unlinked(&mut self, account: Account) {
        let hits = self.index.hits(&account);
        if hits.is_empty() {
            return;
        }
        for (record, position) in hits {
            self.matches.add(&record, position, &account.id);
        }
        for (rival, position) in self.rivals(&account) {
            self.matches.add(&rival, position, &account.id);
        }
        match self.candidates.entry(account.id.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(Arc::new(account));
            }
            Entry::Occupied(mut entry) => {
                // Of two views the same one must win whatever the order of pages.
                if format!("{account:?}") > format!("{:?}", entry.get()) {
                    entry.insert(Arc::new(account));
                }
            }
        }
    }

    /// Users outside a keyed plan who fit the account too. Looked for only when an unlinked
    /// account fits somebody, which is rare, so that most keyed plans need no index of everybody.
    fn rivals(&mut self, account: &Account) -> BTreeMap<RecordId, usize> {
        if self.input.records.is_none() {
            return BTreeMap::new();
        }
        let input = &self.input;
        let others = self.others.get_or_insert_with(|| {
            let mut index = Index::new(input.comparison());
            wanting(input, |record| !input.concerns(record)).for_each(|other| index.add(&other));
            index
        });
        others.hits(account)
    }

    /// Ends the plan: `coverage` says what the accounts that were shown prove about the rest.
    pub fn finish(mut self, coverage: Coverage) -> Planned {
        self.census.complete = coverage == Coverage::Complete;
        let coverage = self.partition.proven(coverage);
        self.settle_in_view();
        let full = self.input.records.is_none();
        let mut decided = BTreeMap::new();
        let mut touched = BTreeMap::new();
        let mut notes = std::mem::take(&mut self.notes);
        // Nothing is learnt from an account that was shown in two ways.
        notes.retain(|record, _| !self.linked.get(record).is_some_and(|outcome| outcome.unsteady));
        let told = self.take_told(full);
        for (record, outcome) in told {
            let mut successors = self.displaced.iter();
            let successor = successors.find_map(|(new, old)| Some((new, old.get(record)?)));
            let mut outcome = settle(record, outcome, &self.input, &mut touched);
            if let Some((successor, link)) = successor {
                outcome = linked::without_inference(outcome, link, successor);
            }
            decided.insert(record.clone(), outcome);
        }
        let mut quiet = Quiet { in_sync: self.in_sync.len() as u64, not_entitled: 0 };
        self.unseen(&coverage, &mut decided);
        self.in_sync = BTreeSet::new();
        self.without_link(&coverage, &mut quiet, &mut decided);
        self.tell_twins(&mut decided);
        self.keep_claimed(&mut decided, &touched);
        let mut changes = Vec::new();
        let mut skips = Vec::new();
        for outcome in decided.into_values() {
            changes.extend(outcome.changes);
            skips.extend(outcome.skips);
        }
        changes.sort_by(order::compare);
        touched.append(&mut self.candidates);
        let accounts: BTreeSet<&AccountId> = changes.iter().filter_map(|change| change.account.as_ref()).collect();
        touched.retain(|id, _| accounts.contains(id));
        let plan = Plan {
            space: self.input.space.clone(),
            mode: self.input.target.mode,
            unmanaged: self.unmanaged(&coverage, &accounts),
            accounts: self.by_state(),
            coverage,
            changes,
            skips,
            quiet,
            holds: Vec::new(),
            administrators: None,
        };
        let in_view = if full { self.in_view } else { Vec::new() };
        let accepted = self.accepted.len() as u64;
        Planned { plan, seen: touched, in_view, notes, accepted, census: self.census }
    }

    /// Of whom something is told: also of those in sync, where the plan is about few or there is more to
    /// say. `None`: in sync.
    fn take_told(&mut self, full: bool) -> BTreeMap<&'a RecordId, Option<Box<Touched>>> {
        let touched = std::mem::take(&mut self.linked).into_iter().map(|(record, outcome)| (record, Some(outcome)));
        let also: Vec<_> = if full {
            let special = self.twins.keys().chain(self.displaced.values().flat_map(BTreeMap::keys)).copied();
            special.filter(|record| self.in_sync.remove(record)).collect()
        } else {
            std::mem::take(&mut self.in_sync).into_iter().collect()
        };
        touched.chain(also.into_iter().map(|record| (record, None))).collect()
    }

    /// Each account once. Of two views the same one must win whatever the order of pages.
    fn settle_in_view(&mut self) {
        self.in_view.sort_unstable_by(|one, other| {
            let views = || (other.state, &other.user_name).cmp(&(one.state, &one.user_name));
            one.account.cmp(&other.account).then_with(views)
        });
        self.in_view.dedup_by(|later, first| later.account == first.account);
    }

    /// Linked users whose account was not seen. Nothing is ever taken away here.
    fn unseen(&self, coverage: &Coverage, decided: &mut BTreeMap<RecordId, Decided>) {
        let moving = moving(&self.input);
        for link in self.input.links.values().filter(|link| self.input.concerns(&link.record)) {
            let reason = if self.doubled.contains(&link.account) {
                Some(SkipReason::Conflict(doubled(link)))
            } else if moving.contains(&link.record) && !self.input.desired.contains(&link.record) {
                Some(SkipReason::Conflict(renamed(&link.record)))
            } else if decided.contains_key(&link.record) || self.in_sync.contains(&link.record) {
                continue;
            } else if self.proves(coverage, &link.record) {
                Some(SkipReason::Vanished)
            } else {
                linked::is_due(&self.input, link).then_some(SkipReason::LookUpFirst)
            };
            let skip = |reason| Skip { record: link.record.clone(), account: Some(link.account.clone()), reason };
            let skips = reason.map(skip).into_iter().collect();
            decided.insert(link.record.clone(), Decided { changes: Vec::new(), skips });
        }
    }

    fn tell_twins(&self, decided: &mut BTreeMap<RecordId, Decided>) {
        for (record, others) in &self.twins {
            let Some(link) = self.input.links.get(*record) else { continue };
            let outcome = decided.entry((*record).clone()).or_default();
            outcome.skips.retain(|skip| skip.reason != SkipReason::InSync);
            // Which of them is the user's is for a person to say, before one of them is gone for good.
            outcome.changes.retain(|change| change.action != Action::Delete);
            let reason = SkipReason::Conflict(identity::twins(record, &link.account, others));
            outcome.skips.push(Skip { record: (*record).clone(), account: Some(link.account.clone()), reason });
        }
    }

    /// What anybody else fits is not deleted.
    fn keep_claimed(&self, decided: &mut BTreeMap<RecordId, Decided>, touched: &BTreeMap<AccountId, Arc<Account>>) {
        let deletes = |outcome: &Decided| outcome.changes.iter().any(|change| change.action == Action::Delete);
        let doomed = decided.iter().filter(|(_, outcome)| deletes(outcome));
        let account = |record: &RecordId| touched.get(&self.input.links.get(record)?.account);
        let accounts = doomed.filter_map(|(record, _)| Some((record, account(record)?))).collect();
        for (owner, claimant) in claims::claimants(&self.input, &accounts) {
            let (Some(outcome), Some(link)) = (decided.get_mut(&owner), self.input.links.get(&owner)) else { continue };
            outcome.changes.retain(|change| change.action != Action::Delete);
            let reason = SkipReason::Conflict(identity::claimed(&owner, &claimant, &link.account));
            outcome.skips.push(Skip { record: owner, account: Some(link.account.clone()), reason });
        }
    }

    /// The user who is gone and seems to be this one, with the account.
    fn predecessor(&self, record: &RecordId) -> Option<(&RecordId, &AccountId)> {
        let by_mail = self.input.known.renamed.get(record).and_then(BTreeMap::first_key_value);
        let fitting = || self.displaced.get(record)?.values().next();
        by_mail.or_else(|| fitting().map(|link| (&link.record, &link.account)))
    }

    fn without_link(&self, coverage: &Coverage, quiet: &mut Quiet, decided: &mut BTreeMap<RecordId, Decided>) {
        let found = self.matches.decide();
        for (record, desired) in unlinked(&self.input, |record| self.input.concerns(record)) {
            let only = |reason| Decided {
                changes: Vec::new(),
                skips: vec![Skip { record: record.clone(), account: None, reason }],
            };
            let outcome = match &*desired {
                Desired::None(_) if self.input.records.is_none() => {
                    quiet.not_entitled += 1;
                    continue;
                }
                Desired::None(no) => only(SkipReason::NotEntitled(no.reason.as_str().to_owned())),
                Desired::Conflict(conflict) => only(SkipReason::Conflict(conflict.clone())),
                Desired::Account(projection) if left_behind(&self.input, projection).is_some() => {
                    only(SkipReason::Conflict(renamed(record)))
                }
                Desired::Account(_) if let Some((old, account)) = self.predecessor(record) => {
                    only(SkipReason::Conflict(identity::undeclared(old, record, account)))
                }
                Desired::Account(projection) => Unlinked {
                    input: &self.input,
                    projection,
                    found: found.get(record),
                    candidates: &self.candidates,
                    name_held_by: self
                        .name_holder(record, decided)
                        .map(|account| (account, self.owners.get(account).copied())),
                    proven: self.proves(coverage, record),
                }
                .decide(),
            };
            decided.insert(record.clone(), outcome);
        }
    }

    /// The first account that has the name this user wants and keeps it: an account that the same
    /// plan renames is renamed before anything is created.
    fn name_holder(&self, record: &RecordId, decided: &BTreeMap<RecordId, Decided>) -> Option<&AccountId> {
        let renamed = |account: &AccountId| {
            let owner = self.owners.get(account).and_then(|link| decided.get(&link.record));
            let mut fields = owner.into_iter().flat_map(|outcome| &outcome.changes).flat_map(|change| &change.fields);
            fields.any(|field| field.path == AttributePath::user_name())
        };
        self.names_held.get(record)?.iter().find(|account| !renamed(account))
    }

    /// Whether "not seen" means "not there" for this user.
    fn proves(&self, coverage: &Coverage, record: &RecordId) -> bool {
        match coverage {
            Coverage::Complete => true,
            Coverage::Partial(_) => false,
            Coverage::Keyed => !self.input.unproven.contains(record),
        }
    }

    /// Only a complete listing tells which accounts are nobody's: what it does not show might be.
    fn unmanaged(&self, coverage: &Coverage, ours: &BTreeSet<&AccountId>) -> Vec<Unmanaged> {
        if *coverage != Coverage::Complete {
            return Vec::new();
        }
        let strangers = self.in_view.iter().filter(|seen| {
            seen.record.is_none() && !ours.contains(&seen.account) && self.input.own_account != Some(&seen.account)
        });
        strangers
            .map(|seen| Unmanaged {
                account: seen.account.clone(),
                user_name: seen.user_name.clone(),
                state: seen.state,
                explained: self.input.exception(&seen.account, seen.user_name.as_deref()).map(explained),
            })
            .collect()
    }

    fn by_state(&self) -> BTreeMap<AccountState, u64> {
        let mut counts = BTreeMap::new();
        for seen in &self.in_view {
            *counts.entry(seen.state).or_insert(0) += 1;
        }
        counts
    }
}

/// What users without a link should have, of those who are `concerned`.
fn unlinked<'a>(
    input: &PlanInput<'a>,
    concerned: impl Fn(&RecordId) -> bool,
) -> impl Iterator<Item = (&'a RecordId, Cow<'a, Desired>)> {
    let (links, desired) = (input.links, input.desired);
    let records: Box<dyn Iterator<Item = &RecordId>> = desired.records();
    let records = records.filter(move |record| concerned(record) && !links.contains_key(*record));
    records.filter_map(move |record| Some((record, desired.of(record)?)))
}

/// The accounts that users without a link should have.
fn wanting(input: &PlanInput<'_>, concerned: impl Fn(&RecordId) -> bool) -> impl Iterator<Item = Projection> {
    unlinked(input, concerned).filter_map(|(_, desired)| match desired.into_owned() {
        Desired::Account(projection) => Some(projection),
        Desired::None(_) | Desired::Conflict(_) => None,
    })
}

/// Record ids that a declared rename leaves behind: their users are not gone.
fn moving(input: &PlanInput<'_>) -> BTreeSet<RecordId> {
    let projections = input.desired.renamed().filter_map(|record| match input.desired.of(record)?.into_owned() {
        Desired::Account(projection) => Some(projection),
        Desired::None(_) | Desired::Conflict(_) => None,
    });
    projections.flat_map(|projection| projection.formerly).collect()
}

/// The link that a renamed user has under an earlier record id. Until it has moved, the user has
/// an account all the same, and must not get a second one.
fn left_behind<'a>(input: &PlanInput<'a>, projection: &Projection) -> Option<&'a Link> {
    let mut undeclared = projection.formerly.iter().filter(|record| !input.desired.contains(record));
    undeclared.find_map(|record| input.links.get(record))
}

fn settle(
    record: &RecordId,
    outcome: Option<Box<Touched>>,
    input: &PlanInput<'_>,
    touched: &mut BTreeMap<AccountId, Arc<Account>>,
) -> Decided {
    let account = input.links.get(record).map(|link| link.account.clone());
    let skip = |reason| Decided {
        changes: Vec::new(),
        skips: vec![Skip { record: record.clone(), account: account.clone(), reason }],
    };
    match outcome {
        None => skip(SkipReason::InSync),
        Some(outcome) if outcome.unsteady => skip(SkipReason::LookUpFirst),
        Some(outcome) => {
            touched.insert(outcome.account.id.clone(), outcome.account);
            outcome.decided
        }
    }
}

fn explained(by: &Exception) -> Explained {
    Explained { exception: by.name.clone(), owner: by.owner.clone(), reason: by.reason.clone(), until: by.until }
}

fn doubled(link: &Link) -> Conflict {
    Conflict {
        code: "ambiguous".to_owned(),
        message: format!("account `{}` is linked to `{}` and to another user", link.account, link.record),
        hint: format!("`rosterd link {} ACCOUNT` says which account is right", link.record),
    }
}

fn renamed(record: &RecordId) -> Conflict {
    Conflict {
        code: "renamed".to_owned(),
        message: format!("the record id of `{record}` was changed, and its link has not moved yet"),
        hint: "the next cycle moves the link; nothing is taken away meanwhile".to_owned(),
    }
}
