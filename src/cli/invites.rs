//! `invites`: who was sent one, how far that got, and sending it again.

use serde_json::json;

use crate::app::Purpose;
use crate::cli::args::Global;
use crate::cli::args::InvitesCommand;
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
use crate::model::invite::InviteState;
use crate::model::message::MessageState;
use crate::server::wire::InviteInfo;
use crate::server::wire::ResentList;

/// Users that one request names at most.
const AT_ONCE: usize = 1_000;

/// Lists invites or sends them again.
pub async fn run(global: &Global, command: &InvitesCommand) -> Result<Exit, Failure> {
    let purpose = match command {
        InvitesCommand::List { .. } => Purpose::Look,
        InvitesCommand::Resend { .. } => Purpose::Act,
    };
    let session = session::open(global, None, purpose).await?;
    let result = match command {
        InvitesCommand::List { target, state } => list(&session, global, (target.as_deref(), state.as_deref())).await,
        InvitesCommand::Resend { target, users, expired } => {
            resend(&session, global, target, if *expired { None } else { Some(users) }).await
        }
    };
    session.close().await;
    result
}

async fn read(session: &Session, target: Option<&str>, state: Option<&str>) -> Result<Vec<InviteInfo>, Failure> {
    let query: Vec<(&str, &str)> =
        [("target", target), ("state", state)].into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    let ask = Ask { path: &["invites"], query: &query };
    lists::pages(&session.client, List { ask, cursor: "after", most: usize::MAX }).await
}

async fn list(
    session: &Session,
    global: &Global,
    (target, state): (Option<&str>, Option<&str>),
) -> Result<Exit, Failure> {
    let invites = read(session, target, state).await?;
    let rows = || {
        let mut rows =
            Rows::new(&["target", "user", "by", "to", "state", "mail", "made", "good until", "again", "why"]);
        for invite in &invites {
            rows.push(vec![
                plain(invite.target.as_str()),
                plain(invite.user.as_str()),
                invite.kind.as_str().to_owned(),
                plain(&invite.to),
                how_far(invite).to_owned(),
                invite.mail.map_or_else(String::new, |mail| mail.as_str().to_owned()),
                words::moment(invite.made),
                invite.expires.map_or_else(String::new, words::moment),
                invite.resent.to_string(),
                invite.why.as_deref().map_or_else(String::new, plain),
            ]);
        }
        rows
    };
    let text = || rows().text_or("nobody was invited; a target's `welcome` says who is");
    output::show(global.output, &View { data: &invites, text: &text, markdown: &|| rows().markdown() })?;
    Ok(Exit::Done)
}

/// How far an invite got: whose mail did not leave was sent nothing.
fn how_far(invite: &InviteInfo) -> &'static str {
    match (invite.state, invite.mail) {
        (InviteState::Sent, Some(MessageState::Held | MessageState::Due)) => "to be sent",
        (InviteState::Sent, Some(MessageState::Refused | MessageState::Void)) => "not sent",
        (state, _) => state.as_str(),
    }
}

async fn resend(
    session: &Session,
    global: &Global,
    target: &str,
    users: Option<&Vec<String>>,
) -> Result<Exit, Failure> {
    let users = if let Some(users) = users {
        users.clone()
    } else {
        let expired = read(session, Some(target), Some("expired")).await?;
        expired.into_iter().map(|invite| invite.user.as_str().to_owned()).collect()
    };
    let mut all = ResentList::default();
    for users in users.chunks(AT_ONCE) {
        let path = ["targets", target, "invites", "resend"];
        let some: ResentList = session.client.post(Ask::of(&path), &json!({ "users": users })).await?;
        all.items.extend(some.items);
    }
    let rows = || {
        let mut rows = Rows::new(&["user", "sent", "good until", "why not"]);
        for item in &all.items {
            rows.push(vec![
                plain(item.user.as_str()),
                if item.sent { "yes" } else { "no" }.to_owned(),
                item.expires.map_or_else(String::new, words::moment),
                plain(item.why.as_deref().unwrap_or_default()),
            ]);
        }
        rows
    };
    let text = || rows().text_or("no link of that target ran out");
    output::show(global.output, &View { data: &all, text: &text, markdown: &|| rows().markdown() })?;
    Ok(if all.items.iter().all(|item| item.sent) { Exit::Done } else { Exit::Error })
}
