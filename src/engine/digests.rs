//! Everything that waits for somebody's decision in one mail, at the times that the operator chose for them.
//!
//! # Guarantees
//! - One mail a time and address, over restarts: its id is made of both.
//! - None where nothing waits, and one that was not handed over at once says what waits when it is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use chrono::TimeDelta;
use chrono::Utc;

use crate::engine::addressed::Addressed;
use crate::engine::shared::Handle;
use crate::engine::shared::Shared;
use crate::engine::shared::lock;
use crate::engine::turns;
use crate::engine::turns::Matter;
use crate::engine::turns::Reader;
use crate::engine::turns::Teams;
use crate::model::addressee::Addressee;
use crate::model::approval::Approval;
use crate::model::ids::EntitlementName;
use crate::model::ids::MessageId;
use crate::model::ids::RequestId;
use crate::model::message::Content;
use crate::model::message::MAIL;
use crate::model::message::Mail;
use crate::model::message::MessageWrite;
use crate::model::message::Posted;
use crate::model::request::RequestState;
use crate::model::target::Schedule;
use crate::schedule;
use crate::schedule::Timetable;
use crate::store::StoreError;
use crate::store::Write;

/// How late a time is seen where the clock was set.
const EVERY: Duration = Duration::from_mins(1);
/// A time that was missed is caught up for so long: that of every week over a week off.
const BACK: TimeDelta = TimeDelta::days(7);
/// More requests than anybody reads in a mail.
const MOST: usize = 100;
/// What the ids of these mails begin with.
const PREFIX: &str = "digest-";

/// One entry with a digest, and what of its times is done.
struct Round {
    to: Addressee,
    times: Times,
    done: DateTime<Utc>,
}

/// When digests are due.
enum Times {
    Table(Timetable),
    /// Counted from 1970 on, so that a restart moves nothing.
    Every(TimeDelta),
}

impl Times {
    fn of(schedule: &Schedule) -> Option<Self> {
        match schedule {
            Schedule::Every(length) => {
                TimeDelta::from_std(*length).ok().filter(|it| *it > TimeDelta::zero()).map(Self::Every)
            }
            Schedule::Cron { .. } => Timetable::new(schedule).ok().map(Self::Table),
        }
    }

    fn next(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Self::Table(table) => table.next_after(after),
            Self::Every(length) => {
                let (seconds, length) = (after.timestamp(), length.num_seconds().max(1));
                DateTime::from_timestamp(seconds.checked_sub(seconds.rem_euclid(length))?.checked_add(length)?, 0)
            }
        }
    }
}

impl Round {
    /// The last time that has come and is not done. Looked for a little way back first, so that many times
    /// cost no more than few.
    fn due(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        [TimeDelta::hours(1), TimeDelta::hours(25), BACK].into_iter().find_map(|back| {
            let mut due = None;
            while let Some(next) = self.times.next(due.unwrap_or(self.done.max(now - back))).filter(|next| *next <= now)
            {
                due = Some(next);
            }
            due
        })
    }
}

/// What waits for one reader.
struct Waiting {
    reader: Reader,
    lines: BTreeMap<(DateTime<Utc>, RequestId), String>,
}

