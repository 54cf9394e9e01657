//! What rosterd costs, as ratios to barer programs that do the same work.
//!
//! `rosterd-bench [--small] [--record] [--check] [ROW...]`; without rows all are run. `--record` keeps the
//! ratios of this build (debug or release), `--check` fails where one is more than twice what was kept.

mod company;
mod floor;
mod process;
mod rows;
mod table;
mod target;

use std::path::Path;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match dispatch(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[&str]) -> process::Result<bool> {
    match arguments {
        ["target", accounts] => target::serve(accounts.parse()?)?,
        ["floor", "cycle", file, port, connections] => {
            floor::cycle(Path::new(file), port.parse()?, connections.parse()?)?;
        }
        ["floor", "parse", file] => floor::parse_only(Path::new(file))?,
        ["floor", "walk", folder] => floor::walk(Path::new(folder))?,
        rows => return rows::run(rows),
    }
    Ok(true)
}
