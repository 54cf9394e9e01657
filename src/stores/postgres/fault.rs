//! What can go wrong inside, and the words for it.

use sqlx::postgres::PgDatabaseError;

use crate::secrets::keys::KeysError;
use crate::store::StoreError;
use crate::store::rows::RowError;
use crate::store::transfer::TransferError;

/// An error inside the store, before it is put into words.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("{0}")]
    Sql(#[from] sqlx::Error),
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    #[error("{0}")]
    Keys(#[from] KeysError),
    #[error("{0}")]
    Plain(StoreError),
    /// The server gave no answer within our own limit.
    #[error("no answer")]
    Late,
}

/// What a fault means for the connection and for another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The connection is of no more use; on a fresh one it may go through.
    Cut,
    /// Two transactions met; the same one may go through at once.
    Conflict,
    /// Another try would give the same.
    Final,
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::say(format!(
            "the file of audit heads cannot be written: {error}; let the user that runs rosterd write it"
        ))
    }
}

impl From<TransferError> for Fault {
    fn from(error: TransferError) -> Self {
        Self::refuse(error.to_string())
    }
}

impl From<RowError> for Fault {
    fn from(error: RowError) -> Self {
        match error {
            RowError::Json(error) => Self::Json(error),
            RowError::Keys(error) => Self::Keys(error),
            RowError::Text(text) => Self::say(text),
        }
    }
}

impl Fault {
    /// A sentence of our own.
    pub(super) fn say(text: impl Into<String>) -> Self {
        Self::Plain(StoreError::Unavailable(text.into()))
    }

    /// A sentence of our own about writes that contradict what the store holds.
    pub(super) fn refuse(text: impl Into<String>) -> Self {
        Self::Plain(StoreError::Refused(text.into()))
    }

    /// What it means (`PostgreSQL` 15, appendix A: error codes).
    pub(super) fn kind(&self) -> Kind {
        let Self::Sql(error) = self else {
            return if matches!(self, Self::Late) { Kind::Cut } else { Kind::Final };
        };
        match (error, code(error)) {
            // Serialization failure, deadlock.
            (_, Some("40001" | "40P01")) => Kind::Conflict,
            // Class 08, and a server that is stopping, crashed or starting; a transaction that was
            // idle for too long has lost its connection too.
            (_, Some(code)) if code.starts_with("08") || code.starts_with("57P") || code == "25P03" => Kind::Cut,
            (
                sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed,
                None,
            ) => Kind::Cut,
            _ => Kind::Final,
        }
    }

    /// The sentence for a person: what is wrong with which store, and what to do.
    pub(super) fn into_error(self, place: &str) -> StoreError {
        let text = match self {
            Self::Plain(error) => return error,
            // Class 23, a constraint: the same rows would break it again.
            Self::Sql(error) if code(&error).is_some_and(|code| code.starts_with("23")) => {
                return StoreError::Refused(format!("the store {place} refuses the writes: {}", said(&error)));
            }
            Self::Sql(error) => format!("the store {place} {}", words(&error)),
            Self::Json(error) => format!(
                "the store {place} holds a row that cannot be read ({error}); run `rosterd audit verify`, then put \
                 back a copy of the database"
            ),
            Self::Keys(error) => format!("the store {place}: {error}"),
            Self::Late => format!("the store {place} gives no answer; check the server and the network between"),
        };
        StoreError::Unavailable(text)
    }
}

/// The five characters of an SQLSTATE.
fn code(error: &sqlx::Error) -> Option<&str> {
    let error = error.as_database_error()?;
    error.try_downcast_ref::<PgDatabaseError>().map(PgDatabaseError::code)
}

/// What the server said: its text names tables and roles, and no value of a row (that stands in the
/// detail, which is left out).
fn said(error: &sqlx::Error) -> String {
    error.as_database_error().map_or_else(|| error.to_string(), |error| error.message().to_owned())
}

fn words(error: &sqlx::Error) -> String {
    let said = said(error);
    match code(error) {
        Some("28P01") => format!("does not take the password ({said}); mend the URL in the secret under `store`"),
        Some("28000") => format!("does not let this user in ({said}); mend the URL, or `pg_hba.conf` of the server"),
        Some("3D000") => format!("has no such database ({said}); make it with `createdb`, or mend the URL"),
        Some("3F000") => format!("has no such schema ({said}); make it, or mend the URL"),
        Some("42501") => format!(
            "does not give its user the rights ({said}); let that user own the database, or `GRANT CREATE, USAGE ON \
             SCHEMA` to it"
        ),
        Some("42P07") => {
            format!("holds tables of another program ({said}); name a database or schema that is rosterd's alone")
        }
        Some("42P01" | "42703") => format!(
            "lacks a part of its schema ({said}); put back a copy of the database, or give rosterd an empty one to \
             start anew (every target is at first contact then)"
        ),
        Some("25006") => format!(
            "is read-only ({said}): it is a standby, or was told so; name the primary in the URL, or let it be written"
        ),
        Some("53100") => {
            format!("cannot grow: its disk is full ({said}); free some space there, rosterd goes on by itself")
        }
        Some("53300") => format!("has no connection left ({said}); raise `max_connections`: rosterd takes four"),
        Some("55P03" | "57014") => {
            format!("is held up by another session ({said}); end that session, rosterd goes on by itself")
        }
        Some("57P01" | "57P02" | "57P03") => {
            format!("is stopping or starting ({said}); rosterd goes on once it answers")
        }
        Some("XX001" | "XX002") => format!("is damaged ({said}); put back a copy of the database"),
        Some(code) => format!("failed: {said} (SQLSTATE {code})"),
        None => unanswered(error).unwrap_or_else(|| format!("failed: {said}")),
    }
}

/// What is wrong where the server itself said nothing.
fn unanswered(error: &sqlx::Error) -> Option<String> {
    if let sqlx::Error::Io(error) = error {
        return Some(format!("does not answer ({error}); start it, or check the network between"));
    }
    let sqlx::Error::Tls(error) = error else { return None };
    Some(format!(
        "cannot be trusted ({error}); add `sslrootcert=FILE` to the URL for a certificate authority of your own"
    ))
}
