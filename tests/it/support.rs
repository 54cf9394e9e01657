//! What several areas of the suite need: stand-ins for the systems outside.
//!
//! `target`, `store` and `source` live on virtual time, where no real part can follow a paused
//! clock; `rig` is a whole engine over them.

pub(crate) mod journal;
pub(crate) mod leaver;
pub(crate) mod mail;
pub(crate) mod make;
#[cfg(unix)]
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod rig;
pub(crate) mod scim_server;
pub(crate) mod source;
pub(crate) mod store;
pub(crate) mod target;
