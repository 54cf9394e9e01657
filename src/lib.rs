//! rosterd keeps the user lists of many systems equal to one declared list.
//!
//! The modules are floors: a module names itself and lower floors, nothing beside it, nothing
//! above it. `tests/it/architecture.rs` holds that true; `ARCHITECTURE.md` says what lives where.

// 0: nouns
pub mod model;

// 1 to 4: rules. Plain functions; `now` is a parameter.
pub mod accept;
pub mod correlate;
pub mod expr;
pub mod manifest;
pub mod plan;
pub mod project;
pub mod retry;
pub mod schedule;

// 4 and 5: ports and shared plumbing
pub mod audit;
pub mod clock;
pub mod connector;
pub mod http;
pub mod metrics;
pub mod notify;
pub mod secrets;
pub mod source;
pub mod store;

// 6: adapters and engine, strangers to each other
pub mod connectors;
pub mod engine;
pub mod notifiers;
pub mod sources;
pub mod stores;

// 7 to 9: surfaces
pub mod app;
pub mod cli;
pub mod server;
pub mod settings;
pub mod telemetry;
