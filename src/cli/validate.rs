//! `validate`: every problem of a folder, located.

use std::path::Path;

use crate::app;
use crate::cli::args::Folder;
use crate::cli::args::Form;
use crate::cli::args::Global;
use crate::cli::failure::Exit;
use crate::cli::failure::Failure;
use crate::cli::findings;
use crate::cli::findings::Finding;
use crate::cli::output;
use crate::cli::output::GOOD;
use crate::cli::output::styled;
use crate::cli::session;
use crate::cli::words::count;
use crate::cli::words::len;
use crate::manifest;
use crate::manifest::Documents;
use crate::manifest::Problem;
use crate::settings::Settings;

/// Checks a folder; exits with 1 where anything is wrong, conflicts of single users included.
pub async fn run(global: &Global, arguments: &Folder) -> Result<Exit, Failure> {
    let settings = session::settings(global, arguments.folder.as_deref())?;
    let documents = app::documents(&settings).await.map_err(|error| session::failed(&error))?;
    let mut findings: Vec<_> = documents.problems.iter().map(|problem| finding(&settings, problem)).collect();
    findings.extend(app::conflicts(&documents).iter().map(|problem| finding(&settings, problem)));
    findings.sort();
    findings.dedup();
    tell(global.output, &documents, &findings)?;
    Ok(if findings.is_empty() { Exit::Done } else { Exit::Error })
}

fn finding(settings: &Settings, problem: &Problem) -> Finding {
    let shown = Problem { file: from_here(settings, &problem.file), ..problem.clone() };
    Finding {
        rendered: Some(manifest::render(&shown, true)),
        file: shown.file,
        line: shown.line,
        column: shown.column,
        code: shown.code.to_owned(),
        message: shown.message,
        hint: shown.hint,
    }
}

/// Files are named from their folder; pipelines and editors open them from here.
fn from_here(settings: &Settings, file: &str) -> String {
    let roots = settings.manifests.iter().chain(&settings.include);
    let found = roots.map(|root| root.join(file)).find(|path| path.exists());
    let path = found.unwrap_or_else(|| Path::new(file).to_owned());
    path.to_string_lossy().replace('\\', "/")
}

fn tell(form: Form, documents: &Documents, findings: &[Finding]) -> Result<(), Failure> {
    match form {
        Form::Text | Form::Markdown => output::print(&text(documents, findings)),
        Form::Json => output::print(&serde_json::to_string_pretty(findings)?),
        Form::Github => output::print(&findings::github(findings)),
        Form::Gitlab => output::print(&serde_json::to_string_pretty(&findings::gitlab(findings))?),
        Form::Sarif => output::print(&serde_json::to_string_pretty(&findings::sarif(findings))?),
    }
}

fn text(documents: &Documents, findings: &[Finding]) -> String {
    if !findings.is_empty() {
        return format!("{}{}\n", findings::text(findings), count(len(findings), "problem"));
    }
    let number = |number: usize, noun| count(u64::try_from(number).unwrap_or(u64::MAX), noun);
    let users = number(documents.users.len(), "user");
    let roles = number(documents.roles.len(), "role");
    let targets = number(documents.targets.len(), "target");
    format!("{} {users}, {roles}, {targets}\n", styled(GOOD, "valid:"))
}
