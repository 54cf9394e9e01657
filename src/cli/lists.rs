//! `status`, `targets`, `accounts`, `explain`, `history`, `owed` and `holds list`.

use serde::de::DeserializeOwned;

use crate::app::Purpose;
use crate::cli::args::AccountList;
use crate::cli::args::AccountsArguments;
use crate::cli::args::Global;
use crate::cli::client::Ask;
use crate::cli::client::Client;
use crate::cli::explain;
use crate::cli::failure::Exit;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::output::Rows;
use crate::cli::output::View;
use crate::cli::output::plain;
use crate::cli::session;
use crate::cli::status;
use crate::cli::status::Holding;
use crate::cli::status::Owing;
use crate::cli::words;
use crate::engine::status::Status;
use crate::model::history::CycleRecord;
use crate::model::history::CycleResult;
use crate::model::history::SeenAccount;
use crate::server::wire::ExplainReply;
use crate::server::wire::Page;

/// Entries of a page: the most that a server gives.
const PAGE: usize = 1000;
/// Cycles among which the last full one is looked for: keyed ones are many after a busy day.
const LAST: usize = 200;

/// A list that is read page by page.
#[derive(Clone, Copy)]
pub struct List<'a> {
    /// Where it stands.
    pub ask: Ask<'a>,
    /// The query's name for where a page begins.
    pub cursor: &'a str,
    /// At most so many entries.
    pub most: usize,
}

/// Reads a list to its end, or to the most that was asked for.
pub async fn pages<T: DeserializeOwned>(client: &Client, list: List<'_>) -> Result<Vec<T>, Failure> {
    let mut items = Vec::new();
    let mut at: Option<String> = None;
    while items.len() < list.most {
        let limit = PAGE.min(list.most - items.len()).to_string();
        let mut query = list.ask.query.to_vec();
        query.push(("limit", &limit));
        if let Some(at) = &at {
            query.push((list.cursor, at));
        }
        let page: Page<T> = client.get(Ask { path: list.ask.path, query: &query }).await?;
        items.extend(page.items);
        at = page.next;
        if at.is_none() {
            break;
        }
    }
    Ok(items)
}

/// Everything that `status` shows, of one target or of all.
async fn ask(client: &Client, target: Option<&str>) -> Result<Status, Failure> {
    let mut status: Status = client.get(Ask::of(&["status"])).await?;
    if !client.is_remote() {
        remember(client, &mut status).await?;
    }
    if let Some(name) = target {
        status.targets.retain(|target| target.name.as_str() == name);
        status.left_behind.retain(|left| left.space.target.as_str() == name);
        if status.targets.is_empty() && status.left_behind.is_empty() {
            return Err(Failure::new(format!("there is no target `{name}`")).hint("`rosterd targets` lists them"));
        }
    }
    Ok(status)
}

/// What this process did not do itself, but the store knows: the last full cycle of each target.
async fn remember(client: &Client, status: &mut Status) -> Result<(), Failure> {
    for target in status.targets.iter_mut().filter(|target| target.last_cycle.is_none()) {
        let ask = Ask { path: &["history"], query: &[("target", target.name.as_str())] };
        let cycles: Vec<CycleRecord> = pages(client, List { ask, cursor: "before", most: LAST }).await?;
        let good = cycles.iter().find(|cycle| cycle.full && cycle.result == Some(CycleResult::Ok));
        target.last_success = good.and_then(|cycle| cycle.ended);
        target.last_cycle = cycles.into_iter().find(|cycle| cycle.full && cycle.ended.is_some());
    }
    Ok(())
}

/// `status`
pub async fn status(global: &Global, target: Option<&str>) -> Result<Exit, Failure> {
    let session = session::open(global, None, Purpose::Look).await?;
    let status = ask(&session.client, target).await;
    let is_watched = session.client.is_remote();
    session.close().await;
    let status = status?;
    let view = View {
        data: &status,
        text: &|| status::text(&status, is_watched),
        markdown: &|| status::markdown(&status, is_watched),
    };
    output::show(global.output, &view)?;
    if !is_watched {
        output::note("no daemon runs here, so nothing is changed by itself: `rosterd run`, or `rosterd apply` once");
    }
    Ok(Exit::Done)
}

/// `targets`
pub async fn targets(global: &Global) -> Result<Exit, Failure> {
    let session = session::open(global, None, Purpose::Look).await?;
    let status = ask(&session.client, None).await;
    session.close().await;
    let targets = status?.targets;
    let rows = || status::targets(&targets);
    let text = || rows().text_or("no target is declared");
    output::show(global.output, &View { data: &targets, text: &text, markdown: &|| rows().markdown() })?;
    Ok(Exit::Done)
}

/// `owed`
pub async fn owed(global: &Global) -> Result<Exit, Failure> {
    let session = session::open(global, None, Purpose::Look).await?;
    let status = ask(&session.client, None).await;
    session.close().await;
    let Status { targets, left_behind, .. } = status?;
    let owing = Owing { targets, left_behind };
    let rows = || status::owed(&owing);
    let empty = "nothing is owed: every removal that is due is confirmed";
    let view = View { data: &owing, text: &|| rows().text_or(empty), markdown: &|| rows().markdown() };
    output::show(global.output, &view)?;
    Ok(Exit::Done)
}

