//! The nouns of rosterd: plain data that every other floor speaks about.
//!
//! Absent here on purpose: async, input and output, clocks, logging. A time is
//! always a value that somebody passed in.

pub mod account;
pub mod addressee;
pub mod administrators;
pub mod approval;
pub mod audit;
pub mod change;
pub mod decision;
pub mod hand;
pub mod history;
pub mod identity;
pub mod ids;
pub mod invite;
pub mod link;
pub mod list;
pub mod message;
pub mod node;
pub mod one_or_more;
pub mod origin;
pub mod packed;
pub mod path;
pub mod plan;
pub mod projection;
pub mod request;
pub mod role;
pub mod snapshot;
pub mod tally;
pub mod target;
pub mod user;
pub mod users;
