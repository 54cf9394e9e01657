//! The simulation: whole engines on virtual time in a world where everything goes wrong, judged by
//! code that knows nothing of them.
//!
//! One number makes a world and a list of steps; equal numbers give equal runs. `cargo test --test
//! sim` runs a thousand of them and the checks of the judges themselves. Flags after `--`:
//!
//! | flag | what |
//! | --- | --- |
//! | `--seeds N` | so many seeds |
//! | `--from N` | from this one on |
//! | `--seed N` | this one alone, its trace printed where it breaks a law |
//! | `--week` | weeks with failing targets instead |
//! | `--threads N` | on so many threads (else one for each core) |
//! | `--trace` | print every step of what is run |
//! | `--whole` | do not cut a failing seed down |

// `cfg(test)` tells clippy that this is test code.
#[cfg(test)]
#[expect(clippy::wildcard_enum_match_arm, reason = "a step that is done elsewhere is none of these")]
mod act;
#[cfg(test)]
mod case;
#[cfg(test)]
#[expect(clippy::wildcard_enum_match_arm, reason = "a forger looks for one kind of write")]
mod checks;
#[cfg(test)]
mod declared;
#[cfg(test)]
#[expect(clippy::wildcard_enum_match_arm, reason = "a step that is done elsewhere is none of these")]
mod drive;
#[cfg(test)]
#[expect(clippy::wildcard_enum_match_arm, reason = "a judge hears of everything and speaks of what its law names")]
mod judges;
#[cfg(test)]
mod keeper;
#[cfg(test)]
#[path = "../it/support/make.rs"]
#[expect(dead_code, reason = "the integration suite needs more of it")]
mod make;
#[cfg(test)]
#[path = "../it/support/store.rs"]
mod memory;
#[cfg(test)]
mod random;
#[cfg(test)]
mod runner;
#[cfg(test)]
mod shrink;
#[cfg(test)]
mod target;
#[cfg(test)]
#[expect(clippy::wildcard_enum_match_arm, reason = "a trace shows the writes that tell a story")]
mod world;

fn main() -> std::process::ExitCode {
    #[cfg(test)]
    return runner::main();
    #[cfg(not(test))]
    std::process::ExitCode::FAILURE
}
