//! `rosterd store export` and `rosterd store import`.

use crate::app::AppError;
use crate::app::moving;
use crate::cli::args::Global;
use crate::cli::args::StoreCommand;
use crate::cli::failure::Exit;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::session;
use crate::cli::words;

/// Moves a store.
pub async fn run(global: &Global, command: &StoreCommand) -> Result<Exit, Failure> {
    let settings = session::settings(global, None)?;
    let told = |error: AppError| {
        let AppError::Held { server } = error else { return session::failed(&error) };
        Failure::new(format!("a daemon holds the store; it answers at {server}")).hint(
            "stop the daemon, run this again, and start it: what it would remember meanwhile would not be in the file",
        )
    };
    match command {
        StoreCommand::Export { file } => {
            let rows = moving::export(&settings, file).await.map_err(told)?;
            let sentence = format!(
                "wrote {} to `{}`; it opens with the keys of this installation alone, so move those too",
                words::count(rows, "row"),
                file.display()
            );
            output::told(global.output, &serde_json::json!({ "file": file, "rows": rows }), &sentence)?;
        }
        StoreCommand::Import { file } => {
            let moved = moving::import(&settings, file).await.map_err(told)?;
            let sentence = format!("took {} from `{}`", words::count(moved.rows, "row"), file.display());
            let taken = serde_json::json!({ "file": file, "rows": moved.rows, "findings": moved.findings });
            output::told(global.output, &taken, &sentence)?;
            if !moved.findings.is_empty() {
                return Err(Failure::new(format!(
                    "the audit log that came along is not sound: {}",
                    moved.findings.join("; ")
                ))
                .hint("`rosterd audit verify` says it again; look at where the file came from"));
            }
        }
    }
    Ok(Exit::Done)
}
