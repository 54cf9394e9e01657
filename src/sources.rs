//! Where desired users come from: the implementations of [`crate::source::Source`].

pub mod folder;
