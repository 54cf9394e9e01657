//! Reading manifests: row 6.

use std::path::Path;

use crate::company;
use crate::company::Place;
use crate::process;
use crate::process::Cost;
use crate::process::Result;
use crate::rows::Size;
use crate::rows::median;
use crate::rows::open_door;
use crate::table::Line;

const ROUNDS: usize = 5;

pub fn parse(size: Size) -> Result<Vec<Line>> {
    let users = size.of(5_000, 100_000);
    let folder = company_of(|path| company::hire(path, users))?;
    let file = folder.path().join("m/users.yaml").display().to_string();
    let (mut cost, mut to_floor, mut to_wall) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let ours = validate(folder.path())?;
        let floor = process::run(&mut process::ourselves(&["floor", "parse", &file]))?;
        cost.push(ours.cpu / users as f64 * 1e6);
        to_floor.push(ours.cpu / floor.cpu);
        to_wall.push(ours.wall / ours.cpu);
    }
    let apart = company_of(|path| company::hire_apart(path, users))?;
    let manifests = apart.path().join("m").display().to_string();
    validate(apart.path())?;
    let (mut wall, mut to_walk) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let ours = validate(apart.path())?;
        let floor = process::run(&mut process::ourselves(&["floor", "walk", &manifests]))?;
        wall.push(ours.wall);
        to_walk.push(ours.wall / floor.wall);
    }
    Ok(vec![
        Line::of(format!("{users} users in a file read: CPU a user"), median(cost), "µs")
            .against("floor", median(to_floor))
            .goal(1.1),
        Line::of(format!("{users} users in a file read: wall over CPU"), median(to_wall), "").goal(0.6),
        Line::of(format!("{users} unchanged files of one user read again: wall"), median(wall), "s")
            .against("walk", median(to_walk))
            .goal(1.33),
    ])
}

fn company_of(hire: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<tempfile::TempDir> {
    let folder = tempfile::TempDir::new()?;
    // Nothing is called: `validate` only reads.
    company::found(folder.path(), &[Place { name: "crm", port: 9, limits: open_door(64) }])?;
    hire(folder.path())?;
    Ok(folder)
}

fn validate(folder: &Path) -> Result<Cost> {
    process::run(&mut process::rosterd(folder, &["validate"]))
}
