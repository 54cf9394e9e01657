//! `requests`: what waits for a person's decision, and the decision.

use std::collections::BTreeSet;

use crate::app::Purpose;
use crate::cli::args::DecideArguments;
use crate::cli::args::Global;
use crate::cli::args::RequestList;
use crate::cli::args::RequestsCommand;
use crate::cli::client::Ask;
use crate::cli::failure::Exit;
use crate::cli::failure::Failure;
use crate::cli::lists;
use crate::cli::lists::List;
use crate::cli::output;
use crate::cli::output::BAD;
use crate::cli::output::Rows;
use crate::cli::output::View;
use crate::cli::output::plain;
use crate::cli::output::styled;
use crate::cli::session;
use crate::cli::session::Session;
use crate::cli::sign;
use crate::cli::words;
use crate::cli::words::put;
use crate::engine::requests::Shown;
use crate::model::ids::RequestId;
use crate::model::ids::TargetName;
use crate::model::request::RequestState;
use crate::model::request::Subject;
use crate::model::request::Word;
use crate::server::wire::DecideBody;
use crate::server::wire::Decided;
use crate::server::wire::SyncBody;

/// Requests of one call.
const AT_ONCE: usize = 1000;

/// Lists requests, or decides about them.
pub async fn run(global: &Global, command: &RequestsCommand) -> Result<Exit, Failure> {
    let (purpose, word) = match command {
        RequestsCommand::List { .. } | RequestsCommand::Sign(_) => (Purpose::Look, None),
        RequestsCommand::Accept(arguments) => (Purpose::Act, Some((Word::Accept, arguments))),
        RequestsCommand::Refuse(arguments) => (Purpose::Act, Some((Word::Refuse, arguments))),
        RequestsCommand::Reopen(arguments) => (Purpose::Act, Some((Word::Reopen, arguments))),
    };
    let session = session::open(global, None, purpose).await?;
    let result = match (word, command) {
        (Some((word, arguments)), _) => decide(&session, global, word, arguments).await,
        (None, RequestsCommand::List { target, label, user, state }) => {
            let wanted = Wanted { target: target.as_deref(), label: label.as_deref(), user: user.as_deref() };
            list(&session, global, &wanted, *state).await
        }
        (None, RequestsCommand::Sign(arguments)) => sign::sign(&session, arguments).await,
        (None, _) => Ok(Exit::Done),
    };
    session.close().await;
    result
}

/// Which requests are asked for.
#[derive(Default)]
pub(crate) struct Wanted<'a> {
    target: Option<&'a str>,
    label: Option<&'a str>,
    user: Option<&'a str>,
}

pub(crate) async fn fetch(
    session: &Session,
    wanted: &Wanted<'_>,
    states: &[RequestState],
) -> Result<Vec<Shown>, Failure> {
    if let Some(label) = wanted.label {
        words::label(label)?;
    }
    let state: Vec<_> = states.iter().map(|state| state.as_str()).collect();
    let state = (!state.is_empty()).then(|| state.join(","));
    let asked =
        [("target", wanted.target), ("label", wanted.label), ("user", wanted.user), ("state", state.as_deref())];
    let query: Vec<_> = asked.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let ask = Ask { path: &["requests"], query: &query };
    lists::pages(&session.client, List { ask, cursor: "after", most: usize::MAX }).await
}

async fn list(session: &Session, global: &Global, wanted: &Wanted<'_>, which: RequestList) -> Result<Exit, Failure> {
    let states: &[RequestState] = match which {
        RequestList::All => &[],
        RequestList::Pending => &[RequestState::Pending],
        RequestList::Accepted => &[RequestState::Accepted],
        RequestList::Refused => &[RequestState::Refused],
        RequestList::Expired => &[RequestState::Expired],
    };
    let requests = fetch(session, wanted, states).await?;
    let rows = || {
        let mut rows =
            Rows::new(&["request", "target", "user", "name", "asks for", "since", "state", "turn or decision"]);
        for shown in &requests {
            rows.push(row(shown));
        }
        rows
    };
    let text = || rows().text_or("nothing waits for a person") + &findings(&requests);
    output::show(global.output, &View { data: &requests, text: &text, markdown: &|| rows().markdown() })?;
    Ok(Exit::Done)
}

