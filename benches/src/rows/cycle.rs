//! Whole cycles: rows 1 to 4, 9 and 11.

use std::fs;

use serde_json::json;

use crate::company;
use crate::company::Place;
use crate::process;
use crate::process::Daemon;
use crate::process::Result;
use crate::process::Target;
use crate::rows::Company;
use crate::rows::Size;
use crate::rows::median;
use crate::rows::open_door;
use crate::table::Line;

const ROUNDS: usize = 5;

/// Row 1: a cold process finds nothing to do.
pub fn without_changes(size: Size) -> Result<Vec<Line>> {
    let users = size.of(2_000, 10_000);
    let company = Company::settled(users, &open_door(64))?;
    let (mut cpu, mut memory, mut to_floor, mut to_script) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let ours = company.ours()?;
        let floor = company.floor(1)?;
        let script = company.script()?;
        cpu.push(ours.cpu);
        memory.push(ours.memory);
        to_floor.push(ours.cpu / floor.cpu);
        to_script.extend(script.map(|script| ours.cpu / script.cpu));
    }
    let name = format!("nothing to do, {users} users");
    let mut lines = vec![
        Line::of(format!("{name}: CPU"), median(cpu.clone()), "s").against("floor", median(to_floor)).goal(2.34),
        Line::of(format!("{name}: memory"), median(memory), "MiB").goal(40.0),
    ];
    if !to_script.is_empty() {
        lines.push(Line::of(format!("{name}: CPU"), median(cpu), "s").against("script", median(to_script)).goal(0.2));
    }
    Ok(lines)
}

/// Row 11: what is asked of a target in which nothing is to be done.
pub fn calls_without_changes(size: Size) -> Result<Vec<Line>> {
    let users = size.of(2_000, 10_000);
    let company = Company::settled(users, &open_door(64))?;
    company.ours()?;
    let calls = company.target.calls()? as f64;
    let pages = users.div_ceil(1_000) as f64;
    let name = format!("nothing to do, {users} users: calls");
    Ok(vec![Line::of(name, calls, "calls").against("pages", calls / pages).goal(1.0)])
}

/// Row 2: a million users, cold, and again in a daemon whose manifests did not change.
pub fn of_a_million(size: Size) -> Result<Vec<Line>> {
    let users = size.of(20_000, 1_000_000);
    let company = Company::of(users, 0, &open_door(64))?;
    let create = company.ours()?;
    assert_eq!(company.target.accounts()?, users as u64, "everybody has an account");
    let first = company.ours()?;
    let floor = company.floor(1)?;
    let daemon = Daemon::of(company.path())?;
    daemon.settles("crm")?;
    let before = daemon.cpu()?;
    let sync = ["--server", &daemon.url, "sync", "crm", "--wait"];
    process::run(&mut process::rosterd(company.path(), &sync))?;
    let again = daemon.cpu()? - before;
    let memory = daemon.memory("VmHWM")?;
    drop(daemon);
    hundredth_changed(&company, users)?;
    let change = company.ours()?;
    let name = format!("{users} users");
    Ok(vec![
        Line::of(format!("{name}, all created: CPU"), create.cpu, "s"),
        Line::of(format!("{name}, all created: memory"), create.memory, "MiB").goal(400.0),
        Line::of(format!("{name}, nothing to do, cold: CPU"), first.cpu, "s")
            .against("floor", first.cpu / floor.cpu)
            .goal(1.5),
        Line::of(format!("{name}, nothing to do, cold: memory"), first.memory, "MiB").goal(400.0),
        Line::of(format!("{name}, again in a daemon: CPU"), again, "s").against("floor", again / floor.cpu).goal(0.25),
        Line::of(format!("{name}, daemon: memory at most"), memory, "MiB").goal(400.0),
        Line::of(format!("{name}, 1 % changed: CPU"), change.cpu, "s"),
        Line::of(format!("{name}, 1 % changed: memory"), change.memory, "MiB").goal(400.0),
    ])
}

/// Every hundredth user has another title, and the target is told so.
fn hundredth_changed(company: &Company, users: usize) -> Result<()> {
    let file = company.path().join("m/users.yaml");
    let text: String = (0..users)
        .map(|number| company::user(number, true, if number % 100 == 0 { "Manager" } else { "Engineer" }))
        .collect();
    fs::write(file, text)?;
    Ok(())
}

