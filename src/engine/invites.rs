//! Invites after they were sent: ended by time, by a new address, by the person who comes, or sent again.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use chrono::TimeDelta;
use chrono::Utc;

use crate::engine::EngineError;
use crate::engine::outbox;
use crate::engine::shared::Shared;
use crate::engine::welcome;
use crate::engine::welcome::Guest;
use crate::model::audit::AuditEvent;
use crate::model::ids::MessageId;
use crate::model::ids::RecordId;
use crate::model::ids::TargetName;
use crate::model::invite::CredentialKind;
use crate::model::invite::Invite;
use crate::model::invite::InviteFilter;
use crate::model::invite::InviteState;
use crate::model::invite::InviteWrite;
use crate::model::message::MessageFilter;
use crate::model::message::MessageState;
use crate::model::message::MessageWrite;
use crate::model::message::Posted;
use crate::model::projection::Desired;
use crate::model::snapshot::Snapshot;
use crate::model::target::Credential;
use crate::model::user::User;
use crate::secrets::credential;
use crate::store::StoreError;
use crate::store::Write;

/// How often time and addresses are looked at, where nothing happens.
const EVERY: Duration = Duration::from_mins(1);

/// Every so many looks all of them are counted, those that ended long ago too.
const COUNTED_EVERY: u32 = 5;

/// What ended is remembered for so long: whoever did not come for months may be sent another link.
const KEPT: TimeDelta = TimeDelta::days(365);

