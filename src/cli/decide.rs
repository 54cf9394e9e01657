//! A person's word: `suspend`, `resume`, `link`, `regain`, `enforce`, `accept-shrink`, `holds release`.

use serde::Serialize;
use serde_json::Value;

use crate::app::Purpose;
use crate::cli::apply;
use crate::cli::args::Global;
use crate::cli::client::Ask;
use crate::cli::failure::Exit;
use crate::cli::failure::Failure;
use crate::cli::lists;
use crate::cli::lists::List;
use crate::cli::output;
use crate::cli::output::WAITS;
use crate::cli::output::plain;
use crate::cli::output::styled;
use crate::cli::session;
use crate::cli::session::Session;
use crate::cli::status;
use crate::cli::words;
use crate::cli::words::put;
use crate::engine::status::Status;
use crate::engine::status::SyncReport;
use crate::model::history::SeenAccount;
use crate::model::ids::AccountId;
use crate::model::ids::TargetName;
use crate::plan::why::About;
use crate::plan::why::why_not;
use crate::server::wire::DigestBody;
use crate::server::wire::ExplainReply;
use crate::server::wire::Holds;
use crate::server::wire::LinkBody;
use crate::server::wire::ReasonBody;
use crate::server::wire::RegainBody;
use crate::server::wire::ReleaseBody;
use crate::server::wire::SyncBody;

/// `suspend` and `resume`
pub async fn pause(global: &Global, verb: &str, target: &str, reason: Option<&str>) -> Result<Exit, Failure> {
    let session = session::open(global, None, Purpose::Act).await?;
    let body = ReasonBody { reason: reason.map(str::to_owned) };
    let result = say(&session, &["targets", target, verb], &body).await;
    session.close().await;
    let next = match verb {
        "suspend" => format!("`{target}` is suspended: nothing is written there until `rosterd resume {target}`"),
        _ => format!("`{target}` goes on"),
    };
    told(global, &result?, &next)
}

/// `enforce`
pub async fn enforce(global: &Global, target: &str, digest: &str) -> Result<Exit, Failure> {
    let session = session::open(global, None, Purpose::Act).await?;
    let result = enforce_in(&session, target, digest).await;
    session.close().await;
    told(global, &result?, &format!("`{target}` is written from now on; `rosterd status {target}` shows how it goes"))
}

async fn enforce_in(session: &Session, target: &str, digest: &str) -> Result<Value, Failure> {
    look_again(session, target).await?;
    let body = DigestBody { digest: digest.into(), reason: None };
    let decision = say(session, &["targets", target, "enforce"], &body).await?;
    look_again(session, target).await?;
    Ok(decision)
}

/// Without a daemon nobody has looked at the target yet, and nobody acts on a decision by
/// himself: a cycle does both.
async fn look_again(session: &Session, target: &str) -> Result<(), Failure> {
    if session.client.is_remote() {
        return Ok(());
    }
    say(session, &["targets", target, "sync"], &SyncBody::default()).await.map(drop)
}

/// `accept-shrink`
pub async fn accept_shrink(global: &Global, digest: &str) -> Result<Exit, Failure> {
    let session = session::open(global, None, Purpose::Act).await?;
    let body = DigestBody { digest: digest.into(), reason: None };
    let result = say(&session, &["source", "accept-shrink"], &body).await;
    session.close().await;
    told(global, &result?, "the manifests are accepted; limits still apply to what follows from them")
}

/// `trust-clock`
pub async fn trust_clock(global: &Global, reason: Option<&str>) -> Result<Exit, Failure> {
    let session = session::open(global, None, Purpose::Act).await?;
    let body = ReasonBody { reason: reason.map(str::to_owned) };
    let result = say(&session, &["clock", "trust"], &body).await;
    session.close().await;
    told(global, &result?, "the clock is believed as it is; end dates and deletions act again")
}

/// `holds release`
pub async fn release(global: &Global, digest: &str, reason: Option<&str>) -> Result<Exit, Failure> {
    let session = session::open(global, None, Purpose::Act).await?;
    let result = release_in(&session, digest, reason).await;
    session.close().await;
    told(global, &result?, "the changes go through; `rosterd status` shows how it goes")
}

