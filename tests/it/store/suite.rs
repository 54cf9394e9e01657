//! What every store must do, whichever it is. Each function is given a fresh store;
//! [`store_suite`] makes a test of each.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use chrono::TimeDelta;
use chrono::Utc;
use rosterd::clock::kept::Doubted;
use rosterd::clock::kept::Kept;
use rosterd::clock::kept::Word;
use rosterd::model::account::AccountState;
use rosterd::model::account::Membership;
use rosterd::model::approval::Approval;
use rosterd::model::approval::Asks;
use rosterd::model::audit::AuditEvent;
use rosterd::model::change::Action;
use rosterd::model::change::Cause;
use rosterd::model::change::Change;
use rosterd::model::change::Effect;
use rosterd::model::change::EntitlementChange;
use rosterd::model::decision::Decision;
use rosterd::model::decision::DecisionKind;
use rosterd::model::decision::Halts;
use rosterd::model::hand::Hand;
use rosterd::model::hand::Hands;
use rosterd::model::history::Beside;
use rosterd::model::history::Counting;
use rosterd::model::history::CycleRecord;
use rosterd::model::history::CycleResult;
use rosterd::model::history::Intent;
use rosterd::model::history::OutcomeResult;
use rosterd::model::history::SeenAccount;
use rosterd::model::history::Standing;
use rosterd::model::history::Trigger;
use rosterd::model::identity::Identity;
use rosterd::model::identity::IdentityHash;
use rosterd::model::ids::IntentId;
use rosterd::model::invite::CredentialKind;
use rosterd::model::invite::Invite;
use rosterd::model::invite::InviteFilter;
use rosterd::model::invite::InviteState;
use rosterd::model::invite::InviteWrite;
use rosterd::model::link::Link;
use rosterd::model::link::LinkedBy;
use rosterd::model::link::Space;
use rosterd::model::list::List;
use rosterd::model::message::Backlog;
use rosterd::model::message::Content;
use rosterd::model::message::Event;
use rosterd::model::message::MAIL;
use rosterd::model::message::Mail;
use rosterd::model::message::MessageFilter;
use rosterd::model::message::MessageState;
use rosterd::model::message::MessageWrite;
use rosterd::model::message::Posted;
use rosterd::model::origin::Origin;
use rosterd::model::path::AttributePath;
use rosterd::model::plan::Coverage;
use rosterd::model::plan::Skip;
use rosterd::model::plan::SkipReason;
use rosterd::model::request::Asked;
use rosterd::model::request::Request;
use rosterd::model::request::RequestState;
use rosterd::model::request::Subject;
use rosterd::model::request::Vote;
use rosterd::model::role::Role;
use rosterd::model::snapshot::Snapshot;
use rosterd::model::tally::Counter;
use rosterd::model::tally::Thing;
use rosterd::model::target::Deletion;
use rosterd::model::target::Given;
use rosterd::model::target::KnownTarget;
use rosterd::model::target::Limits;
use rosterd::model::target::Mode;
use rosterd::model::target::Policy;
use rosterd::model::user::Login;
use rosterd::model::user::User;
use rosterd::model::user::Validity;
use rosterd::store::AcceptedSnapshot;
use rosterd::store::AccountFilter;
use rosterd::store::CauseKey;
use rosterd::store::EndDate;
use rosterd::store::Fence;
use rosterd::store::Permit;
use rosterd::store::Store;
use rosterd::store::StoreError;
use rosterd::store::Token;
use rosterd::store::WindowTime;
use rosterd::store::Write;

/// One test for each behaviour. `$open` gives a store and whatever must
/// outlive it, or nothing where its server is not installed.
macro_rules! store_suite {
    ($open:path) => {
        $crate::store::suite::store_suite!($open;
            a_link_is_found_in_its_space_alone,
            an_account_is_linked_to_one_user,
            a_commit_is_all_or_nothing,
            a_commit_under_another_fence_is_refused,
            writes_of_one_table_keep_their_order,
            identity_history_is_kept_by_space_and_says_each_thing_once,
            intents_stay_open_until_their_outcome,
            an_intent_that_is_written_again_stands_once,
            one_commit_opens_and_closes_many_intents_in_their_order,
            intents_are_counted_by_thing_and_time_whatever_became_of_them,
            an_intent_that_follows_from_a_known_end_date_is_counted_apart,
            owned_accounts_are_remembered_as_they_were_at_each_second,
            what_limits_are_judged_by_is_remembered,
            what_people_let_through_stands_until_it_is_used_up,
            what_is_known_of_the_clock_is_remembered,
            end_dates_given_to_many_at_once_are_told_apart,
            what_we_disabled_is_not_counted_as_owned_and_active,
            a_snapshot_comes_back_as_it_went_in,
            users_that_equal_the_accepted_ones_are_kept_once_and_others_not_at_all,
            the_highest_level_includes_the_one_that_stood_when_the_window_began,
            a_cause_stands_as_first_seen_until_it_is_forgotten,
            decisions_come_back_oldest_first,
            a_standing_plan_replaces_the_former,
            requests_are_kept_by_place_user_and_subject_until_they_are_forgotten,
            what_is_owed_keeps_its_moment_until_it_is_paid,
            what_other_hands_did_is_remembered_by_account_until_it_is_blank,
            accounts_are_listed_by_state_link_and_page,
            a_complete_listing_forgets_the_accounts_outside_it,
            cycles_come_back_newest_first_in_pages,
            every_space_with_links_or_intents_is_known,
            what_a_person_revoked_is_no_act_of_rosterds_own,
            audit_events_are_chained_by_target_and_verify,
            tokens_end_when_they_are_revoked,
            many_writes_fit_in_one_commit,
            a_message_is_put_once_and_its_content_is_erased_at_its_end,
            what_is_due_comes_by_channel_and_in_its_order_even_if_the_clock_was_set_back,
            what_waits_is_counted_by_channel,
            an_invite_ends_once_and_takes_its_mail_along,
            an_invite_is_found_by_its_token_user_target_and_state,
        );
    };
    ($open:path; $($name:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $name() {
                let Some((store, _kept)) = $open().await else { return };
                $crate::store::suite::$name(&store).await;
            }
        )*
    };
}
pub(crate) use store_suite;

pub(crate) fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(20_000) + TimeDelta::seconds(seconds)
}

pub(crate) fn space() -> Space {
    Space { target: "crm".into(), environment: "default".into(), realm: "crm.example/acme".into() }
}

fn elsewhere() -> Space {
    Space { realm: "crm.example/bolt".into(), ..space() }
}

pub(crate) fn link(record: &str, account: &str) -> Link {
    Link {
        record: record.into(),
        account: account.into(),
        by: LinkedBy::Adopted,
        disabled_by_us: false,
        granted: BTreeSet::from([Membership::Group("g 1".to_owned()), Membership::Role("Admin".to_owned())]),
        since: at(0) + TimeDelta::nanoseconds(7),
    }
}

pub(crate) fn user(id: &str, title: &str) -> Arc<User> {
    Arc::new(User {
        id: id.into(),
        formerly: Vec::new(),
        labels: BTreeMap::from([("site".to_owned(), "eu".to_owned())]),
        given_name: Some("Ada".to_owned()),
        family_name: Some("Lovelace".to_owned()),
        email: Some(format!("{id}@acme.example")),
        time_zone: None,
        locale: None,
        user_type: None,
        active: true,
        valid: Validity { from: None, until: Some(at(99)) },
        login: Login::Sso,
        roles: Vec::new(),
        teams: BTreeSet::new(),
        manager: None,
        attributes: BTreeMap::from([("title".to_owned(), title.into())]),
        origin: origin(),
        lines: BTreeMap::from([("givenName".to_owned(), 4)]),
    })
}