fn row(shown: &Shown) -> Vec<String> {
    let request = &shown.request;
    let decision = match (&request.decided, request.state) {
        (Some(vote), _) => {
            let why = vote.reason.as_deref().map(|reason| format!(": {}", plain(reason))).unwrap_or_default();
            format!("{} at {}{why}", plain(&vote.by), words::moment(vote.at))
        }
        (None, RequestState::Pending) if shown.turn.is_empty() => "any approver".to_owned(),
        (None, RequestState::Pending) => {
            let level = if request.level > 0 { format!("level {}: ", request.level + 1) } else { String::new() };
            format!("{level}{}", shown.turn.iter().map(|party| plain(party)).collect::<Vec<_>>().join(", "))
        }
        (None, _) => "-".to_owned(),
    };
    vec![
        request.id.to_string(),
        shown.target.to_string(),
        plain(request.record.as_str()),
        shown.name.as_deref().map_or_else(|| "-".to_owned(), plain),
        asks_for(shown),
        words::moment(request.since),
        request.state.as_str().to_owned(),
        decision,
    ]
}

fn asks_for(shown: &Shown) -> String {
    let request = &shown.request;
    let names: Vec<_> = request.asked.entitlements.iter().map(|name| plain(name.as_str())).collect();
    match &request.subject {
        Subject::Account if names.is_empty() => request.asked.action.as_str().to_owned(),
        Subject::Account => format!("{} with {}", request.asked.action.as_str(), names.join(", ")),
        Subject::Grant(name) => format!("grant {}", plain(name.as_str())),
    }
}

fn findings(requests: &[Shown]) -> String {
    let mut out = String::new();
    for shown in requests {
        for finding in &shown.findings {
            let (user, check) = (plain(shown.request.record.as_str()), finding.check.as_str());
            put(&mut out, format_args!("look   `{user}` ({check}): {}\n", plain(&finding.words)));
        }
    }
    out
}

async fn decide(session: &Session, global: &Global, word: Word, arguments: &DecideArguments) -> Result<Exit, Failure> {
    let ids = match &arguments.label {
        None => arguments.requests.iter().map(|id| RequestId::from(id.as_str())).collect(),
        Some(label) => of_label(session, word, label, arguments.target.as_deref()).await?,
    };
    let mut decided = Decided { items: Vec::new(), failed: 0 };
    for some in ids.chunks(AT_ONCE) {
        let body = DecideBody { decision: word, requests: some.to_vec(), reason: arguments.reason.clone() };
        let part: Decided = session.client.post(Ask::of(&["requests"]), &serde_json::to_value(body)?).await?;
        decided.items.extend(part.items);
        decided.failed += part.failed;
    }
    if word != Word::Refuse && !session.client.is_remote() {
        // Without a daemon nobody acts on a decision by himself: a cycle does.
        let targets: BTreeSet<TargetName> =
            decided.items.iter().filter(|item| item.problem.is_none()).filter_map(|item| item.target.clone()).collect();
        for target in targets {
            let body = serde_json::to_value(SyncBody::default())?;
            let _: serde_json::Value =
                session.client.post(Ask::of(&["targets", target.as_str(), "sync"]), &body).await?;
        }
    }
    let told = || tell(word, &decided);
    output::show(global.output, &View { data: &decided, text: &told, markdown: &told })?;
    Ok(if decided.failed > 0 { Exit::Error } else { Exit::Done })
}

/// Every request that the word fits.
async fn of_label(session: &Session, word: Word, label: &str, target: Option<&str>) -> Result<Vec<RequestId>, Failure> {
    let states: &[RequestState] = match word {
        Word::Accept | Word::Refuse => &[RequestState::Pending],
        Word::Reopen => &[RequestState::Refused, RequestState::Expired],
    };
    let wanted = Wanted { target, label: Some(label), user: None };
    let found = fetch(session, &wanted, states).await?;
    if found.is_empty() {
        return Err(Failure::new(format!("no request of `{label}` can be decided so"))
            .hint(format!("`rosterd requests list --label {label} --state all` shows what there is")));
    }
    Ok(found.into_iter().map(|shown| shown.request.id).collect())
}

fn tell(word: Word, decided: &Decided) -> String {
    let mut out = String::new();
    for item in &decided.items {
        match (&item.problem, item.state) {
            (Some(problem), _) => {
                put(
                    &mut out,
                    format_args!("{} `{}`: {}\n", styled(BAD, "not taken"), item.request, plain(&problem.detail)),
                );
            }
            (None, Some(RequestState::Pending)) if word == Word::Accept => {
                put(&mut out, format_args!("`{}`: you agree; others have to, too\n", item.request));
            }
            (None, state) => {
                let state = state.map_or("decided", RequestState::as_str);
                let user = item.user.as_ref().map(|user| format!(" of `{}`", plain(user.as_str()))).unwrap_or_default();
                put(&mut out, format_args!("`{}`{user} is {state}\n", item.request));
            }
        }
    }
    out
}
