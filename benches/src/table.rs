//! Figures as lines of a table, and what was recorded of earlier ones.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;

use crate::process::BUILD;
use crate::process::Result;

/// Ratios by measure, of each build.
type Recorded = BTreeMap<String, BTreeMap<String, f64>>;

/// Where the ratios stand that a check compares with, by build.
const RECORDED: &str = "benches/recorded.json";

/// One measure. A ratio is the median over rounds in which the programs took turns.
pub struct Line {
    /// Row of the scoreboard, and what was measured.
    pub name: String,
    pub ours: f64,
    pub unit: &'static str,
    /// What it was compared with, and the ratio to that.
    pub against: Option<(&'static str, f64)>,
    /// Largest figure (of the ratio, or where there is none of ours) that is good enough.
    pub goal: Option<f64>,
}

impl Line {
    pub fn of(name: impl Into<String>, ours: f64, unit: &'static str) -> Self {
        Self { name: name.into(), ours, unit, against: None, goal: None }
    }

    pub fn against(self, what: &'static str, ratio: f64) -> Self {
        Self { against: Some((what, ratio)), ..self }
    }

    pub fn goal(self, goal: f64) -> Self {
        Self { goal: Some(goal), ..self }
    }

    fn judged(&self) -> f64 {
        self.against.map_or(self.ours, |(_, ratio)| ratio)
    }

    fn key(&self) -> String {
        self.against.map_or_else(|| self.name.clone(), |(what, _)| format!("{} / {what}", self.name))
    }
}

pub fn head() {
    println!("| row | measure | rosterd | against | ratio | goal | |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
}

pub fn print(row: &str, line: &Line) {
    let (what, ratio) =
        line.against.map_or((String::new(), String::new()), |(what, ratio)| (what.to_owned(), figure(ratio)));
    let (goal, met) = line.goal.map_or((String::new(), ""), |goal| {
        (format!("≤ {}", figure(goal)), if line.judged() <= goal { "met" } else { "missed" })
    });
    println!("| {row} | {} | {} {} | {what} | {ratio} | {goal} | {met} |", line.name, figure(line.ours), line.unit);
}

/// What was not measured, and why.
pub fn print_unmeasured(row: &str, what: &str, why: &str) {
    println!("| {row} | {what} | | | | | not measured: {} |", why.replace(['\n', '|'], " "));
}

/// Three digits that matter.
fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Says which ratios are more than twice what was recorded. Figures without a ratio are of this
/// machine and compared with nothing; nor is what a script takes, which is of whichever Python is there.
pub fn check(lines: &[Line]) -> Result<bool> {
    let recorded = recorded()?.remove(BUILD).unwrap_or_default();
    let mut good = true;
    for line in lines {
        let Some((_, ratio)) = line.against.filter(|(what, _)| *what != "script") else { continue };
        match recorded.get(&line.key()) {
            Some(before) if ratio <= before * 2.0 => {}
            Some(before) => {
                eprintln!("{}: {} is more than twice the recorded {}", line.key(), figure(ratio), figure(*before));
                good = false;
            }
            None => {
                eprintln!("{}: no ratio of a {BUILD} build is recorded; `--record` does that", line.key());
                good = false;
            }
        }
    }
    Ok(good)
}

/// Writes down the ratios that later checks compare with; those of other rows and builds stay.
pub fn record(lines: &[Line]) -> Result<()> {
    let mut recorded = recorded()?;
    let ratios = lines.iter().filter_map(|line| line.against.map(|(_, ratio)| (line.key(), rounded(ratio))));
    recorded.entry(BUILD.to_owned()).or_default().extend(ratios);
    Ok(fs::write(RECORDED, serde_json::to_string_pretty(&recorded)? + "\n")?)
}

fn recorded() -> Result<Recorded> {
    match fs::read_to_string(RECORDED) {
        Ok(text) => Ok(serde_json::from_str(&text)?),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Recorded::new()),
        Err(error) => Err(error.into()),
    }
}

/// More digits would be those of one run.
fn rounded(ratio: f64) -> f64 {
    (ratio * 100.0).round() / 100.0
}
