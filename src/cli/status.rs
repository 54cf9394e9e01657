//! `status` and `owed`: how things are, and what to do about them.

use serde::Serialize;

use crate::cli::output::BAD;
use crate::cli::output::GOOD;
use crate::cli::output::Rows;
use crate::cli::output::STRONG;
use crate::cli::output::WAITS;
use crate::cli::output::plain;
use crate::cli::output::styled;
use crate::cli::words;
use crate::cli::words::count;
use crate::cli::words::len;
use crate::cli::words::moment;
use crate::cli::words::moment_or;
use crate::cli::words::put;
use crate::engine::status::LeftBehind;
use crate::engine::status::Owed;
use crate::engine::status::Quarantine;
use crate::engine::status::ShrinkHold;
use crate::engine::status::SourceStatus;
use crate::engine::status::Status;
use crate::engine::status::TargetStatus;
use crate::engine::status::Undelivered;
use crate::engine::status::place_words;
use crate::model::ids::TargetName;
use crate::model::plan::Hold;
use crate::model::plan::HoldKind;

/// Everything, for people; `watched`: by a daemon.
pub fn text(status: &Status, watched: bool) -> String {
    let mut out = words_that_stand(status);
    out.push_str(&source(&status.source, watched));
    if let Some(doubt) = &status.clock {
        put(&mut out, format_args!("{} {}\n", styled(BAD, "clock:"), plain(doubt)));
    }
    out.push_str(&store(status));
    out.push_str(&undelivered(&status.undelivered));
    out.push('\n');
    out.push_str(&table(&status.targets).text());
    for target in &status.targets {
        out.push_str(&matters(target));
    }
    out.push_str(&left_behind(&status.left_behind));
    out
}

/// Everything, for pull requests.
pub fn markdown(status: &Status, watched: bool) -> String {
    let head = words_that_stand(status)
        + &source(&status.source, watched)
        + &store(status)
        + &undelivered(&status.undelivered);
    let left = left_behind(&status.left_behind);
    let strip = anstream::adapter::strip_str;
    format!("{}\n{}{}", strip(&head), table(&status.targets).markdown(), strip(&left))
}

/// Accounts where no target works, and what to do about them.
pub fn left_behind(places: &[LeftBehind]) -> String {
    let mut out = String::new();
    for place in places {
        put(&mut out, format_args!("\n{} {}\n", styled(BAD, "left behind:"), plain(&place.words())));
        for owed in place.owed.iter().take(MOST) {
            put(&mut out, format_args!("  `{}` is to be out since {}\n", owed.record, moment(owed.since)));
        }
        if place.owed.len() > MOST {
            let more = place.owed.len() - MOST;
            put(&mut out, format_args!("  and {more} more; `rosterd owed` lists all\n"));
        }
    }
    out
}

/// What is wrong with the store, where anything is.
fn store(status: &Status) -> String {
    let mut out = String::new();
    if let Some(error) = &status.store {
        put(&mut out, format_args!("{} {}\n", styled(BAD, "store:"), plain(error)));
    }
    out
}

/// Mails and webhooks that were tried in vain.
fn undelivered(channels: &[Undelivered]) -> String {
    let mut out = String::new();
    for Undelivered { channel, waiting, oldest, next, why } in channels {
        let (channel, many) = (plain(channel), count(*waiting, "message"));
        let (oldest, next) = (moment(*oldest), moment(*next));
        let head = styled(BAD, "not delivered:");
        put(
            &mut out,
            format_args!(
                "{head} {many} of `{channel}`, the oldest of {oldest}: {}; next try {next}\n",
                plain(why.trim_end())
            ),
        );
    }
    out
}

/// A load that takes too much away, and the command that lets it in.
pub fn shrink(ShrinkHold { digest, lost, level }: &ShrinkHold) -> String {
    format!(
        "{} the newest manifests take {lost} of {level} grants of access away, so they wait for a person; until then \
         only users whose own documents end their access lose it\n{} if that is meant: rosterd accept-shrink {digest}",
        styled(WAITS, "held:"),
        styled(GOOD, "hint:"),
    )
}

