//! `tokens`: who may use the API, for what, until when.

use std::collections::BTreeSet;

use crate::app::Purpose;
use crate::cli::args::Form;
use crate::cli::args::Global;
use crate::cli::args::TokensCommand;
use crate::cli::client::Ask;
use crate::cli::failure::Exit;
use crate::cli::failure::Failure;
use crate::cli::lists;
use crate::cli::lists::List;
use crate::cli::output;
use crate::cli::output::Rows;
use crate::cli::output::View;
use crate::cli::output::plain;
use crate::cli::session;
use crate::cli::session::Session;
use crate::cli::words;
use crate::clock::Clock;
use crate::clock::SystemClock;
use crate::model::ids::TargetName;
use crate::schedule::parse_duration;
use crate::server::wire::NewToken;
use crate::server::wire::Right;
use crate::server::wire::TokenBody;
use crate::server::wire::TokenInfo;

/// Makes, lists or ends tokens.
pub async fn run(global: &Global, command: &TokensCommand) -> Result<Exit, Failure> {
    let purpose = match command {
        TokensCommand::List => Purpose::Look,
        TokensCommand::Create { .. } | TokensCommand::Revoke { .. } => Purpose::Act,
    };
    let session = session::open(global, None, purpose).await?;
    let result = match command {
        TokensCommand::Create { name, subject, right, target, expires } => {
            let made = body(name, subject.as_deref(), *right, target, expires);
            match made {
                Ok(body) => create(&session, global, &body).await,
                Err(failure) => Err(failure),
            }
        }
        TokensCommand::List => list(&session, global).await,
        TokensCommand::Revoke { name } => revoke(&session, global, name).await,
    };
    session.close().await;
    result
}

fn body(
    name: &str,
    subject: Option<&str>,
    right: Right,
    targets: &[String],
    expires: &str,
) -> Result<TokenBody, Failure> {
    let lives = parse_duration(expires)
        .map_err(|error| Failure::new(format!("`{expires}` is no time: {error}")).hint("write `24h` or `90d`"))?;
    let targets: BTreeSet<_> = targets.iter().map(|target| target.as_str().into()).collect();
    let expires = SystemClock.now() + lives;
    Ok(TokenBody { name: name.to_owned(), subject: subject.map(str::to_owned), right, targets, expires })
}

async fn create(session: &Session, global: &Global, body: &TokenBody) -> Result<Exit, Failure> {
    let made: NewToken = session.client.post(Ask::of(&["tokens"]), &serde_json::to_value(body)?).await?;
    match global.output {
        Form::Json => output::print(&serde_json::to_string_pretty(&made)?)?,
        Form::Text | Form::Markdown => {
            output::note(&format!(
                "the token `{}` ({}) ends {}; keep it now, it is not shown again",
                made.token.name,
                made.token.right,
                words::moment(made.token.expires)
            ));
            output::print(&made.secret)?;
        }
        Form::Github | Form::Gitlab | Form::Sarif => return Err(output::unfit(global.output)),
    }
    Ok(Exit::Done)
}

async fn list(session: &Session, global: &Global) -> Result<Exit, Failure> {
    let list = List { ask: Ask::of(&["tokens"]), cursor: "after", most: usize::MAX };
    let tokens: Vec<TokenInfo> = lists::pages(&session.client, list).await?;
    let rows = || {
        let mut rows = Rows::new(&["token", "subject", "right", "targets", "created", "expires"]);
        for token in &tokens {
            let targets: Vec<_> = token.targets.iter().map(TargetName::as_str).collect();
            rows.push(vec![
                plain(&token.name),
                plain(&token.subject),
                token.right.clone(),
                if targets.is_empty() { "all".to_owned() } else { targets.join(", ") },
                words::moment(token.created),
                words::moment(token.expires),
            ]);
        }
        rows
    };
    let text = || rows().text_or("there is no token; `rosterd tokens create` makes one");
    output::show(global.output, &View { data: &tokens, text: &text, markdown: &|| rows().markdown() })?;
    Ok(Exit::Done)
}

async fn revoke(session: &Session, global: &Global, name: &str) -> Result<Exit, Failure> {
    session.client.delete(Ask::of(&["tokens", name])).await?;
    let revoked = serde_json::json!({ "name": name, "revoked": true });
    output::told(global.output, &revoked, &format!("the token `{name}` is void"))?;
    Ok(Exit::Done)
}