/// Ends invites whose time ran out or whose address is another one by now.
pub(crate) async fn watch(shared: Arc<Shared>) {
    let mut looks = 0_u32;
    loop {
        let counts = looks.is_multiple_of(COUNTED_EVERY);
        looks = looks.wrapping_add(1);
        if let Err(error) = look(&shared, counts).await {
            tracing::error!(%error, "invites cannot be looked at; this is tried again");
        }
        tokio::select! {
            biased;
            () = shared.cancel.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn look(shared: &Shared, counts: bool) -> Result<(), StoreError> {
    let turn = shared.invite_turn.lock().await;
    let sent = InviteFilter { state: Some(InviteState::Sent), ..InviteFilter::default() };
    let now = shared.judged();
    let mut writes = Vec::new();
    for invite in shared.store.invites(&sent).await? {
        if let Standing::Over(state) = standing(shared, &invite, now) {
            writes.extend(over(&invite, state, "engine", now));
        }
    }
    if !writes.is_empty() {
        writes.push(Write::Invite(InviteWrite::Forget(now - KEPT)));
        shared.store.commit(writes, shared.store.fence()).await?;
    }
    drop(turn);
    if counts { count(shared).await } else { Ok(()) }
}

/// Whether a message may leave.
pub(crate) enum Leave {
    /// It may. The invite that it brings, if it brings one.
    Now(Box<Posted>, Option<Box<Invite>>),
    /// Nobody can tell yet, for this reason.
    NotYet(Box<Posted>, Box<Invite>, &'static str),
    /// It ended, or what it brings did.
    Never,
}

/// Judges right before a message is handed over, by what the store and the documents say now.
pub(crate) async fn leave(shared: &Shared, id: &MessageId) -> Result<Leave, StoreError> {
    let brings_one = welcome::is_one(id);
    let _turn = if brings_one { Some(shared.invite_turn.lock().await) } else { None };
    let filter = MessageFilter { id: Some(id.clone()), limit: 1, ..MessageFilter::default() };
    let found = shared.store.messages(&filter).await?.pop();
    let Some(message) = found.filter(|message| message.state == MessageState::Due) else { return Ok(Leave::Never) };
    if !brings_one {
        return Ok(Leave::Now(Box::new(message), None));
    }
    let now = shared.judged();
    let Some(invite) = brought_by(shared, &message).await? else {
        let why = Some("its invite ended, or was sent again by another mail".to_owned());
        let writes = outbox::ended(&message, MessageState::Void, why, shared.now()).into();
        shared.store.commit(writes, shared.store.fence()).await?;
        return Ok(Leave::Never);
    };
    Ok(match standing(shared, &invite, now) {
        Standing::Good => Leave::Now(Box::new(message), Some(Box::new(invite))),
        Standing::Unknown(why) => Leave::NotYet(Box::new(message), Box::new(invite), why),
        Standing::Over(state) => {
            shared.store.commit(over(&invite, state, "engine", now).into(), shared.store.fence()).await?;
            Leave::Never
        }
    })
}

/// The open invite that a mail brings.
pub(crate) async fn brought_by(shared: &Shared, message: &Posted) -> Result<Option<Invite>, StoreError> {
    let (target, record) = (message.target.clone(), message.record.clone());
    if !welcome::is_one(&message.id) || record.is_none() {
        return Ok(None);
    }
    let state = Some(InviteState::Sent);
    let invites = shared.store.invites(&InviteFilter { target, record, state, ..InviteFilter::default() }).await?;
    Ok(invites.into_iter().find(|invite| invite.message == message.id))
}

/// How an invite ends with its mail: one by which nobody comes waits for nothing else.
pub(crate) fn ended_with_its_mail(invite: &Invite, mail: MessageState, at: DateTime<Utc>) -> Option<Write> {
    let state = if mail == MessageState::Accepted { InviteState::Told } else { InviteState::Void };
    let (id, message) = (invite.id.clone(), invite.message.clone());
    (invite.kind != CredentialKind::Link).then(|| Write::Invite(InviteWrite::End { id, message, state, at }))
}

/// An open invite ended, and its mail with it where that did not leave yet.
fn over(invite: &Invite, state: InviteState, by: &str, at: DateTime<Utc>) -> [Write; 2] {
    let (id, message) = (invite.id.clone(), invite.message.clone());
    [Write::Invite(InviteWrite::End { id, message, state, at }), Write::Audit(event(invite, state, by, at))]
}

/// What is to be said of an invite that was sent, by the documents as they are.
enum Standing {
    Good,
    /// It ends by itself.
    Over(InviteState),
    /// Nobody can tell: it lets nobody in, and does not end.
    Unknown(&'static str),
}

fn standing(shared: &Shared, invite: &Invite, now: DateTime<Utc>) -> Standing {
    if invite.expires.is_some_and(|expires| expires <= now) {
        return Standing::Over(InviteState::Expired);
    }
    let said = shared.said.load();
    if said.revoked.of(&invite.record, &[], now).is_some() {
        return Standing::Over(InviteState::Revoked);
    }
    let Some(snapshot) = shared.snapshot() else { return Standing::Unknown("no documents are accepted yet") };
    let Some(user) = &user(&snapshot, &invite.record) else { return Standing::Over(InviteState::Revoked) };
    // A mailbox that is another's by now gets nobody in, and neither does anybody who is to have no account.
    let same = welcome::address(user) == Some(invite.to.as_str());
    if !same || said.revoked.of(&user.id, &user.formerly, now).is_some() {
        return Standing::Over(InviteState::Revoked);
    }
    let Ok(handle) = shared.handle(&invite.space.target) else {
        return Standing::Unknown("its target is not declared, so nobody can tell who is to have an account there");
    };
    let entitled = matches!(handle.projector.desired(user, &snapshot.roles, now), Desired::Account(_));
    if entitled { Standing::Good } else { Standing::Over(InviteState::Revoked) }
}

/// The user of a record id, under the one that they have by now.
fn user(snapshot: &Snapshot, record: &RecordId) -> Option<User> {
    let renamed = || snapshot.users.renamed().find(|user| user.formerly.contains(record));
    snapshot.users.get(record).or_else(renamed)
}

async fn count(shared: &Shared) -> Result<(), StoreError> {
    let targets: Vec<TargetName> =
        shared.targets().iter().filter(|target| target.welcome.is_some()).map(|target| target.name.clone()).collect();
    let mut counts: BTreeMap<(TargetName, InviteState), i64> = BTreeMap::new();
    for (target, state, count) in shared.store.invite_counts().await? {
        let counted = counts.entry((target, state)).or_default();
        *counted = counted.saturating_add(i64::try_from(count).unwrap_or(i64::MAX));
    }
    shared.metrics.outbox.invites(&counts, &targets);
    Ok(())
}

/// Invites of a target, or of all.
pub(crate) async fn list(shared: &Shared, filter: &InviteFilter) -> Result<Vec<Invite>, EngineError> {
    let now = shared.judged();
    let mut invites = shared.store.invites(filter).await?;
    for invite in invites.iter_mut().filter(|invite| invite.state == InviteState::Sent) {
        // What ended a moment ago is not shown as good.
        if let Standing::Over(state) = standing(shared, invite, now) {
            invite.state = state;
        }
    }
    Ok(invites)
}

/// Messages that an explanation shows.
const TOLD: usize = 5;

/// What was told about a user of a target and how far their invite got, newest first, as sentences.
pub(crate) async fn told(shared: &Shared, record: &RecordId, target: &TargetName) -> Result<Vec<String>, EngineError> {
    let filter = InviteFilter {
        target: Some(target.clone()),
        record: Some(record.clone()),
        limit: 1,
        ..InviteFilter::default()
    };
    let invites = list(shared, &filter).await?;
    let filter = MessageFilter { record: Some(record.clone()), ..MessageFilter::default() };
    let messages = shared.store.messages(&filter).await?;
    let here = messages.iter().filter(|message| message.target.as_ref() == Some(target));
    let sentences = invites.iter().map(|invite| sentence(invite, &messages));
    Ok(sentences.chain(here.take(TOLD).map(message_sentence)).collect())
}

fn sentence(invite: &Invite, messages: &[Posted]) -> String {
    let Invite { kind, to, made, expires, resent, state, .. } = invite;
    let ends = expires.map(|expires| format!(", good until {}", stamp(expires))).unwrap_or_default();
    let again = if *resent > 0 { format!(", sent again {resent} times") } else { String::new() };
    let mail = messages.iter().find(|message| message.id == invite.message).map(|message| message.state);
    let state = match (state, mail) {
        (InviteState::Sent, Some(MessageState::Refused)) => "not sent, since its mail was refused",
        (InviteState::Sent, Some(MessageState::Held | MessageState::Due)) => "about to be sent",
        (state, _) => state.as_str(),
    };
    format!("{} invite to {to} by {}: {state}{ends}{again}", stamp(*made), kind.as_str())
}

fn message_sentence(message: &Posted) -> String {
    let why = message.why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
    let tries =
        if message.attempts > 0 { format!(", tried {} times in vain", message.attempts) } else { String::new() };
    format!("{} by {}: {}{tries}{why}", stamp(message.at), message.channel, message.state.as_str())
}

fn stamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// What came of sending one invite again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resent {
    /// Whose.
    pub record: RecordId,
    /// The invite as it stands now, or why it was not sent.
    pub result: Result<Invite, String>,
}

/// Sends the newest invite of each of these users of a target again, with a fresh link.
pub(crate) async fn resend(
    shared: &Shared,
    target: &TargetName,
    records: &BTreeSet<RecordId>,
    by: &str,
) -> Result<Vec<Resent>, EngineError> {
    shared.handle(target)?;
    let mut results = Vec::new();
    for record in records {
        let _turn = shared.invite_turn.lock().await;
        let filter = InviteFilter {
            target: Some(target.clone()),
            record: Some(record.clone()),
            limit: 1,
            ..InviteFilter::default()
        };
        let result = match shared.store.invites(&filter).await?.pop() {
            Some(invite) => resend_one(shared, invite, by).await?,
            None => Err(format!("no invite was sent to `{record}`; `rosterd invites list` shows which were")),
        };
        results.push(Resent { record: record.clone(), result });
    }
    shared.bell.ring();
    Ok(results)
}

async fn resend_one(shared: &Shared, invite: Invite, by: &str) -> Result<Result<Invite, String>, EngineError> {
    let handle = shared.handle(&invite.space.target)?;
    let now = shared.judged();
    let snapshot = shared.snapshot();
    let user = snapshot.as_ref().and_then(|snapshot| user(snapshot, &invite.record));
    let Some(welcome) = &handle.target.welcome else {
        return Ok(Err(format!("`{}` sends no welcome any more", handle.target.name)));
    };
    let Some(user) = user else {
        return Ok(Err(format!("`{}` is not declared any more", invite.record)));
    };
    if let Some(why) = unfit(&invite, &welcome.credential, welcome::address(&user)) {
        return Ok(Err(why));
    }
    // Its time may have run out: that is what another one is for.
    match standing(shared, &Invite { expires: None, ..invite.clone() }, now) {
        Standing::Good => {}
        Standing::Over(_) => return Ok(Err(out(&invite))),
        Standing::Unknown(why) => return Ok(Err(format!("`{}` is not invited now: {why}", invite.record))),
    }
    let seen = shared.store.seen_of(&invite.space, &invite.record).await?;
    let user_name = seen.and_then(|seen| seen.user_name);
    let guest = Guest { target: &handle.target, space: &invite.space, user: &user, user_name: user_name.as_deref() };
    let (mail, fresh) = match welcome::again(&invite, (welcome, &guest), now) {
        Ok(made) => made,
        Err(why) => return Ok(Err(why)),
    };
    let superseded = MessageWrite::End {
        id: invite.message.clone(),
        state: MessageState::Void,
        at: now,
        why: Some("it was sent again".to_owned()),
    };
    let told = AuditEvent { kind: "invite-resent".to_owned(), ..event(&fresh, InviteState::Sent, by, now) };
    let writes = vec![
        Write::Message(superseded),
        Write::Message(MessageWrite::Put(Box::new(mail))),
        Write::Invite(InviteWrite::Put(Box::new(fresh.clone()))),
        Write::Audit(told),
    ];
    shared.store.commit(writes, shared.store.fence()).await?;
    // Access may have ended since it was read; then its end stands.
    let filter = InviteFilter { token: fresh.token.clone(), limit: 1, ..InviteFilter::default() };
    let kept = shared.store.invites(&filter).await?.pop();
    Ok(kept.filter(|kept| kept.state == InviteState::Sent).ok_or_else(|| out(&invite)))
}

fn out(invite: &Invite) -> String {
    let Invite { record, space, .. } = invite;
    format!(
        "`{record}` is to have no account in `{}`; `rosterd explain {record} --target {}` shows why",
        space.target, space.target
    )
}

/// Why an invite is not sent again.
fn unfit(invite: &Invite, credential: &Credential, address: Option<&str>) -> Option<String> {
    let record = &invite.record;
    match (invite.kind, invite.state) {
        (CredentialKind::Generated, InviteState::Revoked | InviteState::Void) => {
            return Some(format!(
                "the invite of `{record}` is void, and its password erased: access ended, or its mail did not leave"
            ));
        }
        (CredentialKind::Generated, _) => {
            return Some(format!(
                "the password of `{record}` was erased when its mail was taken; let the target set a new one"
            ));
        }
        (CredentialKind::Sso | CredentialKind::None, _) => {
            return Some(format!("`{record}` was sent no link; there is nothing to renew"));
        }
        (CredentialKind::Link, InviteState::Held) => {
            return Some(format!("the account of `{record}` is not there yet; its mail follows by itself"));
        }
        (CredentialKind::Link, InviteState::Accepted | InviteState::Told) => {
            return Some(format!("`{record}` came already"));
        }
        (CredentialKind::Link, InviteState::Revoked | InviteState::Void) => {
            return Some(format!("the invite of `{record}` is void: access ended, or the address changed"));
        }
        (CredentialKind::Link, InviteState::Sent | InviteState::Expired) => {}
    }
    if address != Some(invite.to.as_str()) {
        return Some(format!("`{record}` has another address than the one that was invited; the invite is void"));
    }
    let Credential::Link { resend_at_most, .. } = credential else {
        return Some("its target sends no links any more".to_owned());
    };
    (invite.resent >= *resend_at_most).then(|| {
        format!(
            "`{record}` was invited again {} times already; `resendAtMost` of the target says when it is enough",
            invite.resent
        )
    })
}

/// A person came by a link: who they are. It is good once.
///
/// # Errors
/// [`EngineError::Stale`] where the link is unknown, used, too old or void; it does not say which, since
/// whoever asks may have guessed.
pub(crate) async fn redeem(shared: &Shared, target: &TargetName, token: &str, by: &str) -> Result<Invite, EngineError> {
    let _turn = shared.invite_turn.lock().await;
    let now = shared.judged();
    let filter = InviteFilter { token: Some(credential::hash(token)), limit: 1, ..InviteFilter::default() };
    let found = shared.store.invites(&filter).await?.pop();
    let good = found.filter(|invite| {
        let open = invite.space.target == *target && invite.state == InviteState::Sent;
        open && matches!(standing(shared, invite, now), Standing::Good)
    });
    let stale = || {
        let words = "this link is not good (any more); `rosterd invites list` shows why, `rosterd invites resend` sends another";
        EngineError::Stale(words.to_owned())
    };
    let invite = good.ok_or_else(stale)?;
    let writes = over(&invite, InviteState::Accepted, by, now).into();
    shared.store.commit(writes, shared.store.fence()).await?;
    // Access may have ended since it was read: then that end stands, and lets nobody in.
    let kept = shared.store.invites(&filter).await?.pop();
    kept.filter(|kept| kept.state == InviteState::Accepted).ok_or_else(stale)
}

fn event(invite: &Invite, state: InviteState, by: &str, at: DateTime<Utc>) -> AuditEvent {
    let details = BTreeMap::from([
        ("invite".to_owned(), invite.id.as_str().into()),
        ("state".to_owned(), state.as_str().into()),
        ("resent".to_owned(), invite.resent.into()),
    ]);
    AuditEvent {
        at,
        target: Some(invite.space.target.clone()),
        kind: "invite".to_owned(),
        actor: by.to_owned(),
        record: Some(invite.record.clone()),
        cycle: None,
        details,
    }
}
