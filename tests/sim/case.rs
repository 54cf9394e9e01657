//! What one seed stands for: a world and a list of steps. All of it is data, made before anything
//! runs, so that a failing case can be cut down step by step.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use rosterd::connector::ErrorClass;
use rosterd::model::decision::Halts;
use rosterd::model::target::Ending;
use rosterd::model::target::Existing;
use rosterd::model::target::Mode;

use crate::declared::Declared;
use crate::declared::Gift;
use crate::declared::Paper;
use crate::declared::Person;
use crate::declared::Policy;
use crate::declared::Second;
use crate::random::Random;

/// What goes wrong with one write.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    /// Nothing is done and this is answered, perhaps with a time to wait in seconds.
    Refuse(ErrorClass, Option<u64>),
    /// It is done, and nobody learns.
    LoseReply,
    /// It is not done, and nobody learns.
    LoseRequest,
    /// Nobody learns, and it is done so many milliseconds later: the request was on its way.
    Late(u64),
    /// It is answered as done and left undone.
    Ignore,
    /// It never answers; done or not.
    Hang(bool),
}

/// How a target behaves until it is calm again.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Weather {
    /// Nobody gets in.
    Shut,
    /// Nothing answers.
    Hangs,
    /// Milliseconds that each call takes.
    Slow(u64),
    /// Reads show the state of so many milliseconds ago, at most what the target says of itself.
    Stale(u64),
    /// Listings are cut after so many accounts, and say so.
    Cut(usize),
    /// Listings come in another order, one account twice.
    Turned,
    /// Listings fail.
    NoLists(ErrorClass),
    /// Look-ups fail.
    NoLooks(ErrorClass),
    /// Look-ups prove nothing.
    Unproven,
    /// A written attribute reads differently every other time.
    Flapping,
}

/// What somebody else does in a target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Deed {
    Disable,
    Delete,
    /// Writes an attribute that is mapped.
    Edit,
    /// Writes one that is not.
    Title,
    Join(usize),
    Leave(usize),
    /// Makes an account with the user name that a user wants.
    Squat,
    /// Makes one with a user's mark.
    Forge,
}

/// What the store does to the next commits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Keeping {
    /// Fails before anything is kept.
    Lost,
    /// Keeps it and says that it failed.
    Unsaid,
}

/// Where the process dies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Death {
    Now,
    /// In the so-manieth commit from now, before or after it was durable.
    InCommit {
        after: u64,
        durable: bool,
    },
    /// In the so-manieth write from now, before or after it acted.
    InCall {
        after: u64,
        acted: bool,
    },
}

/// One thing that happens. Numbers pick modulo what there is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    Given(u64),
    Off(u64),
    On(u64),
    Leave(u64),
    Join(u64),
    Role {
        who: u64,
        role: usize,
    },
    Unrole {
        who: u64,
        role: usize,
    },
    Until {
        who: u64,
        seconds: Second,
    },
    RoleUntil {
        who: u64,
        role: usize,
        seconds: Second,
    },
    Rename {
        who: u64,
        declared: bool,
    },
    Mail {
        who: u64,
    },
    MailOf {
        who: u64,
        other: u64,
    },
    Gift {
        role: usize,
        target: usize,
        word: Option<usize>,
    },
    ManyOff {
        from: u64,
        count: u64,
    },
    ManyLeave {
        from: u64,
        count: u64,
    },
    Mode {
        target: usize,
        mode: Mode,
    },
    Limit {
        target: usize,
        inferred: u64,
        explicit: u64,
    },
    SourceFails,
    Breaks(u64),
    SourceMends,
    Fault {
        target: usize,
        fault: Fault,
        count: u64,
    },
    Weather {
        target: usize,
        weather: Weather,
    },
    Calm(usize),
    Hand {
        target: usize,
        who: u64,
        deed: Deed,
    },
    Store(Keeping, u64),
    /// Seconds.
    StoreFull(u64),
    StoreBlind(u64),
    Death(Death),
    Restart,
    Release {
        first: bool,
    },
    AcceptShrink,
    Suspend(usize),
    Resume(usize),
    Sync(usize),
    SyncUser {
        target: usize,
        who: u64,
    },
    Link {
        target: usize,
        who: u64,
    },
    Clock(Second),
    Revoke(u64),
    Restore(u64),
    Stop(Halts),
    Start,
}