/// What people said that holds for every target.
fn words_that_stand(status: &Status) -> String {
    let mut out = String::new();
    if let Some(stop) = &status.stopped {
        put(&mut out, format_args!("{} {}\n", styled(BAD, "stopped:"), plain(&stop.words())));
    }
    for (record, revocation) in status.revoked.iter().take(MOST) {
        let until = revocation.until.map(|until| format!(" until {}", moment(until))).unwrap_or_default();
        let (by, at) = (plain(&revocation.by), moment(revocation.at));
        put(&mut out, format_args!("{} `{record}` by {by} since {at}{until}\n", styled(WAITS, "revoked:")));
    }
    if status.revoked.len() > MOST {
        let more = status.revoked.len() - MOST;
        put(&mut out, format_args!("and {more} more; `rosterd status --output json` lists all who are revoked\n"));
    }
    out
}

/// The targets, one a row.
pub fn table(targets: &[TargetStatus]) -> Rows {
    let mut rows =
        Rows::new(&["target", "mode", "last cycle", "result", "next run", "active", "other", "unmanaged", "attention"]);
    for target in targets {
        let last = target.last_cycle.as_ref();
        let active: u64 = target.accounts.iter().filter(|(state, _)| state.gives_access()).map(|(_, n)| n).sum();
        let all: u64 = target.accounts.values().sum();
        rows.push(vec![
            target.name.to_string(),
            mode(target),
            moment_or(last.and_then(|cycle| cycle.ended), "-"),
            result(target),
            moment_or(target.next_run, "-"),
            seen(target, active),
            seen(target, all - active),
            seen(target, target.unmanaged),
            attention(target),
        ]);
    }
    rows
}

/// A number that only a listing can know.
fn seen(target: &TargetStatus, number: u64) -> String {
    if target.accounts.is_empty() { "-".to_owned() } else { number.to_string() }
}

/// What waits for somebody, counted.
fn attention(target: &TargetStatus) -> String {
    let TargetStatus { conflicts, holds, failures, owed, error, waiting, requests, .. } = target;
    let parts = [
        (u64::from(error.is_some()), "error"),
        (len(owed), "owed"),
        (len(holds), "hold"),
        (u64::try_from(conflicts.len()).unwrap_or(u64::MAX), "conflict"),
        (u64::try_from(failures.len()).unwrap_or(u64::MAX), "failure"),
        (u64::try_from(*requests).unwrap_or(u64::MAX), "request"),
        (u64::try_from(*waiting).unwrap_or(u64::MAX), "change under way"),
    ];
    let said: Vec<_> = parts
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, noun)| match noun {
            "owed" => format!("{number} owed"),
            "change under way" => format!("{number} under way"),
            noun => count(number, noun),
        })
        .collect();
    if said.is_empty() { "-".to_owned() } else { said.join(", ") }
}

fn mode(target: &TargetStatus) -> String {
    let word = serde_json::to_value(target.mode).ok().and_then(|word| word.as_str().map(str::to_owned));
    let word = word.unwrap_or_default();
    if target.suspended { format!("{word} (suspended)") } else { word }
}

fn result(target: &TargetStatus) -> String {
    if target.running.is_some() {
        return "running".to_owned();
    }
    let result = target.last_cycle.as_ref().and_then(|cycle| cycle.result);
    result.map_or("-", |result| result.as_str()).to_owned()
}

/// What broken manifests still do.
pub const STANDS: &str = "what they give waits until that is mended, and access that they end is ended";

/// The same where no daemon runs: `apply` refuses them whole.
const NOTHING_ENDS: &str =
    "nothing of them is applied until that is mended, and access that they end is NOT ended: no daemon runs here";