async fn release_in(session: &Session, digest: &str, reason: Option<&str>) -> Result<Value, Failure> {
    if !session.client.is_remote() {
        let status: Status = session.client.get(Ask::of(&["status"])).await?;
        for target in status.targets {
            look_again(session, target.name.as_str()).await?;
        }
    }
    let holds: Holds = session.client.get(Ask::of(&["holds"])).await?;
    let held = holds.items.into_iter().find(|held| held.hold.digest.as_str() == digest);
    let shrinks = holds.shrink.is_some_and(|shrink| shrink.digest.as_str() == digest);
    let held = held.ok_or_else(|| {
        let hint = if shrinks {
            format!("these are the manifests as a whole: `rosterd accept-shrink {digest}` lets them in")
        } else {
            "`rosterd holds list` shows what is; a digest changes with what it stands for".to_owned()
        };
        Failure::new(format!("no change is held under `{digest}`")).hint(hint)
    })?;
    let body = ReleaseBody { target: held.target.clone(), reason: reason.map(str::to_owned) };
    let decision = say(session, &["holds", digest, "release"], &body).await?;
    look_again(session, held.target.as_str()).await?;
    Ok(decision)
}

/// `regain`
pub async fn regain(global: &Global, user: &str, target: Option<&str>, reason: Option<&str>) -> Result<Exit, Failure> {
    let session = session::open(global, None, Purpose::Act).await?;
    let result = regain_in(&session, user, target, reason).await;
    session.close().await;
    let report = result?;
    let target = &report.cycle.space.target;
    came_of(global, &report, &format!("`{user}` gets the account in `{target}` back"))
}

async fn regain_in(
    session: &Session,
    user: &str,
    target: Option<&str>,
    reason: Option<&str>,
) -> Result<SyncReport, Failure> {
    let target = match target {
        Some(target) => TargetName::from(target),
        None => only_target(session).await?,
    };
    look_again(session, target.as_str()).await?;
    let body = serde_json::to_value(RegainBody { user: user.into(), reason: reason.map(str::to_owned) })?;
    session.client.post(Ask::of(&["targets", target.as_str(), "regain"]), &body).await
}

/// `link`
pub async fn link(
    global: &Global,
    user: &str,
    account: &str,
    (target, yes): (Option<&str>, bool),
) -> Result<Exit, Failure> {
    let session = session::open(global, None, Purpose::Act).await?;
    let result = link_in(&session, user, account, (target, yes)).await;
    session.close().await;
    let report = result?;
    let target = &report.cycle.space.target;
    came_of(global, &report, &format!("`{user}` is linked to `{account}` in `{target}`"))
}

async fn link_in(
    session: &Session,
    user: &str,
    account: &str,
    (target, yes): (Option<&str>, bool),
) -> Result<SyncReport, Failure> {
    let target = match target {
        Some(target) => TargetName::from(target),
        None => only_target(session).await?,
    };
    let (account, seen) = account_named(session, &target, account).await?;
    let known = explained(session, user, &target).await?;
    output::note(&before_link(user, &target, &account, (seen.as_ref(), &known)));
    if !yes && !output::can_ask() {
        return Err(Failure::new("a link cannot simply be taken back, and nobody can be asked here")
            .hint("look at what stands above, then say `--yes`"));
    }
    if !yes && !output::ask(&format!("Link `{user}` to account `{account}` in `{target}`?")).await {
        return Err(Failure::new("nothing was linked"));
    }
    let body = serde_json::to_value(LinkBody { user: user.into(), account })?;
    session.client.post(Ask::of(&["targets", target.as_str(), "link"]), &body).await
}

/// What stands between the user and an account now.
async fn explained(session: &Session, user: &str, target: &TargetName) -> Result<ExplainReply, Failure> {
    let path = ["explain", user];
    session.client.get(Ask { path: &path, query: &[("target", target.as_str())] }).await
}

