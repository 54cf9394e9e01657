//! The file: opening it, and words for what goes wrong.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use sqlx::ConnectOptions;
use sqlx::Connection;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::sqlite::SqliteSynchronous;
use tokio::sync::Mutex;

use crate::connector::ConnectorError;
use crate::connector::ErrorClass;

/// `application_id` of a directory: the bytes `rord`.
const APPLICATION: i64 = 0x726f_7264;

/// One script a schema version, in order; each sets `user_version` itself. Forward only.
const MIGRATIONS: [&str; 2] = [include_str!("schema.sql"), include_str!("password.sql")];

/// The open file.
pub(super) struct File {
    path: PathBuf,
    pub(super) writer: Mutex<SqliteConnection>,
    pub(super) reader: Mutex<SqliteConnection>,
}

/// What can go wrong inside.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("{0}")]
    Sql(#[from] sqlx::Error),
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// An answer to the one operation at hand; the file is fine.
    #[error("{0}")]
    Answer(ConnectorError),
    /// The file is not what it should be.
    #[error("{0}")]
    Foreign(String),
}

impl Fault {
    /// An answer to one operation.
    pub(super) fn answer(class: ErrorClass, message: impl Into<String>) -> Self {
        Self::Answer(ConnectorError { class, message: message.into(), retry_after: None })
    }

    /// The sentence for a person, and whether to try again.
    pub(super) fn into_error(self, path: &Path) -> ConnectorError {
        let file = path.display();
        let (class, message) = match self {
            Self::Answer(error) => return error,
            Self::Foreign(text) => (ErrorClass::Door, format!("the embedded directory `{file}` {text}")),
            Self::Json(error) => (
                ErrorClass::Door,
                format!(
                    "the embedded directory `{file}` holds a resource that cannot be read ({error}); put back a copy of the file"
                ),
            ),
            Self::Sql(error) => of_sqlite(&error, path),
        };
        ConnectorError { class, message, retry_after: None }
    }
}

impl File {
    pub(super) async fn open(path: PathBuf) -> Result<Self, Fault> {
        make_private(&path)?;
        let mut writer = options(&path).connect().await?;
        migrate(&mut writer).await?;
        sqlx::query("PRAGMA journal_mode = WAL").execute(&mut writer).await?;
        let reader = options(&path).read_only(true).connect().await?;
        Ok(Self { path, writer: Mutex::new(writer), reader: Mutex::new(reader) })
    }

    /// A reading connection of one's own, for what takes long.
    pub(super) async fn another_reader(&self) -> Result<SqliteConnection, Fault> {
        Ok(options(&self.path).read_only(true).connect().await?)
    }
}

/// Makes the file, for its owner alone, before SQLite would make it for everybody: people stand in it.
fn make_private(path: &Path) -> Result<(), Fault> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(Fault::Foreign(format!("cannot be made ({error}); let the user that runs rosterd write its folder")))
        }
        _ => Ok(()),
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .disable_statement_logging()
}

async fn migrate(db: &mut SqliteConnection) -> Result<(), Fault> {
    let mut tx = db.begin_with("BEGIN IMMEDIATE").await?;
    let application: i64 = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *tx).await?;
    let version: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *tx).await?;
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(&mut *tx).await?;
    if application != APPLICATION && (application != 0 || tables != 0) {
        return Err(Fault::Foreign("is a database of another program; move it away".to_owned()));
    }
    let done = usize::try_from(version).unwrap_or(usize::MAX);
    if done > MIGRATIONS.len() {
        let text = format!("was written by a newer rosterd (schema {version}); run that one, or move the file away");
        return Err(Fault::Foreign(text));
    }
    for script in MIGRATIONS.iter().skip(done) {
        sqlx::raw_sql(*script).execute(&mut *tx).await?;
    }
    Ok(tx.commit().await?)
}

/// The primary result code of SQLite (<https://www.sqlite.org/rescode.html>) in words.
fn of_sqlite(error: &sqlx::Error, path: &Path) -> (ErrorClass, String) {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    let primary = code.and_then(|code| code.parse::<i32>().ok()).map(|code| code & 0xff);
    let (class, text) = match primary {
        Some(5 | 6) => (ErrorClass::Transient, "is locked by another program that opened it".to_owned()),
        Some(13) => (ErrorClass::Transient, "cannot grow: the disk is full; free some space".to_owned()),
        Some(8 | 14) => (
            ErrorClass::Door,
            "cannot be opened or written; let the user that runs rosterd write the file and its folder".to_owned(),
        ),
        Some(11 | 26) => {
            (ErrorClass::Door, "is damaged or no database; put back a copy of the file, or move it away".to_owned())
        }
        _ => (ErrorClass::Transient, format!("failed: {error}")),
    };
    (class, format!("the embedded directory `{}` {text}", path.display()))
}
