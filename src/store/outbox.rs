//! Rows of the outbox and of invites, and the statements about them: the same in every store that
//! keeps rows.

use chrono::DateTime;
use chrono::Utc;
use serde::Deserialize;
use serde::Serialize;

use crate::model::ids::TargetName;
use crate::model::invite::CredentialKind;
use crate::model::invite::Invite;
use crate::model::invite::InviteFilter;
use crate::model::invite::InviteState;
use crate::model::link::Space;
use crate::model::message::Backlog;
use crate::model::message::Content;
use crate::model::message::MessageState;
use crate::model::message::Posted;
use crate::secrets::keys::Keys;
use crate::store::rows::RowError;
use crate::store::rows::nanos;
use crate::store::rows::opened;
use crate::store::rows::unknown_word;

/// Id, channel, target, record, at, state, due, attempts, first try, sealed reason, ended, sealed content.
pub type PostedRow = (
    String,
    String,
    Option<String>,
    Option<String>,
    i64,
    String,
    i64,
    i64,
    Option<i64>,
    Option<Vec<u8>>,
    Option<i64>,
    Option<Vec<u8>>,
);
/// Id, target, environment, realm, record, kind, token, message, made, expires, resent, state, ended,
/// sealed address.
pub type InviteRow = (
    String,
    String,
    String,
    String,
    String,
    String,
    Option<String>,
    String,
    i64,
    Option<i64>,
    i64,
    String,
    Option<i64>,
    Vec<u8>,
);

/// What is due in a channel, the oldest first.
pub const DUE: &str = "SELECT id, channel, target, record, at, state, due, attempts, since, why, ended, body
    FROM outbox WHERE channel = $1 AND state = 'due' AND (due <= $2 OR due > $3) ORDER BY due, seq LIMIT $4";
/// One message.
pub const ONE: &str = "SELECT id, channel, target, record, at, state, due, attempts, since, why, ended, body
    FROM outbox WHERE id = $1";
/// What was told about a user, the newest first.
pub const ABOUT: &str = "SELECT id, channel, target, record, at, state, due, attempts, since, why, ended, body
    FROM outbox WHERE record = $1 ORDER BY seq DESC LIMIT $2";
/// What was told at all, the newest first.
pub const NEWEST: &str = "SELECT id, channel, target, record, at, state, due, attempts, since, why, ended, body
    FROM outbox ORDER BY seq DESC LIMIT $1";
/// What waits, by channel.
pub const BACKLOGS: &str = "SELECT channel, count(*), min(at), min(due) FROM outbox WHERE state = 'due'
    GROUP BY channel ORDER BY channel";
/// A new message; a fact is told once.
pub const PUT: &str = "INSERT INTO outbox
    (id, channel, target, record, at, state, due, attempts, since, why, ended, body)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (id) DO NOTHING";
/// The fact of a held message is certain.
pub const RELEASE: &str = "UPDATE outbox SET state = 'due', due = $2 WHERE id = $1 AND state = 'held'";
/// A message was tried in vain.
pub const LATER: &str = "UPDATE outbox SET due = $2, attempts = $3, why = $4, since = COALESCE(since, $5)
    WHERE id = $1 AND state = 'due'";
/// A message came to its end.
pub const END: &str = "UPDATE outbox SET state = $2, ended = $3, why = $4, body = NULL
    WHERE id = $1 AND state IN ('held', 'due')";
/// What ended long ago.
pub const FORGET: &str = "DELETE FROM outbox WHERE ended < $1";

/// What is read of invites.
const INVITES: &str = "SELECT i.id, s.target, s.environment, s.realm, i.record, i.kind, i.token, i.message, i.made,
    i.expires, i.resent, i.state, i.ended, i.body FROM invite i JOIN space s ON s.id = i.space";
/// Invites by target and state.
pub const COUNTS: &str = "SELECT s.target, c.state, c.count FROM
    (SELECT space, state, count(*) AS count FROM invite GROUP BY space, state) c JOIN space s ON s.id = c.space";