fn role(name: &str) -> Arc<Role> {
    Arc::new(Role { name: name.into(), labels: BTreeMap::new(), grants: Vec::new(), origin: origin() })
}

fn origin() -> Origin {
    Origin { file: "users/ada.yaml".into(), line: 3, what: "User u-1".into() }
}

pub(crate) fn accepted(generation: u64, level: u64, time: DateTime<Utc>, users: &[Arc<User>]) -> AcceptedSnapshot {
    let users = users.iter().cloned().collect();
    let roles = BTreeMap::from([("agent".into(), role("agent"))]);
    let snapshot = Arc::new(Snapshot { users, roles });
    AcceptedSnapshot {
        snapshot,
        digest: format!("d{generation}").into(),
        generation,
        level,
        at: time,
        narrowed_from: BTreeMap::new(),
    }
}

pub(crate) fn intent(id: &str, record: &str, time: DateTime<Utc>) -> Intent {
    let change = Change {
        record: record.into(),
        account: Some("a-1".into()),
        action: Action::Update,
        effect: Effect::Neutral,
        cause: None,
        fields: List::default(),
        grant: List::default(),
        revoke: List::default(),
        active: None,
        reason: "drift".into(),
        origins: vec![origin()].into(),
    };
    let limit = time + TimeDelta::seconds(10);
    Intent {
        id: id.into(),
        space: space(),
        cycle: "c-1".into(),
        change,
        at: time,
        limit,
        counting: Counting { at: time, dated: false },
    }
}

fn disabling(id: &str, cause: Cause, time: DateTime<Utc>) -> Intent {
    let mut intent = narrowing(id, cause, time, 2);
    intent.change.action = Action::Disable;
    intent.change.active = Some(false);
    intent
}

fn narrowing(id: &str, cause: Cause, time: DateTime<Utc>, revoked: usize) -> Intent {
    let mut intent = intent(id, "u-1", time);
    intent.change.action = Action::Narrow;
    intent.change.effect = Effect::Narrows;
    intent.change.cause = Some(cause);
    let entitlement = |number: usize| EntitlementChange {
        name: None,
        membership: Membership::Role(format!("r{number}")),
        privileged: false,
        origins: List::default(),
    };
    intent.change.revoke = (0..revoked).map(entitlement).collect();
    intent
}

pub(crate) fn event(kind: &str, target: Option<&str>) -> AuditEvent {
    AuditEvent {
        at: at(0),
        target: target.map(Into::into),
        kind: kind.to_owned(),
        actor: "engine".to_owned(),
        record: Some("u-1".into()),
        cycle: Some("c-1".into()),
        details: BTreeMap::from([("share".to_owned(), 0.1.into()), ("action".to_owned(), "update".into())]),
    }
}

pub(crate) fn seen(account: &str, state: AccountState, record: Option<&str>) -> SeenAccount {
    SeenAccount {
        account: account.into(),
        user_name: Some(format!("{account}@acme.example")),
        state,
        record: record.map(Into::into),
    }
}

fn cycle(id: &str, space: Space) -> CycleRecord {
    CycleRecord {
        id: id.into(),
        space,
        trigger: Trigger::Manifest,
        full: true,
        started: at(1),
        ended: None,
        result: None,
        coverage: None,
        done: BTreeMap::new(),
        open: 0,
        error: None,
    }
}

async fn commit(store: &impl Store, writes: Vec<Write>) {
    store.commit(writes, store.fence()).await.unwrap();
}

pub(crate) async fn a_link_is_found_in_its_space_alone(store: &impl Store) {
    let mut disabled = link("u-2", "a-2");
    disabled.disabled_by_us = true;
    commit(store, vec![Write::Link(space(), link("u-1", "a-1")), Write::Link(space(), disabled.clone())]).await;
    commit(store, vec![Write::Link(elsewhere(), link("u-1", "a-9"))]).await;
    let expected = BTreeMap::from([("u-1".into(), link("u-1", "a-1")), ("u-2".into(), disabled)]);
    assert_eq!(store.links(&space()).await.unwrap(), expected);
    assert_eq!(store.link(&elsewhere(), &"u-1".into()).await.unwrap(), Some(link("u-1", "a-9")));
    assert_eq!(store.link(&elsewhere(), &"u-2".into()).await.unwrap(), None);
    let unknown = Space { environment: "test".into(), ..space() };
    assert_eq!(store.links(&unknown).await.unwrap(), BTreeMap::new());
}

pub(crate) async fn an_account_is_linked_to_one_user(store: &impl Store) {
    commit(store, vec![Write::Link(space(), link("u-1", "a-1"))]).await;
    let refused = store.commit(vec![Write::Link(space(), link("u-2", "a-1"))], store.fence()).await;
    let Err(StoreError::Refused(text)) = refused else { panic!("{refused:?}") };
    assert!(text.contains("account `a-1` of `crm` is linked to another user already, to `u-1`"), "{text}");
    let both = ["u-3", "u-4"].map(|record| Write::Link(space(), link(record, "a-3")));
    let Err(StoreError::Refused(text)) = store.commit(both.into(), store.fence()).await else { panic!("taken") };
    assert!(text.contains("two users were to be linked to one account"), "{text}");
    commit(store, vec![Write::Unlink(space(), "u-1".into()), Write::Link(space(), link("u-2", "a-1"))]).await;
    assert_eq!(store.links(&space()).await.unwrap().len(), 1);
}

pub(crate) async fn a_commit_is_all_or_nothing(store: &impl Store) {
    let unknown = Write::Outcome(IntentId::from("nobody"), OutcomeResult::Done, at(1));
    let writes = vec![
        Write::Link(space(), link("u-1", "a-1")),
        Write::Snapshot(accepted(1, 1, at(0), &[user("u-1", "x")])),
        Write::Audit(event("link", Some("crm"))),
        unknown,
    ];
    let Err(StoreError::Refused(text)) = store.commit(writes, store.fence()).await else { panic!("taken") };
    assert!(text.contains("no intent `nobody`"), "{text}");
    assert_eq!(store.links(&space()).await.unwrap(), BTreeMap::new());
    assert_eq!(store.snapshot().await.unwrap(), None);
    assert_eq!(store.chains().await.unwrap(), Vec::new());
    commit(store, vec![Write::Audit(event("link", Some("crm"))), Write::Link(space(), link("u-1", "a-1"))]).await;
    assert_eq!(store.audit(Some(&"crm".into()), 0, 9).await.unwrap()[0].seq, 1);
    assert_eq!(store.links(&space()).await.unwrap().len(), 1);
}

pub(crate) async fn a_commit_under_another_fence_is_refused(store: &impl Store) {
    for fence in [store.fence().0 - 1, store.fence().0 + 1] {
        let refused = store.commit(vec![Write::Link(space(), link("u-1", "a-1"))], Fence(fence)).await;
        assert!(matches!(refused, Err(StoreError::Fenced(_))), "{refused:?}");
    }
    assert_eq!(store.links(&space()).await.unwrap(), BTreeMap::new());
}

pub(crate) async fn writes_of_one_table_keep_their_order(store: &impl Store) {
    let key = CauseKey { record: "u-1".into(), target: "crm".into(), entitlement: None };
    let writes = vec![
        Write::Link(space(), link("u-1", "a-1")),
        Write::Cause(key.clone(), Some(Cause::Explicit)),
        Write::Unlink(space(), "u-1".into()),
        Write::Cause(key.clone(), None),
        Write::Link(elsewhere(), link("u-1", "a-3")),
        Write::Link(space(), link("u-1", "a-2")),
        Write::Cause(key.clone(), Some(Cause::Inferred)),
    ];
    commit(store, writes).await;
    assert_eq!(store.link(&space(), &"u-1".into()).await.unwrap(), Some(link("u-1", "a-2")));
    assert_eq!(store.causes(&"crm".into()).await.unwrap(), BTreeMap::from([(key, Cause::Inferred)]));
}

