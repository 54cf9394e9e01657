//! Whether the wall clock tells the time (L16).
//!
//! Nothing here reads a clock: it is shown readings and what others say the time is.
//!
//! # Guarantees
//! - A reading more than [`STEP`] away from where the steady clock expects it is doubted at once, in
//!   the reading that shows it.
//! - While the clock is doubted, [`Time::judged`] stands still and [`Time::now`] goes on by the
//!   steady clock: no end date arrives, and no window moves by more than the time that passed.
//!
//! - A doubt outlives the process that had it ([`Guard::kept`]): the next one begins with it, and ends it
//!   by the same means.
//!
//! # Caveats
//! A clock set forward while no rosterd ran is noticed only if a target or the store tells the time.
//! One that was doubted and is put right while no rosterd runs is believed again when a target, the
//! store or a person says so.

use std::fmt;
use std::time::Duration;

use chrono::DateTime;
use chrono::TimeDelta;
use chrono::Utc;

use crate::clock::Clock;
use crate::clock::kept::Doubted;
use crate::clock::kept::Kept;
use crate::clock::kept::Word;

/// How far the wall clock may move away from the steady one.
pub const STEP: TimeDelta = TimeDelta::seconds(60);
/// How far the wall clock may be from what the store and most targets say.
pub const APART: TimeDelta = TimeDelta::minutes(5);
/// From when on the place where the wall clock is expected is taken anew: a clock that runs a little
/// fast or slow and is corrected bit by bit is no step.
const REBASE: Duration = Duration::from_hours(1);
/// So long what somebody else said is carried on by the steady clock.
const FRESH: Duration = Duration::from_hours(1);

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The wall clock.
    pub wall: DateTime<Utc>,
    /// The steady one.
    pub steady: Duration,
}

impl Reading {
    /// The two clocks of this machine now.
    pub fn of(clock: &dyn Clock) -> Self {
        Self { wall: clock.now(), steady: clock.steady() }
    }

    /// What the wall clock should show when the steady one shows `steady`.
    pub fn carried(&self, steady: Duration) -> DateTime<Utc> {
        let passed = steady.saturating_sub(self.steady);
        TimeDelta::from_std(passed).ok().and_then(|passed| self.wall.checked_add_signed(passed)).unwrap_or(self.wall)
    }

    /// Whether what somebody said at this reading is worth anything when the steady clock shows
    /// `steady`.
    pub fn is_fresh(&self, steady: Duration) -> bool {
        steady.saturating_sub(self.steady) <= FRESH
    }
}

/// What time it is, for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    /// For records and schedules: the wall clock, or where that is doubted, the time that passed
    /// since it was last believed.
    pub now: DateTime<Utc>,
    /// For everything that ends by itself. Stands still while the clock is doubted.
    pub judged: DateTime<Utc>,
    /// Whether the wall clock is believed.
    pub trusted: bool,
}

/// Why the wall clock is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Somebody set it.
    Stepped(TimeDelta),
    /// What the store holds, or its own clock, shows another time.
    Store(TimeDelta),
    /// Most targets show another time.
    Targets(TimeDelta),
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (by, than) = match self {
            Self::Stepped(by) => {
                let way = if *by > TimeDelta::zero() { "forward" } else { "back" };
                return write!(f, "the clock was set {way} by {} s", by.num_seconds().abs());
            }
            Self::Store(by) => (by, "the store says"),
            Self::Targets(by) => (by, "most targets say"),
        };
        let way = if *by > TimeDelta::zero() { "later" } else { "earlier" };
        write!(f, "the clock shows a time {} s {way} than {than}", by.num_seconds().abs())
    }
}

/// Judges readings of the clock. Kept for as long as the process runs.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Where the wall clock is expected from.
    base: Reading,
    /// The last moment that something besides the wall clock itself confirmed.
    confirmed: Option<Reading>,
    /// Nothing was recorded after it, so that the time is not before it.
    floor: Option<DateTime<Utc>>,
    /// The store's own clock, where it has one.
    store: Option<Reading>,
    /// The middle of what targets say.
    targets: Option<Reading>,
    /// How far from those a person said that the clock is right.
    excused: Vec<TimeDelta>,
    /// The same of what was recorded.
    word: Option<Word>,
    last_trusted: DateTime<Utc>,
    doubt: Option<Doubt>,
    frozen: DateTime<Utc>,
}

impl Guard {
    /// Believes the first reading until something speaks against it.
    pub fn new(first: Reading) -> Self {
        Self {
            base: first,
            confirmed: None,
            floor: None,
            store: None,
            targets: None,
            excused: Vec::new(),
            word: None,
            last_trusted: first.wall,
            doubt: None,
            frozen: first.wall,
        }
    }

