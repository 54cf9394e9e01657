//! `run`: the daemon, and what it says of itself at its start.

use std::time::Duration;

use crate::app::App;
use crate::app::AppError;
use crate::app::Purpose;
use crate::app::StopSignals;
use crate::cli::args::Folder;
use crate::cli::args::Global;
use crate::cli::failure::Exit;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::output::BAD;
use crate::cli::output::DIM;
use crate::cli::output::STRONG;
use crate::cli::output::WAITS;
use crate::cli::output::plain;
use crate::cli::output::styled;
use crate::cli::session;
use crate::cli::status::STANDS;
use crate::cli::words;
use crate::cli::words::put;
use crate::engine::status::Status;
use crate::engine::status::TargetStatus;
use crate::model::target::Mode;

/// How long the start waits for first cycles before it tells what it has.
const FIRST_WORD: Duration = Duration::from_secs(4);

/// Runs until somebody stops it.
pub async fn run(global: &Global, arguments: &Folder) -> Result<Exit, Failure> {
    let settings = session::settings(global, arguments.folder.as_deref())?;
    if settings.manifests.is_none() {
        return Err(Failure::new("there is no folder of manifests to keep to")
            .hint("write `rosterd run -f DIR`; the samples are in `manifests`"));
    }
    if let Some(folder) = arguments.folder.as_deref().filter(|folder| !folder.is_dir()) {
        return Err(Failure::new(format!("there is no folder `{}`; nothing was begun", folder.display()))
            .hint("give the folder of your manifests by `-f DIR`"));
    }
    // From here on: who stops a daemon that has only just begun waits for its calls, too.
    let mut stop = StopSignals::listen();
    let mut app = App::open(settings, Purpose::Daemon).await.map_err(|error| refused(&error))?;
    let serving = match app.serve().await {
        Ok(serving) => serving,
        Err(error) => {
            app.stop().await;
            return Err(refused(&error));
        }
    };
    tokio::select! {
        status = settled(&app) => {
            output::print(&greeting(&status, &serving.address, &app))?;
            stop.first().await;
        }
        () = stop.first() => {}
    }
    output::note("stopping: calls in flight end first");
    serving.close().await;
    app.stop().await;
    Ok(Exit::Done)
}

fn refused(error: &AppError) -> Failure {
    if let AppError::Held { server } = error {
        return Failure::new(format!("a daemon holds this store already; it answers at {server}"))
            .hint("`rosterd status` asks it; a second one needs a folder and a configuration of its own");
    }
    session::failed(error)
}

/// The status once every target has ended its first cycle, or when people want a word.
async fn settled(app: &App) -> Status {
    let waiting = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        loop {
            ticks.tick().await;
            let status = app.engine.status();
            if status.targets.iter().all(has_settled) {
                return status;
            }
        }
    };
    tokio::time::timeout(FIRST_WORD, waiting).await.unwrap_or_else(|_| app.engine.status())
}

fn has_settled(target: &TargetStatus) -> bool {
    let ended = target.last_cycle.is_some() && target.running.is_none() && target.waiting == 0;
    ended || target.error.is_some() || target.suspended || target.mode == Mode::Suspended
}

/// What it did, and where to look.
fn greeting(status: &Status, address: &str, app: &App) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut out = format!("{} {version}\n", styled(STRONG, "rosterd"));
    let folder = app.settings.manifests.iter().map(|folder| folder.display().to_string()).collect::<String>();
    let source = &status.source;
    let number = |number: usize, noun| words::count(u64::try_from(number).unwrap_or(u64::MAX), noun);
    put(
        &mut out,
        format_args!(
            "  reads {}: {}, {}, {}\n",
            folder,
            number(source.users, "user"),
            number(source.roles, "role"),
            number(status.targets.len(), "target")
        ),
    );
    for problem in source.problems.iter().chain(&source.error) {
        put(&mut out, format_args!("\n{} {}\n", styled(BAD, "not accepted:"), problem.trim_end()));
    }
    if source.refused {
        put(&mut out, format_args!("\n  {STANDS}; rosterd keeps watching\n"));
    } else if source.error.is_some() {
        out.push_str("\n  what was accepted before stands; rosterd keeps watching\n");
    }
    out.push('\n');
    let width = status.targets.iter().map(|target| target.name.as_str().len()).max().unwrap_or_default();
    for target in &status.targets {
        put(&mut out, format_args!("  {:<width$}  {}\n", target.name.as_str(), first_word(target)));
    }
    out.push('\n');
    let store = app.settings.store.display();
    let label = |word: &str| styled(DIM, format!("{word:<6}"));
    put(&mut out, format_args!("  {} {address}/api/v1/status\n", label("API")));
    put(&mut out, format_args!("  {} {store}\n", label("store")));
    let user = app.engine.snapshot().and_then(|snapshot| snapshot.users.keys().next().cloned());
    let explain = user.map(|user| format!(" · rosterd explain {user}")).unwrap_or_default();
    let accounts = status.targets.last().map(|target| format!(" · rosterd accounts {}", target.name));
    put(&mut out, format_args!("  {} rosterd status{}{explain}\n", label("look"), accounts.unwrap_or_default()));
    put(&mut out, format_args!("  {} edit a manifest: it takes effect when it is saved\n", label("change")));
    put(&mut out, format_args!("  {} Ctrl-C\n", label("stop")));
    out
}

/// What came of a target's first cycle.
fn first_word(target: &TargetStatus) -> String {
    if let Some(error) = &target.error {
        return styled(BAD, plain(error));
    }
    let Some(cycle) = &target.last_cycle else {
        let word = if target.running.is_some() { "first cycle under way" } else { "waits" };
        return styled(WAITS, word);
    };
    let mut said = words::done(&cycle.done);
    let more = [
        (u64::try_from(target.conflicts.len()).unwrap_or(u64::MAX), "conflict"),
        (words::len(&target.holds), "hold"),
        (u64::try_from(target.failures.len()).unwrap_or(u64::MAX), "failure"),
    ];
    for (number, noun) in more.into_iter().filter(|(number, _)| *number > 0) {
        put(&mut said, format_args!(", {}", styled(WAITS, words::count(number, noun))));
    }
    if target.mode == Mode::Observe {
        said.push_str(", observed only: `mode: enforce` lets rosterd write");
    }
    said
}