/// Where desired users come from, and what is wrong with it.
fn source(source: &SourceStatus, watched: bool) -> String {
    let SourceStatus { name, generation, digest: _, users, roles, accepted, problems, refused, error, shrink: held } =
        source;
    let mut out = if *generation == 0 {
        format!("{} {}: nothing was accepted yet\n", styled(STRONG, "source"), plain(name))
    } else {
        let users = count(u64::try_from(*users).unwrap_or(u64::MAX), "user");
        let roles = count(u64::try_from(*roles).unwrap_or(u64::MAX), "role");
        let accepted = moment_or(*accepted, "-");
        let source = styled(STRONG, "source");
        format!("{source} {}: {users}, {roles}, generation {generation}, accepted {accepted}\n", plain(name))
    };
    if let Some(error) = error {
        put(&mut out, format_args!("{} {error}; the last accepted snapshot stands\n", styled(BAD, "error:")));
    }
    if let Some(held) = held {
        put(&mut out, format_args!("{}\n", shrink(held)));
    }
    if !problems.is_empty() {
        let number = count(len(problems), "problem");
        let meanwhile = match (*refused, watched) {
            (true, true) => STANDS,
            (true, false) => NOTHING_ENDS,
            (false, _) => "the rest of them is in effect",
        };
        let line = format!("{} with the newest manifests; {meanwhile}\n\n", styled(BAD, &number));
        out.push_str(&line);
        for problem in problems {
            out.push_str(problem.trim_end());
            out.push_str("\n\n");
        }
    }
    out
}

/// What somebody must look at in one target.
fn matters(target: &TargetStatus) -> String {
    let mut out = String::new();
    let TargetStatus { name, conflicts, holds, failures, owed, error, suspended, quarantine, requests, .. } = target;
    let mut line = |word: String, rest: String| {
        let gap = if word.is_empty() { "" } else { " " };
        put(&mut out, format_args!("{} {word}{gap}{rest}\n", styled(STRONG, name)));
    };
    if let Some(error) = error {
        line(styled(BAD, "does not answer:"), plain(error));
    }
    if let Some(Quarantine { since, failures, next_try }) = quarantine {
        let next = next_try.map_or_else(|| "now".to_owned(), moment);
        let failed = count(u64::from(*failures), "failure");
        let rest = format!("since {}, after {failed}; next try {next}, or `rosterd resume {name}`", moment(*since));
        line(styled(BAD, "is in quarantine:"), rest);
    }
    if *suspended {
        line(styled(WAITS, "is suspended:"), format!("it goes on with `rosterd resume {name}`"));
    }
    for entry in holds {
        line(String::new(), hold(name, entry));
    }
    if *requests > 0 {
        let many = count(u64::try_from(*requests).unwrap_or(u64::MAX), "request");
        let verb = if *requests == 1 { "waits" } else { "wait" };
        let rest = format!("that {verb} for a person: `rosterd requests list --target {name}` shows what is asked");
        line(styled(WAITS, format!("has {many}")), rest);
    }
    for owed in owed.iter().take(MOST) {
        let since = moment(owed.since);
        let rest = format!("the end of access of `{}` since {since} ({})", owed.record, owed.reason.as_str());
        line(styled(BAD, "owes"), rest);
    }
    more(owed.len(), "owed", &mut line);
    for (record, conflict) in conflicts.iter().take(MOST) {
        line(styled(WAITS, "conflict of"), format!("`{record}`: {}", plain(conflict)));
    }
    more(conflicts.len(), "conflicts", &mut line);
    for (record, failure) in failures.iter().take(MOST) {
        line(styled(BAD, "failed for"), format!("`{record}`: {}", plain(failure)));
    }
    more(failures.len(), "failures", &mut line);
    if out.is_empty() { out } else { format!("\n{out}") }
}

/// Entries of one kind that are told of one target.
const MOST: usize = 10;

fn more(all: usize, noun: &str, line: &mut impl FnMut(String, String)) {
    if all > MOST {
        line(String::new(), format!("has {} more {noun}; `rosterd status --output json` lists all", all - MOST));
    }
}