    /// Something was recorded at `at`, so it is not earlier now; where a person said that such records are
    /// worth nothing, not earlier than that word.
    pub fn not_before(&mut self, at: DateTime<Utc>, reading: Reading) {
        let at = self.word.filter(|word| (word.at..=word.over).contains(&at)).map_or(at, |word| word.at);
        self.floor = self.floor.max(Some(at));
        self.confirmed = Some(Reading { wall: self.floor.unwrap_or(at), steady: reading.steady });
    }

    /// The store's own clock shows `at`.
    pub fn store_says(&mut self, at: DateTime<Utc>, reading: Reading) {
        self.store = Some(Reading { wall: at, steady: reading.steady });
    }

    /// Targets show these times. Where nobody says anything, what was said last is carried on.
    pub fn targets_say(&mut self, mut times: Vec<DateTime<Utc>>, reading: Reading) {
        times.sort_unstable();
        // The lower of two in the middle: a clock between both is near enough to either.
        let middle = times.len().saturating_sub(1) / 2;
        if let Some(wall) = times.get(middle).copied() {
            self.targets = Some(Reading { wall, steady: reading.steady });
        }
    }

    /// A person says that the wall clock is right as it is, whatever the others say now.
    pub fn trust(&mut self, reading: Reading) {
        let offsets = [self.store, self.targets].into_iter().flatten();
        self.excused = offsets.map(|other| reading.wall - other.carried(reading.steady)).collect();
        let earlier = self.word.map(|word| word.over);
        let over = self.floor.take().max(earlier).filter(|over| *over > reading.wall);
        self.word = over.map(|over| Word { at: reading.wall, over });
        self.base = reading;
        self.confirmed = Some(reading);
    }

    /// What the next process must know. `lag`: how far the clock was ahead of the time by which windows
    /// slide when it was last believed.
    pub fn kept(&self, lag: TimeDelta) -> Kept {
        let doubted = self.doubt.map(|doubt| {
            let (Doubt::Stepped(by) | Doubt::Store(by) | Doubt::Targets(by)) = doubt;
            Doubted { since: self.frozen, ahead: by.num_milliseconds(), lag: lag.num_milliseconds() }
        });
        Kept { doubted, excused: self.excused.iter().map(TimeDelta::num_milliseconds).collect(), word: self.word }
    }

    /// Goes on with what the last process knew. Where that doubted the clock, time stands where it stood,
    /// and the clock is expected where it would be had it not been wrong.
    pub fn restore(&mut self, kept: &Kept, reading: Reading) {
        self.excused = kept.excused.iter().filter_map(|by| TimeDelta::try_milliseconds(*by)).collect();
        self.word = kept.word;
        let Some(Doubted { since, ahead, .. }) = kept.doubted else { return };
        let ahead = TimeDelta::try_milliseconds(ahead).unwrap_or_default();
        let right = reading.wall.checked_sub_signed(ahead).unwrap_or(since).max(since);
        self.base = Reading { wall: right, steady: reading.steady };
        (self.last_trusted, self.frozen) = (since, since);
        self.doubt = Some(Doubt::Stepped(ahead));
    }

    /// What time it is by this reading.
    pub fn read(&mut self, reading: Reading) -> Time {
        let doubt = self.doubt_of(reading);
        match doubt {
            None => self.believe(reading),
            Some(doubt) if self.doubt.is_none() => self.frozen = self.frozen_by(doubt, reading.steady),
            Some(_) => {}
        }
        self.doubt = doubt;
        let now = if doubt.is_none() { reading.wall } else { self.base.carried(reading.steady) };
        let judged = if doubt.is_none() { reading.wall } else { self.frozen };
        Time { now, judged, trusted: doubt.is_none() }
    }

    /// Why the last reading was not believed.
    pub fn doubt(&self) -> Option<Doubt> {
        self.doubt
    }

    fn believe(&mut self, reading: Reading) {
        self.last_trusted = reading.wall;
        if reading.steady.saturating_sub(self.base.steady) >= REBASE {
            self.base = reading;
        }
        if self.agrees(reading) {
            self.confirmed = Some(reading);
        }
    }

    /// Where time stands still. A clock that was wrong all along was believed until now: then the
    /// last moment that somebody else confirmed counts.
    fn frozen_by(&self, doubt: Doubt, steady: Duration) -> DateTime<Utc> {
        match (doubt, self.confirmed) {
            (Doubt::Stepped(_), _) | (_, None) => self.last_trusted,
            (Doubt::Store(_) | Doubt::Targets(_), Some(confirmed)) => confirmed.carried(steady),
        }
    }