/// A new invite, or one sent again.
pub const PUT_INVITE: &str = "INSERT INTO invite
    (id, space, record, kind, token, message, made, expires, resent, state, ended, body)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (id) DO UPDATE SET
    token = excluded.token, message = excluded.message, made = excluded.made, expires = excluded.expires,
    resent = excluded.resent, state = excluded.state, ended = excluded.ended, body = excluded.body
    WHERE invite.resent + 1 = excluded.resent AND invite.state IN ('sent', 'expired')";
/// The account of a held invite is there.
pub const OPEN_INVITE: &str = "UPDATE invite SET state = 'sent' WHERE id = $1 AND state = 'held'";
/// An open invite ended.
pub const END_INVITE: &str = "UPDATE invite SET state = $3, ended = $4
    WHERE id = $1 AND message = $2 AND state IN ('held', 'sent')";
/// The mail of an open invite does not leave any more.
pub const VOID_MAIL: &str = "UPDATE outbox SET state = 'void', ended = $3, body = NULL WHERE state IN ('held', 'due')
    AND id = $2 AND EXISTS (SELECT 1 FROM invite WHERE id = $1 AND message = $2 AND state IN ('held', 'sent'))";
/// Every open invite of a user ended.
pub const END_INVITES: &str = "UPDATE invite SET state = $3, ended = $4
    WHERE space = $1 AND record = $2 AND state IN ('held', 'sent')";
/// Their mails do not leave any more.
pub const VOID_MAILS: &str = "UPDATE outbox SET state = 'void', ended = $3, body = NULL WHERE state IN ('held', 'due')
    AND id IN (SELECT message FROM invite WHERE space = $1 AND record = $2 AND state IN ('held', 'sent'))";

/// Invites that ended long ago.
pub const FORGET_INVITES: &str = "DELETE FROM invite WHERE ended < $1";

/// The statement that finds these invites, the newest first: its parameters are the number of rows, then
/// [`invite_parameters`]. One a filter, since a database finds no index for what may be left out.
pub fn invites(filter: &InviteFilter) -> String {
    let InviteFilter { target, record, token, state, limit: _ } = filter;
    let columns = [
        (target.is_some(), "i.space IN (SELECT id FROM space WHERE target = "),
        (record.is_some(), "i.record = "),
        (token.is_some(), "i.token = "),
    ];
    let named = columns.into_iter().filter(|(named, _)| *named).zip(2..);
    let mut conditions: Vec<String> = named
        .map(|((_, column), number)| format!("{column}${number}{}", if column.contains('(') { ")" } else { "" }))
        .collect();
    conditions.extend(state.map(|state| format!("i.state = '{}'", state.as_str())));
    let wanted = if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
    format!("{INVITES}{wanted} ORDER BY i.made DESC, i.id DESC LIMIT $1")
}

/// The parameters of [`invites`] behind the first.
pub fn invite_parameters(filter: &InviteFilter) -> impl Iterator<Item = String> {
    let InviteFilter { target, record, token, state: _, limit: _ } = filter;
    let target = target.as_ref().map(|target| target.as_str().to_owned());
    let record = record.as_ref().map(|record| record.as_str().to_owned());
    [target, record, token.clone()].into_iter().flatten()
}

/// How many invites of a target got how far.
pub fn count((target, state, count): (String, String, i64)) -> Result<(TargetName, InviteState, u64), RowError> {
    let state = InviteState::ALL.into_iter().find(|word| word.as_str() == state);
    Ok((target.into(), state.ok_or_else(|| unknown_word("invite"))?, count.unsigned_abs()))
}

/// What the content of a message is bound to.
fn content_context(id: &str) -> String {
    format!("store outbox {id}")
}

/// What the reason of a message is bound to: it may quote a mail server, and that the address.
fn why_context(id: &str) -> String {
    format!("store outbox why {id}")
}

fn invite_context(id: &str) -> String {
    format!("store invite {id}")
}

/// In the place of a reason that cannot be opened.
const UNREADABLE: &str = "the reason cannot be opened by the key of this store";

/// What is sealed of an invite.
#[derive(Serialize, Deserialize)]
struct InviteBody {
    to: String,
}