pub(crate) async fn identity_history_is_kept_by_space_and_says_each_thing_once(store: &impl Store) {
    let hash = |bits| IdentityHash::from_bits(bits);
    // The highest bit is one like any other.
    let first = Identity {
        record: hash(1).unwrap(),
        account: hash(u64::MAX).unwrap(),
        mail: hash(7),
        family: None,
        since: at(0),
    };
    let second = Identity { mail: hash(8), since: at(1), ..first };
    let writes = [first, second, Identity { since: at(2), ..first }].map(|identity| Write::Identity(space(), identity));
    store.commit(writes.to_vec(), store.fence()).await.unwrap();
    assert_eq!(store.identities(&space()).await.unwrap(), [first, second]);
    assert_eq!(store.identities(&elsewhere()).await.unwrap(), []);
    let again = store.identity_key().record(&"u-1".into());
    assert_eq!(store.identity_key().record(&"u-1".into()), again);
}

pub(crate) async fn intents_stay_open_until_their_outcome(store: &impl Store) {
    let intents: Vec<Intent> = (1..4).map(|number| intent(&format!("i-{number}"), "u-1", at(number))).collect();
    commit(store, intents.iter().cloned().map(Write::Intent).collect()).await;
    assert_eq!(store.open_intents(&space()).await.unwrap(), intents);
    assert_eq!(store.open_intents(&elsewhere()).await.unwrap(), Vec::new());
    let refused = OutcomeResult::Refused("the target says no".to_owned());
    let outcome = |id: &str, result: &OutcomeResult| Write::Outcome(id.into(), result.clone(), at(9));
    commit(store, vec![outcome("i-1", &OutcomeResult::Done), outcome("i-3", &refused)]).await;
    assert_eq!(store.open_intents(&space()).await.unwrap(), intents[1..2]);
    let history = store.intents_of(&space(), &"u-1".into(), 2).await.unwrap();
    assert_eq!(history, vec![(intents[2].clone(), Some(refused)), (intents[1].clone(), None)]);
    assert_eq!(store.intents_of(&space(), &"u-2".into(), 2).await.unwrap(), Vec::new());
    let ended = store.ended_calls(&space(), &"u-1".into()).await.unwrap();
    assert_eq!(ended, BTreeMap::from([("i-1".into(), at(9)), ("i-3".into(), at(9))]));
    assert_eq!(store.ended_calls(&space(), &"u-2".into()).await.unwrap(), BTreeMap::new());
}

/// A commit whose answer was lost is made again, whether it had happened or not.
pub(crate) async fn an_intent_that_is_written_again_stands_once(store: &impl Store) {
    let one = intent("i-1", "u-1", at(1));
    commit(store, vec![Write::Intent(one.clone())]).await;
    commit(store, vec![Write::Intent(one.clone()), Write::Intent(intent("i-2", "u-2", at(2)))]).await;
    assert_eq!(store.open_intents(&space()).await.unwrap(), [one.clone(), intent("i-2", "u-2", at(2))]);
    commit(store, vec![Write::Outcome("i-1".into(), OutcomeResult::Done, at(3))]).await;
    commit(store, vec![Write::Intent(one)]).await;
    assert_eq!(store.open_intents(&space()).await.unwrap(), [intent("i-2", "u-2", at(2))]);
}

pub(crate) async fn one_commit_opens_and_closes_many_intents_in_their_order(store: &impl Store) {
    let intent = |number: i64, space: Space| Intent { space, ..intent(&format!("i-{number}"), "u-1", at(number)) };
    let outcome = |id: &str, result: OutcomeResult| Write::Outcome(id.into(), result, at(9));
    let refused = OutcomeResult::Refused("no".to_owned());
    let writes = vec![
        Write::Intent(intent(1, space())),
        Write::Intent(intent(2, elsewhere())),
        Write::Intent(intent(3, space())),
        Write::Seen(space(), vec![seen("a-1", AccountState::Active, Some("u-1"))]),
        outcome("i-3", OutcomeResult::Nothing("not sent".to_owned())),
        outcome("i-2", OutcomeResult::Done),
        outcome("i-3", refused.clone()),
        Write::Intent(intent(4, space())),
        Write::Seen(space(), vec![seen("a-1", AccountState::Disabled, Some("u-1"))]),
    ];
    commit(store, writes).await;
    let history = store.intents_of(&space(), &"u-1".into(), 9).await.unwrap();
    let here = [(4, None), (3, Some(refused)), (1, None)].map(|(number, result)| (intent(number, space()), result));
    assert_eq!(history, here);
    let there = store.intents_of(&elsewhere(), &"u-1".into(), 9).await.unwrap();
    assert_eq!(there, [(intent(2, elsewhere()), Some(OutcomeResult::Done))]);
    let shown = store.seen_of(&space(), &"u-1".into()).await.unwrap();
    assert_eq!(shown.map(|account| account.state), Some(AccountState::Disabled));
}

pub(crate) async fn intents_are_counted_by_thing_and_time_whatever_became_of_them(store: &impl Store) {
    let intents = [
        narrowing("old", Cause::Inferred, at(0), 9),
        narrowing("three", Cause::Inferred, at(10), 3),
        disabling("whole", Cause::Inferred, at(11)),
        disabling("whole again", Cause::Inferred, at(13)),
        disabling("other", Cause::Explicit, at(11)),
        narrowing("refused", Cause::Inferred, at(12), 2),
        intent("neutral", "u-1", at(12)),
    ];
    commit(store, intents.into_iter().map(Write::Intent).collect()).await;
    let closed = [
        ("refused", OutcomeResult::Refused("no".to_owned())),
        ("three", OutcomeResult::Nothing("not sent".to_owned())),
        ("whole", OutcomeResult::Done),
    ];
    commit(store, closed.into_iter().map(|(id, result)| Write::Outcome(id.into(), result, at(13))).collect()).await;
    let count = async |space: &Space, since| {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for (counter, _, at) in store.counted(space, since).await.unwrap() {
            assert!(at >= since);
            *counts.entry(counter.word()).or_default() += 1;
        }
        counts
    };
    let words = |rows: &[(&str, usize)]| rows.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect();
    let all: BTreeMap<String, usize> = words(&[("narrow.inferred", 9 + 1), ("narrow.explicit", 1), ("update", 1)]);
    assert_eq!(count(&space(), at(0)).await, all, "nine entitlements and one account, each once");
    let late: BTreeMap<String, usize> = words(&[("narrow.inferred", 2 + 1), ("update", 1)]);
    assert_eq!(count(&space(), at(12)).await, late, "from the last time on");
    assert_eq!(count(&elsewhere(), at(0)).await, BTreeMap::new());
    assert_eq!(store.window_time().await.unwrap().newest, Some(at(13)));
}

pub(crate) async fn an_intent_that_follows_from_a_known_end_date_is_counted_apart(store: &impl Store) {
    let mut dated = disabling("dated", Cause::Explicit, at(5));
    dated.counting.dated = true;
    commit(store, vec![Write::Intent(dated)]).await;
    let counted = store.counted(&space(), at(0)).await.unwrap();
    assert_eq!(counted, [(Counter::NarrowDated, Thing::new("account a-1"), at(5))]);
}

