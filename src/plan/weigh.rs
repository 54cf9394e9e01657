//! A plan at the gate: what waits for a person's word is taken out, and told as skips.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::model::change::Change;
use crate::model::ids::EntitlementName;
use crate::model::ids::RecordId;
use crate::model::ids::RequestId;
use crate::model::link::Space;
use crate::model::plan::Coverage;
use crate::model::plan::Plan;
use crate::model::plan::Skip;
use crate::model::plan::SkipReason;
use crate::model::request::Request;
use crate::model::request::RequestState;
use crate::model::request::Subject;
use crate::model::user::User;
use crate::plan::gate;
use crate::plan::gate::Ask;
use crate::plan::gate::Gatekeeper;
use crate::plan::order;
use crate::plan::verdict;
use crate::plan::verdict::Met;
use crate::plan::verdict::Moment;

/// The requests of one place, by user and subject.
pub type Requests = BTreeMap<(RecordId, Subject), Request>;

/// What plans are weighed by.
#[derive(Clone, Copy)]
pub struct Scales<'a> {
    /// What the target asks about.
    pub keeper: &'a Gatekeeper,
    /// What is known of a user and a subject.
    pub known: &'a dyn Fn(&RecordId, &Subject) -> Option<Request>,
    /// The users as the newest documents have them.
    pub user: &'a dyn Fn(&RecordId) -> Option<User>,
    /// When.
    pub now: Moment,
}

/// What becomes known by weighing.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// A request as it stands from now on.
    Request(Box<Request>),
    /// One that nobody needs to answer any more.
    Forgotten(RecordId, Subject),
}

/// What of one change is left, what waits, and what is news.
#[derive(Debug, Default, PartialEq)]
pub struct Weighed {
    /// What may be made; `None`: nothing of it.
    pub change: Option<Change>,
    /// What waits, with the request as it was known before.
    pub waits: Vec<(Subject, Option<Request>)>,
    /// What becomes known.
    pub news: Vec<News>,
}

impl Weighed {
    /// Notes what one thing met; whether it may be given.
    fn take(&mut self, record: &RecordId, (subject, before): (Subject, Option<Request>), met: Met) -> bool {
        match met {
            Met::Open { forget } => self.news.extend(forget.then(|| News::Forgotten(record.clone(), subject))),
            Met::Opened(request) => self.news.push(News::Request(request)),
            Met::Shut(news) => {
                self.waits.push((subject, before));
                self.news.extend(news.map(News::Request));
                return false;
            }
        }
        true
    }
}

/// Entitlements with a last word of their own: they are no part of a request for the account.
fn words_of_grants(asks: &[Ask], known: &dyn Fn(&Subject) -> Option<Request>) -> BTreeSet<EntitlementName> {
    let said = |subject: &Subject| {
        let state = known(subject).map(|request| request.state);
        matches!(state, Some(RequestState::Accepted | RequestState::Refused))
    };
    let word = |ask: &Ask| match &ask.subject {
        Subject::Grant(name) => said(&ask.subject).then(|| name.clone()),
        Subject::Account => None,
    };
    asks.iter().filter_map(word).collect()
}

