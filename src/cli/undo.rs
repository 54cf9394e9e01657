//! `undo`: what a cycle did, taken back as far as the manifests do not ask for it.

use std::collections::BTreeMap;

use crate::app::Purpose;
use crate::cli::apply;
use crate::cli::args::Global;
use crate::cli::client::Ask;
use crate::cli::failure::Exit;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::output::GOOD;
use crate::cli::output::WAITS;
use crate::cli::output::plain;
use crate::cli::output::styled;
use crate::cli::session;
use crate::cli::session::Session;
use crate::cli::words;
use crate::engine::status::SyncReport;
use crate::engine::undo::Undo;
use crate::model::change::Change;
use crate::model::ids::RecordId;
use crate::model::plan::Coverage;
use crate::model::plan::Plan;
use crate::model::plan::Quiet;
use crate::model::target::Mode;
use crate::plan::render;
use crate::server::wire::ReasonBody;
use crate::server::wire::SyncBody;

/// Shows what can be undone, asks, and does it.
pub async fn run(global: &Global, cycle: &str, reason: Option<&str>, yes: bool) -> Result<Exit, Failure> {
    let session = session::open(global, None, Purpose::Act).await?;
    let result = undo(&session, global, (cycle, reason), yes).await;
    session.close().await;
    result
}

async fn undo(
    session: &Session,
    global: &Global,
    (cycle, reason): (&str, Option<&str>),
    yes: bool,
) -> Result<Exit, Failure> {
    let path = ["undo", cycle];
    let Undo { cycle: record, changes, left } = session.client.get(Ask::of(&path)).await?;
    for (user, why) in &left {
        output::note(&format!("{} `{user}`: {}", styled(WAITS, "not undone:"), plain(why)));
    }
    if changes.is_empty() {
        return Err(Failure::new(format!("nothing of cycle `{cycle}` can be undone"))
            .hint("what the manifests ask for is changed in the manifests"));
    }
    let many = words::count(words::len(&changes), "change");
    let plan = Plan {
        space: record.space,
        mode: Mode::Enforce,
        coverage: Coverage::Keyed,
        changes,
        skips: Vec::new(),
        quiet: Quiet::default(),
        unmanaged: Vec::new(),
        accounts: BTreeMap::new(),
        holds: Vec::new(),
        administrators: None,
    };
    output::note(&render::text(&plan));
    if !yes && !output::can_ask() {
        return Err(Failure::new(format!("{many} would undo cycle `{cycle}`, and nobody can be asked here"))
            .hint("look at them above, then say `--yes`"));
    }
    if !yes && !output::ask(&format!("Undo cycle `{cycle}` with {many}?")).await {
        return Err(Failure::new("nothing was undone"));
    }
    if !session.client.is_remote() {
        // Without a daemon nobody has looked at the target yet.
        let users = plan.changes.iter().map(|change| change.record.clone()).collect();
        let body = serde_json::to_value(SyncBody { users: Some(users), only: None })?;
        let _: SyncReport =
            session.client.post(Ask::of(&["targets", plan.space.target.as_str(), "sync"]), &body).await?;
    }
    let body = serde_json::to_value(ReasonBody { reason: reason.map(str::to_owned) })?;
    let report: SyncReport = session.client.post(Ask::of(&path), &body).await?;
    came_of(cycle, &plan, &left, &report);
    apply::tell(global.output, std::slice::from_ref(&report))?;
    Ok(apply::verdict(&report))
}

/// Names what was undone, and what was not.
fn came_of(cycle: &str, plan: &Plan, left: &[(RecordId, String)], report: &SyncReport) {
    let is_held = |change: &Change| report.plan.holds.iter().any(|hold| hold.changes.contains(change));
    let why = |change: &Change| match report.failures.get(&change.record) {
        Some(failure) => Some(plain(failure)),
        None if report.stale.contains(change) => Some("the account is another by now".to_owned()),
        None if is_held(change) => Some("a guardrail holds it".to_owned()),
        None => report.cycle.error.as_deref().map(plain),
    };
    for change in &plan.changes {
        let (what, user) = (change.action.as_str(), &change.record);
        match why(change) {
            None => output::note(&format!("{} {what} `{user}` (cycle `{cycle}`)", styled(GOOD, "undone:"))),
            Some(why) => output::note(&format!("{} {what} `{user}`: {why}", styled(WAITS, "not undone:"))),
        }
    }
    if !left.is_empty() {
        let many = words::count(words::len(left), "more change");
        output::note(&format!("{many} of the cycle could not be undone; why was told above"));
    }
}