pub(crate) async fn owned_accounts_are_remembered_as_they_were_at_each_second(store: &impl Store) {
    assert_eq!(store.owned_active_at(&space(), at(0)).await.unwrap(), None);
    let writes = [(at(10), 7), (at(10) + TimeDelta::milliseconds(300), 8), (at(20), 3)];
    commit(store, writes.into_iter().map(|(at, active)| Write::Owned(space(), at, active)).collect()).await;
    for (second, active) in [(9, None), (10, Some(8)), (19, Some(8)), (20, Some(3)), (99, Some(3))] {
        assert_eq!(store.owned_active_at(&space(), at(second)).await.unwrap(), active, "at {second}");
    }
    assert_eq!(store.owned_active_at(&elsewhere(), at(99)).await.unwrap(), None);
}

pub(crate) async fn what_limits_are_judged_by_is_remembered(store: &impl Store) {
    assert_eq!(store.window_time().await.unwrap(), WindowTime::default());
    let lag = TimeDelta::seconds(-86_401);
    let deletion = Some(Deletion { after: Duration::from_hours(48), unattended: true });
    let waits = BTreeMap::from([(AttributePath::user_name(), Duration::from_hours(1))]);
    let (mode, limits, protected) = (Mode::Observe, Limits::default(), vec!["svc-*".to_owned()]);
    let approval = Some(Box::new(Asks::from(&Approval::ungated())));
    let given = Given { membership: Membership::Role("Admin".to_owned()), privileged: true };
    let catalogue = BTreeMap::from([("admin".into(), given)]);
    let policy = Policy { mode, limits, protected, deletion, waits, approval, catalogue };
    let parts = BTreeMap::from([("mode".to_owned(), "hash".to_owned())]);
    let known = KnownTarget { policy, serial: 3, parts };
    let next = KnownTarget { serial: 4, ..known.clone() };
    let end = |role: Option<&str>| EndDate { record: "u-1".into(), role: role.map(Into::into), until: at(50) };
    commit(
        store,
        vec![
            Write::WindowLag(lag),
            Write::Target("crm".into(), known),
            Write::Target("crm".into(), next.clone()),
            Write::EndDate(end(None), Some(at(1))),
            Write::EndDate(end(None), Some(at(2))),
            Write::EndDate(end(Some("agent")), Some(at(3))),
        ],
    )
    .await;
    assert_eq!(store.window_time().await.unwrap().lag, lag);
    assert_eq!(store.known_targets().await.unwrap(), BTreeMap::from([("crm".into(), next)]));
    let ends = store.end_dates(&BTreeSet::from(["u-1".into(), "u-2".into()])).await.unwrap();
    assert_eq!(ends, BTreeMap::from([(end(None), at(1)), (end(Some("agent")), at(3))]), "as first seen");
    commit(store, vec![Write::EndDate(end(None), None)]).await;
    assert_eq!(store.end_dates(&BTreeSet::from(["u-1".into()])).await.unwrap().len(), 1);
    assert_eq!(store.end_dates(&BTreeSet::from(["u-2".into()])).await.unwrap().len(), 0);
}

pub(crate) async fn what_people_let_through_stands_until_it_is_used_up(store: &impl Store) {
    assert_eq!(store.permits().await.unwrap(), BTreeMap::new());
    let permit = |target: Option<&str>, change: Option<&str>| Permit {
        target: target.map(Into::into),
        digest: "d-1".into(),
        change: change.map(Into::into),
    };
    let (load, one, two) = (permit(None, None), permit(Some("crm"), Some("c-1")), permit(Some("crm"), Some("c-2")));
    let given = [(&load, 1), (&one, 2), (&two, 3), (&two, 4)];
    commit(store, given.map(|(permit, second)| Write::Permit(permit.clone(), Some(at(second)))).to_vec()).await;
    let all = BTreeMap::from([(load, at(1)), (one.clone(), at(2)), (two.clone(), at(4))]);
    assert_eq!(store.permits().await.unwrap(), all, "a later word takes the place of an earlier one");
    commit(store, vec![Write::Permit(one, None), Write::Permit(permit(Some("erp"), Some("c-2")), None)]).await;
    assert_eq!(store.permits().await.unwrap().keys().cloned().collect::<Vec<_>>(), [permit(None, None), two]);
}

pub(crate) async fn what_is_known_of_the_clock_is_remembered(store: &impl Store) {
    assert_eq!(store.kept_clock().await.unwrap(), Kept::default());
    let doubted = Doubted { since: at(7), ahead: -3_600_000, lag: 12 };
    let word = Word { at: at(1), over: at(90) };
    let kept = Kept { doubted: Some(doubted), excused: vec![7_200_000], word: Some(word) };
    commit(store, vec![Write::Clock(kept.clone())]).await;
    assert_eq!(store.kept_clock().await.unwrap(), kept);
    commit(store, vec![Write::Clock(Kept::default())]).await;
    assert_eq!(store.kept_clock().await.unwrap(), Kept::default());
}

pub(crate) async fn end_dates_given_to_many_at_once_are_told_apart(store: &impl Store) {
    let end =
        |record: &str, role: Option<&str>| EndDate { record: record.into(), role: role.map(Into::into), until: at(50) };
    let known = [end("u-1", None), end("u-1", Some("agent")), end("u-2", None)];
    commit(store, known.iter().map(|end| Write::EndDate(end.clone(), Some(at(1)))).collect()).await;
    assert_eq!(store.mass_ends().await.unwrap(), BTreeSet::new());
    let mass = [end("u-1", Some("agent")), end("u-2", None), end("u-3", None)];
    commit(store, mass.into_iter().map(Write::MassEnd).collect()).await;
    let told = BTreeSet::from([end("u-1", Some("agent")), end("u-2", None)]);
    assert_eq!(store.mass_ends().await.unwrap(), told, "only what is known");
    commit(store, vec![Write::EndDate(end("u-2", None), None)]).await;
    commit(store, vec![Write::EndDate(end("u-2", None), Some(at(2)))]).await;
    assert_eq!(store.mass_ends().await.unwrap(), BTreeSet::from([end("u-1", Some("agent"))]), "known anew");
}

pub(crate) async fn what_we_disabled_is_not_counted_as_owned_and_active(store: &impl Store) {
    assert_eq!(store.owned_active(&space()).await.unwrap(), 0);
    let mut disabled = link("u-3", "a-3");
    disabled.disabled_by_us = true;
    let links = [link("u-1", "a-1"), link("u-2", "a-2"), disabled];
    commit(store, links.into_iter().map(|link| Write::Link(space(), link)).collect()).await;
    assert_eq!(store.owned_active(&space()).await.unwrap(), 2);
}

pub(crate) async fn a_snapshot_comes_back_as_it_went_in(store: &impl Store) {
    assert_eq!(store.snapshot().await.unwrap(), None);
    let mut users: Vec<Arc<User>> = (0..50).map(|number| user(&format!("u-{number}"), "agent")).collect();
    let first = accepted(1, 50, at(0), &users);
    commit(store, vec![Write::Snapshot(first.clone())]).await;
    assert_eq!(store.snapshot().await.unwrap(), Some(first));
    users[7] = user("u-7", "lead");
    users.remove(3);
    users.push(user("u-new", "agent"));
    let second = accepted(2, 50, at(5), &users);
    commit(store, vec![Write::Snapshot(second.clone())]).await;
    assert_eq!(store.snapshot().await.unwrap(), Some(second.clone()));
    // Documents that nobody accepted narrow a user, and then a load is accepted.
    let narrowed_from = BTreeMap::from([("u-7".into(), User::clone(&users[6]))]);
    let narrowed = AcceptedSnapshot { narrowed_from, ..second.clone() };
    for next in [narrowed, second] {
        commit(store, vec![Write::Snapshot(next.clone())]).await;
        assert_eq!(store.snapshot().await.unwrap(), Some(next));
    }
}