    fn doubt_of(&mut self, reading: Reading) -> Option<Doubt> {
        let agrees = self.agrees(reading);
        let step = reading.wall - self.base.carried(reading.steady);
        if step.abs() > STEP {
            if !agrees {
                return Some(Doubt::Stepped(step));
            }
            // It was wrong before, and was put right.
            self.base = reading;
        }
        if let Some(by) = self.apart(self.store, reading) {
            return Some(Doubt::Store(by));
        }
        if let Some(by) = self.apart(self.targets, reading) {
            return Some(Doubt::Targets(by));
        }
        let behind = self.floor.map(|floor| reading.wall - floor).filter(|by| *by < -APART);
        behind.filter(|_| !agrees).map(Doubt::Store)
    }

    /// Whether somebody else shows this time, and nobody another.
    fn agrees(&self, reading: Reading) -> bool {
        let mut others =
            [self.store, self.targets].into_iter().flatten().filter(|other| other.is_fresh(reading.steady));
        let near = |other: Reading| (reading.wall - other.carried(reading.steady)).abs() <= STEP;
        let heard = others.clone().next().is_some();
        heard && others.all(near)
    }

    fn apart(&self, other: Option<Reading>, reading: Reading) -> Option<TimeDelta> {
        // Silence takes no doubt away.
        let other = other.filter(|other| self.doubt.is_some() || other.is_fresh(reading.steady))?;
        let by = reading.wall - other.carried(reading.steady);
        let excused = self.excused.iter().any(|excused| (by - *excused).abs() <= STEP);
        (by.abs() > APART && !excused).then_some(by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noon() -> DateTime<Utc> {
        "2026-11-22T12:00:00Z".parse().unwrap()
    }

    /// The reading after `steady` seconds of a clock that was set by `stepped` seconds.
    fn at(steady: u64, stepped: i64) -> Reading {
        let passed = Duration::from_secs(steady);
        Reading { wall: noon() + passed + TimeDelta::seconds(stepped), steady: passed }
    }

    fn guard() -> Guard {
        Guard::new(at(0, 0))
    }

    #[test]
    fn a_clock_set_by_more_than_a_minute_is_doubted_and_time_goes_on_without_it() {
        for stepped in [61, 31_536_000, -61, -31_536_000] {
            let mut guard = guard();
            assert!(guard.read(at(10, 0)).trusted);
            let time = guard.read(at(20, stepped));
            assert_eq!((time.trusted, time.now, time.judged), (false, at(20, 0).wall, at(10, 0).wall));
            let later = guard.read(at(4_000, stepped));
            assert_eq!((later.now, later.judged), (at(4_000, 0).wall, at(10, 0).wall), "it stands still");
            let back = guard.read(at(4_010, 3));
            assert_eq!((back.trusted, back.judged), (true, at(4_010, 3).wall), "it is right again by itself");
        }
    }

    #[test]
    fn small_corrections_are_no_step_however_many() {
        let mut guard = guard();
        for hour in 1..200 {
            assert!(guard.read(at(u64::try_from(hour).unwrap() * 3_600, hour * 2)).trusted, "hour {hour}");
        }
    }

    #[test]
    fn a_wrong_clock_that_is_put_right_is_believed_once_targets_agree() {
        let mut guard = guard();
        guard.targets_say(vec![at(10, 7_200).wall], at(10, 0));
        let wrong = guard.read(at(10, 0));
        assert_eq!((wrong.trusted, guard.doubt()), (false, Some(Doubt::Targets(TimeDelta::hours(-2)))));
        assert!(guard.read(at(20, 7_200)).trusted);
        assert!(guard.read(at(9_000, 7_200)).trusted, "and stays so when targets are silent");
    }

    #[test]
    fn most_targets_count_and_one_of_three_does_not() {
        let mut guard = guard();
        guard.targets_say(vec![at(5, 0).wall, at(5, 86_400).wall, at(5, 2).wall], at(5, 0));
        assert!(guard.read(at(5, 0)).trusted);
        guard.targets_say(vec![at(6, 86_400).wall, at(6, 86_400).wall, at(6, 2).wall], at(6, 0));
        assert!(!guard.read(at(6, 0)).trusted);
    }

    #[test]
    fn a_clock_that_was_wrong_from_the_start_judges_by_what_was_recorded_last() {
        let mut guard = Guard::new(at(0, 31_536_000));
        guard.not_before(noon(), at(0, 31_536_000));
        assert!(guard.read(at(1, 31_536_000)).trusted, "nothing speaks against it yet");
        guard.targets_say(vec![at(2, 0).wall], at(2, 31_536_000));
        assert_eq!(guard.read(at(2, 31_536_000)).judged, at(2, 0).wall);
    }

    #[test]
    fn a_clock_behind_what_was_recorded_is_doubted() {
        let mut guard = Guard::new(at(0, -3_600));
        guard.not_before(noon(), at(0, -3_600));
        let time = guard.read(at(1, -3_600));
        assert_eq!((time.trusted, time.judged), (false, at(1, 0).wall));
        guard.targets_say(vec![at(2, -3_600).wall], at(2, -3_600));
        assert!(guard.read(at(2, -3_600)).trusted, "the records were made by a wrong clock");
    }

    #[test]
    fn a_doubt_goes_on_in_the_next_process_and_ends_there_by_the_same_means() {
        for stepped in [3_600, -3_600] {
            let mut first = guard();
            assert!(first.read(at(10, 0)).trusted);
            assert!(!first.read(at(20, stepped)).trusted);
            let kept = first.kept(TimeDelta::zero());
            // A minute later another one begins, with the steady clock of another boot.
            let begins = |steady: u64, stepped| {
                let Reading { wall, .. } = at(steady, stepped);
                Reading { wall, steady: Duration::from_secs(steady - 80) }
            };
            let mut next = Guard::new(begins(80, stepped));
            next.restore(&kept, begins(80, stepped));
            let time = next.read(begins(81, stepped));
            assert_eq!((time.trusted, time.judged, time.now), (false, at(10, 0).wall, at(81, 0).wall));
            let mut agreed = next.clone();
            agreed.targets_say(vec![at(90, stepped).wall], begins(90, stepped));
            assert!(agreed.read(begins(90, stepped)).trusted, "targets show the same");
            let mut said = next.clone();
            said.trust(begins(90, stepped));
            assert!(said.read(begins(91, stepped)).trusted, "a person says so");
            assert!(next.read(begins(90, 0)).trusted, "it is put right");
        }
    }

    #[test]
    fn a_doubted_clock_that_is_set_while_nobody_looks_is_doubted_still() {
        let mut first = guard();
        assert!(!first.read(at(20, 3_600)).trusted);
        let kept = first.kept(TimeDelta::zero());
        for stepped in [0, 7_200, -31_536_000] {
            let mut next = Guard::new(at(600, stepped));
            next.restore(&kept, at(600, stepped));
            let time = next.read(at(601, stepped));
            assert_eq!((time.trusted, time.judged), (false, noon()), "set by {stepped} s");
            assert!(time.now >= noon(), "time does not go back");
        }
    }

    #[test]
    fn a_persons_word_stands_in_the_next_process_too() {
        let mut first = guard();
        first.targets_say(vec![at(5, 7_200).wall], at(5, 0));
        assert!(!first.read(at(5, 0)).trusted);
        first.trust(at(6, 0));
        assert!(first.read(at(6, 0)).trusted);
        let mut next = Guard::new(at(60, 0));
        next.restore(&first.kept(TimeDelta::zero()), at(60, 0));
        next.targets_say(vec![at(61, 7_200).wall], at(61, 0));
        assert!(next.read(at(62, 0)).trusted);
        assert!(!next.read(at(700, 600)).trusted, "it is set once more");
    }

    #[test]
    fn a_persons_word_against_what_was_recorded_stands_in_the_next_process_until_that_time_has_come() {
        let begun = || {
            let mut guard = Guard::new(at(0, 0));
            guard.not_before(at(0, 86_400).wall, at(0, 0));
            guard
        };
        let mut first = begun();
        assert_eq!(first.read(at(1, 0)).judged, at(1, 86_400).wall, "what was recorded was believed then");
        first.trust(at(2, 0));
        assert_eq!(first.read(at(3, 0)).judged, at(3, 0).wall);
        let mut next = Guard::new(at(60, 0));
        next.restore(&first.kept(TimeDelta::zero()), at(60, 0));
        next.not_before(at(0, 86_400).wall, at(60, 0));
        let time = next.read(at(61, 0));
        assert_eq!((time.trusted, time.judged), (true, at(61, 0).wall));
        let mut back = Guard::new(at(60, -7_200));
        back.restore(&next.kept(TimeDelta::zero()), at(60, -7_200));
        back.not_before(at(0, 86_400).wall, at(60, -7_200));
        assert!(!back.read(at(61, -7_200)).trusted, "it is not earlier than the word either");
        let mut later = Guard::new(at(60, 0));
        later.restore(&next.kept(TimeDelta::zero()), at(60, 0));
        later.not_before(at(0, 90_000).wall, at(60, 0));
        assert!(!later.read(at(61, 0)).trusted, "what is recorded after that counts");
    }

    #[test]
    fn a_persons_word_stands_against_the_same_doubt_and_not_against_the_next() {
        let mut guard = guard();
        guard.targets_say(vec![at(5, 7_200).wall], at(5, 0));
        assert!(!guard.read(at(5, 0)).trusted);
        guard.trust(at(6, 0));
        assert!(guard.read(at(6, 0)).trusted);
        assert!(guard.read(at(600, 0)).trusted);
        assert!(!guard.read(at(700, 600)).trusted, "it is set once more");
        guard.trust(at(710, 600));
        assert!(guard.read(at(711, 600)).trusted);
    }
}
