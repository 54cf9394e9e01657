//! Real `PostgreSQL` servers on free loopback ports, and a line to them that can be cut.
//!
//! A server ends with this process, however it ends: its shell waits for the end of its input.

use std::fs;
use std::io;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use sqlx::Connection;
use sqlx::PgConnection;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const PASSWORD: &str = "pg-canary-word";
const START_LIMIT: Duration = Duration::from_mins(2);

/// A server.
pub(crate) struct Server {
    programs: PathBuf,
    folder: TempDir,
    pub(crate) port: u16,
    shell: Mutex<Option<Child>>,
}

impl Server {
    /// A server that all tests share; `None`, said on standard error, where `PostgreSQL` is not installed.
    pub(crate) fn shared() -> Option<&'static Self> {
        static SERVER: OnceLock<Option<Server>> = OnceLock::new();
        SERVER.get_or_init(Self::new).as_ref()
    }

    /// A server of one's own.
    pub(crate) fn new() -> Option<Self> {
        let programs = installed()?;
        let mut server = Self { programs, folder: folder(), port: free_port(), shell: Mutex::new(None) };
        let password = server.folder.path().join("password");
        fs::write(&password, PASSWORD).unwrap();
        if is_root() {
            let mine = Command::new("chown").args(["-R", "postgres"]).arg(server.folder.path()).status().unwrap();
            assert!(mine.success(), "the user `postgres` comes with its package");
        }
        let mut initdb = server.command("initdb");
        initdb.args(["-U", "postgres", "--auth=scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "-D"]);
        let made = initdb.arg(server.data()).arg("--pwfile").arg(password).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let limit = Instant::now() + START_LIMIT;
        while !server.listens(limit) {
            server.port = free_port();
        }
        Some(server)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// `PostgreSQL` does not run as the superuser.
    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        if !is_root() {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
        command
    }

    /// Starts it again and waits until it answers.
    pub(crate) fn start(&self) {
        let limit = Instant::now() + START_LIMIT;
        // Somebody else may have its port for a moment.
        while !self.listens(limit) {}
    }

    /// Starts it and waits until it answers; `false` where its port is somebody else's.
    fn listens(&self, limit: Instant) -> bool {
        let command = self.command("postgres");
        let words = [command.get_program()].into_iter().chain(command.get_args());
        let words: Vec<_> = words.map(|word| word.to_string_lossy().into_owned()).collect();
        let log = self.folder.path().join("log");
        // What stands there of an earlier start says nothing.
        drop(fs::remove_file(&log));
        let script = format!(
            "{} -D {} -h 127.0.0.1 -p {} -k '' -F >>{} 2>&1 </dev/null & server=$!; read -r _; kill -QUIT $server; wait $server",
            words.join(" "),
            self.data().display(),
            self.port,
            log.display(),
        );
        let mut shell = Command::new("sh");
        let shell = shell.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        *self.shell.lock().unwrap() = Some(shell.spawn().unwrap());
        // What it writes last, and only once it takes connections.
        while !fs::read_to_string(self.data().join("postmaster.pid")).is_ok_and(|text| text.contains("ready")) {
            let log = fs::read_to_string(&log).unwrap_or_default();
            assert!(Instant::now() < limit, "PostgreSQL did not start: {log}");
            #[expect(clippy::disallowed_methods, reason = "a test has nothing else to do until its server is there")]
            std::thread::sleep(Duration::from_millis(10));
            if log.contains("could not create any TCP/IP sockets") {
                self.crash();
                return false;
            }
        }
        true
    }

    /// Ends it as a crash would: no session is let finish, nothing is tidied up.
    pub(crate) fn crash(&self) {
        let shell = self.shell.lock().unwrap().take();
        if let Some(mut shell) = shell {
            drop(shell.stdin.take());
            shell.wait().unwrap();
        }
    }

    /// A database of one's own, and the URL of it.
    pub(crate) async fn database(&self) -> String {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.run("postgres", &format!("CREATE DATABASE {name}")).await;
        self.url(&name)
    }

    /// The URL of a database, for the superuser.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://postgres:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    /// What another hand does to a database.
    pub(crate) async fn run(&self, database: &str, sql: &str) {
        run(&self.url(database), sql).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.crash();
    }
}

/// What another hand does to the database at `url`.
pub(crate) async fn run(url: &str, sql: &str) {
    let mut db = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut db).await.unwrap();
    db.close().await.unwrap();
}

/// The folder of the programs.
///
/// # Panics
/// Where there are none and `ROSTERD_E2E=require`.
fn installed() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<_> = versions.map(|version| version.path().join("bin")).collect();
    folders.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    folders.extend(std::env::split_paths(&path));
    let has = |folder: &Path| folder.join("postgres").exists() && folder.join("initdb").exists();
    let found = folders.into_iter().rev().find(|folder| has(folder));
    if found.is_none() {
        let said = "PostgreSQL is not installed; run tests/e2e/install";
        assert!(std::env::var_os("ROSTERD_E2E").is_none_or(|wanted| wanted != "require"), "{said}");
        // Not `eprintln!`: the test runner would swallow it, and a skip must be seen.
        io::stderr().write_all(format!("skipped: {said}\n").as_bytes()).unwrap();
    }
    found
}

