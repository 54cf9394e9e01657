//! What the same takes in a real `PostgreSQL`: rows and bytes of every table, and what is written ahead.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use rosterd::clock::SystemClock;
use rosterd::secrets::keys::Keys;
use rosterd::stores::postgres::PostgresStore;
use sqlx::AssertSqlSafe;
use sqlx::Connection;
use sqlx::PgConnection;

use crate::scale::model::Load;
use crate::scale::model::Phase;
use crate::scale::point::LATENCY;
use crate::scale::point::Plant;
use crate::support::postgres::Server;

/// A table as one phase left it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) rows: i64,
    /// With its indexes.
    pub(super) bytes: i64,
}

/// What one phase took.
#[derive(Clone, Debug, Default)]
pub(super) struct Stored {
    pub(super) tables: BTreeMap<String, Table>,
    /// Bytes of the write-ahead log.
    pub(super) log: i64,
    /// Seconds on the CPU, of this process and of the server.
    pub(super) engine: f64,
    pub(super) server: f64,
}

/// All phases of one size; `None` where there is no `PostgreSQL`.
pub(super) async fn measure(load: Load) -> Option<BTreeMap<Phase, Stored>> {
    let server = Server::new()?;
    let (url, folder) = (server.database().await, tempfile::tempdir().unwrap());
    let (keys, _) = Keys::load_or_make(&folder.path().join("rosterd.keys")).unwrap();
    let store = PostgresStore::open(&url, folder.path().join("rosterd.heads"), Arc::new(keys), "test").await.unwrap();
    let plant = Plant::new(load, Arc::new(store), Arc::new(SystemClock), LATENCY);
    let mut db = PgConnection::connect(&url).await.unwrap();
    let mut phases = BTreeMap::new();
    let mut before = look(&mut db).await;
    for phase in Phase::ALL {
        plant.run(load, phase).await;
        let now = look(&mut db).await;
        let stored = Stored {
            tables: now.tables.clone(),
            log: now.log - before.log,
            engine: now.engine - before.engine,
            server: now.server - before.server,
        };
        phases.insert(phase, stored);
        before = now;
    }
    plant.engine.stop().await;
    Some(phases)
}

async fn look(db: &mut PgConnection) -> Stored {
    let sql = "SELECT relname::text, pg_total_relation_size(relid) FROM pg_stat_user_tables";
    let sizes: Vec<(String, i64)> = sqlx::query_as(sql).fetch_all(&mut *db).await.unwrap();
    let mut tables = BTreeMap::new();
    for (name, bytes) in sizes {
        let sql = AssertSqlSafe(format!("SELECT count(*) FROM {name}"));
        let rows: i64 = sqlx::query_scalar(sql).fetch_one(&mut *db).await.unwrap();
        tables.insert(name, Table { rows, bytes });
    }
    let sql = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint";
    let log = sqlx::query_scalar(sql).fetch_one(&mut *db).await.unwrap();
    let session: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(db).await.unwrap();
    let postmaster = status(&session.to_string()).unwrap()[PARENT];
    let sessions = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| status(entry.file_name().to_str()?));
    let server = sessions.filter(|fields| fields[PARENT] == postmaster).map(|fields| cpu(&fields)).sum();
    Stored { tables, log, engine: cpu(&status("self").unwrap()), server }
}

/// Where `/proc/PID/stat` has the parent and the ticks, counted behind the name of the program.
const PARENT: usize = 1;
const TICKS: std::ops::RangeInclusive<usize> = 11..=12;

/// What the kernel says of a process, behind its name and its state.
fn status(process: &str) -> Option<Vec<u64>> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_whitespace().map(|field| field.parse().unwrap_or_default()).collect())
}

/// The kernel counts in hundredths of a second for everybody who asks (`USER_HZ`).
fn cpu(fields: &[u64]) -> f64 {
    fields[TICKS].iter().sum::<u64>() as f64 / 100.0
}
