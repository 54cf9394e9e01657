//! Chance that can be replayed.

use std::hash::BuildHasher;
use std::hash::Hasher;
use std::hash::RandomState;
use std::io;
use std::io::Write;
use std::time::Duration;

/// `SplitMix64`: small, and the same on every machine.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn of(seed: u64) -> Self {
        Self(seed)
    }

    /// `ROSTERD_SEED`, or another one each time.
    pub(crate) fn seed() -> u64 {
        asked("ROSTERD_SEED").unwrap_or_else(|| RandomState::new().build_hasher().finish())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 where that is 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next().checked_rem(end).unwrap_or_default()
    }

    /// A time from nothing to `longest`.
    pub(crate) fn up_to(&mut self, longest: Duration) -> Duration {
        let micros = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.below(micros))
    }
}

/// Says something that is seen whether the test passes or not: the test runner would swallow what
/// `eprintln!` says.
pub(crate) fn say(words: &str) {
    io::stderr().write_all(format!("{words}\n").as_bytes()).expect("standard error");
}

/// A number that whoever runs the tests asks for in the environment.
pub(crate) fn asked(variable: &str) -> Option<u64> {
    std::env::var_os(variable)?.to_str()?.parse().ok()
}
