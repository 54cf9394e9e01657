//! What can go wrong inside, and the words for it.

use std::path::Path;

use crate::secrets::keys::KeysError;
use crate::store::StoreError;
use crate::store::rows::RowError;
use crate::store::transfer::TransferError;

/// What is said of a file that is no longer where it was opened.
pub(super) const GONE: &str = "was deleted or replaced while rosterd runs, so nothing can be remembered and nobody is \
     given access: put that very file back (`mv`), or stop rosterd, put back the newest copy (and move the `-wal` and \
     `-shm` files that lie there to a safe place: they may hold what no copy has) and start it again; without any copy a fresh store begins with every target at first contact (`rosterd enforce TARGET`)";

/// What is said of a file into which another program wrote.
pub(super) const OTHERS: &str = "was written by another program while rosterd runs, perhaps by a copy put into its place, \
     so nothing of it can be believed and nobody is given access: stop rosterd, put back the newest copy (and move the \
     `-wal` and `-shm` files that lie there to a safe place: they may hold what no copy has) and start it again; what changed since that copy waits for `rosterd enforce TARGET`";

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
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Plain(StoreError),
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

    /// The sentence for a person: what is wrong with which file, and what to do.
    pub(super) fn into_error(self, path: &Path) -> StoreError {
        let file = path.display();
        let text = match self {
            Self::Plain(error) => return error,
            // `SQLITE_CONSTRAINT`: the same rows would break it again.
            Self::Sql(error) if code(&error).is_some_and(|code| code & 0xff == 19) => {
                return StoreError::Refused(format!("the store `{file}` refuses the writes: {error}"));
            }
            Self::Sql(error) => format!("the store `{file}` {}", of_sqlite(&error)),
            Self::Json(error) => format!(
                "the store `{file}` holds a row that cannot be read ({error}); run `rosterd audit verify`, then put \
                 back a copy of the file"
            ),
            Self::Keys(error) => format!("the store `{file}`: {error}"),
            Self::Io(error) => format!("the store `{file}` cannot be opened: {error}"),
        };
        StoreError::Unavailable(text)
    }
}

/// `SQLITE_READONLY_DBMOVED`: the file was moved or deleted since it was opened.
const MOVED: i32 = 1032;

/// The result code of SQLite (<https://www.sqlite.org/rescode.html>) in words.
fn of_sqlite(error: &sqlx::Error) -> String {
    let code = code(error);
    if code == Some(MOVED) {
        return GONE.to_owned();
    }
    match code.map(|code| code & 0xff) {
        Some(5 | 6) => "is locked by another program that opened the file; close that program and try again".to_owned(),
        Some(8) => "cannot be written; let the user that runs rosterd write the file and its folder".to_owned(),
        Some(10) => format!("cannot be read or written: the disk failed ({error}); check the disk"),
        Some(11) => "is damaged; put back a copy of the file, or move it away to start anew (every target is at first \
             contact then)"
            .to_owned(),
        Some(13) => "cannot grow: the disk is full; free some space and try again".to_owned(),
        Some(14) => "cannot be opened; check that its folder exists and can be written".to_owned(),
        Some(26) => "is not a database; name another file under `store`, or move this one away".to_owned(),
        _ => format!("failed: {error}"),
    }
}

fn code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code)?.parse().ok()
}
