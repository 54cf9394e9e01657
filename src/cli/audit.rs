//! `audit`: what was done and decided, by whom, and whether the record of it is whole.

use crate::app::Purpose;
use crate::cli::args::AuditCommand;
use crate::cli::args::Global;
use crate::cli::client::Ask;
use crate::cli::client::Client;
use crate::cli::failure::Exit;
use crate::cli::failure::Failure;
use crate::cli::lists;
use crate::cli::lists::List;
use crate::cli::output;
use crate::cli::output::BAD;
use crate::cli::output::GOOD;
use crate::cli::output::Rows;
use crate::cli::output::View;
use crate::cli::output::plain;
use crate::cli::output::styled;
use crate::cli::session;
use crate::cli::words;
use crate::engine::status::Status;
use crate::model::audit::ChainedEvent;
use crate::model::ids::RecordId;
use crate::server::wire::AuditVerdict;

/// Answers one of the questions.
pub async fn run(global: &Global, command: &AuditCommand) -> Result<Exit, Failure> {
    let session = session::open(global, None, Purpose::Look).await?;
    let result = answer(&session.client, global, command).await;
    session.close().await;
    result
}

async fn answer(client: &Client, global: &Global, command: &AuditCommand) -> Result<Exit, Failure> {
    match command {
        AuditCommand::Tail { target, limit } => {
            let mut events = events(client, target.as_deref()).await?;
            let first = events.len().saturating_sub(*limit);
            show(global, &events.split_off(first))
        }
        AuditCommand::Search { words, target, user } => {
            let mut events = events(client, target.as_deref()).await?;
            events.retain(|event| matches(event, words, user.as_deref()));
            show(global, &events)
        }
        AuditCommand::Verify => verify(client, global).await,
    }
}

/// The events of one chain, or of all, in the order of their time.
async fn events(client: &Client, target: Option<&str>) -> Result<Vec<ChainedEvent>, Failure> {
    if let Some(target) = target {
        return chain(client, Some(target)).await;
    }
    let mut events = chain(client, None).await?;
    let status: Status = client.get(Ask::of(&["status"])).await?;
    for target in status.targets {
        events.extend(chain(client, Some(target.name.as_str())).await?);
    }
    events.sort_by_key(|event| (event.event.at, event.seq));
    Ok(events)
}

async fn chain(client: &Client, target: Option<&str>) -> Result<Vec<ChainedEvent>, Failure> {
    let query: Vec<_> = target.into_iter().map(|target| ("target", target)).collect();
    let ask = Ask { path: &["audit"], query: &query };
    lists::pages(client, List { ask, cursor: "from", most: usize::MAX }).await
}

fn matches(event: &ChainedEvent, words: &[String], user: Option<&str>) -> bool {
    let about = event.event.record.as_ref().map(RecordId::as_str);
    let text = serde_json::to_string(&event.event).unwrap_or_default().to_lowercase();
    user.is_none_or(|user| about == Some(user)) && words.iter().all(|word| text.contains(&word.to_lowercase()))
}

fn show(global: &Global, events: &[ChainedEvent]) -> Result<Exit, Failure> {
    let rows = || {
        let mut rows = Rows::new(&["at", "target", "seq", "kind", "actor", "user", "details"]);
        for ChainedEvent { seq, hash: _, event } in events {
            let details = event.details.iter().map(|(key, value)| format!("{key}={}", words::value(value)));
            rows.push(vec![
                words::moment(event.at),
                event.target.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
                seq.to_string(),
                event.kind.clone(),
                plain(&event.actor),
                event.record.as_ref().map_or_else(|| "-".to_owned(), |record| plain(record.as_str())),
                plain(&details.collect::<Vec<_>>().join(" ")),
            ]);
        }
        rows
    };
    let text = || rows().text_or("no such event");
    output::show(global.output, &View { data: &events, text: &text, markdown: &|| rows().markdown() })?;
    Ok(Exit::Done)
}

async fn verify(client: &Client, global: &Global) -> Result<Exit, Failure> {
    let verdict: AuditVerdict = client.get(Ask::of(&["audit", "verify"])).await?;
    let chains = words::count(u64::try_from(verdict.chains).unwrap_or(u64::MAX), "chain");
    let text = || {
        if verdict.sound {
            return format!("{} {chains}, every event in place\n", styled(GOOD, "sound:"));
        }
        let problems: Vec<_> = verdict.problems.iter().map(|problem| format!("  {}\n", plain(problem))).collect();
        format!("{} the audit log was tampered with or damaged\n{}", styled(BAD, "not sound:"), problems.concat())
    };
    let markdown = || anstream::adapter::strip_str(&text()).to_string();
    output::show(global.output, &View { data: &verdict, text: &text, markdown: &markdown })?;
    Ok(if verdict.sound { Exit::Done } else { Exit::Error })
}