/// `holds list`
pub async fn holds(global: &Global) -> Result<Exit, Failure> {
    let session = session::open(global, None, Purpose::Look).await?;
    let status = ask(&session.client, None).await;
    session.close().await;
    let Status { targets, source, .. } = status?;
    let holding = Holding { targets, shrink: source.shrink };
    let (text, markdown) = (|| status::holds_text(&holding), || status::holds(&holding).markdown());
    output::show(global.output, &View { data: &holding, text: &text, markdown: &markdown })?;
    Ok(Exit::Done)
}

/// `accounts`
pub async fn accounts(global: &Global, arguments: &AccountsArguments) -> Result<Exit, Failure> {
    let session = session::open(global, None, Purpose::Look).await?;
    let query: &[(&str, &str)] = match arguments.state {
        AccountList::All => &[],
        AccountList::Active => &[("state", "active,pending,unknown")],
        AccountList::Inactive => &[("state", "inactive")],
        AccountList::Orphans => &[("orphaned", "true")],
        AccountList::Unmanaged => &[("linked", "false")],
    };
    let path = ["targets", &arguments.target, "accounts"];
    let list = List { ask: Ask { path: &path, query }, cursor: "after", most: usize::MAX };
    let accounts = pages::<SeenAccount>(&session.client, list).await;
    session.close().await;
    let accounts = accounts?;
    let rows = || account_rows(&accounts);
    let empty = "no such account was seen; `rosterd status` tells when the target was last listed";
    let view = View { data: &accounts, text: &|| rows().text_or(empty), markdown: &|| rows().markdown() };
    output::show(global.output, &view)?;
    Ok(Exit::Done)
}

fn account_rows(accounts: &[SeenAccount]) -> Rows {
    let mut rows = Rows::new(&["user", "user name", "state", "account"]);
    for SeenAccount { account, user_name, state, record } in accounts {
        rows.push(vec![
            record.as_ref().map_or_else(|| "(unmanaged)".to_owned(), |record| plain(record.as_str())),
            user_name.as_deref().map_or_else(|| "-".to_owned(), plain),
            state.as_str().to_owned(),
            plain(account.as_str()),
        ]);
    }
    rows
}

/// `explain`
pub async fn explain(global: &Global, user: &str, target: Option<&str>, change: Option<&str>) -> Result<Exit, Failure> {
    let session = session::open(global, None, Purpose::Look).await?;
    let target = target.map(|target| ("target", target));
    let query: Vec<_> = target.into_iter().chain(change.map(|change| ("if", change))).collect();
    let path = ["explain", user];
    let reply = session.client.get::<ExplainReply>(Ask { path: &path, query: &query }).await;
    session.close().await;
    let reply = reply?;
    if let Some(change) = change {
        output::note(&format!("as it would be if `{change}`; nothing was changed"));
    }
    let text = || match (reply.items.is_empty(), reply.left_behind.is_empty()) {
        (true, true) => explain::nobody_here(user),
        _ => explain::texts(&reply.items) + &explain::left_behind(&reply.left_behind),
    };
    let markdown = || format!("```\n{}```\n", anstream::adapter::strip_str(&text()));
    output::show(global.output, &View { data: &reply, text: &text, markdown: &markdown })?;
    for (target, error) in &reply.errors {
        output::complain(&Failure::new(format!("`{target}` cannot tell: {error}")));
    }
    Ok(if reply.errors.is_empty() { Exit::Done } else { Exit::Error })
}

/// `history`
pub async fn history(global: &Global, target: Option<&str>, limit: usize) -> Result<Exit, Failure> {
    let session = session::open(global, None, Purpose::Look).await?;
    let query: Vec<_> = target.into_iter().map(|target| ("target", target)).collect();
    let ask = Ask { path: &["history"], query: &query };
    let cycles = pages::<CycleRecord>(&session.client, List { ask, cursor: "before", most: limit }).await;
    session.close().await;
    let cycles = cycles?;
    let rows = || cycle_rows(&cycles);
    let empty = "no cycle ran yet";
    let view = View { data: &cycles, text: &|| rows().text_or(empty), markdown: &|| rows().markdown() };
    output::show(global.output, &view)?;
    Ok(Exit::Done)
}

fn cycle_rows(cycles: &[CycleRecord]) -> Rows {
    let mut rows = Rows::new(&["cycle", "started", "target", "trigger", "kind", "result", "done", "open", "error"]);
    for cycle in cycles {
        rows.push(vec![
            cycle.id.to_string(),
            words::moment(cycle.started),
            cycle.space.target.to_string(),
            cycle.trigger.as_str().to_owned(),
            if cycle.full { "full" } else { "keyed" }.to_owned(),
            cycle.result.map_or("running", |result| result.as_str()).to_owned(),
            words::done(&cycle.done),
            cycle.open.to_string(),
            cycle.error.as_deref().map_or_else(|| "-".to_owned(), plain),
        ]);
    }
    rows
}