/// A step and the milliseconds that pass after it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Timed {
    pub(crate) step: Step,
    pub(crate) wait: u64,
}

/// A target and what it holds before anything begins.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    pub(crate) policy: Policy,
    pub(crate) latency: u64,
    pub(crate) visible_within: u64,
    /// Whether it refuses a second account of the same user name.
    pub(crate) unique: bool,
    /// User names of accounts that nobody declared.
    pub(crate) strangers: Vec<String>,
}

/// Everything that follows from a seed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Case {
    pub(crate) seed: u64,
    pub(crate) places: Vec<Place>,
    pub(crate) declared: Declared,
    pub(crate) steps: Vec<Timed>,
    /// Milliseconds that a commit takes.
    pub(crate) store_latency: u64,
}

/// What a family of seeds may contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Everything that there is.
    Mixed,
    /// Seven days with targets that fail in turn.
    Week,
}

/// Makes the case of a seed.
pub(crate) fn of(seed: u64, family: Family) -> Case {
    let mut random = Random::new(seed);
    let targets = random.pick(&[1, 1, 1, 1, 2, 2, 3, 4]);
    let people = match random.below(10) {
        0..6 => random.between(5, 12),
        6..9 => random.between(8, 25),
        _ => random.between(20, 60),
    };
    let mut places: Vec<_> = (0..targets).map(|number| place(&mut random, number, people)).collect();
    // Chances of their own, so that what a seed stands for besides stays what it was.
    let mut waits = Random::new(!seed);
    for place in &mut places {
        place.policy.delete_after = waits.pick(&[None, None, Some(60), Some(3_600), Some(86_400)]);
    }
    let declared = declared(&mut random, targets, people);
    let steps = match family {
        Family::Mixed => mixed(&mut random, targets),
        Family::Week => week(&mut random, targets),
    };
    let store_latency = random.pick(&[0, 0, 1, 5, 20]);
    Case { seed, places, declared, steps, store_latency }
}

fn place(random: &mut Random, number: usize, people: u64) -> Place {
    let existing = random.pick(&[Existing::Refuse, Existing::Refuse, Existing::Ask, Existing::Adopt]);
    let policy = Policy {
        name: format!("t{number}"),
        existing,
        on_gone: random.pick(&[Ending::Disable, Ending::Disable, Ending::Disable, Ending::Keep]),
        on_out_of_scope: random.pick(&[Ending::Disable, Ending::Disable, Ending::Disable, Ending::Strip]),
        updates: random.chance(85),
        concurrency: random.pick(&[1, 2, 4, 8]),
        rate: random.pick(&[None, None, None, Some(5.0), Some(20.0)]),
        every: random.pick(&[None, Some(Duration::from_hours(1)), Some(Duration::from_mins(10))]),
        delete_after: None,
    };
    let mut strangers = Vec::new();
    if random.chance(30) {
        strangers.extend((0..random.between(1, 3)).map(|number| format!("stranger-{number}@else.example")));
        strangers.push("svc-backup".to_owned());
        if random.chance(50) {
            strangers.push(mail(random.below(people)));
        }
    }
    Place {
        policy,
        latency: random.pick(&[0, 0, 10, 50, 300]),
        visible_within: random.pick(&[0, 0, 0, 2_000, 60_000]),
        unique: random.chance(70),
        strangers,
    }
}

pub(crate) fn record(number: u64) -> String {
    format!("u-{number:04}")
}

pub(crate) fn mail(number: u64) -> String {
    format!("{}@acme.example", record(number))
}

