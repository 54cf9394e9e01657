//! The daemon at work: rows 5, 7, 8, 10, 12 and 13.

use std::fs;
use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use serde_json::json;
use tempfile::TempDir;

use crate::company;
use crate::company::Place;
use crate::process;
use crate::process::Cost;
use crate::process::Daemon;
use crate::process::Result;
use crate::process::Target;
use crate::process::until;
use crate::rows::Company;
use crate::rows::Size;
use crate::rows::median;
use crate::rows::open_door;
use crate::rows::percentile;
use crate::table::Line;

/// How long a folder must be quiet before it is read; what an editor does takes that long.
const DEBOUNCE_MS: f64 = 150.0;

fn micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64
}

/// A daemon over users with a file each, all of whom have their account.
fn at_work(users: usize) -> Result<(TempDir, Target, Daemon)> {
    let target = Target::of(0)?;
    let folder = TempDir::new()?;
    company::found(folder.path(), &[Place { name: "crm", port: target.port, limits: open_door(64) }])?;
    company::hire_apart(folder.path(), users)?;
    process::run(&mut process::rosterd(folder.path(), &["apply", "--yes", "--output", "json"]))?;
    let daemon = Daemon::of(folder.path())?;
    daemon.settles("crm")?;
    target.zero()?;
    Ok((folder, target, daemon))
}

/// Row 5: the time from a saved file to the call, without the debounce.
pub fn from_save_to_call(size: Size) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for users in [1_000, size.of(5_000, 100_000)] {
        let (folder, target, daemon) = at_work(users)?;
        let mut took = Vec::new();
        for edit in 0..size.of(10, 100) {
            let number = edit * 7 % users;
            let saved = micros();
            company::save(folder.path(), number, true, &format!("Title{edit}"))?;
            took.push((call_after(&target, edit)? - saved) as f64 / 1e3 - DEBOUNCE_MS);
        }
        drop(daemon);
        let name = format!("save to call, {users} users");
        lines.push(Line::of(format!("{name}: p50"), median(took.clone()), "ms").goal(2.0));
        lines.push(Line::of(format!("{name}: p99"), percentile(took, 99), "ms").goal(10.0));
    }
    Ok(lines)
}

/// When the next call came after so many others: one edit at a time, so it is the edit's.
fn call_after(target: &Target, others: usize) -> Result<u64> {
    until(Duration::from_secs(60), Duration::from_millis(1), || {
        Ok(target.writes(others)?.first().map(|(at, _, _)| *at))
    })
}

/// Row 7: who is switched off while thousands wait to come in.
pub fn revocation_behind_a_backlog(size: Size) -> Result<Vec<Line>> {
    let (staff, backlog, leavers) = (size.of(500, 2_000), size.of(20_000, 100_000), size.of(10, 100));
    let (folder, target, daemon) = at_work(staff)?;
    target.set(20, 0)?;
    let newcomers: String = (staff..staff + backlog).map(|number| company::user(number, true, "Engineer")).collect();
    fs::write(folder.path().join("draft"), newcomers)?;
    fs::rename(folder.path().join("draft"), folder.path().join("m/newcomers.yaml"))?;
    until(Duration::from_secs(120), Duration::from_millis(5), || Ok((target.count("create")? > 100).then_some(())))?;
    let mut took = Vec::new();
    for leaver in 0..leavers {
        let saved = micros();
        company::save(folder.path(), leaver, false, "Engineer")?;
        let call = until(Duration::from_secs(120), Duration::from_millis(1), || {
            let done = target.writes(0)?;
            Ok(done.iter().filter(|(_, what, _)| what == "disable").nth(leaver).map(|(at, _, _)| *at))
        })?;
        took.push((call - saved) as f64 / 1e3 - DEBOUNCE_MS);
    }
    let created = target.count("create")?;
    assert!(created < backlog as u64, "the newcomers were through before the leavers");
    drop(daemon);
    let name = format!("{leavers} leavers behind {backlog} creations at 20 ms, save to call");
    Ok(vec![
        Line::of(format!("{name}: p50"), median(took.clone()), "ms"),
        Line::of(format!("{name}: p99"), percentile(took, 99), "ms").goal(60.0),
    ])
}

/// Row 8: what a user costs in memory, and in each further target.
pub fn memory(size: Size) -> Result<Vec<Line>> {
    let users = size.of(20_000, 200_000);
    let mut held = Vec::new();
    for targets in [1, 2] {
        let targets = (0..targets).map(|_| Target::of(0)).collect::<Result<Vec<_>>>()?;
        let names: Vec<_> = (0..targets.len()).map(|number| format!("t{number}")).collect();
        let place = |(name, target): (_, &Target)| Place { name, port: target.port, limits: open_door(64) };
        let places: Vec<_> = names.iter().map(String::as_str).zip(&targets).map(place).collect();
        let folder = TempDir::new()?;
        company::found(folder.path(), &places)?;
        company::hire(folder.path(), 0)?;
        let empty = Daemon::of(folder.path())?;
        let bare = empty.memory("VmRSS")?;
        drop(empty);
        company::hire(folder.path(), users)?;
        process::run(&mut process::rosterd(folder.path(), &["apply", "--yes", "--output", "json"]))?;
        let daemon = Daemon::of(folder.path())?;
        for name in &names {
            daemon.settles(name)?;
        }
        held.push((daemon.memory("VmRSS")? - bare) * 1_048_576.0 / users as f64);
    }
    let [one, two] = held[..] else { unreachable!("two were measured") };
    Ok(vec![
        Line::of(format!("memory a user, {users} users in one target"), one, "B").goal(300.0),
        Line::of("memory a user in each further target", two - one, "B").goal(64.0),
    ])
}

