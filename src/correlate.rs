//! Which account is whose.
//!
//! A link decides first and is no business of this module. For users without one, the keys of
//! `account.match` are tried in order; the first that finds an account decides. Whatever is not
//! one user and one account is a conflict for all concerned, never a guess.

pub mod history;
pub mod keys;
pub mod matches;
pub mod names;
pub mod phantom;
