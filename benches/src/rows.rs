//! The rows of the table: each builds a small company and a target, and measures.

mod cycle;
mod daemon;
mod files;

use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

use crate::company;
use crate::company::Place;
use crate::process;
use crate::process::Cost;
use crate::process::Result;
use crate::process::Target;
use crate::table;
use crate::table::Line;

/// How much is measured: enough to see a mistake, or what the figures are quoted from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Size {
    Small,
    Full,
}

impl Size {
    fn of(self, small: usize, full: usize) -> usize {
        if self == Self::Small { small } else { full }
    }
}

type Row = fn(Size) -> Result<Vec<Line>>;

const ROWS: [(&str, Row); 13] = [
    ("1", cycle::without_changes),
    ("2", cycle::of_a_million),
    ("3", cycle::of_creations),
    ("4", cycle::with_latency),
    ("5", daemon::from_save_to_call),
    ("6", files::parse),
    ("7", daemon::revocation_behind_a_backlog),
    ("8", daemon::memory),
    ("9", cycle::growth),
    ("10", daemon::killed),
    ("11", cycle::calls_without_changes),
    ("12", daemon::fairness),
    ("13", daemon::start),
];

/// What the scoreboard asks for and nothing here measures, by row, and why.
const UNMEASURED: [(&str, &str, &str); 4] = [
    ("1", "against user-sync, scim2-client and Ansible", "none of them is installed; `benches/peers` has the script"),
    ("10", "CPU an operation of intent, outcome, link and audit", "part of row 3, which is made with all of them"),
    ("11", "1 call where the target has deltas", "no connector has deltas yet"),
    ("13", "the image", "no image is built yet"),
];

/// Runs the rows that are named, or all; false where one could not be measured, or a check failed.
pub fn run(arguments: &[&str]) -> Result<bool> {
    let size = if arguments.contains(&"--small") { Size::Small } else { Size::Full };
    let named: Vec<_> = arguments.iter().filter(|word| !word.starts_with("--")).collect();
    if let Some(unknown) = named.iter().find(|named| ROWS.iter().all(|(name, _)| name != **named)) {
        return Err(format!("there is no row `{unknown}`; rows are 1 to 13").into());
    }
    let (mut lines, mut whole) = (Vec::new(), true);
    table::head();
    for (name, row) in ROWS.into_iter().filter(|(name, _)| named.is_empty() || named.contains(&name)) {
        match row(size) {
            Ok(measured) => {
                measured.iter().for_each(|line| table::print(name, line));
                lines.extend(measured);
            }
            Err(error) => {
                // The rows behind it are measured all the same.
                table::print_unmeasured(name, "", &error.to_string());
                whole = false;
            }
        }
        let unmeasured = UNMEASURED.iter().filter(|(row, ..)| *row == name);
        unmeasured.for_each(|(row, what, why)| table::print_unmeasured(row, what, why));
    }
    if arguments.contains(&"--record") {
        table::record(&lines)?;
    }
    Ok(whole && (!arguments.contains(&"--check") || table::check(&lines)?))
}

/// Limits that let a whole company in at once, with so many calls in flight.
fn open_door(concurrency: usize) -> Value {
    json!({ "widen": [], "concurrency": concurrency })
}

/// A company with one target.
struct Company {
    folder: TempDir,
    target: Target,
}

impl Company {
    fn of(users: usize, accounts: usize, limits: &Value) -> Result<Self> {
        let target = Target::of(accounts)?;
        let folder = TempDir::new()?;
        company::found(folder.path(), &[Place { name: "crm", port: target.port, limits: limits.clone() }])?;
        company::hire(folder.path(), users)?;
        Ok(Self { folder, target })
    }

    /// Everybody has their account.
    fn settled(users: usize, limits: &Value) -> Result<Self> {
        let company = Self::of(users, 0, limits)?;
        process::run(&mut process::rosterd(company.path(), &["apply", "--yes"]))?;
        assert_eq!(company.target.accounts()?, users as u64, "everybody has an account");
        company.target.zero()?;
        Ok(company)
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// One cycle of rosterd, with everything it does for safety.
    fn ours(&self) -> Result<Cost> {
        process::run(&mut process::rosterd(self.path(), &["apply", "--yes", "--output", "json"]))
    }

    fn floor(&self, connections: usize) -> Result<Cost> {
        let file = self.path().join("m/users.yaml");
        let words =
            ["floor", "cycle", &file.display().to_string(), &self.target.port.to_string(), &connections.to_string()];
        process::run(&mut process::ourselves(&words))
    }

    /// Nothing where there is no Python that reads YAML.
    fn script(&self) -> Result<Option<Cost>> {
        let mut asks = Command::new("python3");
        asks.args(["-c", "import yaml"]).stderr(Stdio::null());
        if !asks.status().is_ok_and(|status| status.success()) {
            return Ok(None);
        }
        let mut command = Command::new("python3");
        command.arg("benches/peers/script.py").arg(self.path().join("m/users.yaml")).arg(self.target.port.to_string());
        process::run(&mut command).map(Some)
    }
}

/// The middle of some figures.
fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    percentile(figures, 50)
}

fn percentile(figures: impl IntoIterator<Item = f64>, percent: usize) -> f64 {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    figures.get((figures.len().saturating_sub(1) * percent).div_ceil(100)).copied().unwrap_or(f64::NAN)
}