/// Whose the account is as far as anybody can tell, what a link does, and how one gets out of it again.
fn before_link(
    user: &str,
    target: &TargetName,
    account: &AccountId,
    (seen, known): (Option<&SeenAccount>, &ExplainReply),
) -> String {
    let mut text = format!("account `{}` in `{target}`", plain(account.as_str()));
    if let Some(seen) = seen {
        let name = seen.user_name.as_deref().map_or_else(|| "without a user name".to_owned(), plain);
        let owner = seen.record.as_ref().map(|record| format!(", linked to `{}`", plain(record.as_str())));
        put(&mut text, format_args!(": {name}, {}{}", seen.state.as_str(), owner.unwrap_or_default()));
    }
    for explanation in &known.items {
        let about = About { target, record: &explanation.record, account: Some(account), show_personal: true };
        if let Some(reason) = explanation.skip.as_ref().filter(|reason| reason.is_conflict()) {
            let why = why_not(about, reason).line();
            put(&mut text, format_args!("\n{} {}", styled(WAITS, "as it stands now:"), plain(&why)));
        }
    }
    put(
        &mut text,
        format_args!(
            "\n`{user}` gets it: rosterd keeps it equal to the documents from now on, writes its own mark where the \
             account bears none, and ends it with the user's access\nno command takes that back: `rosterd link OTHER \
             {account}` moves it once the document of `{user}` is gone, and until then a name under \
             `account.protected` keeps rosterd's hands off it"
        ),
    );
    text
}

/// Tells what a person said and what its cycle did, held or left undone; exits as `apply` does.
fn came_of(global: &Global, report: &SyncReport, said: &str) -> Result<Exit, Failure> {
    let SyncReport { cycle, plan, failures, stale: _, applied: _ } = report;
    let target = &cycle.space.target;
    let mut text = format!("{said}: {}", words::done(&cycle.done));
    for hold in &plan.holds {
        put(&mut text, format_args!("\n{target} {}", status::hold(target, hold)));
    }
    for (record, failure) in failures {
        put(&mut text, format_args!("\nfailed `{record}` in {target}: {}", plain(failure)));
    }
    if let Some(error) = &cycle.error {
        put(&mut text, format_args!("\n{target}: {}", plain(error)));
    }
    told(global, report, &text)?;
    Ok(apply::verdict(report))
}

async fn only_target(session: &Session) -> Result<TargetName, Failure> {
    let status: Status = session.client.get(Ask::of(&["status"])).await?;
    match status.targets.as_slice() {
        [target] => Ok(target.name.clone()),
        [] => Err(Failure::new("no target is declared").hint("give the folder by `-f DIR`, or start the daemon")),
        several => {
            let names: Vec<_> = several.iter().map(|target| target.name.as_str()).collect();
            Err(Failure::new("there are several targets")
                .hint(format!("add `--target` with one of {}", names.join(", "))))
        }
    }
}

/// The id of an account that people name by its user name, with what was seen of it; an id stands for itself.
async fn account_named(
    session: &Session,
    target: &TargetName,
    named: &str,
) -> Result<(AccountId, Option<SeenAccount>), Failure> {
    let path = ["targets", target.as_str(), "accounts"];
    let list = List { ask: Ask::of(&path), cursor: "after", most: usize::MAX };
    let seen: Vec<SeenAccount> = lists::pages(&session.client, list).await?;
    let by_id = seen.iter().find(|account| account.account.as_str() == named);
    let by_name: Vec<_> = seen.iter().filter(|account| account.user_name.as_deref() == Some(named)).collect();
    Ok(match (by_id, by_name.as_slice()) {
        (None, [account]) => (account.account.clone(), Some((*account).clone())),
        (known, _) => (AccountId::from(named), known.cloned()),
    })
}

async fn say<T: Serialize>(session: &Session, path: &[&str], body: &T) -> Result<Value, Failure> {
    session.client.post(Ask::of(path), &serde_json::to_value(body)?).await
}

/// Tells what was decided, and what comes of it.
fn told<T: Serialize>(global: &Global, data: &T, next: &str) -> Result<Exit, Failure> {
    output::told(global.output, data, next).map(|()| Exit::Done)
}