/// Role 0 gives an account everywhere, 1 and 2 entitlements everywhere, 3 one target alone.
fn declared(random: &mut Random, targets: usize, people: u64) -> Declared {
    let gift = |target, words: &[usize]| Gift { target, words: words.iter().copied().collect() };
    let everywhere = |words: &[usize]| (0..targets).map(|target| gift(target, words)).collect::<Vec<_>>();
    let roles = vec![everywhere(&[]), everywhere(&[0]), everywhere(&[1, 2]), vec![gift(targets - 1, &[1])]];
    let person = |random: &mut Random, number: u64| {
        let mut held = BTreeMap::new();
        if random.chance(85) {
            held.insert(0, None);
        }
        for role in 1..4 {
            if random.chance(25) {
                held.insert(role, None);
            }
        }
        Person {
            mail: mail(number),
            given: 0,
            family: format!("Family {number}"),
            active: random.chance(92),
            from: None,
            until: None,
            roles: held,
            formerly: Vec::new(),
        }
    };
    let people = (0..people).map(|number| (record(number), person(random, number))).collect();
    let papers = (0..targets)
        .map(|_| Paper {
            mode: if random.chance(92) { Mode::Enforce } else { Mode::Observe },
            inferred: random.pick(&[2, 5, 10, 1_000]),
            explicit: random.pick(&[3, 1_000, 1_000]),
        })
        .collect();
    Declared { people, roles, papers, unreadable: BTreeSet::new() }
}

fn wait(random: &mut Random) -> u64 {
    match random.below(12) {
        0..2 => 0,
        2..5 => random.between(1, 400),
        5..9 => random.between(400, 30_000),
        9..11 => random.between(30_000, 1_200_000),
        _ => random.between(1_200_000, 14_400_000),
    }
}

fn mixed(random: &mut Random, targets: usize) -> Vec<Timed> {
    let count = random.between(6, 40);
    // Some seeds are mostly about one area, so that deep states are met as well as wide ones.
    let leaning = random.below(6);
    let mut steps: Vec<_> = (0..count)
        .map(|_| {
            let area = if random.chance(45) { leaning } else { random.below(6) };
            let step = match area {
                0 | 1 => document(random, targets),
                2 => weather(random, targets),
                3 => hand(random, targets),
                4 => memory(random),
                _ => operator(random, targets),
            };
            Timed { step, wait: wait(random) }
        })
        .collect();
    if random.chance(50) {
        // The first creations meet no fault, so that there is something to lose.
        steps.insert(0, Timed { step: Step::Sync(0), wait: 60_000 });
    }
    steps
}

fn who(random: &mut Random) -> u64 {
    random.below(1_000)
}

fn document(random: &mut Random, targets: usize) -> Step {
    let role = random.index(4);
    let seconds: Second = random.pick(&[0, 1, 5, 60, 600, 3_600, 20_000]);
    match random.below(40) {
        0..4 => Step::Given(who(random)),
        4..9 => Step::Off(who(random)),
        9..13 => Step::On(who(random)),
        13..16 => Step::Leave(who(random)),
        16..19 => Step::Join(who(random)),
        19..22 => Step::Role { who: who(random), role },
        22..25 => Step::Unrole { who: who(random), role },
        25..27 => Step::Until { who: who(random), seconds },
        27..28 => Step::RoleUntil { who: who(random), role, seconds },
        28..30 => Step::Rename { who: who(random), declared: random.chance(70) },
        30..31 => Step::Mail { who: who(random) },
        31..32 => Step::MailOf { who: who(random), other: who(random) },
        32..33 => {
            let word = random.chance(60).then(|| random.index(3));
            Step::Gift { role, target: random.index(targets), word }
        }
        33..34 => Step::ManyOff { from: who(random), count: random.between(2, 15) },
        34..35 => Step::ManyLeave { from: who(random), count: random.between(2, 15) },
        35..36 => {
            let mode = random.pick(&[Mode::Enforce, Mode::Enforce, Mode::Observe, Mode::Suspended]);
            Step::Mode { target: random.index(targets), mode }
        }
        36..37 => {
            let (inferred, explicit) = (random.pick(&[1, 2, 5, 1_000]), random.pick(&[1, 3, 1_000]));
            Step::Limit { target: random.index(targets), inferred, explicit }
        }
        37..38 => Step::SourceFails,
        38..39 => Step::Breaks(who(random)),
        _ => Step::SourceMends,
    }
}

