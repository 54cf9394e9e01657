//! `revoke`, `restore`, `stop` and `start`: words that hold for every target.

use std::time::Duration;

use chrono::DateTime;
use chrono::Utc;
use serde::Serialize;
use serde_json::Value;
use serde_json::json;

use crate::app;
use crate::app::Purpose;
use crate::cli::args::Global;
use crate::cli::client::Ask;
use crate::cli::failure::Exit;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::output::plain;
use crate::cli::session;
use crate::cli::session::Session;
use crate::cli::words;
use crate::clock::Clock;
use crate::clock::SystemClock;
use crate::engine::receipt::Receipt;
use crate::engine::receipt::Shows;
use crate::engine::receipt::TargetReceipt;
use crate::engine::receipt::Verdict;
use crate::engine::status::Owed;
use crate::engine::status::Status;
use crate::metrics::OwedReason;
use crate::model::decision::Halts;
use crate::model::ids::RecordId;
use crate::model::ids::TargetName;
use crate::schedule::parse_duration;
use crate::server::wire::ReasonBody;
use crate::server::wire::RevokeBody;
use crate::server::wire::SignedReceipt;
use crate::server::wire::StartBody;
use crate::server::wire::StopBody;
use crate::server::wire::SyncBody;

/// How often a daemon is asked whether access has ended, and how many times.
const ASK_AGAIN: Duration = Duration::from_millis(250);
const ASKS: usize = 20;

/// `revoke`: asks first, since nothing of it is in a plan that somebody has seen (S4.6).
pub async fn revoke(
    global: &Global,
    users: &[String],
    (until, reason): (Option<&str>, Option<&str>),
    yes: bool,
) -> Result<Exit, Failure> {
    let until = until.map(moment).transpose()?;
    consent(users, yes).await?;
    let body = RevokeBody { until, reason: reason.map(str::to_owned) };
    let session = session::open(global, None, Purpose::Act).await?;
    let mut ends = Vec::new();
    for user in users {
        let result = revoke_in(&session, user, &body).await;
        ends.push(result.map(|(decision, found)| revoked(decision, user, until, found)));
    }
    session.close().await;
    tell(global, users, ends)
}

/// Ending access is agreed to by a person, here or beforehand.
async fn consent(users: &[String], yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    let named = users.iter().map(|user| format!("`{}`", plain(user))).collect::<Vec<_>>().join(", ");
    if !output::can_ask() {
        return Err(Failure::new(format!(
            "this ends the access of {named} in every target, and nobody can be asked here"
        ))
        .hint("say `--yes`; `rosterd receipt USER` shows what a user has"));
    }
    if output::ask(&format!("This ends the access of {named} in every target. Revoke?")).await {
        return Ok(());
    }
    Err(Failure::new("nobody was revoked"))
}

/// What came of one user's part of a command.
struct End {
    decision: Value,
    sentence: String,
    exit: Exit,
}

/// Tells what came of each; one that failed holds nobody else up.
fn tell(global: &Global, users: &[String], mut ends: Vec<Result<End, Failure>>) -> Result<Exit, Failure> {
    if users.len() == 1
        && let Some(end) = ends.pop()
    {
        let End { decision, sentence, exit } = end?;
        return output::told(global.output, &decision, &sentence).map(|()| exit);
    }
    let (mut told, mut sentences, mut worst) = (Vec::new(), Vec::new(), Exit::Done);
    for (user, end) in users.iter().zip(ends) {
        let end = end.unwrap_or_else(|failure| {
            let sentence = format!("`{user}`: {}", failure.message);
            output::complain(&Failure { message: sentence, ..failure.clone() });
            End { decision: json!({ "error": failure.message }), sentence: String::new(), exit: Exit::Error }
        });
        told.push(json!({ "user": user, "result": end.decision }));
        sentences.extend(Some(end.sentence).filter(|sentence| !sentence.is_empty()));
        worst = if worst == Exit::Error {
            worst
        } else if end.exit == Exit::Error {
            end.exit
        } else {
            worst.max(end.exit)
        };
    }
    output::told(global.output, &told, &sentences.join("\n")).map(|()| worst)
}