pub(crate) async fn users_that_equal_the_accepted_ones_are_kept_once_and_others_not_at_all(store: &impl Store) {
    let kept = async || store.snapshot().await.unwrap().unwrap().snapshot;
    commit(store, vec![Write::Snapshot(accepted(1, 2, at(0), &[user("u-1", "agent"), user("u-2", "agent")]))]).await;
    let same = accepted(1, 2, at(0), &[user("u-1", "agent"), user("u-2", "agent")]).snapshot;
    store.share_snapshot(&same).await;
    assert!(Arc::ptr_eq(&kept().await, &same));
    let other = accepted(1, 2, at(0), &[user("u-1", "agent"), user("u-2", "lead")]).snapshot;
    store.share_snapshot(&other).await;
    assert!(Arc::ptr_eq(&kept().await, &same), "nobody accepted the other one");
}

pub(crate) async fn the_highest_level_includes_the_one_that_stood_when_the_window_began(store: &impl Store) {
    assert_eq!(store.highest_level(at(0)).await.unwrap(), None);
    for (generation, level) in [(1, 900), (2, 70), (3, 60), (4, 65)] {
        let taken = at(i64::try_from(generation).unwrap() * 10);
        commit(store, vec![Write::Snapshot(accepted(generation, level, taken, &[]))]).await;
    }
    assert_eq!(store.highest_level(at(0)).await.unwrap(), Some(900));
    assert_eq!(store.highest_level(at(15)).await.unwrap(), Some(900), "the first stood until 20");
    assert_eq!(store.highest_level(at(25)).await.unwrap(), Some(70), "the second stood until 30");
    assert_eq!(store.highest_level(at(99)).await.unwrap(), Some(65), "the last one stands");
}

pub(crate) async fn a_cause_stands_as_first_seen_until_it_is_forgotten(store: &impl Store) {
    let key = |entitlement: Option<&str>| CauseKey {
        record: "u-1".into(),
        target: "crm".into(),
        entitlement: entitlement.map(Into::into),
    };
    commit(store, vec![Write::Cause(key(None), Some(Cause::Inferred))]).await;
    let again = vec![
        Write::Cause(key(None), Some(Cause::Explicit)),
        Write::Cause(key(Some("admin")), Some(Cause::Explicit)),
        Write::Cause(CauseKey { target: "erp".into(), ..key(None) }, Some(Cause::Explicit)),
    ];
    commit(store, again).await;
    let expected = BTreeMap::from([(key(None), Cause::Inferred), (key(Some("admin")), Cause::Explicit)]);
    assert_eq!(store.causes(&"crm".into()).await.unwrap(), expected);
    commit(store, vec![Write::Cause(key(None), None)]).await;
    commit(store, vec![Write::Cause(key(None), Some(Cause::Explicit))]).await;
    assert_eq!(store.causes(&"crm".into()).await.unwrap()[&key(None)], Cause::Explicit);
}

pub(crate) async fn decisions_come_back_oldest_first(store: &impl Store) {
    let decision = |kind: DecisionKind| Decision {
        target: Some("crm".into()),
        digest: Some("d".into()),
        reason: Some("seen".to_owned()),
        until: Some(at(2)),
        account: Some("a1".into()),
        halts: Some(Halts::All),
        ..Decision::new(kind, "token:ops", at(1))
    };
    let kinds = [DecisionKind::Suspend, DecisionKind::Resume, DecisionKind::Enforce];
    for kind in kinds {
        commit(store, vec![Write::Decision(decision(kind))]).await;
    }
    assert_eq!(store.decisions().await.unwrap(), kinds.map(decision));
}

/// A request that was refused.
pub(crate) fn refused(record: &str) -> Request {
    let vote = Vote {
        said: rosterd::model::request::Word::Refuse,
        by: "token:rose".to_owned(),
        person: "rose".to_owned(),
        at: at(2),
        level: 1,
        of: None,
        reason: Some("unknown".to_owned()),
    };
    Request {
        id: format!("r-{record}").into(),
        record: record.into(),
        subject: Subject::Account,
        asked: Asked { action: Action::Create, entitlements: BTreeSet::from(["admin".into()]), origins: Vec::new() },
        since: at(1),
        begun: at(1),
        state: RequestState::Refused,
        level: 1,
        turn: None,
        passed: Vec::new(),
        level_begun: at(2),
        escalated: true,
        reminders: 3,
        reminded: Some(at(2)),
        told: ["request-1".into()].into(),
        votes: vec![vote.clone()],
        decided: Some(vote),
        marks: BTreeMap::from([("email".to_owned(), "d".into())]),
        done: None,
    }
}

/// Writes a request.
pub(crate) fn put_request(space: Space, request: &Request) -> Write {
    Write::Request(space, request.record.clone(), request.subject.clone(), Some(Box::new(request.clone())))
}

pub(crate) async fn requests_are_kept_by_place_user_and_subject_until_they_are_forgotten(store: &impl Store) {
    let grant = Subject::Grant("admin".into());
    let pending = Request { state: RequestState::Pending, decided: None, ..refused("u-1") };
    let about_a_grant = Request { subject: grant.clone(), id: "r-2".into(), ..pending.clone() };
    let other = Space { target: "erp".into(), ..space() };
    let writes = [
        put_request(space(), &pending),
        put_request(space(), &about_a_grant),
        put_request(elsewhere(), &pending),
        put_request(other.clone(), &pending),
        put_request(space(), &refused("u-1")),
    ];
    commit(store, writes.into()).await;
    let mut known = store.requests(&"crm".into()).await.unwrap();
    known.sort_by(|a, b| (&a.0, &a.1.subject).cmp(&(&b.0, &b.1.subject)));
    let mut expected = vec![(space(), refused("u-1")), (space(), about_a_grant), (elsewhere(), pending.clone())];
    expected.sort_by(|a, b| (&a.0, &a.1.subject).cmp(&(&b.0, &b.1.subject)));
    assert_eq!(known, expected);
    assert_eq!(store.requests(&"erp".into()).await.unwrap(), [(other, pending.clone())]);
    let forget = |subject| Write::Request(space(), "u-1".into(), subject, None);
    commit(store, vec![forget(grant), forget(Subject::Account), forget(Subject::Account)]).await;
    assert_eq!(store.requests(&"crm".into()).await.unwrap(), [(elsewhere(), pending)]);
}

pub(crate) async fn a_standing_plan_replaces_the_former(store: &impl Store) {
    assert_eq!(store.standing(&space()).await.unwrap(), None);
    let skip = Skip { record: "u-1".into(), account: None, reason: SkipReason::Vanished };
    let two = Beside { accounts: BTreeSet::from(["a-1".into()]), why: "look at both".to_owned() };
    let beside = BTreeMap::from([("u-1".into(), two)]);
    let full = Standing { at: Some(at(1)), skips: vec![skip], holds: Vec::new(), failures: BTreeMap::new(), beside };
    commit(store, vec![Write::Standing(space(), Standing::default()), Write::Standing(space(), full.clone())]).await;
    assert_eq!(store.standing(&space()).await.unwrap(), Some(full));
    assert_eq!(store.standing(&elsewhere()).await.unwrap(), None);
}

