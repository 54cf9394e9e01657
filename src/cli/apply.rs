//! `apply` and `sync`: one cycle now.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use indicatif::ProgressBar;
use indicatif::ProgressDrawTarget;
use indicatif::ProgressStyle;

use crate::app;
use crate::app::Purpose;
use crate::cli::args::ApplyArguments;
use crate::cli::args::Form;
use crate::cli::args::Global;
use crate::cli::args::SyncArguments;
use crate::cli::client::Ask;
use crate::cli::failure::Exit;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::output::BAD;
use crate::cli::output::Rows;
use crate::cli::output::View;
use crate::cli::output::WAITS;
use crate::cli::output::plain;
use crate::cli::output::styled;
use crate::cli::plan;
use crate::cli::saved;
use crate::cli::session;
use crate::cli::session::Session;
use crate::cli::status;
use crate::cli::words;
use crate::cli::words::put;
use crate::engine::status::Owed;
use crate::engine::status::Status;
use crate::engine::status::SyncReport;
use crate::metrics::OwedReason;
use crate::model::change::Action;
use crate::model::change::Cause;
use crate::model::change::Change;
use crate::model::ids::TargetName;
use crate::model::plan::Plan;
use crate::model::plan::SkipReason;
use crate::model::target::Mode;
use crate::plan::why::About;
use crate::plan::why::why_not;
use crate::server::wire::PlanBody;
use crate::server::wire::PlanReply;
use crate::server::wire::SyncBody;

/// What to send to each target.
type Work = BTreeMap<TargetName, SyncBody>;

/// Runs a cycle from a folder or a saved plan.
pub async fn run(global: &Global, arguments: &ApplyArguments) -> Result<Exit, Failure> {
    let saved = arguments.plan.as_deref().map(saved::read).transpose()?;
    let noted = saved.as_ref().and_then(|saved| saved.folder.clone());
    let folder = arguments.folder.folder.clone().or(noted);
    // Also that the manifests are accepted is part of what a person agrees to.
    let purpose = if arguments.yes { Purpose::Act } else { Purpose::Ask };
    let mut session = session::open(global, folder.as_deref(), purpose).await?;
    let work = async {
        let exit = match saved {
            Some(saved) => apply_saved(&mut session, global, arguments, saved.plans).await,
            None => apply_folder(&mut session, global, arguments).await,
        }?;
        Ok(worse(exit, owing(&session, arguments.target.as_deref(), arguments.user.as_deref()).await?))
    };
    let result = tokio::select! {
        result = work => result,
        () = app::stop_signal() => Err(Failure::new("stopped: calls in flight ended, and what came of them is recorded")
            .hint("run the command again; it goes on where this one stopped")),
    };
    session.close().await;
    result
}

/// Runs a cycle in the daemon.
pub async fn sync(global: &Global, arguments: &SyncArguments) -> Result<Exit, Failure> {
    let session =
        session::daemon(global, "start it with `rosterd run -f DIR`; `rosterd apply -f DIR` needs none").await?;
    let users = arguments.user.as_deref().map(|user| BTreeSet::from([user.into()]));
    let targets = match &arguments.target {
        Some(target) => vec![TargetName::from(target.as_str())],
        None => targets(&session).await?,
    };
    let body = SyncBody { users, only: None };
    let work = targets.into_iter().map(|target| (target, body.clone())).collect();
    let exit = cycle(&session, global.output, work, Exit::Done).await?;
    Ok(worse(exit, owing(&session, arguments.target.as_deref(), arguments.user.as_deref()).await?))
}

/// Says what is owed once the cycles are over. What a document's own `mode` forbids was not this command's to do.
async fn owing(session: &Session, target: Option<&str>, user: Option<&str>) -> Result<Exit, Failure> {
    let Status { targets, left_behind, .. } = session.client.get(Ask::of(&["status"])).await?;
    let here = targets.into_iter().map(|target| {
        let forbidden = target.mode != Mode::Enforce && !target.suspended;
        let due = target.owed.into_iter().filter(|owed| !(forbidden && owed.reason == OwedReason::Mode)).collect();
        (target.name, due)
    });
    if target.is_none() && user.is_none() && !left_behind.is_empty() {
        output::note(status::left_behind(&left_behind).trim());
    }
    let beside = left_behind.into_iter().map(|left| (left.space.target, left.owed));
    let all: Vec<(TargetName, Vec<Owed>)> = here.chain(beside).collect();
    let asked = all.iter().filter(|(name, _)| target.is_none_or(|target| name.as_str() == target));
    let due = asked.flat_map(|(_, owed)| owed).filter(|owed| user.is_none_or(|user| owed.record.as_str() == user));
    let many = due.count();
    if many == 0 {
        return Ok(Exit::Done);
    }
    let many = words::count(u64::try_from(many).unwrap_or(u64::MAX), "end");
    output::note(&format!(
        "{} {many} of access due and not confirmed; `rosterd owed` lists them with what holds them up",
        styled(BAD, "owed:")
    ));
    Ok(Exit::Held)
}

