//! Documents from a folder of files.

mod files;
mod read;
mod walk;
mod watch;

pub use crate::sources::folder::watch::Watching;