/// Row 10: killed amid creations, then started again.
pub fn killed(size: Size) -> Result<Vec<Line>> {
    let users = size.of(5_000, 100_000);
    let company = Company::of(users, 0, &open_door(64))?;
    let daemon = Daemon::of(company.path())?;
    until(Duration::from_secs(120), Duration::from_millis(5), || {
        Ok((company.target.count("create")? as usize > users / 2).then_some(()))
    })?;
    daemon.kill()?;
    let daemon = Daemon::of(company.path())?;
    let ready = daemon.ready;
    until(Duration::from_secs(1_200), Duration::from_millis(50), || {
        Ok((company.target.accounts()? as usize >= users).then_some(()))
    })?;
    daemon.settles("crm")?;
    drop(daemon);
    assert_eq!(company.target.accounts()?, users as u64, "nobody twice, nobody lost");
    Ok(vec![Line::of(format!("killed amid {users} creations: start to ready"), ready, "s").goal(0.6)])
}

/// Row 12: three fast targets beside a slow and a dead one, and thirty.
pub fn fairness(size: Size) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for (fast, users, rounds) in [(3, size.of(1_000, 10_000), 3), (30, size.of(100, 10_000), 1)] {
        let (mut slower, mut dearer, mut with) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let (beside, alone) = (until_created(fast, users, true)?, until_created(fast, users, false)?);
            slower.push(beside.wall / alone.wall);
            dearer.push(beside.cpu / alone.cpu);
            with.push(beside);
        }
        let name = format!("{users} created in {fast} fast targets beside a slow and a dead one");
        let wall = median(with.iter().map(|cost| cost.wall));
        let cpu = median(with.iter().map(|cost| cost.cpu));
        let memory = median(with.iter().map(|cost| cost.memory));
        lines.push(Line::of(format!("{name}: CPU"), cpu, "s").against("alone", median(dearer)));
        lines.push(Line::of(format!("{name}: time"), wall, "s").against("alone", median(slower)).goal(1.05));
        lines.push(Line::of(format!("{name}: memory"), memory, "MiB"));
    }
    Ok(lines)
}

/// What a daemon takes until everybody has an account in each of some fast targets.
fn until_created(fast: usize, users: usize, with_others: bool) -> Result<Cost> {
    let fast = (0..fast).map(|_| Target::of(0)).collect::<Result<Vec<_>>>()?;
    let slow = Target::of(0)?;
    slow.set(500, 0)?;
    let names: Vec<_> = (0..fast.len()).map(|number| format!("f{number}")).collect();
    let mut places = vec![];
    for (name, target) in names.iter().zip(&fast) {
        target.set(20, 0)?;
        places.push(Place { name, port: target.port, limits: open_door(64) });
    }
    if with_others {
        let limits = json!({ "widen": [], "concurrency": 4, "requestsPerSecond": 4 });
        places.push(Place { name: "slow", port: slow.port, limits });
        // Nobody listens on the discard port.
        places.push(Place { name: "dead", port: 9, limits: open_door(64) });
    }
    let folder = TempDir::new()?;
    company::found(folder.path(), &places)?;
    company::hire(folder.path(), users)?;
    let start = Instant::now();
    let daemon = Daemon::of(folder.path())?;
    for target in &fast {
        until(Duration::from_secs(3_600), Duration::from_millis(5), || {
            Ok((target.accounts()? as usize == users).then_some(()))
        })?;
    }
    Ok(Cost { cpu: daemon.cpu()?, wall: start.elapsed().as_secs_f64(), memory: daemon.memory("VmHWM")? })
}

/// Row 13: a small company's daemon, and what is shipped.
pub fn start(size: Size) -> Result<Vec<Line>> {
    let company = Company::settled(1_000, &open_door(64))?;
    let mut ready = Vec::new();
    for _ in 0..size.of(3, 11) {
        let daemon = Daemon::of(company.path())?;
        ready.push(daemon.ready);
        drop(daemon);
        sleep(Duration::from_millis(20));
    }
    let bytes = fs::metadata(process::program())?.len() as f64;
    Ok(vec![
        Line::of("start to ready, 1000 users", median(ready), "s").goal(0.05),
        Line::of("the program", bytes / 1e6, "MB").goal(20.0),
    ])
}