async fn targets(session: &Session) -> Result<Vec<TargetName>, Failure> {
    let status: Status = session.client.get(Ask::of(&["status"])).await?;
    Ok(status.targets.into_iter().map(|target| target.name).collect())
}

async fn apply_folder(session: &mut Session, global: &Global, arguments: &ApplyArguments) -> Result<Exit, Failure> {
    if session.client.is_remote() {
        reload(session, global, arguments).await?;
    }
    let ground = plan::ground(session, None, arguments.target.as_deref()).await?;
    let users = arguments.user.as_deref().map(|user| BTreeSet::from([user.into()]));
    let unreachable = ground.unreachable.into_iter().filter(|_| arguments.target.is_none());
    if arguments.yes && global.output == Form::Json && !session.fresh() {
        // Nobody is shown a plan or asked about it: the cycle makes its own, and tells it.
        let errors: BTreeMap<_, _> = unreachable.collect();
        let exit = if ground.shrink { Exit::Held } else { Exit::Done };
        let exit = if errors.is_empty() { exit } else { Exit::Error };
        shown(global.output, &PlanReply { plans: Vec::new(), errors });
        let targets = match &arguments.target {
            Some(target) => vec![target.as_str().into()],
            None => targets(session).await?,
        };
        let body = SyncBody { users, only: None };
        return cycle(session, global.output, targets.into_iter().map(|target| (target, body.clone())).collect(), exit)
            .await;
    }
    let body = PlanBody {
        target: arguments.target.as_deref().map(Into::into),
        users: users.clone(),
        documents: None,
        at: None,
    };
    let mut reply = plan::ask(session, &body).await?;
    reply.errors.extend(unreachable);
    let exit =
        if ground.shrink || reply.plans.iter().any(|plan| !plan.holds.is_empty()) { Exit::Held } else { Exit::Done };
    shown(global.output, &reply);
    consent(session, &reply.plans, arguments.yes).await?;
    let left_out = if session.fresh() { careful(&reply.plans) } else { 0 };
    let exit = if left_out > 0 { exit.max(Exit::Held) } else { exit };
    let exit = if reply.errors.is_empty() { exit } else { Exit::Error };
    let work = reply.plans.into_iter().map(|plan| {
        let only = (left_out > 0).then(|| plan.changes.into_iter().filter(|change| !is_guess(change)).collect());
        (plan.space.target, SyncBody { users: users.clone(), only })
    });
    cycle(session, global.output, work.collect(), exit).await
}

/// The daemon reads its own folder: another one would be undone by its next load.
async fn reload(session: &Session, global: &Global, arguments: &ApplyArguments) -> Result<(), Failure> {
    let _: serde_json::Value = session.client.post(Ask::of(&["source", "reload"]), &serde_json::json!({})).await?;
    let Some(folder) = arguments.folder.folder.as_deref() else { return Ok(()) };
    let settings = session::settings(global, Some(folder))?;
    let documents = app::documents(&settings).await.map_err(|error| session::failed(&error))?;
    session::refuse_problems(&documents)?;
    let status: Status = session.client.get(Ask::of(&["status"])).await?;
    if status.source.digest.as_ref() == Some(&documents.digest) || status.source.shrink.is_some() {
        return Ok(());
    }
    let folder = folder.display();
    Err(Failure::new(format!("the daemon's manifests are not those of `{folder}`, so they would be undone again"))
        .hint("bring them to the folder that the daemon reads (`rosterd status` names it), or leave `-f` out"))
}