impl Scales<'_> {
    /// Weighs one change.
    pub fn weigh(&self, space: &Space, change: Change) -> Weighed {
        let user = (self.user)(&change.record);
        let asks = self.keeper.asks(&change, user.as_ref());
        let mut weighed = Weighed::default();
        if asks.is_empty() {
            return Weighed { change: Some(change), ..weighed };
        }
        let known = |subject: &Subject| (self.known)(&change.record, subject);
        let account = known(&Subject::Account);
        let own = words_of_grants(&asks, &known);
        let with_account = asks.iter().any(|ask| ask.subject == Subject::Account && ask.gated);
        for mut ask in asks {
            match &ask.subject {
                Subject::Account => ask.asked.entitlements.retain(|name| !own.contains(name)),
                // It is part of what the account's request asks for.
                Subject::Grant(name) if with_account && !own.contains(name) => continue,
                Subject::Grant(_) => {}
            }
            let is_account = ask.subject == Subject::Account;
            let before = known(&ask.subject);
            let beside = (before.as_ref(), account.as_ref());
            let met = verdict::meet(self.keeper, beside, &ask, (space, user.as_ref(), self.now));
            let open = weighed.take(&change.record, (ask.subject, before), met);
            if is_account && !open {
                // Nothing is asked about what would come with an account that is not made.
                break;
            }
        }
        let held = weighed.waits.iter().map(|(subject, _)| subject.clone()).collect();
        weighed.change = gate::without(change, &held);
        weighed
    }

    /// Takes what waits out of a plan, and tells it as skips.
    pub fn sift(&self, mut plan: Plan) -> (Plan, Vec<News>) {
        let mut news = Vec::new();
        let mut skips = Vec::new();
        let mut moved = false;
        let mut changes = Vec::with_capacity(plan.changes.len());
        for change in std::mem::take(&mut plan.changes) {
            let (record, account, effect) = (change.record.clone(), change.account.clone(), change.effect);
            let weighed = self.weigh(&plan.space, change);
            // What is left of it may have another place among the others.
            moved |= weighed.change.as_ref().is_some_and(|left| left.effect != effect);
            changes.extend(weighed.change);
            for (subject, before) in weighed.waits {
                let fresh = weighed.news.iter().find_map(|news| match news {
                    News::Request(request) if request.subject == subject => Some(&**request),
                    News::Request(_) | News::Forgotten(..) => None,
                });
                let shown = fresh.or(before.as_ref());
                let (state, id) = (shown.map(|it| it.state), shown.map(|it| it.id.clone()));
                let reason = SkipReason::Request { subject, state, id };
                skips.push(Skip { record: record.clone(), account: account.clone(), reason });
            }
            news.extend(weighed.news);
        }
        plan.changes = changes;
        if !skips.is_empty() {
            plan.skips.extend(skips);
            plan.skips.sort_by(|a, b| a.record.cmp(&b.record));
        }
        if moved {
            plan.changes.sort_by(order::compare);
        }
        (plan, news)
    }

    /// The same for those who only look: a request that is not known yet has no name.
    pub fn show(&self, plan: Plan) -> Plan {
        let (mut plan, news) = self.sift(plan);
        let fresh: BTreeSet<_> = news
            .iter()
            .filter_map(|news| match news {
                News::Request(request) => Some(&request.id),
                News::Forgotten(..) => None,
            })
            .collect();
        for skip in &mut plan.skips {
            if let SkipReason::Request { subject, state, id } = &mut skip.reason
                && id.as_ref().is_some_and(|id| fresh.contains(id) && !self.knows(&skip.record, subject, id))
            {
                (*state, *id) = (None, None);
            }
        }
        plan
    }

    fn knows(&self, record: &RecordId, subject: &Subject, id: &RequestId) -> bool {
        (self.known)(record, subject).is_some_and(|known| known.id == *id)
    }
}

/// Of these users those whose accounts have what they should, as far as a plan shows it: nobody needs to be asked
/// about them, whoever made it so. A complete plan names the others alone.
pub fn settled_by(plan: &Plan, mut among: BTreeSet<&RecordId>) -> BTreeSet<RecordId> {
    if plan.coverage != Coverage::Complete {
        let shown: BTreeSet<_> = plan.skips.iter().map(|skip| &skip.record).collect();
        among.retain(|record| shown.contains(record));
    }
    let stays = |skip: &&Skip| matches!(skip.reason, SkipReason::InSync | SkipReason::Drift(_));
    let changes = plan.changes.iter().chain(plan.holds.iter().flat_map(|hold| &hold.changes));
    let skips = plan.skips.iter().filter(|skip| !stays(skip)).map(|skip| &skip.record);
    for record in changes.map(|change| &change.record).chain(skips) {
        among.remove(record);
    }
    among.into_iter().cloned().collect()
}

#[cfg(test)]
mod tests;