pub(crate) async fn what_other_hands_did_is_remembered_by_account_until_it_is_blank(store: &impl Store) {
    assert_eq!(store.hands(&space()).await.unwrap(), Hands::new());
    let title = AttributePath::parse("title").unwrap();
    let full = Hand {
        given_up: [(title.clone(), "Boss".into())].into(),
        agreed: [(title, serde_json::Value::Null)].into(),
        ended_over: Some(AccountState::Locked),
        deleted_by_us: true,
        missing_since: Some(at(3)),
        missing: true,
        gone: Some(link("u-9", "a-9")),
        regain: true,
        ended: Some(at(40)),
        taken: Some(at(42)),
        blocked: Some(at(41)),
        waited: BTreeMap::from([(AttributePath::user_name(), at(43))]),
        silenced: BTreeMap::from([(AttributePath::user_name(), serde_json::Value::Bool(true))]),
    };
    let other = Hand { regain: true, ..Hand::default() };
    let first = Write::Hand(space(), "a-1".into(), other.clone());
    let writes = [(space(), "a-1", full.clone()), (space(), "a-2", other.clone()), (elsewhere(), "a-1", other.clone())];
    let writes = writes.into_iter().map(|(space, account, hand)| Write::Hand(space, account.into(), hand));
    commit(store, std::iter::once(first).chain(writes).collect()).await;
    let known = Hands::from([("a-1".into(), full), ("a-2".into(), other.clone())]);
    assert_eq!(store.hands(&space()).await.unwrap(), known);
    commit(store, vec![Write::Hand(space(), "a-1".into(), Hand::default())]).await;
    assert_eq!(store.hands(&space()).await.unwrap(), Hands::from([("a-2".into(), other.clone())]));
    assert_eq!(store.hands(&elsewhere()).await.unwrap(), Hands::from([("a-1".into(), other)]));
}

pub(crate) async fn what_is_owed_keeps_its_moment_until_it_is_paid(store: &impl Store) {
    let owe = |record: &str, since| Write::Owed(space(), record.into(), since);
    commit(store, vec![owe("u-1", Some(at(1))), owe("u-2", Some(at(2))), owe("u-1", None), owe("u-3", Some(at(3)))])
        .await;
    commit(store, vec![owe("u-3", Some(at(4))), Write::Owed(elsewhere(), "u-1".into(), Some(at(9)))]).await;
    let owed = store.owed(&space()).await.unwrap();
    assert_eq!(owed, BTreeMap::from([("u-2".into(), at(2)), ("u-3".into(), at(4))]));
    assert_eq!(store.owed(&elsewhere()).await.unwrap(), BTreeMap::from([("u-1".into(), at(9))]));
}

pub(crate) async fn accounts_are_listed_by_state_link_and_page(store: &impl Store) {
    let accounts = vec![
        seen("a-3", AccountState::Disabled, Some("u-3")),
        seen("a-1", AccountState::Active, Some("u-1")),
        seen("a-2", AccountState::Active, None),
        seen("a-4", AccountState::Locked, None),
    ];
    commit(store, vec![Write::Seen(space(), accounts)]).await;
    let list = async |filter: AccountFilter| -> Vec<String> {
        let rows = store.seen(&space(), &AccountFilter { limit: 2, ..filter }).await.unwrap();
        rows.into_iter().map(|row| row.account.as_str().to_owned()).collect()
    };
    let any = AccountFilter::default;
    assert_eq!(list(any()).await, ["a-1", "a-2"]);
    assert_eq!(list(AccountFilter { after: Some("a-2".into()), ..any() }).await, ["a-3", "a-4"]);
    assert_eq!(list(AccountFilter { linked: Some(false), ..any() }).await, ["a-2", "a-4"]);
    assert_eq!(list(AccountFilter { linked: Some(true), ..any() }).await, ["a-1", "a-3"]);
    let states = BTreeSet::from([AccountState::Disabled, AccountState::Locked]);
    assert_eq!(list(AccountFilter { states, ..any() }).await, ["a-3", "a-4"]);
    let one = store.seen_of(&space(), &"u-3".into()).await.unwrap();
    assert_eq!(one, Some(seen("a-3", AccountState::Disabled, Some("u-3"))));
    assert_eq!(store.seen_of(&elsewhere(), &"u-3".into()).await.unwrap(), None);
}

pub(crate) async fn a_complete_listing_forgets_the_accounts_outside_it(store: &impl Store) {
    let account = |id: &str| seen(id, AccountState::Active, None);
    let writes = vec![
        Write::Seen(space(), vec![account("a-1"), account("a-2"), account("a-3")]),
        Write::Seen(elsewhere(), vec![account("a-9")]),
    ];
    commit(store, writes).await;
    let renamed = SeenAccount { user_name: None, ..account("a-2") };
    commit(store, vec![Write::SeenAll(space(), vec![renamed.clone(), account("a-3")])]).await;
    commit(store, vec![Write::Unseen(space(), "a-3".into())]).await;
    let filter = AccountFilter { limit: 9, ..AccountFilter::default() };
    assert_eq!(store.seen(&space(), &filter).await.unwrap(), vec![renamed]);
    assert_eq!(store.seen(&elsewhere(), &filter).await.unwrap().len(), 1);
}

pub(crate) async fn cycles_come_back_newest_first_in_pages(store: &impl Store) {
    let erp = Space { target: "erp".into(), ..space() };
    let cycles = [cycle("c-1", space()), cycle("c-2", erp), cycle("c-3", space())];
    for cycle in &cycles {
        commit(store, vec![Write::Cycle(cycle.clone())]).await;
    }
    let mut ended = cycles[0].clone();
    ended.ended = Some(at(2));
    ended.result = Some(CycleResult::Partial);
    ended.coverage = Some(Coverage::Partial("page 2 was lost".to_owned()));
    ended.done = BTreeMap::from([("create".to_owned(), 3)]);
    commit(store, vec![Write::Cycle(ended.clone())]).await;
    let ids = |cycles: Vec<CycleRecord>| cycles.iter().map(|cycle| cycle.id.as_str().to_owned()).collect::<Vec<_>>();
    assert_eq!(ids(store.cycles(None, None, 2).await.unwrap()), ["c-3", "c-2"]);
    assert_eq!(store.cycles(None, Some(&"c-2".into()), 2).await.unwrap(), vec![ended]);
    assert_eq!(ids(store.cycles(Some(&"crm".into()), None, 9).await.unwrap()), ["c-3", "c-1"]);
    assert_eq!(store.cycles(None, Some(&"c-0".into()), 9).await.unwrap(), Vec::new());
}

pub(crate) async fn every_space_with_links_or_intents_is_known(store: &impl Store) {
    commit(store, vec![Write::Seen(elsewhere(), vec![seen("a-1", AccountState::Active, None)])]).await;
    assert_eq!(store.spaces(&"crm".into()).await.unwrap(), Vec::new());
    commit(store, vec![Write::Link(elsewhere(), link("u-1", "a-1")), Write::Intent(intent("i-1", "u-1", at(0)))]).await;
    assert_eq!(store.spaces(&"crm".into()).await.unwrap(), vec![space(), elsewhere()]);
    assert_eq!(store.spaces(&"erp".into()).await.unwrap(), Vec::new());
}

pub(crate) async fn what_a_person_revoked_is_no_act_of_rosterds_own(store: &impl Store) {
    let mut revoked = disabling("one", Cause::Explicit, at(0));
    revoked.change.origins = vec![Origin::decision("revocation of u-1 by alice".to_owned())].into();
    assert!(revoked.change.is_revocation());
    commit(store, vec![Write::Intent(revoked)]).await;
    assert!(!store.acted(&space()).await.unwrap());
    commit(store, vec![Write::Intent(disabling("two", Cause::Explicit, at(1)))]).await;
    assert!(store.acted(&space()).await.unwrap());
    assert!(!store.acted(&elsewhere()).await.unwrap());
}

