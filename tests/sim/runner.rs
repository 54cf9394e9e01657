//! The command line of the simulation, and seeds on all cores.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

use crate::case;
use crate::case::Case;
use crate::case::Family;
use crate::checks;
use crate::drive;
use crate::drive::Run;
use crate::shrink;
use crate::world::line;

/// Seeds of one run in the CI.
const SEEDS: u64 = 1_000;
/// Weeks of one run in the CI.
const WEEKS: u64 = 4;
/// Lines of a trace that are printed from its end.
const LINES: usize = 120;

#[derive(Debug)]
struct Flags {
    from: u64,
    seeds: Option<u64>,
    one: Option<u64>,
    family: Family,
    threads: usize,
    trace: bool,
    whole: bool,
    list: bool,
    filters: Vec<String>,
}

fn flags() -> Flags {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut flags = Flags {
        from: 0,
        seeds: None,
        one: None,
        family: Family::Mixed,
        threads: cores,
        trace: false,
        whole: false,
        list: false,
        filters: Vec::new(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|number| number.parse::<u64>().ok()).expect("a number follows");
        match word.as_str() {
            "--from" => flags.from = number(),
            "--seeds" => flags.seeds = Some(number()),
            "--seed" => flags.one = Some(number()),
            "--threads" => flags.threads = usize::try_from(number()).unwrap(),
            "--week" => flags.family = Family::Week,
            "--trace" => flags.trace = true,
            "--whole" => flags.whole = true,
            "--list" => flags.list = true,
            // What every test program understands and this one has no use for.
            "--test-threads" | "--format" | "--color" => drop(words.next()),
            other if other.starts_with('-') => {}
            other => flags.filters.push(other.to_owned()),
        }
    }
    flags
}

fn say(words: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{words}").and_then(|()| out.flush()).unwrap();
}

pub(crate) fn main() -> ExitCode {
    let flags = flags();
    if let Some(seed) = flags.one {
        return replay(seed, &flags);
    }
    let asked_for_seeds = flags.seeds.is_some();
    let wanted = |name: &str| flags.filters.is_empty() || flags.filters.iter().any(|filter| name.contains(filter));
    let mut failed = 0;
    if !asked_for_seeds {
        for (name, check) in checks::ALL.iter().filter(|(name, _)| wanted(name)) {
            if flags.list {
                say(&format!("{name}: test"));
                continue;
            }
            let sound = std::panic::catch_unwind(check).is_ok();
            say(&format!("check {name} ... {}", if sound { "ok" } else { "FAILED" }));
            failed += usize::from(!sound);
        }
    }
    let seeds = "no_seed_breaks_a_law";
    let weeks = "no_week_breaks_a_law";
    if flags.list {
        for name in [seeds, weeks] {
            say(&format!("{name}: test"));
        }
        return ExitCode::SUCCESS;
    }
    if asked_for_seeds || wanted(seeds) {
        failed += usize::from(!many(&flags, flags.family, flags.seeds.unwrap_or(SEEDS)));
    }
    if !asked_for_seeds && wanted(weeks) {
        failed += usize::from(!many(&flags, Family::Week, WEEKS));
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs seeds on all threads; `false`: one broke a law.
fn many(flags: &Flags, family: Family, count: u64) -> bool {
    let begun = Instant::now();
    let next = AtomicU64::new(flags.from);
    let end = flags.from + count;
    let stop = AtomicBool::new(false);
    let broken: Mutex<Vec<(Case, Run)>> = Mutex::new(Vec::new());
    let take = || {
        let seed = (!stop.load(Ordering::Relaxed)).then(|| next.fetch_add(1, Ordering::Relaxed));
        seed.filter(|seed| *seed < end)
    };
    let one = |seed| {
        let case = case::of(seed, family);
        let run = drive::run(&case);
        if flags.trace {
            say(&format!("seed {seed}: {} entries, {:016x}", run.log.len(), run.hash));
        }
        if run.violation.is_some() {
            stop.store(!flags.whole, Ordering::Relaxed);
            broken.lock().unwrap().push((case, run));
        }
    };
    thread::scope(|scope| {
        for _ in 0..flags.threads {
            scope.spawn(|| std::iter::from_fn(take).for_each(one));
        }
    });
    let took = begun.elapsed().as_secs_f64();
    let ran = next.load(Ordering::Relaxed).min(end) - flags.from;
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = ran as f64 / took;
    say(&format!("{family:?}: {ran} seeds from {} in {took:.1} s, {rate:.1} seeds/s", flags.from));
    let mut broken = broken.into_inner().unwrap();
    broken.sort_by_key(|(case, _)| case.seed);
    for (case, run) in &broken {
        if flags.whole {
            let violation = run.violation.as_ref().unwrap();
            say(&format!("seed {} breaks {}: {}", case.seed, violation.law, violation.words));
        }
    }
    if let Some((case, run)) = broken.first().filter(|_| !flags.whole) {
        tell(case, run, true);
    }
    broken.is_empty()
}

fn replay(seed: u64, flags: &Flags) -> ExitCode {
    let case = case::of(seed, flags.family);
    let run = drive::run(&case);
    if flags.trace {
        run.log.iter().for_each(|entry| say(&line(entry)));
    }
    if run.violation.is_none() {
        say(&format!("seed {seed} breaks no law: {} entries, {:016x}", run.log.len(), run.hash));
        return ExitCode::SUCCESS;
    }
    tell(&case, &run, !flags.whole);
    ExitCode::FAILURE
}

/// Prints what broke, cut down, with the way to see it again.
fn tell(case: &Case, run: &Run, cut: bool) {
    let Some(violation) = &run.violation else { return };
    say(&format!("\nseed {} breaks {}: {}", case.seed, violation.law, violation.words));
    let small;
    let (case, run) = if cut {
        let (fewer, kept) = shrink::shrink(case, violation.law);
        say(&format!("cut down to steps {kept:?} and {} users", fewer.declared.people.len()));
        let again = drive::run(&fewer);
        small = (fewer, again);
        (&small.0, &small.1)
    } else {
        (case, run)
    };
    for place in &case.places {
        say(&format!("  {place:?}"));
    }
    case.declared.papers.iter().for_each(|paper| say(&format!("  {paper:?}")));
    let from = run.log.len().saturating_sub(LINES);
    run.log[from..].iter().for_each(|entry| say(&format!("  {}", line(entry))));
    if let Some(violation) = &run.violation {
        say(&format!("  => {}: {}", violation.law, violation.words));
    }
    let week = if case.steps.len() == 42 { " --week" } else { "" };
    say(&format!("again: cargo test --test sim -- --seed {}{week}", case.seed));
}
