//! Programs that are started, watched and measured from outside.

use std::error::Error;
use std::fs;
use std::fs::File;
use std::io::BufRead as _;
use std::io::BufReader;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;
use wait4::Wait4 as _;

pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What one run of a program cost, as the kernel counted it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// User and system time of all its threads, in seconds.
    pub cpu: f64,
    pub wall: f64,
    /// Most memory it held, in MiB.
    pub memory: f64,
}

/// Runs a program to its end.
pub fn run(command: &mut Command) -> Result<Cost> {
    let log = tempfile::NamedTempFile::new()?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.reopen()?);
    let start = Instant::now();
    let ended = command.spawn()?.wait4()?;
    let wall = start.elapsed().as_secs_f64();
    if !ended.status.success() {
        let said = fs::read_to_string(log.path()).unwrap_or_default();
        let said: Vec<_> = said.lines().rev().take(12).collect();
        return Err(format!("{command:?} ended with {}: {}", ended.status, said.join("\n")).into());
    }
    let cpu = (ended.rusage.utime + ended.rusage.stime).as_secs_f64();
    Ok(Cost { cpu, wall, memory: ended.rusage.maxrss as f64 / 1_048_576.0 })
}

/// The program that is measured.
pub fn rosterd(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(arguments).current_dir(folder).env("ROSTERD_CONFIG", "rosterd.yaml");
    command
}

/// `ROSTERD`, or what cargo built the way in which this program was built.
pub fn program() -> PathBuf {
    let built = || {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
        target.join(BUILD).join("rosterd")
    };
    let program = std::env::var_os("ROSTERD").map_or_else(built, PathBuf::from);
    // It is started in other folders.
    std::path::absolute(&program).unwrap_or(program)
}

/// How this program was built, as cargo calls it. Ratios of one build say nothing of another.
pub const BUILD: &str = if cfg!(debug_assertions) { "debug" } else { "release" };

/// This program, doing a part of the job.
pub fn ourselves(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a program has a path"));
    command.args(arguments);
    command
}

/// A child that ends when this is dropped.
struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A target on a port of its own.
pub struct Target {
    pub port: u16,
    _process: Held,
}

/// A call that wrote: microseconds since 1970, what, and to which account.
pub type Call = (u64, String, usize);

impl Target {
    pub fn of(accounts: usize) -> Result<Self> {
        let mut process = ourselves(&["target", &accounts.to_string()]).stdout(Stdio::piped()).spawn()?;
        let mut port = String::new();
        BufReader::new(process.stdout.take().ok_or("no output")?).read_line(&mut port)?;
        Ok(Self { port: port.trim().parse()?, _process: Held(process) })
    }

    fn ask(&self, path: &str) -> Result<Value> {
        let url = format!("http://127.0.0.1:{}/admin/{path}", self.port);
        Ok(ureq::get(url).call()?.body_mut().with_config().limit(1 << 30).read_json()?)
    }

    pub fn accounts(&self) -> Result<u64> {
        self.ask("stats")?["accounts"].as_u64().ok_or_else(|| "no count".into())
    }

    /// How many calls came, by kind.
    pub fn count(&self, what: &str) -> Result<u64> {
        Ok(self.ask("stats")?["calls"][what].as_u64().unwrap_or_default())
    }

    /// How many calls came, of any kind.
    pub fn calls(&self) -> Result<u64> {
        let stats = self.ask("stats")?;
        Ok(stats["calls"].as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum())
    }

    pub fn writes(&self, since: usize) -> Result<Vec<Call>> {
        Ok(serde_json::from_value(self.ask(&format!("calls?since={since}"))?)?)
    }

    pub fn zero(&self) -> Result<()> {
        self.ask("zero").map(drop)
    }

    /// Its latency, and the requests a second beyond which it refuses (0: none).
    pub fn set(&self, delay_ms: u64, rate: u64) -> Result<()> {
        self.ask(&format!("set?delay_ms={delay_ms}&rate={rate}")).map(drop)
    }
}

/// rosterd as a daemon.
pub struct Daemon {
    process: Held,
    pub url: String,
    /// Seconds from its start until it called itself ready.
    pub ready: f64,
}

impl Daemon {
    pub fn of(folder: &Path) -> Result<Self> {
        let note = folder.join("state/rosterd.run");
        // What an earlier daemon wrote would lead to nobody.
        let _ = fs::remove_file(&note);
        let log = folder.join("log");
        let start = Instant::now();
        let mut command = rosterd(folder, &["run"]);
        let mut process = Held(command.stdout(Stdio::null()).stderr(File::create(&log)?).spawn()?);
        let url = until(Duration::from_secs(600), Duration::from_millis(2), || {
            if process.0.try_wait()?.is_some() {
                return Err(format!("the daemon ended: {}", fs::read_to_string(&log)?).into());
            }
            let Ok(note) = fs::read_to_string(&note) else { return Ok(None) };
            let note: Value = serde_json::from_str(&note).unwrap_or_default();
            let Some(url) = note["server"].as_str() else { return Ok(None) };
            Ok(ureq::get(format!("{url}/readyz")).call().is_ok().then(|| url.to_owned()))
        })?;
        Ok(Self { process, url, ready: start.elapsed().as_secs_f64() })
    }

    /// CPU seconds so far.
    pub fn cpu(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.0.id()))?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |field: usize| fields.get(field).and_then(|text| text.parse::<f64>().ok()).unwrap_or_default();
        // The kernel counts in hundredths of a second for everybody who asks (`USER_HZ`).
        Ok((ticks(11) + ticks(12)) / 100.0)
    }

    /// Memory now (`VmRSS`) or at most (`VmHWM`), in MiB.
    pub fn memory(&self, which: &str) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(which)).ok_or("no such figure")?;
        let kib: f64 = line.trim_start_matches(':').split_whitespace().next().ok_or("no figure")?.parse()?;
        Ok(kib / 1024.0)
    }

    pub fn status(&self, target: &str) -> Result<Value> {
        Ok(ureq::get(format!("{}/api/v1/targets/{target}", self.url)).call()?.body_mut().read_json()?)
    }

    /// Waits until a target has had a cycle and nothing is left to do.
    pub fn settles(&self, target: &str) -> Result<()> {
        until(Duration::from_secs(3_600), Duration::from_millis(20), || {
            let status = self.status(target)?;
            let idle = status["waiting"] == 0 && status["running"].is_null() && !status["last_cycle"].is_null();
            Ok(idle.then_some(()))
        })
    }

    pub fn kill(mut self) -> Result<()> {
        self.process.0.kill()?;
        self.process.0.wait()?;
        Ok(())
    }
}

/// Asks until there is an answer.
pub fn until<T>(limit: Duration, pause: Duration, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if Instant::now() > end {
            return Err(format!("nothing came of it in {limit:?}").into());
        }
        sleep(pause);
    }
}