pub(crate) async fn audit_events_are_chained_by_target_and_verify(store: &impl Store) {
    let kinds = |target: Option<&'static str>| ["one", "two", "three"].map(|kind| event(kind, target));
    commit(store, kinds(Some("crm")).into_iter().chain(kinds(None)).map(Write::Audit).collect()).await;
    commit(store, vec![Write::Audit(event("four", Some("crm")))]).await;
    assert_eq!(store.chains().await.unwrap(), vec![None, Some("crm".into())]);
    let crm = store.audit(Some(&"crm".into()), 2, 9).await.unwrap();
    let found: Vec<_> = crm.iter().map(|event| (event.seq, event.event.kind.as_str())).collect();
    assert_eq!(found, [(2, "two"), (3, "three"), (4, "four")]);
    assert_eq!(crm[0].event, event("two", Some("crm")));
    assert_eq!(store.audit(None, 0, 2).await.unwrap().len(), 2);
    assert_eq!(store.verify_audit().await.unwrap(), Vec::<String>::new());
}

pub(crate) async fn tokens_end_when_they_are_revoked(store: &impl Store) {
    let token = |name: &str, right: &str| Token {
        name: name.to_owned(),
        hash: "ab".repeat(32),
        subject: "ada".to_owned(),
        right: right.to_owned(),
        targets: BTreeSet::from(["crm".into()]),
        groups: BTreeSet::from(["credit".to_owned()]),
        labels: BTreeMap::from([("folder".to_owned(), BTreeSet::from(["acme".to_owned()]))]),
        created: at(0),
        expires: at(100),
    };
    let writes = vec![Write::Token(token("ci", "viewer")), Write::Token(token("ada", "admin"))];
    commit(store, writes).await;
    commit(store, vec![Write::Token(token("ci", "operator"))]).await;
    assert_eq!(store.tokens().await.unwrap(), vec![token("ada", "admin"), token("ci", "operator")]);
    commit(store, vec![Write::TokenRevoked("ada".to_owned())]).await;
    assert_eq!(store.tokens().await.unwrap(), vec![token("ci", "operator")]);
}

pub(crate) async fn many_writes_fit_in_one_commit(store: &impl Store) {
    const MANY: usize = 3_000;
    let account = |number: usize| seen(&format!("a-{number}"), AccountState::Active, None);
    let mut writes: Vec<Write> = (0..MANY)
        .flat_map(|number| {
            let key = CauseKey { record: format!("u-{number}").into(), target: "crm".into(), entitlement: None };
            [
                Write::Link(space(), link(&format!("u-{number}"), &format!("a-{number}"))),
                Write::Audit(event("link", Some("crm"))),
                Write::Cause(key, Some(Cause::Explicit)),
            ]
        })
        .collect();
    writes.push(Write::Seen(space(), (0..MANY).map(account).collect()));
    commit(store, writes).await;
    assert_eq!(store.links(&space()).await.unwrap().len(), MANY);
    assert_eq!(store.causes(&"crm".into()).await.unwrap().len(), MANY);
    let filter = AccountFilter { limit: usize::MAX, ..AccountFilter::default() };
    assert_eq!(store.seen(&space(), &filter).await.unwrap().len(), MANY);
    commit(store, vec![Write::SeenAll(space(), vec![account(7)])]).await;
    assert_eq!(store.seen(&space(), &filter).await.unwrap(), vec![account(7)]);
    assert_eq!(store.verify_audit().await.unwrap(), Vec::<String>::new());
}

fn mail(id: &str, second: i64) -> Posted {
    let mail = Mail {
        to: "ada@acme.example".to_owned(),
        subject: "Hello".to_owned(),
        text: "the password is hunter2".to_owned(),
        html: Some("<p>hunter2</p>".to_owned()),
        holds_password: true,
    };
    Posted::due(id.into(), MAIL, at(second), Content::Mail(mail)).about(&"crm".into(), &"u-1".into())
}

fn put(posted: Posted) -> Write {
    Write::Message(MessageWrite::Put(Box::new(posted)))
}

fn due(channel: &str, by: i64, far: i64) -> MessageFilter {
    MessageFilter { due: Some((channel.to_owned(), at(by), at(far))), limit: 10, ..MessageFilter::default() }
}

async fn ids(store: &impl Store, filter: &MessageFilter) -> Vec<String> {
    store.messages(filter).await.unwrap().into_iter().map(|posted| posted.id.as_str().to_owned()).collect()
}

pub(crate) async fn a_message_is_put_once_and_its_content_is_erased_at_its_end(store: &impl Store) {
    let about = MessageFilter { record: Some("u-1".into()), limit: 10, ..MessageFilter::default() };
    commit(store, vec![put(mail("m-1", 1).held())]).await;
    assert_eq!(store.messages(&about).await.unwrap(), [mail("m-1", 1).held()], "as it went in");
    assert_eq!(ids(store, &due(MAIL, 100, 200)).await, [""; 0], "its fact is not certain");
    // The same fact told again changes nothing.
    commit(store, vec![put(mail("m-1", 50))]).await;
    assert_eq!(store.messages(&about).await.unwrap(), [mail("m-1", 1).held()]);
    let change = |write| vec![Write::Message(write)];
    commit(store, change(MessageWrite::Release("m-1".into(), at(7)))).await;
    let released = Posted { due: at(7), ..mail("m-1", 1) };
    assert_eq!(store.messages(&due(MAIL, 7, 200)).await.unwrap(), std::slice::from_ref(&released));
    let why = "451 4.7.1 try again".to_owned();
    let later = |attempts, since| {
        let why = why.clone();
        MessageWrite::Later { id: "m-1".into(), due: at(20), attempts, since: at(since), why }
    };
    commit(store, change(later(1, 18))).await;
    let tried = Posted { due: at(20), attempts: 1, since: Some(at(18)), why: Some(why.clone()), ..released };
    assert_eq!(store.messages(&due(MAIL, 20, 200)).await.unwrap(), std::slice::from_ref(&tried));
    commit(store, change(later(2, 19))).await;
    let tried = Posted { attempts: 2, ..tried };
    let one = |id: &str| MessageFilter { id: Some(id.into()), limit: 1, ..MessageFilter::default() };
    assert_eq!(store.messages(&one("m-1")).await.unwrap(), std::slice::from_ref(&tried), "the first try stands");
    assert_eq!(ids(store, &one("m-2")).await, [""; 0]);
    let end = |state, second, why: Option<&str>| {
        let why = why.map(str::to_owned);
        change(MessageWrite::End { id: "m-1".into(), state, at: at(second), why })
    };
    commit(store, end(MessageState::Refused, 30, Some("550"))).await;
    let ended = Posted {
        state: MessageState::Refused,
        ended: Some(at(30)),
        why: Some("550".to_owned()),
        content: None,
        ..tried
    };
    assert_eq!(store.messages(&about).await.unwrap(), std::slice::from_ref(&ended));
    // An end stands.
    commit(store, end(MessageState::Accepted, 40, None)).await;
    commit(store, change(MessageWrite::Release("m-1".into(), at(41)))).await;
    commit(store, change(later(3, 42))).await;
    assert_eq!(store.messages(&about).await.unwrap(), [ended]);
    commit(store, change(MessageWrite::Forget(at(30)))).await;
    assert_eq!(ids(store, &about).await, ["m-1"], "what ended then is kept");
    commit(store, change(MessageWrite::Forget(at(31)))).await;
    assert_eq!(ids(store, &about).await, [""; 0]);
}

pub(crate) async fn what_is_due_comes_by_channel_and_in_its_order_even_if_the_clock_was_set_back(store: &impl Store) {
    let event = |id: &str, channel: &str, second| {
        let event = Event { kind: "x".to_owned(), subject: None, data: serde_json::json!({ "a": 1 }) };
        put(Posted::due(id.into(), channel, at(second), Content::Event(event)))
    };
    commit(store, vec![event("b", "ops", 5), event("a", "ops", 3), event("c", "desk", 1), event("d", "ops", 3)]).await;
    assert_eq!(ids(store, &due("ops", 4, 100)).await, ["a", "d"]);
    assert_eq!(ids(store, &due("ops", 5, 100)).await, ["a", "d", "b"]);
    assert_eq!(ids(store, &MessageFilter { limit: 1, ..due("ops", 5, 100) }).await, ["a"]);
    assert_eq!(ids(store, &due("ops", 0, 4)).await, ["b"], "due after any try could be: the clock was set back");
    assert_eq!(ids(store, &MessageFilter::default()).await, ["d", "c", "a", "b"], "all of them, the newest first");
}