/// Row 3: what an account costs that is created without any latency.
pub fn of_creations(size: Size) -> Result<Vec<Line>> {
    let users = size.of(2_000, 20_000);
    let (mut cost, mut to_floor, mut to_script) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..size.of(2, 3) {
        let ours = Company::of(users, 0, &open_door(64))?.ours()?;
        let floor = Company::of(users, 0, &open_door(64))?.floor(64)?;
        let script = Company::of(users, 0, &open_door(64))?.script()?;
        cost.push(ours.cpu / users as f64 * 1e6);
        to_floor.push(ours.cpu / floor.cpu);
        to_script.extend(script.map(|script| ours.cpu / script.cpu));
    }
    let name = format!("{users} created: CPU a user");
    let mut lines =
        vec![Line::of(name.clone(), median(cost.clone()), "µs").against("floor", median(to_floor)).goal(2.0)];
    if !to_script.is_empty() {
        lines.push(Line::of(name, median(cost), "µs").against("script", median(to_script)).goal(0.2));
    }
    Ok(lines)
}

/// Row 4: how near the work comes to what latency and a rate allow.
pub fn with_latency(size: Size) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for (in_flight, goal) in [(64, 1.0 / 0.95), (256, 1.0 / 0.9)] {
        let users = size.of(40, 200) * in_flight;
        let company = Company::of(users, 0, &open_door(in_flight))?;
        company.target.set(20, 0)?;
        company.ours()?;
        let ideal = users as f64 * 0.02 / in_flight as f64;
        let took = span(&company.target)? + 0.02;
        lines.push(
            Line::of(format!("{users} created at 20 ms, {in_flight} in flight: time"), took, "s")
                .against("ideal", took / ideal)
                .goal(goal),
        );
    }
    let (rate, users) = (50_u64, size.of(200, 1_500));
    let limits = json!({ "widen": [], "concurrency": 64, "requestsPerSecond": rate });
    let company = Company::of(users, 0, &limits)?;
    company.target.set(0, rate)?;
    company.ours()?;
    let ideal = (users - 1) as f64 / rate as f64;
    lines.push(
        Line::of(format!("{users} created at {rate} requests/s: time"), span(&company.target)?, "s")
            .against("ideal", span(&company.target)? / ideal)
            .goal(1.0 / 0.98),
    );
    lines.push(Line::of("refusals for too many requests", company.target.count("429")? as f64, "").goal(0.0));
    Ok(lines)
}

/// Seconds between the first and the last write.
fn span(target: &Target) -> Result<f64> {
    let writes = target.writes(0)?;
    let ends = writes.first().zip(writes.last()).ok_or("nothing was written")?;
    Ok((ends.1.0 - ends.0.0) as f64 / 1e6)
}

/// Row 9: by what power of the number of users, and of targets, the CPU grows.
pub fn growth(size: Size) -> Result<Vec<Line>> {
    let sizes = if size == Size::Small { [500, 2_000, 8_000] } else { [1_000, 10_000, 100_000] };
    let mut points = Vec::new();
    for users in sizes {
        let company = Company::settled(users, &open_door(64))?;
        points.push((users as f64, median([company.ours()?.cpu, company.ours()?.cpu, company.ours()?.cpu])));
    }
    let users = exponent(&points);
    let each = size.of(200, 1_000);
    let mut points = Vec::new();
    for count in if size == Size::Small { [1, 4, 8] } else { [1, 8, 32] } {
        points.push((count as f64, of_targets(count, each)?));
    }
    Ok(vec![
        Line::of(format!("growth of CPU from {} to {} users", sizes[0], sizes[2]), users, "exponent").goal(1.08),
        Line::of(
            format!("growth of CPU from {} to {} targets", points[0].0, points[2].0),
            exponent(&points),
            "exponent",
        )
        .goal(1.0),
    ])
}

fn of_targets(count: usize, users: usize) -> Result<f64> {
    let folder = tempfile::TempDir::new()?;
    let targets = (0..count).map(|_| Target::of(0)).collect::<Result<Vec<_>>>()?;
    let names: Vec<_> = (0..count).map(|number| format!("t{number}")).collect();
    let places: Vec<_> = names
        .iter()
        .zip(&targets)
        .map(|(name, target)| Place { name, port: target.port, limits: open_door(64) })
        .collect();
    company::found(folder.path(), &places)?;
    company::hire(folder.path(), users)?;
    let cycle = || process::run(&mut process::rosterd(folder.path(), &["apply", "--yes", "--output", "json"]));
    cycle()?;
    Ok(median([cycle()?.cpu, cycle()?.cpu, cycle()?.cpu]))
}

/// The slope of the straight line through the points' logarithms.
fn exponent(points: &[(f64, f64)]) -> f64 {
    let logs: Vec<_> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let count = logs.len() as f64;
    let (x, y) = logs.iter().fold((0.0, 0.0), |sum, log| (sum.0 + log.0 / count, sum.1 + log.1 / count));
    let (rise, run) =
        logs.iter().fold((0.0, 0.0), |sum, log| (sum.0 + (log.0 - x) * (log.1 - y), sum.1 + (log.0 - x).powi(2)));
    rise / run
}
