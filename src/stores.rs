//! The stores.

pub mod sqlite;