fn weather(random: &mut Random, targets: usize) -> Step {
    let target = random.index(targets);
    if random.chance(55) {
        let wait = random.pick(&[None, Some(1), Some(30)]);
        let fault = match random.below(14) {
            0..3 => Fault::LoseReply,
            3..5 => Fault::LoseRequest,
            5..7 => Fault::Late(random.between(1, 29_000)),
            7 => Fault::Hang(random.chance(50)),
            8 => Fault::Ignore,
            9 => Fault::Refuse(ErrorClass::RateLimited, wait),
            10 => Fault::Refuse(ErrorClass::Transient, wait),
            11 => Fault::Refuse(ErrorClass::Refused, None),
            12 => Fault::Refuse(random.pick(&[ErrorClass::Changed, ErrorClass::NotFound, ErrorClass::Quota]), None),
            _ => Fault::Refuse(random.pick(&[ErrorClass::Exists, ErrorClass::Door]), None),
        };
        return Step::Fault { target, fault, count: random.between(1, 4) };
    }
    if random.chance(30) {
        return Step::Calm(target);
    }
    let class = random.pick(&[ErrorClass::Transient, ErrorClass::RateLimited, ErrorClass::Door]);
    let weather = match random.below(12) {
        0 => Weather::Shut,
        1 => Weather::Hangs,
        2..4 => Weather::Slow(random.pick(&[500, 3_000, 9_000])),
        4..6 => Weather::Stale(random.between(100, 60_000)),
        6 => Weather::Cut(random.index(12)),
        7 => Weather::Turned,
        8 => Weather::NoLists(class),
        9 => Weather::NoLooks(class),
        10 => Weather::Unproven,
        _ => Weather::Flapping,
    };
    Step::Weather { target, weather }
}

fn hand(random: &mut Random, targets: usize) -> Step {
    let deed = match random.below(12) {
        0..3 => Deed::Disable,
        3..5 => Deed::Delete,
        5 => Deed::Edit,
        6 => Deed::Title,
        7 => Deed::Join(random.index(3)),
        8 => Deed::Leave(random.index(3)),
        9..11 => Deed::Squat,
        _ => Deed::Forge,
    };
    Step::Hand { target: random.index(targets), who: who(random), deed }
}

fn memory(random: &mut Random) -> Step {
    match random.below(12) {
        0..2 => Step::Store(random.pick(&[Keeping::Lost, Keeping::Unsaid]), random.between(1, 4)),
        2 => Step::StoreFull(random.pick(&[1, 10, 300])),
        3 => Step::StoreBlind(random.pick(&[1, 10, 100])),
        4..7 => Step::Death(Death::InCommit { after: random.between(1, 12), durable: random.chance(50) }),
        7..10 => Step::Death(Death::InCall { after: random.between(1, 8), acted: random.chance(50) }),
        10 => Step::Death(Death::Now),
        _ => Step::Restart,
    }
}

fn operator(random: &mut Random, targets: usize) -> Step {
    let target = random.index(targets);
    match random.below(23) {
        0..4 => Step::Release { first: random.chance(30) },
        4..6 => Step::AcceptShrink,
        6 => Step::Suspend(target),
        7..9 => Step::Resume(target),
        12..13 => Step::SyncUser { target, who: who(random) },
        13..15 => Step::Link { target, who: who(random) },
        15 => Step::Clock(Second::try_from(random.below(14_400)).unwrap() - 7_200),
        16..18 => Step::Revoke(who(random)),
        18 => Step::Restore(who(random)),
        19 => Step::Stop(random.pick(&[Halts::Widening, Halts::All])),
        20..22 => Step::Start,
        // 9 to 11, and 22.
        _ => Step::Sync(target),
    }
}

/// Days of quiet work with one target at a time in bad weather, and a day of recovery.
fn week(random: &mut Random, targets: usize) -> Vec<Timed> {
    let hour = 3_600_000;
    let mut steps = Vec::new();
    for number in 0..7 * 6 {
        let step = match number % 3 {
            0 => weather(random, targets),
            1 => document(random, targets),
            _ => Step::Calm(number % targets),
        };
        steps.push(Timed { step, wait: random.between(hour, 4 * hour) });
    }
    steps
}