/// A hold, with the command that lets it through.
pub fn hold(target: &TargetName, hold: &Hold) -> String {
    let changes = count(len(&hold.changes), "change");
    let what = if hold.limit == HoldKind::Loosen {
        "keeps to the stricter of two policies".to_owned()
    } else {
        format!("holds {changes} ({})", hold.limit.as_str())
    };
    let reason = plain(&hold.reason);
    let told = format!("{}\n  {reason}", styled(WAITS, &what));
    // The guardrail's own words may name the command already; a freeze needs none.
    if reason.contains(hold.digest.as_str()) || hold.limit == HoldKind::Freeze {
        return told;
    }
    format!("{told}\n  to let it through: `{}`", words::release(target, hold))
}

/// What `holds list` shows.
#[derive(Debug, Serialize)]
pub struct Holding {
    /// Every target.
    pub targets: Vec<TargetStatus>,
    /// A load that takes too much away.
    pub shrink: Option<ShrinkHold>,
}

/// Every hold, for people.
pub fn holds_text(Holding { targets, shrink: held }: &Holding) -> String {
    let mut out = held.as_ref().map(|held| shrink(held) + "\n").unwrap_or_default();
    for target in targets {
        for entry in &target.holds {
            put(&mut out, format_args!("{} {}\n", styled(STRONG, &target.name), hold(&target.name, entry)));
        }
    }
    if out.is_empty() { "nothing is held\n".to_owned() } else { out }
}

/// Every hold, one a row.
pub fn holds(Holding { targets, shrink }: &Holding) -> Rows {
    let mut rows = Rows::new(&["target", "limit", "changes", "why", "to let it through"]);
    if let Some(ShrinkHold { digest, lost, level }) = shrink {
        let why = format!("the newest manifests take {lost} of {level} grants of access away");
        let release = format!("rosterd accept-shrink {digest}");
        rows.push(vec!["-".to_owned(), "shrink".to_owned(), lost.to_string(), why, release]);
    }
    for target in targets {
        for hold in &target.holds {
            rows.push(vec![
                target.name.to_string(),
                hold.limit.as_str().to_owned(),
                hold.changes.len().to_string(),
                plain(&hold.reason),
                words::release(&target.name, hold),
            ]);
        }
    }
    rows
}

/// What `owed` shows.
#[derive(Debug, Serialize)]
pub struct Owing {
    /// Every target.
    pub targets: Vec<TargetStatus>,
    /// Places that no target works in.
    pub left_behind: Vec<LeftBehind>,
}

/// Every removal that is due and not confirmed, one a row.
pub fn owed(Owing { targets, left_behind }: &Owing) -> Rows {
    let mut rows = Rows::new(&["target", "user", "since", "held up by", "error"]);
    for target in targets {
        for owed in &target.owed {
            let error = target.failures.get(&owed.record).or(target.error.as_ref());
            rows.push(vec![
                target.name.to_string(),
                owed.record.to_string(),
                moment(owed.since),
                owed.reason.as_str().to_owned(),
                error.map_or_else(|| "-".to_owned(), |error| plain(error)),
            ]);
        }
    }
    for LeftBehind { space, owed, .. } in left_behind {
        for Owed { record, since, reason } in owed {
            rows.push(vec![
                space.target.to_string(),
                record.to_string(),
                moment(*since),
                reason.as_str().to_owned(),
                plain(&format!("no target document leads to {} now", place_words(space))),
            ]);
        }
    }
    rows
}

/// Schedules, one target a row.
pub fn targets(targets: &[TargetStatus]) -> Rows {
    let mut rows = Rows::new(&["target", "connector", "mode", "environment", "schedule", "last success", "next run"]);
    for target in targets {
        let environment = target.space.as_ref().map(|space| space.environment.to_string());
        rows.push(vec![
            target.name.to_string(),
            target.connector.clone(),
            mode(target),
            environment.unwrap_or_else(|| "-".to_owned()),
            target.schedule.clone(),
            moment_or(target.last_success, "-"),
            moment_or(target.next_run, "-"),
        ]);
    }
    rows
}
