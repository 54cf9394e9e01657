//! `spec.limits` and `spec.schedule` of targets.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::manifest::located::Located;
use crate::manifest::report::Report;
use crate::manifest::suggest;
use crate::manifest::text::Place;
use crate::manifest::words;
use crate::model::administrators::Administrators;
use crate::model::ids::EntitlementName;
use crate::model::target::Entitlement;
use crate::model::target::Freeze;
use crate::model::target::Limits;
use crate::model::target::Schedule;
use crate::model::target::Window;
use crate::schedule::Freezes;
use crate::schedule::Timetable;

/// Fewer than one administrator is nobody who could let the next one in.
const FEWEST_ADMINISTRATORS: u64 = 1;
/// More calls in flight than any target takes.
const MOST_CONCURRENCY: usize = 1024;
/// Longest window: recorded intents are kept as long.
const LONGEST_WINDOW: Duration = Duration::from_hours(30 * 24);

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct LimitsEntry {
    /// On what is taken away.
    #[serde(default)]
    narrow: NarrowEntry,
    /// On creations, adoptions, reactivations and grants; default 500 in 1 h, and 20 `of: adoptions`
    /// in 24 h.
    widen: Option<Vec<Located<WidenEntry>>>,
    /// On grants of privileged entitlements; default 2 in 24 h.
    privileged: Option<Vec<Located<WindowEntry>>>,
    /// On accounts with changes that touch no access; default 50 % in 1 h, and 5 `of: clearings` (of
    /// one attribute) in 1 h.
    update: Option<Vec<Located<UpdateEntry>>>,
    /// On deletions, each of which needs a person as well; default 5 in 24 h.
    delete: Option<Vec<Located<WindowEntry>>>,
    /// How many accounts may be active; creations are cut off there.
    seats: Option<u64>,
    /// Calls a second.
    requests_per_second: Option<Located<f64>>,
    /// Calls in flight.
    concurrency: Option<Located<usize>>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NarrowEntry {
    /// By inference; default 10 and 5 % in 24 h.
    inferred: Option<Vec<Located<WindowEntry>>>,
    /// By the user's own document; default 25 % in 1 h and 35 % in 24 h.
    explicit: Option<Vec<Located<WindowEntry>>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WindowEntry {
    /// At most so many.
    count: Option<u64>,
    /// At most this share of the owned active accounts.
    percent: Option<Located<f64>>,
    /// How long: `1h`, `24h`.
    window: Located<String>,
}

macro_rules! part_of_a_limit {
    ($(#[$doc:meta])* $entry:ident, $(#[$word_doc:meta])* $part:ident: $word:ident) => {
        $(#[$doc])*
        #[derive(Debug, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        struct $entry {
            /// At most so many.
            count: Option<u64>,
            /// At most this share of the owned active accounts.
            percent: Option<Located<f64>>,
            /// How long: `1h`, `24h`.
            window: Located<String>,
            /// Only this part of what the limit counts.
            of: Option<$part>,
        }

        $(#[$word_doc])*
        #[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
        #[serde(rename_all = "lowercase")]
        enum $part {
            $word,
        }

        impl Part for $entry {
            fn split(self) -> (bool, WindowEntry) {
                let Self { count, percent, window, of } = self;
                (of.is_some(), WindowEntry { count, percent, window })
            }
        }
    };
}

/// A window on all that a limit counts, or on a part of it.
trait Part {
    /// Whether it is of the part, and the window.
    fn split(self) -> (bool, WindowEntry);
}

part_of_a_limit!(
    /// A window of `widen`.
    WidenEntry,
    /// What a window of `widen` may be narrowed to.
    WidenPart: Adoptions
);
part_of_a_limit!(
    /// A window of `update`.
    UpdateEntry,
    /// What a window of `update` may be narrowed to.
    UpdatePart: Clearings
);

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AdministratorsEntry {
    /// The word of the catalogue that makes one.
    entitlement: Located<String>,
    /// At least so many active accounts should have it; default 1.
    min: Option<u64>,
    /// At most so many; any number where it is left out.
    max: Option<u64>,
    /// Whether what leads outside is held; otherwise it is told.
    #[serde(default)]
    enforce: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct FreezeEntry {
    /// When it begins, in five fields: `0 18 * * FRI`.
    cron: Located<String>,
    /// Of `cron`; an IANA name, `UTC` by default.
    time_zone: Option<Located<String>>,
    /// How long it lasts: `62h`.
    #[serde(rename = "for")]
    lasts: Located<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ScheduleEntry {
    /// Five fields: `0 3 * * *`.
    cron: Option<Located<String>>,
    /// Of `cron`; an IANA name, `UTC` by default.
    time_zone: Option<Located<String>>,
    /// An interval: `1h`.
    every: Option<Located<String>>,
}

/// The limits, with the defaults for what is not named. `None` where one is wrong.
pub(crate) fn limits(entry: LimitsEntry, report: &mut Report<'_>) -> Option<Limits> {
    let LimitsEntry { narrow, widen, privileged, update, delete, seats, requests_per_second, concurrency } = entry;
    let default = Limits::default();
    let narrow_inferred = windows(narrow.inferred, default.narrow_inferred, report);
    let narrow_explicit = windows(narrow.explicit, default.narrow_explicit, report);
    let widen = parts(widen, (default.widen, default.adopt), report);
    let privileged = windows(privileged, default.privileged, report);
    let update = parts(update, (default.update, default.clear), report);
    let delete = windows(delete, default.delete, report);
    if let Some(rate) = requests_per_second.filter(|rate| !(rate.value > 0.0 && rate.value <= 100_000.0)) {
        report
            .add(rate.place, "bad-limit", "`requestsPerSecond` is a number above 0")
            .hint("to make no calls at all write `mode: suspended`");
        return None;
    }
    if let Some(calls) = concurrency.filter(|calls| !(1..=MOST_CONCURRENCY).contains(&calls.value)) {
        report
            .add(calls.place, "bad-limit", format!("`concurrency` is a number from 1 to {MOST_CONCURRENCY}"))
            .hint("to make no calls at all write `mode: suspended`");
        return None;
    }
    let (widen, adopt) = widen?;
    let (update, clear) = update?;
    Some(Limits {
        narrow_inferred: narrow_inferred?,
        narrow_explicit: narrow_explicit?,
        widen,
        adopt,
        privileged: privileged?,
        update,
        clear,
        delete: delete?,
        seats,
        // A key of its own, which needs the catalogue.
        administrators: None,
        requests_per_second: requests_per_second.map(|rate| rate.value),
        concurrency: concurrency.map_or(default.concurrency, |calls| calls.value),
    })
}

/// A limit that is named replaces its default whole, that of its part included.
fn parts<T: Part>(
    entries: Option<Vec<Located<T>>>,
    default: (Vec<Window>, Vec<Window>),
    report: &mut Report<'_>,
) -> Option<(Vec<Window>, Vec<Window>)> {
    let Some(entries) = entries else { return Some(default) };
    let (mut whole, mut part) = (Vec::new(), Vec::new());
    let mut sound = true;
    for Located { value, place } in entries {
        let (of_part, entry) = value.split();
        match window(&Located { value: entry, place }, report) {
            Some(window) if of_part => part.push(window),
            Some(window) => whole.push(window),
            None => sound = false,
        }
    }
    sound.then_some((whole, part))
}

fn windows(
    entries: Option<Vec<Located<WindowEntry>>>,
    default: Vec<Window>,
    report: &mut Report<'_>,
) -> Option<Vec<Window>> {
    let Some(entries) = entries else { return Some(default) };
    let read: Vec<_> = entries.into_iter().map(|entry| window(&entry, report)).collect();
    read.into_iter().collect()
}

fn window(entry: &Located<WindowEntry>, report: &mut Report<'_>) -> Option<Window> {
    let length = words::duration(&entry.window, "write it like `15m`", report)?;
    if length > LONGEST_WINDOW {
        report.add(entry.window.place, "bad-limit", "a window is at most 30 days long").hint("write `30d` or less");
        return None;
    }
    if let Some(percent) = entry.percent.filter(|percent| !(0.0..=100.0).contains(&percent.value)) {
        report.add(percent.place, "bad-limit", "a percentage is from 0 to 100").hint("write a number from 0 to 100");
        return None;
    }
    if entry.count.is_none() && entry.percent.is_none() {
        report
            .add(entry.place, "bad-limit", "this window limits nothing")
            .hint("add `count:` or `percent:`; for no limit at all write an empty list instead of windows");
        return None;
    }
    Some(Window { count: entry.count, percent: entry.percent.map(|percent| percent.value), window: length })
}

/// The schedule, if it ever runs.
pub(crate) fn schedule(entry: &Located<ScheduleEntry>, report: &mut Report<'_>) -> Option<Schedule> {
    let (schedule, place) = match (&entry.cron, &entry.every) {
        (Some(cron), None) => {
            let zone = entry.time_zone.as_ref();
            if zone.is_some_and(|zone| !words::time_zone(zone, report)) {
                return None;
            }
            let time_zone = zone.map_or_else(|| "UTC".to_owned(), |zone| zone.value.clone());
            (Schedule::Cron { cron: cron.value.clone(), time_zone }, cron.place)
        }
        (None, Some(every)) => {
            if let Some(zone) = &entry.time_zone {
                report
                    .add(zone.place, "wrong-value", "`timeZone` belongs to `cron`; an interval has none")
                    .hint("take it out");
            }
            (Schedule::Every(words::duration(every, "write it like `15m`", report)?), every.place)
        }
        _ => {
            report
                .add(entry.place, "wrong-value", "a schedule has either `cron` or `every`")
                .hint("write `{ cron: \"0 3 * * *\", timeZone: Europe/Paris }` or `{ every: 1h }`");
            return None;
        }
    };
    match Timetable::new(&schedule) {
        Ok(_) => Some(schedule),
        Err(error) => {
            told(place, "bad-schedule", &error.to_string(), "write it like `0 3 * * *`, or use `every: 1h`", report);
            None
        }
    }
}

/// `spec.administrators`, whose word is one of the catalogue.
pub(crate) fn administrators(
    entry: Located<AdministratorsEntry>,
    catalogue: &BTreeMap<EntitlementName, Entitlement>,
    report: &mut Report<'_>,
) -> Option<Administrators> {
    let place = entry.place;
    let AdministratorsEntry { entitlement: word, min, max, enforce } = entry.value;
    let min = min.unwrap_or(FEWEST_ADMINISTRATORS);
    if min < FEWEST_ADMINISTRATORS || max.is_some_and(|max| max < min) {
        report
            .add(place, "wrong-value", "`min` is at least 1, and `max` at least `min`")
            .hint("write the bounds like `min: 2, max: 3`");
        return None;
    }
    let entitlement = EntitlementName::from(word.value.as_str());
    let Some(found) = catalogue.get(&entitlement) else {
        report
            .add(word.place, "unknown-entitlement", format!("unknown entitlement `{}`", word.value))
            .hint(suggest::one_of(&word.value, catalogue.keys().map(EntitlementName::as_str)));
        return None;
    };
    Some(Administrators { membership: found.membership.clone(), entitlement, min, max, enforce })
}

/// The freezes, each of which lets go before it begins again. `None` where one is wrong.
pub(crate) fn freezes(entries: Vec<Located<FreezeEntry>>, report: &mut Report<'_>) -> Option<Vec<Freeze>> {
    let read: Vec<_> = entries.into_iter().map(|entry| freeze(entry, report)).collect();
    read.into_iter().collect()
}

fn freeze(entry: Located<FreezeEntry>, report: &mut Report<'_>) -> Option<Freeze> {
    let Located { value: FreezeEntry { cron, time_zone, lasts }, place } = entry;
    let length = words::duration(&lasts, "write it like `15m`", report);
    let begins = ScheduleEntry { cron: Some(cron), time_zone, every: None };
    let freeze = Freeze { begins: schedule(&Located { value: begins, place }, report)?, lasts: length? };
    if freeze.lasts.is_zero() {
        report.add(lasts.place, "bad-freeze", "this freeze holds nothing up").hint("write how long it lasts: `62h`");
        return None;
    }
    if Freezes::new(std::slice::from_ref(&freeze)).is_endless() {
        report
            .add(lasts.place, "bad-freeze", "this freeze begins again before it ends, so it would never end")
            .hint("make it shorter; to write nothing at all use `mode: observe`");
        return None;
    }
    Some(freeze)
}

/// Notes an error whose text ends with its own hint.
fn told(place: Place, code: &'static str, text: &str, hint: &str, report: &mut Report<'_>) {
    let (message, hint) = text.split_once("; ").unwrap_or((text, hint));
    report.add(place, code, message).hint(hint);
}
