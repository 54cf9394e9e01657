//! Against real servers, which the suite starts itself and stops again.
//!
//! `tests/e2e/install` puts them below `$E2E_DIR` (default: `target/e2e`). Where they are not
//! installed a test says so on standard error and passes; with `ROSTERD_E2E=require` it fails.

// `cfg(test)` tells clippy that helpers here are test code too.
#[cfg(test)]
mod adoption;
#[cfg(test)]
mod bad_days;
#[cfg(test)]
mod cable;
#[cfg(test)]
mod chance;
#[cfg(test)]
mod daemon;
#[cfg(test)]
mod database;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod groups;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod kinds;
#[cfg(test)]
mod life;
#[cfg(test)]
mod lost_store;
#[cfg(test)]
mod mail;
#[cfg(test)]
mod other_hands;
#[cfg(test)]
#[path = "../it/support/postgres.rs"]
#[expect(dead_code, reason = "shared with the other suite, which also cuts lines to the server")]
mod postgres;
#[cfg(test)]
mod rate;
#[cfg(test)]
mod revocation;
#[cfg(test)]
mod servers;
#[cfg(test)]
mod signed;
#[cfg(test)]
mod smoke;
#[cfg(test)]
mod soak;
#[cfg(test)]
mod webhook;
#[cfg(test)]
mod world;
