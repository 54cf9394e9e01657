//! The outbox and invites.

use sqlx::AssertSqlSafe;
use sqlx::PgConnection;

use crate::model::ids::RecordId;
use crate::model::ids::TargetName;
use crate::model::invite::Invite;
use crate::model::invite::InviteFilter;
use crate::model::invite::InviteState;
use crate::model::invite::InviteWrite;
use crate::model::link::Space;
use crate::model::message::Backlog;
use crate::model::message::MessageFilter;
use crate::model::message::MessageWrite;
use crate::model::message::Posted;
use crate::secrets::keys::Keys;
use crate::store::outbox;
use crate::store::outbox::InviteRow;
use crate::store::outbox::PostedRow;
use crate::store::outbox::bound_or_all;
use crate::store::outbox::moment;
use crate::store::rows::nanos;
use crate::stores::postgres::fault::Fault;
use crate::stores::postgres::write;

pub(super) async fn messages(db: &mut PgConnection, keys: &Keys, filter: &MessageFilter) -> Result<Vec<Posted>, Fault> {
    let limit = bound_or_all(filter.limit);
    let rows: Vec<PostedRow> = if let Some((channel, by, far)) = &filter.due {
        let query = sqlx::query_as(outbox::DUE).bind(channel).bind(nanos(*by)).bind(nanos(*far)).bind(limit);
        query.fetch_all(db).await?
    } else if let Some(id) = &filter.id {
        sqlx::query_as(outbox::ONE).bind(id.as_str()).fetch_all(db).await?
    } else if let Some(record) = &filter.record {
        sqlx::query_as(outbox::ABOUT).bind(record.as_str()).bind(limit).fetch_all(db).await?
    } else {
        sqlx::query_as(outbox::NEWEST).bind(limit).fetch_all(db).await?
    };
    rows.into_iter().map(|row| Ok(outbox::posted(keys, row)?)).collect()
}

pub(super) async fn backlogs(db: &mut PgConnection) -> Result<Vec<Backlog>, Fault> {
    let rows: Vec<(String, i64, i64, i64)> = sqlx::query_as(outbox::BACKLOGS).fetch_all(db).await?;
    Ok(rows.into_iter().map(outbox::backlog).collect())
}

pub(super) async fn invites(db: &mut PgConnection, keys: &Keys, filter: &InviteFilter) -> Result<Vec<Invite>, Fault> {
    let mut query = sqlx::query_as(AssertSqlSafe(outbox::invites(filter))).bind(bound_or_all(filter.limit));
    for parameter in outbox::invite_parameters(filter) {
        query = query.bind(parameter);
    }
    let rows: Vec<InviteRow> = query.fetch_all(db).await?;
    rows.into_iter().map(|row| Ok(outbox::invite(keys, row)?)).collect()
}

pub(super) async fn invite_counts(db: &mut PgConnection) -> Result<Vec<(TargetName, InviteState, u64)>, Fault> {
    let rows: Vec<(String, String, i64)> = sqlx::query_as(outbox::COUNTS).fetch_all(db).await?;
    rows.into_iter().map(|row| Ok(outbox::count(row)?)).collect()
}

pub(super) async fn write_messages(db: &mut PgConnection, keys: &Keys, writes: &[MessageWrite]) -> Result<(), Fault> {
    for write in writes {
        let query = match write {
            MessageWrite::Put(posted) => {
                put(db, keys, posted).await?;
                continue;
            }
            MessageWrite::Release(id, due) => sqlx::query(outbox::RELEASE).bind(id.as_str()).bind(nanos(*due)),
            MessageWrite::Later { id, due, attempts, since, why } => {
                let why = outbox::sealed_why(keys, id.as_str(), Some(why))?;
                let query = sqlx::query(outbox::LATER).bind(id.as_str()).bind(nanos(*due));
                query.bind(i64::from(*attempts)).bind(why).bind(nanos(*since))
            }
            MessageWrite::End { id, state, at, why } => {
                let why = outbox::sealed_why(keys, id.as_str(), why.as_deref())?;
                let query = sqlx::query(outbox::END).bind(id.as_str()).bind(state.as_str());
                query.bind(nanos(*at)).bind(why)
            }
            MessageWrite::Forget(before) => sqlx::query(outbox::FORGET).bind(nanos(*before)),
        };
        query.execute(&mut *db).await?;
    }
    Ok(())
}

async fn put(db: &mut PgConnection, keys: &Keys, posted: &Posted) -> Result<(), Fault> {
    let (why, body) = outbox::sealed(keys, posted)?;
    let Posted { id, channel, at, target, record, state, due, attempts, since, why: _, ended, content: _ } = posted;
    let query = sqlx::query(outbox::PUT).bind(id.as_str()).bind(channel);
    let query = query.bind(target.as_ref().map(TargetName::as_str));
    let query = query.bind(record.as_ref().map(RecordId::as_str));
    let query = query.bind(nanos(*at)).bind(state.as_str()).bind(nanos(*due)).bind(i64::from(*attempts));
    query.bind(moment(*since)).bind(why).bind(moment(*ended)).bind(body).execute(db).await?;
    Ok(())
}

pub(super) async fn write_invites(db: &mut PgConnection, keys: &Keys, writes: &[InviteWrite]) -> Result<(), Fault> {
    for write in writes {
        match write {
            InviteWrite::Put(invite) => {
                let space: &Space = &invite.space;
                let space = write::intern(db, space).await?;
                put_invite(db, keys, space, invite).await?;
            }
            InviteWrite::Open(id) => {
                sqlx::query(outbox::OPEN_INVITE).bind(id.as_str()).execute(&mut *db).await?;
            }
            InviteWrite::End { id, message, state, at } => {
                if *state != InviteState::Accepted {
                    let query = sqlx::query(outbox::VOID_MAIL).bind(id.as_str()).bind(message.as_str());
                    query.bind(nanos(*at)).execute(&mut *db).await?;
                }
                let query = sqlx::query(outbox::END_INVITE).bind(id.as_str()).bind(message.as_str());
                query.bind(state.as_str()).bind(nanos(*at)).execute(&mut *db).await?;
            }
            InviteWrite::Forget(before) => {
                sqlx::query(outbox::FORGET_INVITES).bind(nanos(*before)).execute(&mut *db).await?;
            }
            InviteWrite::EndOf(space, record, state, at) => {
                let space = write::intern(db, space).await?;
                if *state != InviteState::Accepted {
                    let query = sqlx::query(outbox::VOID_MAILS).bind(space).bind(record.as_str());
                    query.bind(nanos(*at)).execute(&mut *db).await?;
                }
                let query = sqlx::query(outbox::END_INVITES).bind(space).bind(record.as_str());
                query.bind(state.as_str()).bind(nanos(*at)).execute(&mut *db).await?;
            }
        }
    }
    Ok(())
}

async fn put_invite(db: &mut PgConnection, keys: &Keys, space: i64, invite: &Invite) -> Result<(), Fault> {
    let body = outbox::sealed_invite(keys, invite)?;
    let Invite { id, space: _, record, kind, to: _, token, message, made, expires, resent, state, ended } = invite;
    let query = sqlx::query(outbox::PUT_INVITE).bind(id.as_str()).bind(space).bind(record.as_str());
    let query = query.bind(kind.as_str()).bind(token).bind(message.as_str()).bind(nanos(*made));
    let query = query.bind(moment(*expires)).bind(i64::from(*resent)).bind(state.as_str());
    query.bind(moment(*ended)).bind(body).execute(db).await?;
    Ok(())
}
