//! What one process leaves to the next of its clock: a doubt does not end because a process does.

use chrono::DateTime;
use chrono::TimeDelta;
use chrono::Utc;
use serde::Deserialize;
use serde::Serialize;

/// A difference that is worth remembering.
const NOTABLE: TimeDelta = TimeDelta::seconds(60);

/// What is known of the clock besides what it shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Where time stands, if the clock is doubted.
    pub doubted: Option<Doubted>,
    /// How far from the store's own clock and from targets a person said that the clock is right,
    /// in milliseconds.
    #[serde(default)]
    pub excused: Vec<i64>,
    /// Which of the recorded times a person's word made worthless.
    #[serde(default)]
    pub word: Option<Word>,
}

/// A person said that the clock is right while the store held later times: those were recorded by a wrong
/// clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// What the clock showed then: it is not earlier since.
    pub at: DateTime<Utc>,
    /// The latest of the recorded times. What is recorded after it counts again.
    pub over: DateTime<Utc>,
}

/// A clock that is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubted {
    /// The last moment that was believed: nothing ends after it.
    pub since: DateTime<Utc>,
    /// How far the clock is ahead of what time it should be, in milliseconds.
    pub ahead: i64,
    /// How far the clock was ahead of the time by which windows slide when it was last believed, in
    /// milliseconds.
    #[serde(default)]
    pub lag: i64,
}

impl Kept {
    /// Whether `self` need not be written where `other` was.
    pub fn is_like(&self, other: &Self) -> bool {
        let near = |one: i64, other: i64| TimeDelta::milliseconds(one.saturating_sub(other)).abs() < NOTABLE;
        let doubt = match (&self.doubted, &other.doubted) {
            (None, None) => true,
            (Some(one), Some(other)) => one.since == other.since && near(one.ahead, other.ahead),
            (None, Some(_)) | (Some(_), None) => false,
        };
        let excused = self.excused.len() == other.excused.len()
            && self.excused.iter().zip(&other.excused).all(|(one, other)| near(*one, *other));
        doubt && excused && self.word == other.word
    }
}
