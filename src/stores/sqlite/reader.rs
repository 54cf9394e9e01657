//! Connections that read. Each is opened when it is first needed: a start waits for none, and a small
//! installation never opens the last of them.

use std::path::Path;

use sqlx::ConnectOptions;
use sqlx::Connection;
use sqlx::SqliteConnection;

use crate::store::StoreError;
use crate::stores::sqlite::closed;
use crate::stores::sqlite::fault::Fault;
use crate::stores::sqlite::file;

/// A reader, or its place.
#[derive(Default)]
pub(super) enum Reader {
    /// Nobody needed it yet.
    #[default]
    Unopened,
    Open(SqliteConnection),
    /// The store is closed, and it with it.
    Closed,
}

impl Reader {
    /// # Errors
    /// Where the store is closed.
    pub(super) fn is_usable(&self) -> Result<(), StoreError> {
        match self {
            Self::Unopened | Self::Open(_) => Ok(()),
            Self::Closed => Err(closed()),
        }
    }

    /// Opens it where nobody did yet; whether that was done now.
    pub(super) async fn open(&mut self, path: &Path) -> Result<bool, Fault> {
        let opens = matches!(self, Self::Unopened);
        if opens {
            let options = file::options(path).read_only(true);
            *self = Self::Open(options.connect().await?);
        }
        Ok(opens)
    }

    /// The connection of one that is open.
    pub(super) fn connection(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        match self {
            Self::Open(connection) => Ok(connection),
            Self::Unopened | Self::Closed => Err(closed()),
        }
    }

    pub(super) async fn close(&mut self) {
        if let Self::Open(connection) = std::mem::replace(self, Self::Closed) {
            // A failure to tidy up loses nothing.
            drop(connection.close().await);
        }
    }
}
