//! Queue, cycle, execute: what turns plans into calls.
