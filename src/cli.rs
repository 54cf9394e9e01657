//! The command line: parses it, asks, and shows the answer.
//!
//! Data goes to standard output, everything else to standard error. Every answer comes from the
//! routes of `/api/v1`, be it over HTTP from a daemon or inside this process: see [`client`]. Only
//! `store export` and `import` open the store themselves, and are refused while a daemon has it.

pub mod apply;
pub mod args;
pub mod audit;
pub mod client;
pub mod decide;
pub mod explain;
pub mod failure;
pub mod findings;
pub mod invites;
pub mod lists;
pub mod output;
pub mod plan;
pub mod receipt;
pub mod requests;
pub mod revoke;
pub mod run;
pub mod saved;
pub mod session;
mod sign;
pub mod status;
pub mod store;
pub mod tokens;
pub mod undo;
pub mod validate;
pub mod words;

use std::process::ExitCode;

use clap::CommandFactory;
use clap::Parser;

use crate::cli::args::Arguments;
use crate::cli::args::Command;
use crate::cli::args::Global;
use crate::cli::args::HoldsCommand;
use crate::cli::args::LogFormat;
use crate::cli::failure::Exit;
use crate::cli::failure::Failure;
use crate::manifest;
use crate::settings;
use crate::telemetry;

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    match start(&arguments) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output::complain(&failure);
            Exit::Error.into()
        }
    }
}

/// Help and version are answers; anything else is an error, and clap's own code for it (2) would
/// say "there are changes".
fn usage(error: &clap::Error) -> ExitCode {
    // Nobody is left to tell where the stream is closed.
    drop(error.print());
    if error.use_stderr() { Exit::Error.into() } else { Exit::Done.into() }
}

fn start(arguments: &Arguments) -> Result<Exit, Failure> {
    log(arguments)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("the runtime cannot be started: {error}")))?;
    runtime.block_on(dispatch(arguments))
}

/// A daemon tells what it does; a command tells what went wrong by itself.
fn log(arguments: &Arguments) -> Result<(), Failure> {
    let usual = if matches!(arguments.command, Command::Run(_)) { telemetry::DEFAULT_FILTER } else { "off" };
    let format = match arguments.global.log_format {
        LogFormat::Text => telemetry::LogFormat::Text,
        LogFormat::Json => telemetry::LogFormat::Json,
    };
    let filter = settings::environment("ROSTERD_LOG");
    let plain = settings::environment("NO_COLOR").is_some_and(|value| !value.is_empty());
    telemetry::init(format, filter.as_deref().unwrap_or(usual), plain)
        .map_err(|error| Failure::new(error.to_string()).hint("set `ROSTERD_LOG` to `info`, or leave it out"))
}

async fn dispatch(arguments: &Arguments) -> Result<Exit, Failure> {
    let global = &arguments.global;
    match &arguments.command {
        Command::Run(folder) => run::run(global, folder).await,
        Command::Validate(folder) => validate::run(global, folder).await,
        Command::Plan(arguments) => plan::run(global, arguments).await,
        Command::Apply(arguments) => apply::run(global, arguments).await,
        Command::Sync(arguments) => apply::sync(global, arguments).await,
        Command::Status { target } => lists::status(global, target.as_deref()).await,
        Command::Targets => lists::targets(global).await,
        Command::Accounts(arguments) => lists::accounts(global, arguments).await,
        Command::Explain { user, target, change } => {
            lists::explain(global, user, target.as_deref(), change.as_deref()).await
        }
        Command::History { target, limit } => lists::history(global, target.as_deref(), *limit).await,
        Command::Audit(command) => audit::run(global, command).await,
        Command::Owed => lists::owed(global).await,
        Command::Suspend { target, reason } => decide::pause(global, "suspend", target, reason.as_deref()).await,
        Command::Resume { target, reason } => decide::pause(global, "resume", target, reason.as_deref()).await,
        Command::Regain { user, target, reason } => {
            decide::regain(global, user, target.as_deref(), reason.as_deref()).await
        }
        Command::Link { user, account, target, yes } => {
            decide::link(global, user, account, (target.as_deref(), *yes)).await
        }
        Command::Enforce { target, digest } => decide::enforce(global, target, digest).await,
        Command::AcceptShrink { digest } => decide::accept_shrink(global, digest).await,
        Command::Undo { cycle, reason, yes } => undo::run(global, cycle, reason.as_deref(), *yes).await,
        Command::TrustClock { reason } => decide::trust_clock(global, reason.as_deref()).await,
        Command::Holds(HoldsCommand::List) => lists::holds(global).await,
        Command::Holds(HoldsCommand::Release { digest, reason }) => {
            decide::release(global, digest, reason.as_deref()).await
        }
        Command::Revoke { users, until, reason, yes } => {
            revoke::revoke(global, users, (until.as_deref(), reason.as_deref()), *yes).await
        }
        Command::Restore { users, reason } => revoke::restore(global, users, reason.as_deref()).await,
        Command::Receipt { user: _, verify: Some(file) } => receipt::verify(global, file).await,
        Command::Receipt { user, verify: None } => receipt::make(global, user.as_deref().unwrap_or_default()).await,
        Command::Stop { widening, all: _, reason } => revoke::stop(global, *widening, reason).await,
        Command::Start { reason } => revoke::start(global, reason).await,
        Command::Requests(command) => requests::run(global, command).await,
        Command::Invites(command) => invites::run(global, command).await,
        Command::Store(command) => store::run(global, command).await,
        Command::Tokens(command) => tokens::run(global, command).await,
        Command::Healthcheck => healthcheck(global).await,
        Command::Schema { kind } => schema(kind.as_deref()),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Arguments::command(), "rosterd", &mut script);
            output::print(String::from_utf8_lossy(&script).trim_end())?;
            Ok(Exit::Done)
        }
    }
}

/// Asks a daemon whether it is ready; containers call this.
async fn healthcheck(global: &Global) -> Result<Exit, Failure> {
    let session = session::daemon(global, "start it with `rosterd run -f DIR`").await?;
    let ready = session.client.ready().await?;
    if ready.ready {
        output::print("ready")?;
        return Ok(Exit::Done);
    }
    let why = match ready.error {
        Some(error) => error,
        None if ready.store => "no manifests were accepted yet".to_owned(),
        None => "its store does not answer".to_owned(),
    };
    Err(Failure::new(format!("the daemon is not ready: {why}")).hint("`rosterd status` tells more"))
}

/// The JSON Schema of one kind of document, or of all.
fn schema(kind: Option<&str>) -> Result<Exit, Failure> {
    let known: Vec<_> = manifest::Kind::ALL.iter().map(|kind| kind.as_str()).collect();
    let all = manifest::Kind::ALL.into_iter();
    let schema = match kind {
        None => all.map(|kind| (kind.as_str().to_owned(), manifest::schema(kind))).collect(),
        Some(word) => {
            let found = all.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(word));
            let unknown = || {
                Failure::new(format!("there is no kind `{word}`")).hint(format!("write one of {}", known.join(", ")))
            };
            manifest::schema(found.ok_or_else(unknown)?)
        }
    };
    output::print(&serde_json::to_string_pretty(&schema)?)?;
    Ok(Exit::Done)
}
