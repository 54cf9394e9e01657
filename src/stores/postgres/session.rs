//! Connections to the server, and the lease.
//!
//! The lease is a session's advisory lock: the server gives it up when the session ends, however it
//! ends. The fence in the row beside it outlives the session, and every commit locks and checks it.

use std::str::FromStr;
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::PgConnection;
use sqlx::postgres::PgConnectOptions;
use sqlx::postgres::PgSslMode;
use tokio::time::sleep;
use tokio::time::timeout;

use crate::store::Fence;
use crate::store::StoreError;
use crate::stores::postgres::fault::Fault;

/// A server of the same data centre answers within milliseconds; longer means that it is away.
const CONNECT: Duration = Duration::from_secs(5);
/// First half of the key of the lease's advisory lock: the bytes `rost`. The second is the schema.
pub(super) const LEASE: i32 = 0x726f_7374;
/// The oldest server that the suite is known to pass on; older ones are past their end of life.
const OLDEST: i64 = 130_000;
/// How often, and how far apart, a lost session's lock is asked for again: the server may need a
/// moment to end that session.
const ASK_AGAIN: (usize, Duration) = (20, Duration::from_millis(100));

/// What holds for every session. A server that lost its client notices within about 11 s, and lets
/// the lease go; no statement and no lock is waited for without end; what is committed is on disk.
const SETTINGS: &str = "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED;
    SET statement_timeout = '30s'; SET lock_timeout = '5s'; SET idle_in_transaction_session_timeout = '60s';
    SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3;
    SET tcp_user_timeout = 11000; SET client_min_messages = warning;
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

/// Where the database is, and who asks.
#[derive(Clone)]
pub(super) struct Door {
    options: PgConnectOptions,
    /// Host, port and database, for people; never user or password.
    pub(super) place: String,
    /// What the server's list of sessions calls the writing one; no other process has that name.
    name: String,
    /// Who holds the lease, for the message that another process gets meanwhile.
    actor: String,
}

impl Door {
    /// From the URL in the secret, which no message shows.
    pub(super) fn of(url: &str, actor: &str) -> Result<Self, StoreError> {
        let ours = url.starts_with("postgres://") || url.starts_with("postgresql://");
        let options = PgConnectOptions::from_str(url).ok().filter(|_| ours).ok_or_else(|| {
            StoreError::Unavailable(
                "the secret under `store` is no address of PostgreSQL; write \
                 `postgres://USER:PASSWORD@HOST:PORT/DATABASE`"
                    .to_owned(),
            )
        })?;
        let host = options.get_host();
        let local = options.get_socket().is_some() || host.starts_with('/') || is_loopback(host);
        // What leaves the machine is encrypted and its other end proven, unless the URL says otherwise.
        let chosen = url.contains("sslmode=") || url.contains("ssl-mode=");
        let database = options.get_database().unwrap_or_else(|| options.get_username());
        let place = format!("`{host}:{}/{database}`", options.get_port());
        let options = if local || chosen { options } else { options.ssl_mode(PgSslMode::VerifyFull) };
        let unique = uuid::Uuid::new_v4().simple().to_string();
        let name = format!("rosterd {actor} {}", unique.get(..8).unwrap_or_default());
        let actor = format!("{actor}, process {} on {}", std::process::id(), machine());
        Ok(Self { options: options.disable_statement_logging(), place, name, actor })
    }

    /// A session that reads.
    pub(super) async fn reader(&self) -> Result<PgConnection, Fault> {
        self.connect("rosterd reader").await
    }

    async fn connect(&self, name: &str) -> Result<PgConnection, Fault> {
        let options = self.options.clone().application_name(name);
        let entering = async {
            let mut db = options.connect().await?;
            sqlx::raw_sql(SETTINGS).execute(&mut db).await?;
            Ok(db)
        };
        timeout(CONNECT, entering).await.unwrap_or(Err(Fault::Late))
    }

    /// The session that writes, with the lease.
    ///
    /// # Errors
    /// [`StoreError::Held`] while another session has it.
    pub(super) async fn enter(&self) -> Result<PgConnection, Fault> {
        let mut db = self.connect(&self.name).await?;
        fit(&mut db).await?;
        if lock(&mut db).await? {
            return Ok(db);
        }
        let holder: Option<String> = sqlx::query_scalar("SELECT actor FROM lease").fetch_one(&mut db).await.ok();
        let holder = holder.filter(|actor| !actor.is_empty()).unwrap_or_else(|| "another process".to_owned());
        Err(Fault::Plain(StoreError::Held(format!(
            "the store {} is in use by {holder}; stop it, or let this command talk to it with `--server` (if its \
             machine is gone, the server lets go of it within half a minute)",
            self.place
        ))))
    }