async fn apply_saved(
    session: &mut Session,
    global: &Global,
    arguments: &ApplyArguments,
    plans: Vec<Plan>,
) -> Result<Exit, Failure> {
    let ground = plan::ground(session, None, arguments.target.as_deref()).await?;
    consent(session, &plans, arguments.yes).await?;
    let left_out = if session.fresh() { careful(&plans) } else { 0 };
    let exit = if ground.shrink || left_out > 0 || plans.iter().any(|plan| !plan.holds.is_empty()) {
        Exit::Held
    } else {
        Exit::Done
    };
    let wanted = |plan: &Plan| arguments.target.as_deref().is_none_or(|target| plan.space.target.as_str() == target);
    let work = plans.into_iter().filter(wanted).map(|plan| {
        let of_user = |change: &Change| arguments.user.as_deref().is_none_or(|user| change.record.as_str() == user);
        let kept = |change: &Change| of_user(change) && !(left_out > 0 && is_guess(change));
        let changes = plan.changes.into_iter().filter(kept).collect();
        (plan.space.target, SyncBody { users: None, only: Some(changes) })
    });
    cycle(session, global.output, work.collect(), exit).await
}

/// Shows the plan before it is applied; with JSON, only the result is data.
fn shown(form: Form, reply: &PlanReply) {
    if form == Form::Text {
        output::note(&plan::text(reply));
    }
    for (target, error) in &reply.errors {
        let failure = Failure::new(format!("there is no plan for `{target}`: {error}"));
        output::complain(&failure.hint("mend that and run this again; the other targets are not held up"));
    }
}

/// Taking access away is agreed to by a person, here or beforehand.
async fn consent(session: &mut Session, plans: &[Plan], yes: bool) -> Result<(), Failure> {
    let narrowing = plan::narrowing(plans);
    if yes || narrowing == 0 {
        return session.agreed().await;
    }
    let many = words::count(u64::try_from(narrowing).unwrap_or(u64::MAX), "change");
    if !output::can_ask() {
        return Err(Failure::new(format!("this plan takes access away ({many}), and nobody can be asked here"))
            .hint("look at it with `rosterd plan`, then say `--yes`"));
    }
    if output::ask(&format!("This plan takes access away ({many}). Apply it?")).await {
        return session.agreed().await;
    }
    Err(Failure::new("nothing was applied").hint(if session.client.is_remote() {
        "the daemon reads these manifests by itself and ends that access (`rosterd owed`): put back what should stay"
    } else {
        "nothing of it was accepted either; the manifests still say so, so put back what should stay"
    }))
}

/// What an empty store cannot know: whether an account is ours, and why access was lost.
fn is_guess(change: &Change) -> bool {
    change.action == Action::Adopt || change.cause == Some(Cause::Inferred)
}

/// Says what is left out because the store is empty, and how much it is.
fn careful(plans: &[Plan]) -> usize {
    let guesses = plans.iter().flat_map(|plan| &plan.changes).filter(|change| is_guess(change)).count();
    if guesses > 0 {
        let many = words::count(u64::try_from(guesses).unwrap_or(u64::MAX), "change");
        output::note(&format!(
            "{} {many} left out: this store is empty, so nobody can know whose the accounts are and why access was lost\n\
             hint: keep `rosterd.db` and `rosterd.keys` between runs, or let a daemon apply (`--server`)",
            styled(WAITS, "careful:")
        ));
    }
    guesses
}

/// Runs a cycle of each target, side by side, and tells what came of it.
async fn cycle(session: &Session, form: Form, work: Work, exit: Exit) -> Result<Exit, Failure> {
    let bar = progress();
    let run = join_all(work.iter().map(|(target, body)| async move {
        let asked = serde_json::to_value(body)?;
        let ask = ["targets", target.as_str(), "sync"];
        session.client.post::<SyncReport>(Ask::of(&ask), &asked).await
    }));
    let reports = tokio::select! {
        reports = run => reports,
        () = watch(session, &work, &bar) => Vec::new(),
    };
    bar.finish_and_clear();
    let mut done = Vec::new();
    let mut worst = exit;
    for (target, report) in work.keys().zip(reports) {
        match report {
            Ok(report) => done.push(report),
            Err(failure) => {
                let message = format!("the cycle of `{target}` did not run: {}", failure.message);
                output::complain(&Failure { message, hint: failure.hint });
                worst = Exit::Error;
            }
        }
    }
    tell(form, &done)?;
    Ok(done.iter().map(verdict).fold(worst, worse))
}

/// An error outweighs everything, and what no longer follows outweighs what waits.
fn worse(left: Exit, right: Exit) -> Exit {
    if left == Exit::Error || right == Exit::Error { Exit::Error } else { left.max(right) }
}