/// A sealed column, where there is something to seal.
pub type Sealed = Option<Vec<u8>>;

/// The sealed columns of a message: reason and content.
pub fn sealed(keys: &Keys, posted: &Posted) -> Result<(Sealed, Sealed), RowError> {
    let Posted { id, why, content, .. } = posted;
    let content = match content {
        Some(content) => {
            let plain = zeroize::Zeroizing::new(serde_json::to_vec(content)?);
            Some(keys.seal(&content_context(id.as_str()), &plain)?)
        }
        None => None,
    };
    Ok((sealed_why(keys, id.as_str(), why.as_deref())?, content))
}

/// The sealed reason of a message.
pub fn sealed_why(keys: &Keys, id: &str, why: Option<&str>) -> Result<Option<Vec<u8>>, RowError> {
    Ok(why.map(|why| keys.seal(&why_context(id), why.as_bytes())).transpose()?)
}

/// The sealed address of an invite.
pub fn sealed_invite(keys: &Keys, invite: &Invite) -> Result<Vec<u8>, RowError> {
    let body = serde_json::to_vec(&InviteBody { to: invite.to.clone() })?;
    Ok(keys.seal(&invite_context(invite.id.as_str()), &body)?)
}

/// A message. One that cannot be opened says nothing, and keeps no other from being read.
pub fn posted(keys: &Keys, row: PostedRow) -> Result<Posted, RowError> {
    let (id, channel, target, record, at, state, due, attempts, since, why, ended, body) = row;
    let why = why.map(|sealed| match keys.open(&why_context(&id), &sealed) {
        Ok(why) => String::from_utf8_lossy(&why).into_owned(),
        Err(_) => UNREADABLE.to_owned(),
    });
    let content: Option<Content> = body.and_then(|sealed| opened(keys, &content_context(&id), &sealed).ok());
    let state = MessageState::ALL.into_iter().find(|word| word.as_str() == state);
    Ok(Posted {
        id: id.into(),
        channel,
        at: DateTime::from_timestamp_nanos(at),
        target: target.map(Into::into),
        record: record.map(Into::into),
        state: state.ok_or_else(|| unknown_word("message"))?,
        due: DateTime::from_timestamp_nanos(due),
        attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        since: since.map(DateTime::from_timestamp_nanos),
        why,
        ended: ended.map(DateTime::from_timestamp_nanos),
        content,
    })
}

/// What waits in a channel.
pub fn backlog((channel, depth, oldest, next): (String, i64, i64, i64)) -> Backlog {
    Backlog {
        channel,
        depth: depth.unsigned_abs(),
        oldest: DateTime::from_timestamp_nanos(oldest),
        next: DateTime::from_timestamp_nanos(next),
    }
}

/// An invite.
pub fn invite(keys: &Keys, row: InviteRow) -> Result<Invite, RowError> {
    let (id, target, environment, realm, record, kind, token, message, made, expires, resent, state, ended, body) = row;
    let InviteBody { to } = opened(keys, &invite_context(&id), &body)?;
    let kind = CredentialKind::ALL.into_iter().find(|word| word.as_str() == kind);
    let state = InviteState::ALL.into_iter().find(|word| word.as_str() == state);
    Ok(Invite {
        id: id.into(),
        space: Space { target: target.into(), environment: environment.into(), realm: realm.into() },
        record: record.into(),
        kind: kind.ok_or_else(|| unknown_word("invite"))?,
        to,
        token,
        message: message.into(),
        made: DateTime::from_timestamp_nanos(made),
        expires: expires.map(DateTime::from_timestamp_nanos),
        resent: u32::try_from(resent).unwrap_or(u32::MAX),
        state: state.ok_or_else(|| unknown_word("invite"))?,
        ended: ended.map(DateTime::from_timestamp_nanos),
    })
}

/// The number of rows that a filter lets through, as the database takes it.
pub fn bound_or_all(limit: usize) -> i64 {
    if limit == 0 { i64::MAX } else { crate::store::rows::bound(limit) }
}

/// A moment as its column holds it.
pub fn moment(at: Option<DateTime<Utc>>) -> Option<i64> {
    at.map(nanos)
}