fn revoked(decision: Value, user: &str, until: Option<DateTime<Utc>>, found: Found) -> End {
    let stands =
        until.map_or_else(|| format!("until `rosterd restore {user}`"), |at| format!("until {}", words::moment(at)));
    let (sentence, exit) = match found {
        Found::Out => {
            let next = format!("`{user}` has no access anywhere {stands}; `rosterd receipt {user}` proves it");
            (next, Exit::Done)
        }
        Found::Owed(owed) => {
            let places = owed.iter().map(|(target, entry)| format!("`{target}` ({})", entry.reason.as_str()));
            let places = places.collect::<Vec<_>>().join(", ");
            let next = format!(
                "`{user}` is revoked {stands}, and the end of access is still owed in {places}; `rosterd owed` shows how it goes"
            );
            (next, Exit::Held)
        }
        Found::Unconfirmed(open) => {
            let open = plain(&open.join("; "));
            let next = format!(
                "`{user}` is revoked {stands}, and NOT confirmed out everywhere: {open}; `rosterd receipt {user}` tells more"
            );
            (next, Exit::Held)
        }
    };
    End { decision, sentence, exit }
}

/// What was found after a revocation.
enum Found {
    /// A receipt says: out everywhere.
    Out,
    /// Targets owe the end of access.
    Owed(Vec<(TargetName, Owed)>),
    /// Nothing is known to be owed, and yet a receipt cannot say that the user is out: why.
    Unconfirmed(Vec<String>),
}

async fn revoke_in(session: &Session, user: &str, body: &RevokeBody) -> Result<(Value, Found), Failure> {
    let decision = say(session, &["users", user, "revoke"], body).await?;
    act(session, user).await?;
    // A worker tells what it owes a moment after it has heard, and a moment after it has acted.
    let mut found = Found::Out;
    for _ in 0..ASKS {
        tokio::time::sleep(ASK_AGAIN).await;
        let owed = owed(session, user).await?;
        // What is owed where nobody works does not go by itself: the receipt names its place.
        let works = |(_, owed): &(TargetName, Owed)| owed.reason != OwedReason::LeftBehind;
        if owed.iter().any(works) {
            found = Found::Owed(owed);
            continue;
        }
        let receipt = receipt(session, user).await;
        let under_way = receipt.as_ref().is_ok_and(is_under_way);
        found = confirmed(receipt);
        if !under_way {
            break;
        }
    }
    Ok((decision, found))
}

async fn receipt(session: &Session, user: &str) -> Result<Receipt, Failure> {
    let signed: SignedReceipt = session.client.get(Ask::of(&["users", user, "receipt"])).await?;
    Ok(signed.receipt)
}

/// Whether a target that works still shows the linked account as it was: its worker may have just heard.
fn is_under_way(receipt: &Receipt) -> bool {
    receipt.targets.iter().any(|target| matches!(target.shows, Shows::Access(_)) && !target.access_is_meant)
}

fn confirmed(receipt: Result<Receipt, Failure>) -> Found {
    let receipt = match receipt {
        Ok(receipt) => receipt,
        Err(failure) => return Found::Unconfirmed(vec![format!("nobody could tell: {}", failure.message)]),
    };
    match receipt.verdict {
        Verdict::OutEverywhere => Found::Out,
        Verdict::NotConfirmed => Found::Unconfirmed(receipt.open),
        Verdict::HasAccess => {
            let meant =
                receipt.targets.iter().filter(|target| target.access_is_meant && target.shows != Shows::NoAccount);
            let words = |target: &TargetReceipt| {
                format!("`{}` shows {} ({})", target.target, target.shows.words(), target.because)
            };
            Found::Unconfirmed(meant.map(words).collect())
        }
    }
}

/// What every target still owes about this user.
async fn owed(session: &Session, user: &str) -> Result<Vec<(TargetName, Owed)>, Failure> {
    let status: Status = session.client.get(Ask::of(&["status"])).await?;
    let of_user = |owed: &Owed| owed.record.as_str() == user;
    let left = status.left_behind.into_iter().map(|left| (left.space.target, left.owed));
    let here = status.targets.into_iter().map(|target| (target.name, target.owed));
    let all = here.chain(left);
    Ok(all.flat_map(|(name, owed)| owed.into_iter().filter(of_user).map(move |owed| (name.clone(), owed))).collect())
}

