//! What grows with what: the model of `docs/scale.md`, held against whole engines at smaller sizes.
//!
//! Each size is a process of its own, so that what it allocates, its time on the CPU and its memory are
//! its own. Time, and the memory that the kernel shows, are of the machine and what else it does: they
//! are in the table, and fail the check only where `.ci/long scale` asks for it on a machine at rest, by
//! `ROSTERD_SCALE=full`, over larger sizes and a larger store.

mod fit;
mod idle;
mod model;
mod point;
mod rows;
mod target;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::io::Write as _;
use std::process::Command;

use crate::scale::fit::Point;
use crate::scale::fit::check;
use crate::scale::fit::rows_table;
use crate::scale::model::Installation;
use crate::scale::model::Load;
use crate::scale::model::Phase;
use crate::scale::point::Measured;

fn is_full() -> bool {
    std::env::var_os("ROSTERD_SCALE").is_some_and(|size| size == "full")
}

fn say(text: &str) {
    writeln!(io::stdout(), "{text}").unwrap();
}

/// One size, in a process of its own.
fn measured(load: Load) -> Point {
    let size = OsString::from(serde_json::to_string(&load).unwrap());
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "scale::one_size", "--ignored", "--nocapture"]).env("ROSTERD_SCALE_POINT", size);
    let output = child.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let found = text.lines().find_map(|line| line.split_once("measured: "));
    let Some((_, found)) = found else { panic!("{text}{}", String::from_utf8_lossy(&output.stderr)) };
    let phases: BTreeMap<Phase, Measured> = serde_json::from_str(found).unwrap();
    Point { load, phases }
}

#[test]
#[ignore = "one size of the check below, which starts a process for it"]
fn one_size() {
    let Some(load) = std::env::var_os("ROSTERD_SCALE_POINT") else { return };
    let load: Load = serde_json::from_str(load.to_str().unwrap()).unwrap();
    say(&format!("measured: {}", serde_json::to_string(&point::measure(load)).unwrap()));
}

#[test]
fn work_grows_with_users_and_targets_as_the_model_says() {
    let (users, targets, each) = if is_full() {
        (&[1_000, 2_000, 4_000, 8_000, 16_000][..], &[1, 2, 4, 8, 16, 32][..], 1_000)
    } else {
        (&[200, 800, 3_200][..], &[1, 2, 4][..], 100)
    };
    let by_users: Vec<_> = users.iter().map(|users| measured(Load { users: *users, targets: 1 })).collect();
    let by_targets: Vec<_> = targets.iter().map(|targets| measured(Load { users: each, targets: *targets })).collect();
    let (mut table, mut wrong) = (fit::HEAD.to_owned(), Vec::new());
    check("users", &by_users, |load| load.users as f64, is_full(), (&mut table, &mut wrong));
    check("targets", &by_targets, |load| load.targets as f64, is_full(), (&mut table, &mut wrong));
    say(&table);
    say(&fit::installation_table(&Installation::LARGE, &model::MEASURED));
    assert_eq!(wrong, Vec::<String>::new());
}

#[tokio::test]
async fn a_store_in_postgres_holds_the_rows_that_the_model_says() {
    let load = Load { users: if is_full() { 10_000 } else { 200 }, targets: 1 };
    let Some(stored) = rows::measure(load).await else { return };
    say(&rows_table(load, &stored));
    for phase in Phase::ALL {
        let tables: BTreeMap<_, _> =
            stored[&phase].tables.iter().map(|(name, table)| (name.as_str(), table.rows)).collect();
        for (table, rows) in model::tables(load, phase) {
            assert_eq!(tables[table].cast_unsigned(), rows, "{table} after {phase:?}");
        }
    }
}
