//! How people and programs are told: the implementations of [`crate::notify::Notifier`].

pub mod file;
pub mod smtp;
pub mod webhook;
