//! A store out to a file, and in from one.

use std::fs::File;
use std::fs::OpenOptions;
use std::io::BufReader;
use std::io::BufWriter;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::app::AppError;
use crate::app::beside::Beside;
use crate::app::connectors;
use crate::app::url_of;
use crate::secrets::vault::Vault;
use crate::settings;
use crate::settings::Settings;
use crate::store::Store;
use crate::store::StoreError;
use crate::stores::postgres::PostgresStore;
use crate::stores::sqlite::SqliteStore;

/// Whichever the settings name.
enum Open {
    File(SqliteStore),
    Database(PostgresStore),
}

impl Open {
    async fn close(&self) {
        match self {
            Self::File(store) => store.close().await,
            Self::Database(store) => store.close().await,
        }
    }
}

async fn open(settings: &Settings) -> Result<Open, AppError> {
    let keys = Arc::new(connectors::keys(settings)?);
    let vault = Vault::new(settings.secrets.clone(), settings::environment)
        .map_err(|error| AppError::Secrets(error.to_string()))?;
    let opened = match url_of(settings, &vault)? {
        None => SqliteStore::open(&settings.store, keys, "store").await.map(Open::File),
        Some(url) => {
            let heads = PostgresStore::heads_beside(&keys, settings.store.with_file_name("rosterd.heads"));
            PostgresStore::open(url.expose(), heads, keys, "store").await.map(Open::Database)
        }
    };
    opened.map_err(|error| match (error, Beside::of(&settings.store).server()) {
        (StoreError::Held(_), Some(server)) => AppError::Held { server },
        (error, _) => AppError::Store(error),
    })
}

fn failed(path: &Path, error: std::io::Error) -> AppError {
    AppError::File { path: path.to_owned(), error }
}

/// Writes the store out to a file that must not be there yet; how many rows.
///
/// # Errors
/// [`AppError::Held`] while a daemon has the store: what it remembers meanwhile would be missing.
pub async fn export(settings: &Settings, path: &Path) -> Result<u64, AppError> {
    if settings.postgres.is_none() && !settings.store.exists() {
        return Err(AppError::NoStore(settings.store.clone()));
    }
    if path.exists() {
        return Err(failed(path, std::io::ErrorKind::AlreadyExists.into()));
    }
    let store = open(settings).await?;
    // Under another name until it is whole: half an export looks like one.
    let draft = draft_of(path);
    let written = write_out(&store, &draft).await;
    store.close().await;
    let moved = written.and_then(|rows| {
        std::fs::rename(&draft, path).map_err(|error| failed(path, error))?;
        Ok(rows)
    });
    if moved.is_err() {
        // It is as if nothing had been begun.
        drop(std::fs::remove_file(&draft));
    }
    moved
}

fn draft_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

async fn write_out(store: &Open, draft: &Path) -> Result<u64, AppError> {
    let told = |error| failed(draft, error);
    match std::fs::remove_file(draft) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(told(error)),
        Ok(()) | Err(_) => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(draft).map_err(told)?;
    let out = BufWriter::new(file.try_clone().map_err(told)?);
    let rows = match store {
        Open::File(store) => store.export(out).await,
        Open::Database(store) => store.export(out).await,
    }?;
    file.sync_all().map_err(told)?;
    Ok(rows)
}

/// What an import did.
pub struct Imported {
    /// How many rows.
    pub rows: u64,
    /// What is wrong with the audit log that came along.
    pub findings: Vec<String>,
}

/// Takes a file in, and checks the audit log that came along.
///
/// # Errors
/// As [`export`]; and where the store remembers something, or the file is not whole and ours.
pub async fn import(settings: &Settings, path: &Path) -> Result<Imported, AppError> {
    let input = BufReader::new(File::open(path).map_err(|error| failed(path, error))?);
    let missing: Vec<_> = beside(settings).into_iter().filter(|path| !path.exists()).collect();
    let store = open(settings).await?;
    let rows = match &store {
        Open::File(store) => store.import(input).await,
        Open::Database(store) => store.import(input).await,
    };
    if rows.is_err() {
        // A store with keys of its own would be taken for the one that was to come. As long as it is ours.
        for path in missing {
            drop(std::fs::remove_file(path));
        }
    }
    store.close().await;
    let rows = rows?;
    let store = open(settings).await?;
    let findings = match &store {
        Open::File(store) => store.verify_audit().await,
        Open::Database(store) => store.verify_audit().await,
    };
    store.close().await;
    Ok(Imported { rows, findings: findings? })
}

/// What opening a store makes where it is not there, but for its lock, which somebody may wait for.
fn beside(settings: &Settings) -> Vec<PathBuf> {
    let with = |ending: &str| {
        let mut name = settings.store.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let own = |name: &str| settings.store.with_file_name(name);
    let files = ["", "-wal", "-shm"].map(with);
    files.into_iter().chain(["rosterd.keys", "rosterd.heads"].map(own)).collect()
}
