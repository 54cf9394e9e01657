//! One program for all targets: `FUZZ_TARGET` names the one that gets the bytes.
#![no_main]

mod targets;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<targets::Target> = OnceLock::new();

fn chosen() -> targets::Target {
    let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
    let found = targets::ALL.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("no target is called `{name}`")).1
}

fuzz_target!(|data: &[u8]| TARGET.get_or_init(chosen)(data));