pub(crate) async fn what_waits_is_counted_by_channel(store: &impl Store) {
    assert_eq!(store.backlogs().await.unwrap(), []);
    let event = Event { kind: "x".to_owned(), subject: None, data: serde_json::Value::Null };
    let event = Posted::due("e".into(), "desk", at(9), Content::Event(event));
    commit(store, vec![put(mail("m-1", 3)), put(mail("m-2", 2)), put(mail("m-3", 1).held()), put(event)]).await;
    let later = MessageWrite::Later { id: "m-2".into(), due: at(60), attempts: 1, since: at(5), why: "no".to_owned() };
    commit(store, vec![Write::Message(later)]).await;
    let backlog = |channel: &str, depth, oldest, next| Backlog {
        channel: channel.to_owned(),
        depth,
        oldest: at(oldest),
        next: at(next),
    };
    assert_eq!(store.backlogs().await.unwrap(), [backlog("desk", 1, 9, 9), backlog(MAIL, 2, 2, 3)]);
}

fn invite(id: &str, record: &str, second: i64) -> Invite {
    Invite {
        id: id.into(),
        space: space(),
        record: record.into(),
        kind: CredentialKind::Link,
        to: "ada@acme.example".to_owned(),
        token: Some(format!("hash of {id}")),
        message: format!("mail of {id}").as_str().into(),
        made: at(second),
        expires: Some(at(second + 100)),
        resent: 0,
        state: InviteState::Held,
        ended: None,
    }
}

fn put_invite(invite: Invite) -> Write {
    Write::Invite(InviteWrite::Put(Box::new(invite)))
}

pub(crate) async fn an_invite_ends_once_and_takes_its_mail_along(store: &impl Store) {
    let all = InviteFilter::default();
    let one = invite("i-1", "u-1", 1);
    let two = Invite { space: elsewhere(), ..invite("i-2", "u-1", 2) };
    let mails = ["mail of i-1", "mail of i-2"].map(|id| put(mail(id, 1)));
    commit(store, mails.into_iter().chain([put_invite(one.clone()), put_invite(two.clone())]).collect()).await;
    assert_eq!(store.invites(&all).await.unwrap(), [two.clone(), one.clone()], "the newest first");
    commit(store, vec![Write::Invite(InviteWrite::Open("i-1".into()))]).await;
    let one = Invite { state: InviteState::Sent, ..one };
    assert_eq!(store.invites(&all).await.unwrap(), [two.clone(), one.clone()]);
    let end = InviteWrite::EndOf(space(), "u-1".into(), InviteState::Revoked, at(9));
    commit(store, vec![Write::Invite(end)]).await;
    let one = Invite { state: InviteState::Revoked, ended: Some(at(9)), ..one };
    assert_eq!(store.invites(&all).await.unwrap(), [two.clone(), one.clone()], "there and nowhere else");
    let waits = ids(store, &due(MAIL, 100, 200)).await;
    assert_eq!(waits, ["mail of i-2"], "its mail does not leave any more");
    let end = |id: &str, message: &str, second| InviteWrite::End {
        id: id.into(),
        message: message.into(),
        state: InviteState::Accepted,
        at: at(second),
    };
    let again = end("i-1", "mail of i-1", 10);
    commit(store, vec![Write::Invite(again), Write::Invite(InviteWrite::Open("i-1".into()))]).await;
    assert_eq!(store.invites(&all).await.unwrap(), [two.clone(), one.clone()], "an end stands");
    commit(store, vec![Write::Invite(end("i-2", "another mail", 11))]).await;
    assert_eq!(store.invites(&all).await.unwrap(), [two, one], "it was sent again since");
    let counts = [("crm", InviteState::Held), ("crm", InviteState::Revoked)];
    let mut counted = store.invite_counts().await.unwrap();
    counted.sort();
    assert_eq!(counted, counts.map(|(target, state)| (target.into(), state, 1)));
    commit(store, vec![Write::Invite(end("i-2", "mail of i-2", 11))]).await;
    assert_eq!(ids(store, &due(MAIL, 100, 200)).await, ["mail of i-2"], "who came may be told all the same");
    commit(store, vec![Write::Invite(InviteWrite::Forget(at(11)))]).await;
    let left: Vec<_> = store.invites(&all).await.unwrap().into_iter().map(|invite| invite.id).collect();
    assert_eq!(left, ["i-2".into()], "what ended long ago is forgotten");
}

pub(crate) async fn an_invite_is_found_by_its_token_user_target_and_state(store: &impl Store) {
    let sent = Invite { state: InviteState::Sent, ..invite("i-1", "u-1", 1) };
    let plain = Invite { token: None, expires: None, kind: CredentialKind::Sso, ..invite("i-2", "u-2", 2) };
    let far = Invite { space: Space { target: "erp".into(), ..space() }, ..invite("i-3", "u-1", 3) };
    commit(store, [&sent, &plain, &far].map(|invite| put_invite(invite.clone())).to_vec()).await;
    let found = async |filter: InviteFilter| -> Vec<String> {
        let invites = store.invites(&filter).await.unwrap();
        invites.into_iter().map(|invite| invite.id.as_str().to_owned()).collect()
    };
    let none = InviteFilter::default();
    assert_eq!(found(InviteFilter { token: Some("hash of i-1".to_owned()), ..none.clone() }).await, ["i-1"]);
    assert_eq!(found(InviteFilter { token: Some("hash".to_owned()), ..none.clone() }).await, [""; 0]);
    assert_eq!(found(InviteFilter { record: Some("u-1".into()), ..none.clone() }).await, ["i-3", "i-1"]);
    assert_eq!(found(InviteFilter { target: Some("crm".into()), ..none.clone() }).await, ["i-2", "i-1"]);
    assert_eq!(found(InviteFilter { state: Some(InviteState::Sent), ..none.clone() }).await, ["i-1"]);
    assert_eq!(found(InviteFilter { limit: 1, ..none }).await, ["i-3"]);
    // Sent again: the same invite with another token.
    let again = Invite { token: Some("fresh".to_owned()), resent: 1, made: at(50), ..sent };
    commit(store, vec![put_invite(again.clone())]).await;
    // Whoever knew it as it was before, or after it ended, changes nothing.
    let stale = Invite { token: Some("stale".to_owned()), ..again.clone() };
    let ended = Invite { resent: 1, state: InviteState::Sent, ..far.clone() };
    let end = InviteWrite::EndOf(far.space.clone(), far.record.clone(), InviteState::Revoked, at(60));
    commit(store, vec![put_invite(stale), Write::Invite(end)]).await;
    commit(store, vec![put_invite(ended)]).await;
    assert_eq!(found(InviteFilter { state: Some(InviteState::Sent), ..InviteFilter::default() }).await, ["i-1"]);
    assert_eq!(found(InviteFilter { state: Some(InviteState::Revoked), ..InviteFilter::default() }).await, ["i-3"]);
    assert_eq!(
        store.invites(&InviteFilter { token: again.token.clone(), ..InviteFilter::default() }).await.unwrap(),
        [again]
    );
    assert_eq!(found(InviteFilter { token: Some("hash of i-1".to_owned()), ..InviteFilter::default() }).await, [""; 0]);
}
