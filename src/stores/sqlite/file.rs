//! Opening the file: what it must be, its schema, its lease.

use std::fs;
use std::io;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use sqlx::ConnectOptions;
use sqlx::Connection;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::sqlite::SqliteSynchronous;

use crate::audit::exporter::Exporter;
use crate::audit::heads;
use crate::secrets::keys::Keys;
use crate::store::Fence;
use crate::stores::sqlite::chains;
use crate::stores::sqlite::doubt;
use crate::stores::sqlite::fault::Fault;
use crate::stores::sqlite::lock::Lease;
use crate::stores::sqlite::present;
use crate::stores::sqlite::present::Present;
use crate::stores::sqlite::present::beside;
use crate::stores::sqlite::write::Writer;

/// First bytes of every SQLite file (<https://www.sqlite.org/fileformat.html>, section 1.3).
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// `application_id` of a store: the bytes `rost`.
const APPLICATION: i64 = 0x726f_7374;

/// Rows that wait between the database's own thread and whoever reads them: with few of them the two wake
/// each other all the time.
const ROWS_AHEAD: usize = 500;

/// One script a schema version, in order; each sets `user_version` itself. Forward only.
const MIGRATIONS: [&str; 9] = [
    include_str!("migrations/0001_first.sql"),
    include_str!("migrations/0002_hands.sql"),
    include_str!("migrations/0003_owed.sql"),
    include_str!("migrations/0004_windows.sql"),
    include_str!("migrations/0005_identity.sql"),
    include_str!("migrations/0006_permit.sql"),
    include_str!("migrations/0007_request.sql"),
    include_str!("migrations/0008_outbox.sql"),
    include_str!("migrations/0009_told.sql"),
];

/// An open store, before it is handed out.
pub(super) struct Opened {
    pub(super) keys: Arc<Keys>,
    pub(super) id: String,
    pub(super) heads: PathBuf,
    pub(super) present: Present,
    pub(super) audit_note: Option<String>,
    pub(super) writer: Writer,
    pub(super) fence: Fence,
    pub(super) warnings: Vec<String>,
}

/// Opens the store at `path` or makes it.
pub(super) async fn open(path: PathBuf, keys: Arc<Keys>, actor: &str) -> Result<Opened, Fault> {
    look(&path)?;
    let mut lease = Lease::take(&path, actor)?;
    present::is_one(&path, lease.former())?;
    if !present::has_log(&path) {
        // A copy may have been put there: what was said of the file before is not true of it.
        lease.leave("")?;
    }
    make_private(&path)?;
    let mut db = options(&path).connect().await?;
    migrate(&mut db).await?;
    sqlx::query("PRAGMA journal_mode = WAL").execute(&mut db).await?;
    let (id, fence) = take_over(&mut db, &keys, actor).await?;
    let heads = heads::place(&path, &keys);
    let (ends, audit) = chains::load(&mut db, &id, &keys, &heads).await?;
    if let Some(why) = &audit.doubt {
        doubt::raise(&mut db, why).await?;
    }
    tell_apart(&mut db).await?;
    let present = Present::of(&path);
    lease.leave(&present.line())?;
    let exporter = Exporter::start(heads.clone(), audit.export, &ends);
    let writer = Writer::new(db, lease, ends, exporter);
    Ok(Opened { keys, id, heads, present, audit_note: audit.note, writer, fence, warnings: audit.warnings })
}

/// Makes the file, for its owner alone, before SQLite would make it for everybody; the files that
/// SQLite lays beside it take its mode.
fn make_private(path: &Path) -> Result<(), Fault> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error.into()),
        _ => Ok(()),
    }
}

pub(super) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .synchronous(SqliteSynchronous::Full)
        // What undoes a single statement of many rows would else go to a file of its own.
        .pragma("temp_store", "memory")
        .foreign_keys(true)
        .row_buffer_size(ROWS_AHEAD)
        .disable_statement_logging()
}