/// The exit code of a cycle.
pub fn verdict(report: &SyncReport) -> Exit {
    let SyncReport { cycle, plan, stale, applied: _, failures } = report;
    if cycle.error.is_some() || !failures.is_empty() {
        Exit::Error
    } else if !stale.is_empty() {
        Exit::Stale
    } else {
        output::done_or_held(!plan.holds.is_empty())
    }
}

fn progress() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

/// Keeps the bar telling how far each target is, for ever.
async fn watch(session: &Session, work: &Work, bar: &ProgressBar) {
    let mut ticks = tokio::time::interval(Duration::from_millis(500));
    loop {
        ticks.tick().await;
        if bar.is_hidden() {
            std::future::pending::<()>().await;
        }
        let Ok(status) = session.client.get::<Status>(Ask::of(&["status"])).await else { continue };
        let busy = status.targets.iter().filter(|target| work.contains_key(&target.name) && target.running.is_some());
        let parts = busy.map(|target| {
            let done: u64 = target.running.iter().flat_map(|cycle| cycle.done.values()).sum();
            format!("{}: {done} done, {} to do", target.name, target.waiting)
        });
        bar.set_message(parts.collect::<Vec<_>>().join("  "));
    }
}

/// What came of the cycles.
pub fn tell(form: Form, reports: &[SyncReport]) -> Result<(), Failure> {
    let rows = || {
        let mut rows = Rows::new(&["target", "result", "done", "open", "held", "conflicts", "error"]);
        for report in reports {
            rows.push(row(report));
        }
        rows
    };
    let text = || rows().text_or("no target document says what is to be done") + &details(reports);
    output::show(form, &View { data: &reports, text: &text, markdown: &|| rows().markdown() })
}

fn row(report: &SyncReport) -> Vec<String> {
    let SyncReport { cycle, plan, .. } = report;
    let held: usize = plan.holds.iter().map(|hold| hold.changes.len()).sum();
    vec![
        cycle.space.target.to_string(),
        cycle.result.map_or("-", |result| result.as_str()).to_owned(),
        words::done(&cycle.done),
        cycle.open.to_string(),
        held.to_string(),
        plan.skips.iter().filter(|skip| skip.reason.is_conflict()).count().to_string(),
        cycle.error.as_deref().map_or_else(|| "-".to_owned(), plain),
    ]
}

/// Entries of one kind that are told of one target.
const MOST: usize = 20;

fn conflicts(report: &SyncReport, out: &mut String) {
    let target = &report.cycle.space.target;
    let all: Vec<_> = report.plan.skips.iter().filter(|skip| skip.reason.is_conflict()).collect();
    for skip in all.iter().take(MOST) {
        let why = why_not(About::skip(target, skip, true), &skip.reason).line();
        put(out, format_args!("{} `{}` in {target}: {}\n", styled(WAITS, "conflict"), skip.record, plain(&why)));
    }
    if all.len() > MOST {
        let more = all.len() - MOST;
        put(out, format_args!("and {more} more conflicts in {target}; `rosterd status --output json` lists all\n"));
    }
}

fn details(reports: &[SyncReport]) -> String {
    let mut out = String::new();
    for report in reports {
        let target = &report.cycle.space.target;
        for (record, failure) in &report.failures {
            put(&mut out, format_args!("{} `{record}` in {target}: {}\n", styled(BAD, "failed"), plain(failure)));
        }
        for change in &report.stale {
            let what = change.action.as_str();
            let line =
                format!("{} {what} `{}` in {target}: it no longer follows\n", styled(WAITS, "skipped"), change.record);
            out.push_str(&line);
        }
        for change in &report.applied {
            let what = change.action.as_str();
            let line = format!("{what} `{}` in {target}: it was applied already\n", change.record);
            out.push_str(&line);
        }
        conflicts(report, &mut out);
        for hold in &report.plan.holds {
            put(&mut out, format_args!("{target} {}\n", status::hold(target, hold)));
        }
        let asked = report.plan.skips.iter().filter(|skip| matches!(skip.reason, SkipReason::Request { .. }));
        for skip in asked {
            let why = why_not(About::skip(target, skip, true), &skip.reason).line();
            put(&mut out, format_args!("{} `{}` in {target}: {}\n", styled(WAITS, "waits"), skip.record, plain(&why)));
        }
    }
    out
}
