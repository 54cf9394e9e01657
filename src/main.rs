//! Parses the command line, calls it, and turns its error into an exit code.

fn main() {}
