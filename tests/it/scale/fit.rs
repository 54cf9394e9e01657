//! Measured points against the model: counts to the last one, time and memory by how they grow.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::scale::model;
use crate::scale::model::Costs;
use crate::scale::model::Installation;
use crate::scale::model::Load;
use crate::scale::model::Phase;
use crate::scale::point::Measured;
use crate::scale::rows::Stored;

/// One size, as it was measured.
pub(super) struct Point {
    pub(super) load: Load,
    pub(super) phases: BTreeMap<Phase, Measured>,
}

/// By how much a measured exponent may be above the model's: of what is counted, and of what is
/// measured. Calls and rows have no margin.
const COUNTED: f64 = 0.1;
const MEASURED: f64 = 0.25;

pub(super) const HEAD: &str = "| grows with | phase | measure | smallest | largest | exponent | model | |\n\
    | --- | --- | --- | --- | --- | --- | --- | --- |\n";

/// One measure: its name, what was measured, what the model says, and by how much the exponent may differ.
struct Measure {
    name: &'static str,
    of: fn(&Measured) -> f64,
    model: fn(Load, Phase) -> f64,
    verdict: Verdict,
}

/// What makes a measure good.
#[derive(Clone, Copy)]
enum Verdict {
    /// Every point is what the model says.
    Exact,
    /// The exponent is that of the model or less, and so much above it.
    Grows(f64),
    /// It is shown and not judged.
    Shown,
}

/// Compares points along one axis, adds lines to the table and what is wrong to the list.
pub(super) fn check(
    axis: &str,
    points: &[Point],
    size: fn(Load) -> f64,
    is_at_rest: bool,
    (table, wrong): (&mut String, &mut Vec<String>),
) {
    let of_machine = if is_at_rest { Verdict::Grows(MEASURED) } else { Verdict::Shown };
    let measure = |name, of, model, verdict| Measure { name, of, model, verdict };
    let measures = [
        measure("calls", |point| point.calls as f64, |load, phase| model::calls(load, phase) as f64, Verdict::Exact),
        measure(
            "rows written",
            |point| sum(point) as f64,
            |load, phase| model::rows(load, phase) as f64,
            Verdict::Exact,
        ),
        measure("commits", |point| point.commits as f64, model::commits, Verdict::Grows(COUNTED)),
        measure("allocated, KiB", |point| point.allocated as f64, model::allocated, Verdict::Grows(COUNTED)),
        measure("held at most, KiB", |point| point.held as f64, model::held, Verdict::Grows(COUNTED)),
        measure("CPU, ms", |point| point.cpu * 1e3, model::cpu, of_machine),
        measure("memory, KiB", |point| point.memory as f64, model::memory, of_machine),
    ];
    for (phase, measure) in
        Phase::ALL.into_iter().flat_map(|phase| measures.iter().map(move |measure| (phase, measure)))
    {
        // The peak of a process is that of its first phase.
        if measure.name.starts_with("memory") && phase != Phase::Create {
            continue;
        }
        let line =
            |of: &dyn Fn(&Point) -> f64| points.iter().map(|point| (size(point.load), of(point))).collect::<Vec<_>>();
        let found = line(&|point| (measure.of)(&point.phases[&phase]));
        let expected = line(&|point| (measure.model)(point.load, phase));
        let (grows, may) = (exponent(&found), exponent(&expected));
        let good = match measure.verdict {
            Verdict::Exact => found == expected,
            Verdict::Grows(margin) => grows <= may + margin,
            Verdict::Shown => true,
        };
        let ends = [found.first(), found.last()].map(|end| end.map_or(0.0, |(_, value)| *value));
        let word = if good { "" } else { "above the model" };
        let name = measure.name;
        writeln!(
            table,
            "| {axis} | {phase:?} | {name} | {:.0} | {:.0} | {grows:.2} | {may:.2} | {word} |",
            ends[0], ends[1]
        )
        .unwrap();
        if !good {
            wrong.push(format!("{name} of {phase:?} by {axis}: {found:?}, and the model says {expected:?}"));
        }
    }
}

/// Rows about users; those of cycles and commits are counted with the commits.
fn sum(point: &Measured) -> u64 {
    let of_users = ["audit", "cause", "forgotten", "identity", "intent", "link", "outcome", "owed", "seen"];
    of_users.iter().filter_map(|kind| point.rows.get(*kind)).sum()
}

/// The slope of the straight line through the points' logarithms.
fn exponent(points: &[(f64, f64)]) -> f64 {
    let logs: Vec<_> = points.iter().map(|(x, y)| (x.ln(), y.max(1.0).ln())).collect();
    let count = logs.len() as f64;
    let (x, y) = logs.iter().fold((0.0, 0.0), |sum, log| (sum.0 + log.0 / count, sum.1 + log.1 / count));
    let (rise, run) =
        logs.iter().fold((0.0, 0.0), |sum, log| (sum.0 + (log.0 - x) * (log.1 - y), sum.1 + (log.0 - x).powi(2)));
    rise / run
}

/// The tables of a store, as each phase left them, and what it took.
pub(super) fn rows_table(load: Load, stored: &BTreeMap<Phase, Stored>) -> String {
    let mut text = format!("\n{} users, {} target\n\n", load.users, load.targets);
    text.push_str("| phase | table | rows | bytes a row |\n| --- | --- | --- | --- |\n");
    for (phase, Stored { tables, .. }) in stored {
        for (name, table) in tables.iter().filter(|(_, table)| table.rows >= 100) {
            let bytes = table.bytes as f64 / table.rows as f64;
            writeln!(text, "| {phase:?} | {name} | {} | {bytes:.0} |", table.rows).unwrap();
        }
    }
    text.push_str("\n| phase | bytes of all tables | bytes of log | CPU s of the engine | of the server |\n");
    text.push_str("| --- | --- | --- | --- | --- |\n");
    for (phase, Stored { tables, log, engine, server }) in stored {
        let all: i64 = tables.values().map(|table| table.bytes).sum();
        writeln!(text, "| {phase:?} | {all} | {log} | {engine:.1} | {server:.1} |").unwrap();
    }
    text
}

/// What follows for a large installation.
pub(super) fn installation_table(installation: &Installation, costs: &Costs) -> String {
    let Installation { users, targets, accounts_each, replicas, rate } = installation;
    let mut text = format!(
        "\n{users:e} users, {targets:e} targets, {accounts_each} accounts a user, {replicas} replicas, {rate} calls a second \
         and target\n\n| what | computed |\n| --- | --- |\n"
    );
    for (what, value, unit) in installation.table(costs) {
        writeln!(text, "| {what} | {} {unit} |", digits(value)).unwrap();
    }
    text
}

/// Two digits that matter; more would be of the model and not of the world.
fn digits(value: f64) -> String {
    let size = 10_f64.powf(value.abs().log10().floor() - 1.0);
    let value = (value / size).round() * size;
    match value {
        large if large >= 1e5 => format!("{value:.1e}"),
        large if large >= 10.0 => format!("{value:.0}"),
        some if some >= 1.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