/// A folder that the server can enter, which is another user than root.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let is_open = |above: &Path| fs::metadata(above).is_ok_and(|meta| meta.mode() & 0o001 != 0);
    if !is_root() || folder.path().ancestors().skip(1).all(is_open) {
        return folder;
    }
    tempfile::tempdir_in("/var/tmp").unwrap()
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).unwrap().port()
}

/// When a line is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Never.
    Not,
    /// Once, before the server is told to commit.
    BeforeCommit,
    /// Once, after it was told so and before its answer is let through.
    AfterCommit,
}

/// A line to a server that is cut when told so.
pub(crate) struct Line {
    port: u16,
    cut: Arc<Mutex<Cut>>,
    /// Ends with it.
    _tasks: JoinSet<()>,
}

impl Line {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port_here = listener.local_addr().unwrap().port();
        let cut = Arc::new(Mutex::new(Cut::Not));
        let mut tasks = JoinSet::new();
        let told = Arc::clone(&cut);
        tasks.spawn(async move {
            let mut lines = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                lines.spawn(carry(client, server, Arc::clone(&told)));
            }
        });
        Self { port: port_here, cut, _tasks: tasks }
    }

    /// The same address over this line.
    pub(crate) fn over(&self, url: &str, port: u16) -> String {
        url.replace(&format!(":{port}/"), &format!(":{}/", self.port))
    }

    /// Cuts the line at the next commit.
    pub(crate) fn cut(&self, when: Cut) {
        *self.cut.lock().unwrap() = when;
    }

    /// Whether the line has been cut as it was told.
    pub(crate) fn was_cut(&self) -> bool {
        *self.cut.lock().unwrap() == Cut::Not
    }
}

async fn carry(mut client: TcpStream, mut server: TcpStream, cut: Arc<Mutex<Cut>>) {
    let (mut up, mut down) = (vec![0; 65536], vec![0; 65536]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let Ok(read @ 1..) = read else { return };
                let sent = &up[..read];
                let commits = sent.windows(6).any(|window| window == b"COMMIT");
                let when = if commits { std::mem::replace(&mut *cut.lock().unwrap(), Cut::Not) } else { Cut::Not };
                if when == Cut::BeforeCommit {
                    return;
                }
                server.write_all(sent).await.unwrap();
                if when == Cut::AfterCommit {
                    // The answer has come, so it is done; the client never sees it.
                    assert_ne!(server.read(&mut down).await.unwrap(), 0, "the server answers");
                    return;
                }
            }
            read = server.read(&mut down) => {
                let Ok(read @ 1..) = read else { return };
                if client.write_all(&down[..read]).await.is_err() {
                    return;
                }
            }
        }
    }
}
