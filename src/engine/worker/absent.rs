//! Accounts that looks found gone, which may be there all the same: a target that is broken for a while says of
//! everybody that nobody is there.
//!
//! # Guarantees
//! - Such an account is looked at again, ever more rarely, until a complete listing does not show it either;
//!   a restart forgets none.
//! - One that is there is its user's again, and what they are owed is done (L5). Where they were given another
//!   one meanwhile that is told (L2), and one that is somebody else's by now is left alone (L10).
//! - Few are looked at in one minute, however many there are.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::engine::look::Looked;
use crate::engine::shared::Running;
use crate::engine::worker::Worker;
use crate::engine::worker::keyed::Dirty;
use crate::model::account::Account;
use crate::model::hand::Hand;
use crate::model::history::SeenAccount;
use crate::model::history::Trigger;
use crate::model::ids::AccountId;
use crate::model::ids::RecordId;
use crate::model::link::Link;
use crate::model::plan::Coverage;
use crate::model::plan::Plan;
use crate::model::target::Mark;

/// How often it is asked who is due, and when each is for the first time.
const EVERY: Duration = Duration::from_mins(1);
/// How long each next look waits after the one before; from then on the last of them.
const PAUSES: [Duration; 3] = [Duration::from_mins(10), Duration::from_hours(1), Duration::from_hours(24)];
/// How many are looked at in one turn.
const AT_ONCE: usize = 32;

/// What is known of absences, beside what the store keeps.
#[derive(Debug, Default)]
pub(super) struct Absences {
    next: Option<Instant>,
    turns: BTreeMap<AccountId, Turn>,
    /// Accounts that are nobody's since, and whose they were.
    gone: BTreeSet<(RecordId, AccountId)>,
}

#[derive(Clone, Copy, Debug)]
struct Turn {
    /// `None`: a complete listing did not show it either.
    due: Option<Instant>,
    looks: usize,
}

impl Absences {
    /// The link of this account ended by what looks did not show.
    pub(super) fn gone(&mut self, link: Option<&Link>) {
        self.gone.extend(link.map(|link| (link.record.clone(), link.account.clone())));
    }
}

impl Worker {
    /// The place is known: so is what an earlier process found gone.
    pub(super) fn recall_absences(&mut self) {
        let hands = self.place.iter().flat_map(|place| place.hands.values());
        self.absences = Absences::default();
        for hand in hands {
            self.absences.gone(hand.gone.as_ref());
        }
    }

    /// Looks again at who is due, those first who have been for longest.
    pub(super) fn mind_absences(&mut self) {
        let now = Instant::now();
        let early = self.absences.next.is_some_and(|next| now < next);
        if early || self.running != Running::Daemon || !self.may_write() {
            return;
        }
        let Some(place) = &self.place else { return };
        self.absences.next = Some(now + EVERY);
        let (mut turns, mut due) = (BTreeMap::new(), Vec::new());
        for (account, hand) in place.hands.iter() {
            let Some(record) = self.hidden(account, hand) else { continue };
            let first = Turn { due: Some(now + EVERY), looks: 0 };
            let turn = self.absences.turns.get(account).copied().unwrap_or(first);
            due.extend(turn.due.filter(|due| *due <= now).map(|due| (due, account.clone(), record)));
            turns.insert(account.clone(), turn);
        }
        self.absences.turns = turns;
        due.sort();
        for (_, account, record) in due.into_iter().take(AT_ONCE) {
            if let Some(turn) = self.absences.turns.get_mut(&account) {
                let pause = PAUSES.get(turn.looks).or(PAUSES.last()).copied().unwrap_or(EVERY);
                *turn = Turn { due: Some(now + pause), looks: turn.looks.saturating_add(1) };
            }
            if !self.dirty.contains_key(&record) && !self.is_busy(&record) {
                self.await_look(&record, Dirty::now(Trigger::Retry, self.shared.now()));
            }
        }
    }