/// Writes digests at their times.
pub(crate) async fn watch(shared: Arc<Shared>) {
    let begun = shared.judged();
    let mut rounds: Vec<Round> = addressees(&shared)
        .filter_map(|to| Some(Round { times: Times::of(to.digest.as_ref()?)?, to: to.clone(), done: begun - BACK }))
        .collect();
    if rounds.is_empty() {
        return;
    }
    let mut teams = Teams::default();
    loop {
        if let Err(error) = look(&shared, &mut rounds, &mut teams).await {
            tracing::error!(%error, "digests cannot be written; this is tried again");
        }
        let now = shared.judged();
        let next = rounds.iter().filter_map(|round| round.times.next(round.done.max(now))).min();
        let pause = next.and_then(|next| (next - now).to_std().ok()).map_or(EVERY, |pause| pause.min(EVERY));
        tokio::select! {
            biased;
            () = shared.cancel.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn addressees(shared: &Shared) -> impl Iterator<Item = &Addressee> {
    shared.post.get().into_iter().flat_map(|post| &post.addressees).filter(|to| to.digest.is_some())
}

async fn look(shared: &Shared, rounds: &mut [Round], teams: &mut Teams) -> Result<(), StoreError> {
    let now = shared.judged();
    let due: Vec<(usize, DateTime<Utc>)> =
        rounds.iter().enumerate().filter_map(|(at, round)| Some((at, round.due(now)?))).collect();
    if due.is_empty() || shared.snapshot().is_none() {
        return Ok(());
    }
    let mut times: BTreeMap<DateTime<Utc>, Vec<Addressee>> = BTreeMap::new();
    for (at, time) in &due {
        times.entry(*time).or_default().extend(rounds.get(*at).map(|round| round.to.clone()));
    }
    if let (Some(snapshot), Some(post)) = (shared.snapshot(), shared.post.get()) {
        teams.read(&snapshot, &post.addressees);
    }
    let mut writes = Vec::new();
    for (time, to) in times {
        for (address, waiting) in waiting(shared, teams, &to, (time, None)).await? {
            let id = format!("{PREFIX}{:x}-{}", time.timestamp(), turns::mark(&address));
            let mail = Content::Mail(written(waiting, now));
            writes.push(Write::Message(MessageWrite::Put(Box::new(Posted::due(MessageId::from(id), MAIL, now, mail)))));
        }
    }
    if !writes.is_empty() {
        shared.store.commit(writes, shared.store.fence()).await?;
        shared.bell.ring();
    }
    for (at, time) in due {
        if let Some(round) = rounds.get_mut(at) {
            round.done = time;
        }
    }
    Ok(())
}

/// What waited at `time` and still does, for each address that one of these leads to, or only for the one that is
/// asked for. Who decides by a document that nobody accepted is not known.
async fn waiting(
    shared: &Shared,
    teams: &Teams,
    to: &[Addressee],
    (time, only): (DateTime<Utc>, Option<&str>),
) -> Result<BTreeMap<String, Waiting>, StoreError> {
    let Some(snapshot) = shared.snapshot() else { return Ok(BTreeMap::new()) };
    let now = shared.judged();
    let mut all: BTreeMap<String, Waiting> = BTreeMap::new();
    let handles: Vec<Handle> = lock(&shared.handles).values().filter(|handle| !handle.unaccepted).cloned().collect();
    for Handle { target, status, .. } in handles {
        let here = lock(&status).space.clone();
        let approval = target.approval.clone().unwrap_or_else(Approval::ungated);
        for (space, request) in shared.store.requests(&target.name).await? {
            let is_here = here.as_ref().map_or(space.environment == target.environment, |here| *here == space);
            let waits = request.state == RequestState::Pending && request.since <= time && is_here;
            let Some(user) = waits.then(|| snapshot.users.by_any_id(&request.record)).flatten() else { continue };
            let matter = Matter { target: &target, approval: &approval, request: &request, user: &user };
            for (address, reader) in to.iter().flat_map(|to| turns::readers_of(to, teams, matter, (now, only))) {
                let line = line(matter, &reader);
                let waiting = all.entry(address).or_insert_with(|| Waiting { reader, lines: BTreeMap::new() });
                waiting.lines.insert((request.since, request.id.clone()), line);
            }
        }
    }
    Ok(all)
}

fn is_french(reader: &Reader) -> bool {
    let language = reader.locale.as_deref().and_then(|locale| locale.split(['-', '_']).next());
    language.is_some_and(|language| language.eq_ignore_ascii_case("fr"))
}

fn line(matter: Matter<'_>, reader: &Reader) -> String {
    let Matter { target, approval, request, user } = matter;
    let words: Vec<&str> = request.asked.entitlements.iter().map(EntitlementName::as_str).collect();
    let since = schedule::in_zone(request.since, reader.zone.as_deref());
    let since = if is_french(reader) { format!("depuis {since}") } else { format!("since {since}") };
    let scope = approval.scope_label.as_ref().and_then(|label| user.labels.get(label));
    let scope = scope.map(|scope| format!(" [{scope}]")).unwrap_or_default();
    let (title, called, id) = (turns::title(target, approval), turns::called(user), &request.id);
    let what = [&[request.asked.action.as_str()], words.as_slice()].concat().join(" ");
    format!("- {title}: {called} ({}){scope}, {what}, {since}\n  rosterd requests accept {id}\n", user.id)
}

fn written(waiting: Waiting, now: DateTime<Utc>) -> Mail {
    let Waiting { reader, lines } = waiting;
    let (count, french) = (lines.len(), is_french(&reader));
    let at = schedule::in_zone(now, reader.zone.as_deref());
    let subject = match (count, french) {
        (1, false) => "1 request waits for your decision".to_owned(),
        (_, false) => format!("{count} requests wait for your decision"),
        (1, true) => "1 demande attend votre décision".to_owned(),
        (_, true) => format!("{count} demandes attendent votre décision"),
    };
    let more = match (count.saturating_sub(MOST), french) {
        (0, _) => String::new(),
        (more, false) => format!("\nand {more} more: rosterd requests list\n"),
        (more, true) => format!("\net {more} autres : rosterd requests list\n"),
    };
    let listed: Vec<String> = lines.into_values().take(MOST).collect();
    let name = &reader.name;
    let head = if french {
        format!("Bonjour {name},\n\nvoici ce qui attend votre décision, {at} :\n")
    } else {
        format!("Hello {name},\n\nthis waits for your decision, {at}:\n")
    };
    Mail {
        to: reader.mail,
        subject,
        text: format!("{head}\n{}{more}", listed.join("\n")),
        html: None,
        holds_password: false,
    }
}

/// Whether a message is a digest.
pub(crate) fn is_one(message: &Posted) -> bool {
    message.id.as_str().starts_with(PREFIX)
}

/// A digest as it is true now: of what it was written about, what still waits for its reader. Nothing else leaves.
pub(crate) async fn judged(shared: &Shared, teams: &Teams, message: Box<Posted>) -> Result<Addressed, StoreError> {
    let entries: Vec<Addressee> = addressees(shared).cloned().collect();
    let Some(address) = turns::address_of(&message.id, &entries, teams) else {
        return Ok(Addressed::Over(message, "nobody is told by it any more"));
    };
    let mut still = waiting(shared, teams, &entries, (message.at, Some(&address))).await?;
    let Some(waiting) = still.remove(&address) else {
        let unknown = lock(&shared.handles).values().any(|handle| handle.unaccepted);
        return Ok(if unknown {
            Addressed::NotYet(message, "a document that says whose turn it is is not accepted yet")
        } else {
            Addressed::Over(message, "nothing of it waits any more")
        });
    };
    let content = Some(Content::Mail(written(waiting, shared.judged())));
    Ok(Addressed::Goes(Box::new(Posted { content, ..*message })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::addressee::Whom;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn intervals_are_counted_from_one_moment_for_all_processes() {
        let every = Times::of(&Schedule::Every(Duration::from_hours(6))).unwrap();
        assert_eq!(every.next(at("2026-11-22T12:00:00Z")), Some(at("2026-11-22T18:00:00Z")));
        assert_eq!(every.next(at("2026-11-22T17:59:59Z")), Some(at("2026-11-22T18:00:00Z")));
    }

    #[test]
    fn the_last_time_that_came_is_due_until_it_is_done_however_long_ago_it_was() {
        let round = |cron: &str, done: &str| {
            let schedule = Schedule::Cron { cron: cron.to_owned(), time_zone: "UTC".to_owned() };
            let whom = Whom::Team("desk".to_owned());
            let to =
                Addressee { group: "desk".to_owned(), scope: BTreeMap::new(), whom, digest: Some(schedule.clone()) };
            Round { to, times: Times::of(&schedule).unwrap(), done: at(done) }
        };
        // A Sunday.
        let now = at("2026-11-22T12:00:30Z");
        for (cron, last) in [
            ("* * * * *", Some("2026-11-22T12:00:00Z")),
            ("0 8 * * *", Some("2026-11-22T08:00:00Z")),
            ("0 13 * * *", Some("2026-11-21T13:00:00Z")),
            ("0 8 * * MON", Some("2026-11-16T08:00:00Z")),
            ("0 8 1 * *", None),
        ] {
            assert_eq!(round(cron, "2026-11-15T12:00:30Z").due(now), last.map(at), "{cron}");
            if let Some(last) = last {
                assert_eq!(round(cron, last).due(now), None, "{cron} is done");
            }
        }
    }
}
