//! `plan`: what would change. Nothing is written, neither there nor here.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;

use crate::app;
use crate::app::Purpose;
use crate::cli::args::Form;
use crate::cli::args::Global;
use crate::cli::args::PlanArguments;
use crate::cli::client::Ask;
use crate::cli::failure::Exit;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::saved;
use crate::cli::session;
use crate::cli::session::Session;
use crate::cli::status;
use crate::cli::status::STANDS;
use crate::cli::words;
use crate::cli::words::moment;
use crate::engine::status::Status;
use crate::model::ids::TargetName;
use crate::model::plan::Plan;
use crate::model::role::TargetRef;
use crate::model::snapshot::Snapshot;
use crate::plan::render;
use crate::server::wire::PlanBody;
use crate::server::wire::PlanReply;

/// The code of a role that names a target which is not declared beside it.
const UNKNOWN_TARGET: &str = "unknown-target";

/// Shows what would change.
pub async fn run(global: &Global, arguments: &PlanArguments) -> Result<Exit, Failure> {
    let session = session::open(global, arguments.folder.folder.as_deref(), Purpose::Look).await?;
    let result = show(&session, global, arguments).await;
    session.close().await;
    result
}

async fn show(session: &Session, global: &Global, arguments: &PlanArguments) -> Result<Exit, Failure> {
    let folder = arguments.folder.folder.as_deref();
    let ground = ground(session, folder, arguments.target.as_deref()).await?;
    let scope = PlanBody {
        target: arguments.target.as_deref().map(Into::into),
        users: arguments.user.as_deref().map(|user| BTreeSet::from([user.into()])),
        documents: documents(session, global, folder).await?,
        at: arguments.at,
    };
    let mut reply = ask(session, &scope).await?;
    reply.errors.extend(ground.unreachable.into_iter().filter(|_| arguments.target.is_none()));
    if let Some(at) = arguments.at {
        output::note(&format!("as it would be at {}, if nothing else changes; this is not for applying", moment(at)));
    }
    let canonical = saved::canonical(&reply, folder)?;
    match global.output {
        Form::Text => output::print(&text(&reply))?,
        Form::Json => output::print(&canonical)?,
        Form::Markdown => output::print(&markdown(&reply, arguments.show_personal))?,
        Form::Github | Form::Gitlab | Form::Sarif => return Err(output::unfit(global.output)),
    }
    if let Some(path) = &arguments.out {
        if saved::write(path, &canonical)? {
            output::note(&format!("`{}` held another plan, which is replaced", path.display()));
        }
        output::note(&format!("saved as `{0}`; apply it with `rosterd apply {0}`", path.display()));
    }
    for (target, error) in &reply.errors {
        let failure = Failure::new(format!("there is no plan for `{target}`: {error}"));
        output::complain(&failure.hint("mend that and run this again; the other targets are not held up"));
    }
    Ok(verdict(&reply, ground.shrink, arguments.detailed_exitcode))
}

/// Asks for the plans.
pub async fn ask(session: &Session, body: &PlanBody) -> Result<PlanReply, Failure> {
    session.client.post(Ask::of(&["plan"]), &serde_json::to_value(body)?).await
}

/// What is known of the documents that a plan starts from.
#[derive(Debug, Default)]
pub struct Ground {
    /// Whether they take too much away, so that they wait for a person.
    pub shrink: bool,
    /// Targets that cannot be reached as they are configured, and why.
    pub unreachable: BTreeMap<TargetName, String>,
}

