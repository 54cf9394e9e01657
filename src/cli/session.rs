//! Where a command's answers come from: a daemon, or this process over the store.

use std::path::Path;
use std::time::Duration;

use crate::app;
use crate::app::App;
use crate::app::AppError;
use crate::app::Purpose;
use crate::cli::args::Global;
use crate::cli::client::Client;
use crate::cli::client::Local;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::words;
use crate::manifest;
use crate::manifest::Documents;
use crate::manifest::Problem;
use crate::secrets::secret::Secret;
use crate::settings;
use crate::settings::Settings;

/// How long a daemon may take to say that it is there.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// One command's conversation.
pub struct Session {
    /// Who answers.
    pub client: Client,
    /// The engine of this process, where no daemon answers.
    pub app: Option<App>,
}

impl Session {
    /// Lets calls in flight end.
    pub async fn close(self) {
        if let Some(app) = self.app {
            app.stop().await;
        }
    }

    /// A person agreed: what was only shown may be written from here on ([`Purpose::Ask`]).
    pub async fn agreed(&mut self) -> Result<(), Failure> {
        if let Some(app) = &mut self.app {
            app.agreed().await.map_err(|error| failed(&error))?;
            self.client = Client::Local(Local { router: app.router(), token: app.token.clone() });
        }
        Ok(())
    }

    /// Whether this process began with a store that knew nothing.
    pub fn fresh(&self) -> bool {
        self.app.as_ref().is_some_and(|app| app.fresh)
    }
}

/// Finds who answers: the daemon of `--server`, else the one that holds the store, else this
/// process.
pub async fn open(global: &Global, folder: Option<&Path>, purpose: Purpose) -> Result<Session, Failure> {
    if let Some(server) = &global.server {
        let token = token(global, server)?;
        return remote(server, token.as_ref()).await;
    }
    let settings = settings(global, folder)?;
    match App::open(settings.clone(), purpose).await {
        Ok(app) => {
            let local = Local { router: app.router(), token: app.token.clone() };
            Ok(Session { client: Client::Local(local), app: Some(app) })
        }
        Err(AppError::Held { server }) => {
            let token = environment_token().or_else(|| app::local_token(&settings));
            remote(&server, token.as_ref()).await
        }
        Err(error) => Err(failed(&error)),
    }
}

/// The daemon, and nobody else.
pub async fn daemon(global: &Global, instead: &str) -> Result<Session, Failure> {
    let server = if let Some(server) = &global.server {
        server.clone()
    } else {
        let settings = settings(global, None)?;
        app::running(&settings).ok_or_else(|| {
            let store = settings.store.display();
            Failure::new(format!("no daemon runs on the store `{store}`")).hint(instead)
        })?
    };
    let token = token(global, &server)?;
    remote(&server, token.as_ref()).await
}

/// A conversation with a daemon that answers anything at all. A cycle is waited for as long as it takes;
/// one that hangs is told from that by its door.
async fn remote(server: &str, token: Option<&Secret>) -> Result<Session, Failure> {
    let client = Client::remote(server, token)?;
    // Where nothing is there, the question itself says so.
    if tokio::time::timeout(ANSWERS_WITHIN, client.ready()).await.is_err() {
        let failure = format!("the daemon at {server} is there and does not answer");
        return Err(Failure::new(failure).hint(
            "it hangs or gets no time: end it and start it again; until then `echo all > rosterd.db.stop` beside its \
             store halts its calls once it wakes",
        ));
    }
    Ok(Session { client, app: None })
}

/// `ROSTERD_TOKEN`, else the local token where the daemon is the one of this store.
fn token(global: &Global, server: &str) -> Result<Option<Secret>, Failure> {
    if let Some(token) = environment_token() {
        return Ok(Some(token));
    }
    let settings = settings(global, None)?;
    let ours =
        app::running(&settings).is_some_and(|address| address.trim_end_matches('/') == server.trim_end_matches('/'));
    Ok(if ours { app::local_token(&settings) } else { None })
}

fn environment_token() -> Option<Secret> {
    settings::environment("ROSTERD_TOKEN").filter(|token| !token.is_empty()).map(Secret::new)
}

/// The configuration; without one, settings for trying `folder` out.
pub fn settings(global: &Global, folder: Option<&Path>) -> Result<Settings, Failure> {
    let mut settings = match &global.config {
        Some(path) => Settings::read(path).map_err(|problems| refused(&problems, "the configuration"))?,
        None => Settings::default(),
    };
    if let Some(folder) = folder {
        settings.manifests = Some(folder.to_owned());
    } else if settings.manifests.is_none() {
        settings.manifests = app::remembered_folder(&settings);
    }
    Ok(settings)
}

/// Refuses documents that are wrong, conflicts of single users apart: those block only them.
pub fn refuse_problems(documents: &Documents) -> Result<(), Failure> {
    let wrong: Vec<_> = documents.problems.iter().filter(|problem| problem.blocks()).cloned().collect();
    if wrong.is_empty() { Ok(()) } else { Err(refused(&wrong, "the manifests")) }
}

fn refused(problems: &[Problem], what: &str) -> Failure {
    for problem in problems {
        output::note(&format!("{}\n", manifest::render(problem, true).trim_end()));
    }
    Failure::new(format!("{} in {what}; nothing was applied", words::count(words::len(problems), "problem")))
        .hint("mend what is marked above, and run the command again")
}

/// What could not be built, as a failure.
pub fn failed(error: &AppError) -> Failure {
    let hint = error.hint();
    let failure = Failure::new(error.to_string());
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