/// What can be told without opening it, so that nothing of somebody else's file is touched.
fn look(path: &Path) -> Result<(), Fault> {
    let shown = path.display();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(Fault::say(format!(
            "the folder `{}` of the store does not exist; make it, or name another file under `store`",
            folder.display()
        )));
    }
    let Ok(meta) = fs::metadata(path) else { return Ok(()) };
    if meta.is_dir() {
        return Err(Fault::say(format!("the store `{shown}` is a folder; name a file under `store`")));
    }
    // Asked here too, because the superuser writes files that say they are read-only.
    if meta.permissions().readonly() {
        return Err(Fault::say(format!(
            "the store `{shown}` is read-only; let the user that runs rosterd write the file and its folder"
        )));
    }
    let mut start = Vec::new();
    fs::File::open(path)?.take(MAGIC.len() as u64).read_to_end(&mut start)?;
    if start.is_empty() {
        return Ok(());
    }
    if start == MAGIC {
        return whole(path, meta.len());
    }
    Err(Fault::say(format!(
        "the store `{shown}` is not a database; name another file under `store`, or move this one away"
    )))
}

/// Whether the file is as long as its header says
/// (<https://www.sqlite.org/fileformat.html>, section 1.3): page size at 16, pages at 28. What a
/// write-ahead log still holds need not be in the file yet, and what a journal holds puts it back to where
/// a process was killed before it had made or upgraded the store.
fn whole(path: &Path, length: u64) -> Result<(), Fault> {
    if ["-wal", "-journal"].iter().any(|log| fs::metadata(beside(path, log)).is_ok_and(|log| log.len() > 0)) {
        return Ok(());
    }
    let mut header = [0_u8; 32];
    let read = fs::File::open(path)?.read_exact(&mut header);
    let [.., p0, p1, _, _, _, _, _, _, _, _, _, _, n0, n1, n2, n3] = header;
    // A page size of 65,536 is written as 1.
    let page = match u16::from_be_bytes([p0, p1]) {
        1 => 65_536,
        size => u64::from(size),
    };
    if read.is_ok() && u64::from(u32::from_be_bytes([n0, n1, n2, n3])) * page <= length {
        return Ok(());
    }
    Err(Fault::say(format!(
        "the store `{}` was cut off: it is shorter than it says; put back a copy of the file, or move it away to start \
         anew (every target is at first contact then)",
        path.display()
    )))
}

async fn migrate(db: &mut SqliteConnection) -> Result<(), Fault> {
    let latest = MIGRATIONS.len();
    let application: i64 = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *db).await?;
    let version: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *db).await?;
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(&mut *db).await?;
    if application != APPLICATION && (application != 0 || tables != 0) {
        return Err(Fault::say(
            "the file named under `store` is a database of another program; name another file, or move it away",
        ));
    }
    let done = usize::try_from(version).unwrap_or(usize::MAX);
    if done > latest {
        return Err(Fault::say(format!(
            "the store was written by a newer rosterd (schema {version}, this one knows {latest}); run that one, or \
             put back a copy from before"
        )));
    }
    for script in MIGRATIONS.iter().skip(done) {
        let mut tx = db.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::raw_sql(*script).execute(&mut *tx).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// Makes the file itself tell this opening from those before, so that a copy from before is known beside a
/// log from now: to write the version of the schema once more counts its change counter up, and moving
/// the log brings that into the file. Where another program reads meanwhile, it comes there later.
async fn tell_apart(db: &mut SqliteConnection) -> Result<(), Fault> {
    let version: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *db).await?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("PRAGMA user_version = {version}"))).execute(&mut *db).await?;
    sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(&mut *db).await?;
    Ok(())
}

/// Checks that these keys are the store's, and counts the fence up: who held it before commits no more.
async fn take_over(db: &mut SqliteConnection, keys: &Keys, actor: &str) -> Result<(String, Fence), Fault> {
    let mut tx = db.begin_with("BEGIN IMMEDIATE").await?;
    let fresh = uuid::Uuid::new_v4().to_string();
    let put = "INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    sqlx::query(put).bind("store").bind(fresh).execute(&mut *tx).await?;
    sqlx::query(put).bind("keys").bind(keys.id()).execute(&mut *tx).await?;
    let get = "SELECT value FROM meta WHERE key = $1";
    let id: String = sqlx::query_scalar(get).bind("store").fetch_one(&mut *tx).await?;
    let known: String = sqlx::query_scalar(get).bind("keys").fetch_one(&mut *tx).await?;
    if known != keys.id() {
        return Err(Fault::say(
            "the store was written with other keys; put its `rosterd.keys` back, or move the store away to start anew \
             (every target is at first contact then)",
        ));
    }
    let count = "UPDATE lease SET fence = fence + 1, actor = $1 RETURNING fence";
    let fence: i64 = sqlx::query_scalar(count).bind(actor).fetch_one(&mut *tx).await?;
    tx.commit().await?;
    Ok((id, Fence(fence.unsigned_abs())))
}
