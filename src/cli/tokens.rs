//! `tokens`: who may use the API, for what, until when.

use std::collections::BTreeMap;
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
        TokensCommand::Create { name, subject, right, group, label, target, expires } => {
            let made = body((name, subject.as_deref()), *right, (group, label), target, expires);
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
    (name, subject): (&str, Option<&str>),
    right: Right,
    (groups, labels): (&[String], &[String]),
    targets: &[String],
    expires: &str,
) -> Result<TokenBody, Failure> {
    let lives = parse_duration(expires)
        .map_err(|error| Failure::new(format!("`{expires}` is no time: {error}")).hint("write `24h` or `90d`"))?;
    let targets: BTreeSet<_> = targets.iter().map(|target| target.as_str().into()).collect();
    let expires = SystemClock.now() + lives;
    let groups = groups.iter().cloned().collect();
    let mut scope: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for label in labels {
        let (label, value) = words::label(label)?;
        scope.entry(label.to_owned()).or_default().insert(value.to_owned());
    }
    let (name, subject) = (name.to_owned(), subject.map(str::to_owned));
    Ok(TokenBody { name, subject, right, targets, groups, labels: scope, expires })
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
        let mut rows = Rows::new(&["token", "subject", "right", "groups", "labels", "targets", "created", "expires"]);
        for token in &tokens {
            let targets: Vec<_> = token.targets.iter().map(TargetName::as_str).collect();
            rows.push(vec![
                plain(&token.name),
                plain(&token.subject),
                token.right.clone(),
                none_or(&token.groups.iter().map(|group| plain(group)).collect::<Vec<_>>()),
                none_or(&token.labels.iter().map(labelled).collect::<Vec<_>>()),
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

fn labelled((label, values): (&String, &BTreeSet<String>)) -> String {
    format!("{}={}", plain(label), values.iter().map(|value| plain(value)).collect::<Vec<_>>().join("|"))
}

fn none_or(words: &[String]) -> String {
    if words.is_empty() { "-".to_owned() } else { words.join(", ") }
}

async fn revoke(session: &Session, global: &Global, name: &str) -> Result<Exit, Failure> {
    session.client.delete(Ask::of(&["tokens", name])).await?;
    let revoked = serde_json::json!({ "name": name, "revoked": true });
    output::told(global.output, &revoked, &format!("the token `{name}` is void"))?;
    Ok(Exit::Done)
}
