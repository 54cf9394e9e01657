//! Stores: the suite that all of them pass, and what is each one's own.

pub(crate) mod suite;

mod doubt;
mod faults;
mod memory;
#[cfg(unix)]
mod postgres;
mod sqlite;
mod transfer;
