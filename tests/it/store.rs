//! Stores: the suite that all of them pass, and what is SQLite's own.

pub(crate) mod suite;

mod faults;
mod sqlite;