/// Refuses to go on from documents that were not accepted, and says what is held back.
///
/// A daemon that plans from other documents than its own judges them by itself.
pub async fn ground(session: &Session, folder: Option<&Path>, target: Option<&str>) -> Result<Ground, Failure> {
    if session.client.is_remote() && folder.is_some() {
        return Ok(Ground::default());
    }
    let Status { source, targets, .. } = session.client.get(Ask::of(&["status"])).await?;
    let mut unreachable = BTreeMap::new();
    if session.app.is_none() && source.refused {
        source.problems.iter().for_each(|problem| output::note(&format!("{}\n", problem.trim_end())));
        let many = words::count(words::len(&source.problems), "problem");
        return Err(Failure::new(format!("{many} in the manifests of the daemon; nothing was applied"))
            .hint(format!("mend what is marked above: {STANDS}")));
    }
    if let Some(app) = &session.app {
        let documents = app.source.load().await;
        let documents = documents
            .map_err(|error| Failure::new(error.to_string()).hint("give the folder of your manifests by `-f DIR`"))?;
        session::refuse_problems(&documents)?;
        let missing = documents.targets.iter().filter(|target| targets.iter().all(|known| known.name != target.name));
        unreachable = missing.map(|target| (target.name.clone(), why(&target.name, &source.problems))).collect();
    }
    if let Some((name, why)) = unreachable.iter().find(|(name, _)| Some(name.as_str()) == target) {
        return Err(Failure::new(format!("there is no plan for `{name}`: {why}")).hint("mend that, and run this again"));
    }
    if let Some(shrink) = &source.shrink {
        output::note(&status::shrink(shrink));
    }
    Ok(Ground { shrink: source.shrink.is_some(), unreachable })
}

/// What the engine said of a target that it could not take on.
fn why(target: &TargetName, problems: &[String]) -> String {
    let start = format!("target `{target}`: ");
    let found = problems.iter().find_map(|problem| problem.strip_prefix(&start));
    found.unwrap_or("it cannot be reached as it is configured").to_owned()
}

/// What a daemon must plan from; a plan of this process has read the folder already.
async fn documents(session: &Session, global: &Global, folder: Option<&Path>) -> Result<Option<Snapshot>, Failure> {
    let Some(folder) = folder.filter(|_| session.client.is_remote()) else { return Ok(None) };
    let settings = session::settings(global, Some(folder))?;
    let mut documents = app::documents(&settings).await.map_err(|error| session::failed(&error))?;
    // Targets are the daemon's own, so whether a role names one that exists is asked there.
    documents.problems.retain(|problem| problem.code != UNKNOWN_TARGET);
    session::refuse_problems(&documents)?;
    let status: Status = session.client.get(Ask::of(&["status"])).await?;
    let known: BTreeSet<_> = status.targets.into_iter().map(|target| target.name).collect();
    for grant in documents.roles.values().flat_map(|role| &role.grants) {
        if let TargetRef::Name(name) = &grant.target
            && !known.contains(name)
        {
            return Err(Failure::new(format!("{}: the daemon has no target `{name}`", grant.origin))
                .hint("`rosterd targets` lists those it has; an operator adds one with its configuration"));
        }
    }
    Ok(Some(Snapshot { users: documents.users, roles: documents.roles }))
}

/// Every plan as text.
pub fn text(reply: &PlanReply) -> String {
    let plans: Vec<_> = reply.plans.iter().map(render::text).collect();
    plans.join("\n")
}

fn markdown(reply: &PlanReply, show_personal: bool) -> String {
    let plans: Vec<_> = reply.plans.iter().map(|plan| render::markdown(plan, show_personal)).collect();
    plans.join("\n")
}

fn verdict(reply: &PlanReply, shrink: bool, detailed: bool) -> Exit {
    let held = shrink || reply.plans.iter().any(|plan| !plan.holds.is_empty());
    let changes = reply.plans.iter().any(|plan| !plan.changes.is_empty());
    match (reply.errors.is_empty(), held, changes && detailed) {
        (false, _, _) => Exit::Error,
        (true, true, _) => Exit::Held,
        (true, false, true) => Exit::Changes,
        (true, false, false) => Exit::Done,
    }
}

/// How many changes of the plans take access away.
pub fn narrowing(plans: &[Plan]) -> usize {
    let changes = plans.iter().flat_map(|plan| &plan.changes);
    changes.filter(|change| change.cause.is_some()).count()
}
