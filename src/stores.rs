//! The stores.

pub mod journal;
pub mod postgres;
pub mod sqlite;
