//! The integration suite: one binary, one folder an area. Nothing but Rust is needed to run it.

mod architecture;
