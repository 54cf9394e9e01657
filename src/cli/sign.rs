//! `requests sign`: a decision about one request as a document that a person signed.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use chrono::SecondsFormat;

use crate::cli::args::SignArguments;
use crate::cli::args::SignedWord;
use crate::cli::failure::Exit;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::requests;
use crate::cli::requests::Wanted;
use crate::cli::session::Session;
use crate::clock::Clock as _;
use crate::clock::SystemClock;
use crate::engine::requests::Shown;
use crate::manifest::decision::NAMESPACE;
use crate::manifest::decision::Said;
use crate::model::ids::EntitlementName;
use crate::model::request::RequestState;
use crate::model::request::Word;

/// Prints the document; `ssh-keygen` signs, so that no key comes near rosterd.
pub(crate) async fn sign(session: &Session, arguments: &SignArguments) -> Result<Exit, Failure> {
    let SignArguments { request, decision, by, reason, key } = arguments;
    let word = match decision {
        SignedWord::Accept => Word::Accept,
        SignedWord::Refuse => Word::Refuse,
    };
    if word == Word::Refuse && reason.is_none() {
        return Err(Failure::new("a refusal demands a reason").hint("add `--reason WHY`"));
    }
    let waiting = requests::fetch(session, &Wanted::default(), &[RequestState::Pending]).await?;
    let Some(shown) = waiting.into_iter().find(|shown| shown.request.id.as_str() == request) else {
        return Err(
            Failure::new(format!("no request `{request}` waits")).hint("`rosterd requests list` shows what does")
        );
    };
    // What is signed is bound to what is asked for at this moment: it is shown, not only named.
    let Shown { request: asked, name, email, .. } = &shown;
    let called = [name.as_deref(), email.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(", ");
    let words: Vec<_> = asked.asked.entitlements.iter().map(EntitlementName::as_str).collect();
    output::note(&format!(
        "{} {} in `{}` for `{}` ({}) {}",
        word.as_str(),
        asked.asked.action.as_str(),
        shown.target,
        asked.record,
        output::plain(&called),
        words.join(", ")
    ));
    let at = SystemClock.now().to_rfc3339_opts(SecondsFormat::Secs, true);
    let said = Said {
        target: shown.target.as_str(),
        request,
        digest: shown.digest.as_str(),
        word,
        reason: reason.as_deref(),
        by,
        at: &at,
    };
    output::print(&said.document(&signature(key, &said.line())?))?;
    Ok(Exit::Done)
}

fn signature(key: &Path, line: &str) -> Result<String, Failure> {
    let failed = |why: String| {
        Failure::new(format!("`ssh-keygen` did not sign: {why}"))
            .hint("it comes with OpenSSH 8.0 or later; `--key` names a key of the kind `ed25519`")
    };
    let mut child = Command::new("ssh-keygen")
        .args(["-q", "-Y", "sign", "-n", NAMESPACE, "-f"])
        .arg(key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(line.as_bytes()).map_err(|error| failed(error.to_string()))?;
    }
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(output.status.to_string()));
    }
    String::from_utf8(output.stdout).map_err(|error| failed(error.to_string()))
}