    /// Whose an account is, or was, that looks found gone.
    fn hidden(&self, account: &AccountId, hand: &Hand) -> Option<RecordId> {
        let owner = self.place.as_ref()?.by_account.get(account);
        match (owner, &hand.gone) {
            (Some(owner), _) => Some(owner.clone()).filter(|_| hand.missing),
            (None, Some(link)) => Some(self.known_as(&link.record)),
            (None, None) => None,
        }
    }

    /// The record id under which a user is declared by now, or the one that they had.
    fn known_as(&self, record: &RecordId) -> RecordId {
        let user = self.snapshot.as_ref().and_then(|snapshot| snapshot.users.by_any_id(record));
        user.map_or_else(|| record.clone(), |user| user.id)
    }

    /// The accounts that this user had, under whichever record id, until looks found them gone.
    pub(super) fn gone_of(&self, record: &RecordId) -> Vec<AccountId> {
        if self.absences.gone.is_empty() {
            return Vec::new();
        }
        let user = self.snapshot.as_ref().and_then(|snapshot| snapshot.users.get(record));
        let ids = user.into_iter().flat_map(|user| user.formerly).chain([record.clone()]);
        let of = |id: RecordId| {
            let had = self.absences.gone.range((id.clone(), AccountId::from(""))..);
            had.take_while(move |(old, _)| *old == id).map(|(_, account)| account.clone())
        };
        ids.flat_map(of).collect()
    }

    fn forget_gone(&mut self, account: &AccountId) {
        self.absences.gone.retain(|(_, gone)| gone != account);
        let Some(hand) = self.place.as_ref().map(|place| place.hand(account)) else { return };
        self.put_hand(account, Hand { gone: None, ..hand });
    }

    /// Takes back what was concluded from looks of an account that is there.
    pub(super) fn take_back(&mut self, record: &RecordId, looked: &Looked) {
        for account in self.gone_of(record) {
            let Some(shown) = looked.accounts.get(&account) else { continue };
            let Some(place) = &self.place else { return };
            let (taken, another) = (place.by_account.contains_key(&account), place.links.contains_key(record));
            let link = place.hand(&account).gone.filter(|link| !taken && self.is_marked_for(shown, (record, link)));
            self.forget_gone(&account);
            let Some(link) = link else { continue };
            if another {
                self.tell_shown_beside(record, account);
                continue;
            }
            let why = "it is there, though looks some time apart had not shown it";
            let details =
                BTreeMap::from([("account".to_owned(), account.as_str().into()), ("reason".to_owned(), why.into())]);
            self.tell("relink", record, details);
            self.put_link(Link { record: record.clone(), ..link });
        }
    }

    /// Whether an account is still the one that was linked, and not another one under its id, as far as a mark
    /// tells.
    fn is_marked_for(&self, shown: &Account, (record, link): (&RecordId, &Link)) -> bool {
        let Mark::At(path) = &self.handle.target.account.mark else { return true };
        let mark = shown.values.get(path).and_then(|mark| mark.as_str());
        mark.is_some_and(|mark| {
            mark == record.as_str() || self.known_as(&mark.into()) == *record || mark == link.record.as_str()
        })
    }

    /// What a listing says of them: a complete one that does not show an account either settles it, and one
    /// that is shown and was found gone is looked at.
    pub(super) fn review_absences(&mut self, plan: &Plan, in_view: &[SeenAccount]) {
        let Some(place) = &self.place else { return };
        let absent = place.hands.iter().filter(|(_, hand)| hand.missing || hand.gone.is_some());
        let absent: Vec<_> = absent.map(|(account, hand)| (account.clone(), hand.gone.clone())).collect();
        if absent.is_empty() {
            return;
        }
        let shows = |account: &AccountId| in_view.binary_search_by(|seen| seen.account.cmp(account)).is_ok();
        for (account, gone) in absent {
            match gone {
                Some(link) if shows(&account) => drop(self.touched.insert(self.known_as(&link.record))),
                _ if shows(&account) || plan.coverage != Coverage::Complete => {}
                Some(_) => self.forget_gone(&account),
                None => drop(self.absences.turns.insert(account, Turn { due: None, looks: 0 })),
            }
        }
    }
}