/// Without a daemon nobody acts on a word by himself: a cycle of the user does, in every target.
async fn act(session: &Session, user: &str) -> Result<(), Failure> {
    if session.client.is_remote() {
        return Ok(());
    }
    let status: Status = session.client.get(Ask::of(&["status"])).await?;
    for target in status.targets {
        let users = Some([RecordId::from(user)].into());
        let body = SyncBody { users, only: None };
        let name = target.name.as_str();
        let synced = say(session, &["targets", name, "sync"], &body).await;
        if let Err(failure) = synced {
            // The others go on; what is due here stays owed.
            output::complain(&Failure::new(format!("`{name}`: {}", failure.message)));
        }
    }
    Ok(())
}

/// `restore`: gives nothing by itself, so it asks nobody (S4.6).
pub async fn restore(global: &Global, users: &[String], reason: Option<&str>) -> Result<Exit, Failure> {
    let session = session::open(global, None, Purpose::Act).await?;
    let mut ends = Vec::new();
    for user in users {
        let sentence =
            format!("the documents decide about `{user}` again; what rosterd disabled comes back as they say");
        let result = restore_in(&session, user, reason).await;
        ends.push(result.map(|decision| End { decision, sentence, exit: Exit::Done }));
    }
    session.close().await;
    tell(global, users, ends)
}

async fn restore_in(session: &Session, user: &str, reason: Option<&str>) -> Result<Value, Failure> {
    let body = ReasonBody { reason: reason.map(str::to_owned) };
    let decision = say(session, &["users", user, "restore"], &body).await?;
    act(session, user).await?;
    Ok(decision)
}

/// `stop`
pub async fn stop(global: &Global, widening: bool, reason: &str) -> Result<Exit, Failure> {
    let halts = if widening { Halts::Widening } else { Halts::All };
    let body = StopBody { halts, reason: reason.to_owned() };
    let decision = say_once(global, "stop", &body).await.map_err(|failure| by_file(global, failure))?;
    let next = match halts {
        Halts::Widening => {
            "nothing is given or updated anywhere, and removals go on, until `rosterd start --reason WHY`"
        }
        Halts::All => "nothing is written anywhere until `rosterd start --reason WHY`; removals that are due are owed",
    };
    output::told(global.output, &decision, next).map(|()| Exit::Done)
}

/// A daemon that does not answer still reads its disk.
fn by_file(global: &Global, failure: Failure) -> Failure {
    let Ok(settings) = session::settings(global, None) else { return failure };
    let file = app::stop::StopBeside::of(&settings.store);
    let hint = format!("a daemon also stops within two seconds of `echo all > {}`", file.path().display());
    match &failure.hint {
        Some(known) => Failure { hint: Some(format!("{known}; {hint}")), ..failure },
        None => failure.hint(hint),
    }
}

/// `start`
pub async fn start(global: &Global, reason: &str) -> Result<Exit, Failure> {
    let decision = say_once(global, "start", &StartBody { reason: reason.to_owned() }).await?;
    output::told(global.output, &decision, "rosterd goes on; `rosterd status` shows how it goes").map(|()| Exit::Done)
}

async fn say_once<T: Serialize>(global: &Global, verb: &str, body: &T) -> Result<Value, Failure> {
    let session = session::open(global, None, Purpose::Act).await?;
    let result = say(&session, &[verb], body).await;
    session.close().await;
    result
}

async fn say<T: Serialize>(session: &Session, path: &[&str], body: &T) -> Result<Value, Failure> {
    session.client.post(Ask::of(path), &serde_json::to_value(body)?).await
}

/// A moment: as manifests write it, or so long from now.
fn moment(text: &str) -> Result<DateTime<Utc>, Failure> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Ok(at.to_utc());
    }
    let wrong = || {
        Failure::new(format!("`{text}` is no moment"))
            .hint("write `2027-03-31T18:00:00+02:00`, or a time from now: `14d`")
    };
    let lasts = parse_duration(text).map_err(|_| wrong())?;
    let lasts = chrono::Duration::from_std(lasts).map_err(|_| wrong())?;
    SystemClock.now().checked_add_signed(lasts).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_date_with_its_zone_or_a_time_from_now() {
        assert_eq!(moment("2027-03-31T18:00:00+02:00").unwrap().to_rfc3339(), "2027-03-31T16:00:00+00:00");
        let ahead = moment("14d").unwrap() - SystemClock.now();
        assert!(ahead.num_hours() >= 14 * 24 - 1 && ahead.num_hours() <= 14 * 24, "{ahead}");
        assert!(moment("tomorrow").unwrap_err().hint.unwrap().contains("14d"));
    }
}