    /// The session that writes, again: the server or the network was away.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] where another one took over meanwhile.
    pub(super) async fn enter_again(&self, fence: Fence) -> Result<PgConnection, Fault> {
        let mut db = self.connect(&self.name).await?;
        fit(&mut db).await?;
        let (times, pause) = ASK_AGAIN;
        for _ in 0..times {
            if lock(&mut db).await? {
                check_fence(&mut db, fence).await?;
                return Ok(db);
            }
            check_fence(&mut db, fence).await?;
            // Our own lost session: the server may still believe in it, and finish what it was
            // asked to do.
            let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = $1
                AND datname = current_database() AND pid <> pg_backend_pid()";
            let _ended: i64 = sqlx::query_scalar(sql).bind(&self.name).fetch_one(&mut db).await?;
            sleep(pause).await;
        }
        Err(Fault::say(format!(
            "the store {} is locked by a session that does not end; end it on the server",
            self.place
        )))
    }

    /// Who asks.
    pub(super) fn actor(&self) -> &str {
        &self.actor
    }
}

async fn lock(db: &mut PgConnection) -> Result<bool, Fault> {
    let sql = "SELECT pg_try_advisory_lock($1, hashtext(current_schema()))";
    Ok(sqlx::query_scalar(sql).bind(LEASE).fetch_one(db).await?)
}

/// Whether rosterd can live there at all.
async fn fit(db: &mut PgConnection) -> Result<(), Fault> {
    let sql = "SELECT current_setting('server_version_num')::bigint, current_setting('server_encoding'),
        current_schema()::text, current_setting('transaction_read_only') = 'on'";
    let (version, encoding, schema, read_only): (i64, String, Option<String>, bool) =
        sqlx::query_as(sql).fetch_one(db).await?;
    let wrong = if version < OLDEST {
        "the server under `store` is older than PostgreSQL 13; move the database to a newer one"
    } else if encoding != "UTF8" {
        "the database under `store` does not keep Unicode; make one with `createdb --encoding=UTF8 --template=template0`"
    } else if schema.is_none() {
        "the database under `store` has no schema that its user may use; make one, or mend `search_path`"
    } else if read_only {
        "the database under `store` is read-only: it is a standby, or was told so; name the primary in the URL, or let \
         it be written"
    } else {
        return Ok(());
    };
    Err(Fault::say(wrong))
}

/// Whether the fence in the store is still this one.
pub(super) async fn check_fence(db: &mut PgConnection, fence: Fence) -> Result<(), Fault> {
    let current: i64 = sqlx::query_scalar("SELECT fence FROM lease FOR UPDATE").fetch_one(db).await?;
    let current = current.unsigned_abs();
    if current == fence.0 {
        return Ok(());
    }
    let why = if current > fence.0 { "another one took over" } else { "it was put back to an earlier state" };
    Err(Fault::Plain(StoreError::Fenced(format!(
        "this process held the store under fence {} and the store is at {current}: {why}; nothing was written, stop \
         this process",
        fence.0
    ))))
}

fn is_loopback(host: &str) -> bool {
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || literal.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The name of this machine, for people.
fn machine() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "another machine".to_owned() } else { name.trim().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_shows_neither_user_nor_password_and_a_wrong_url_nothing_at_all() {
        let door = Door::of("postgres://ada:topsecret@db.example:5433/state", "run").unwrap();
        assert_eq!(door.place, "`db.example:5433/state`");
        let error = Door::of("postgres//ada:topsecret@db.example", "run").err().unwrap().to_string();
        assert!(error.contains("USER:PASSWORD@HOST") && !error.contains("topsecret"), "{error}");
    }

    #[test]
    fn what_leaves_the_machine_is_encrypted_for_a_proven_server_unless_the_url_says_otherwise() {
        let mode = |url: &str| format!("{:?}", Door::of(url, "run").unwrap().options.get_ssl_mode());
        assert_eq!(mode("postgres://a:b@db.example/state"), "VerifyFull");
        assert_eq!(mode("postgres://a:b@db.example/state?sslmode=require"), "Require");
        assert_eq!(mode("postgres://a:b@127.0.0.1/state"), "Prefer");
        assert_eq!(mode("postgres://a:b@[::1]/state"), "Prefer");
    }
}
