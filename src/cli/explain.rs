//! `explain`: why an account looks as it does, or is missing, step by step.

use std::fmt::Write;

use crate::cli::output::BAD;
use crate::cli::output::DIM;
use crate::cli::output::STRONG;
use crate::cli::output::WAITS;
use crate::cli::output::plain;
use crate::cli::output::styled;
use crate::cli::words;
use crate::engine::status::Explanation;
use crate::engine::status::LeftAccount;
use crate::engine::status::place_words;
use crate::model::plan::SkipReason;
use crate::model::projection::Desired;
use crate::model::projection::NoAccessReason;
use crate::model::projection::Projection;
use crate::plan::why::About;
use crate::plan::why::Why;
use crate::plan::why::why_not;

/// One user in every target, for people. Targets that have nothing to do with the user are named
/// together at the end.
pub fn texts(explanations: &[Explanation]) -> String {
    let (apart, told): (Vec<_>, Vec<_>) =
        explanations.iter().partition(|explanation| explanations.len() > 1 && is_apart(explanation));
    let mut parts: Vec<_> = told.into_iter().map(text).collect();
    if let Some(first) = apart.first() {
        let names: Vec<_> = apart.iter().map(|explanation| explanation.target.as_str()).collect();
        let record = styled(STRONG, &first.record);
        parts.push(format!("{record} has nothing to do with {}: no role grants it, and none did\n", names.join(", ")));
    }
    parts.join("\n")
}

/// Of somebody whom the store knows and no target that is declared.
pub fn nobody_here(user: &str) -> String {
    format!(
        "{} is declared nowhere, and no declared target has anything of theirs; `rosterd receipt {user}` shows every \
         call that was made, `rosterd audit search --user {user}` what was said\n",
        styled(STRONG, user)
    )
}

/// Accounts of the user where no target works, for people.
pub fn left_behind(accounts: &[LeftAccount]) -> String {
    let mut out = String::new();
    for LeftAccount { space, record, account, owed } in accounts {
        let out_of = if *owed { ", though the user is to have no access" } else { "" };
        let words = format!(
            "account {} of {record} in {}: no target document leads there now, so it stays as it is{out_of}; \
             `rosterd status` says what to do",
            account.as_str(),
            place_words(space)
        );
        words::put(&mut out, format_args!("{} {}\n", styled(BAD, "left behind:"), plain(&words)));
    }
    out
}

/// Whether a target never met the user.
fn is_apart(explanation: &Explanation) -> bool {
    let granted =
        !matches!(&explanation.desired, Some(Desired::None(none)) if none.reason == NoAccessReason::NotGranted);
    let known = explanation.link.is_some() || explanation.account.is_some() || explanation.last_seen.is_some();
    !granted && !known && explanation.target_error.is_none()
}

/// One user in one target, for people.
pub fn text(explanation: &Explanation) -> String {
    let mut out = String::new();
    // Writing to a String does not fail.
    told(&mut out, explanation).unwrap_or_default();
    out
}

fn told(out: &mut String, explanation: &Explanation) -> std::fmt::Result {
    let Explanation { record, target, declared, .. } = explanation;
    writeln!(out, "{} in {}", styled(STRONG, record), styled(STRONG, target))?;
    match declared {
        Some(origin) => line(out, "declared", &format!("{}:{}", origin.file, origin.line))?,
        None => line(out, "declared", "nowhere: no document of this name")?,
    }
    should_have(out, explanation.desired.as_ref())?;
    there_is(out, explanation)?;
    happens(out, explanation)?;
    for entry in &explanation.told {
        line(out, "told", &plain(entry))?;
    }
    for entry in &explanation.history {
        line(out, "history", &plain(entry))?;
    }
    Ok(())
}

fn line(out: &mut String, label: &str, text: &str) -> std::fmt::Result {
    writeln!(out, "  {} {text}", styled(DIM, format!("{label:<12}")))
}

fn should_have(out: &mut String, desired: Option<&Desired>) -> std::fmt::Result {
    match desired {
        None => line(out, "should have", "no account: no accepted document declares this user"),
        Some(Desired::Account(projection)) => account(out, projection),
        Some(Desired::None(none)) => {
            let place = words::places(&none.origins);
            let place = if place.is_empty() { String::new() } else { format!(" ({place})") };
            line(out, "should have", &format!("no access: {}{place}", none.reason.as_str()))
        }
        Some(Desired::Conflict(conflict)) => {
            line(out, "should have", &styled(WAITS, format!("conflict: {}", plain(&conflict.message))))?;
            line(out, "", &format!("hint: {}", conflict.hint))
        }
    }
}

fn account(out: &mut String, projection: &Projection) -> std::fmt::Result {
    line(out, "should have", &format!("an active account, by {}", words::places(&projection.origins)))?;
    for (path, projected) in &projection.values {
        let value = match &projected.value {
            _ if projected.sensitive => "(hidden)".to_owned(),
            Some(value) => words::value(value),
            None => "(cleared)".to_owned(),
        };
        let from = styled(DIM, format!("from {}", words::places(&projected.origins)));
        line(out, "", &format!("{path} = {value}  {from}"))?;
    }
    for (name, grant) in &projection.entitlements {
        let from = styled(DIM, format!("from {}", words::places(&grant.origins)));
        line(out, "", &format!("{name} ({})  {from}", words::membership(&grant.membership)))?;
    }
    Ok(())
}

fn there_is(out: &mut String, explanation: &Explanation) -> std::fmt::Result {
    match &explanation.link {
        Some(link) => {
            let by = serde_json::to_value(link.by).ok().and_then(|by| by.as_str().map(str::to_owned));
            let by = by.unwrap_or_default();
            let since = words::moment(link.since);
            line(out, "link", &format!("account {} ({by}, {since})", plain(link.account.as_str())))?;
        }
        None => line(out, "link", "none")?,
    }
    match (&explanation.account, &explanation.last_seen) {
        (Some(account), _) => {
            let name = account.user_name().map_or_else(|| "without a user name".to_owned(), plain);
            let id = plain(account.id.as_str());
            line(out, "account", &format!("{name}, {}, id {id}", account.state.as_str()))?;
        }
        (None, Some(seen)) => {
            let name = seen.user_name.as_deref().map_or_else(|| "without a user name".to_owned(), plain);
            line(out, "last seen", &format!("{name}, {}", seen.state.as_str()))?;
        }
        (None, None) => line(out, "account", "none")?,
    }
    if let Some(hand) = &explanation.hand {
        for path in hand.given_up.keys() {
            line(
                out,
                "kept by target",
                &format!("{path}: what rosterd writes there does not stay, so it is left alone"),
            )?;
        }
    }
    match &explanation.target_error {
        Some(error) => line(out, "target", &styled(BAD, plain(error))),
        None => Ok(()),
    }
}

fn nothing(out: &mut String, explanation: &Explanation, reason: &SkipReason) -> std::fmt::Result {
    let Explanation { record, target, account, link, .. } = explanation;
    let account = account.as_ref().map(|account| &account.id).or(link.as_ref().map(|link| &link.account));
    let Why { code, what, hint } = why_not(About { target, record, account, show_personal: true }, reason);
    let code = code.map(|code| format!(" ({code})")).unwrap_or_default();
    line(out, "next", &format!("nothing: {}{code}", plain(&what)))?;
    hint.map_or(Ok(()), |hint| line(out, "", &format!("hint: {}", plain(&hint))))
}

fn happens(out: &mut String, explanation: &Explanation) -> std::fmt::Result {
    if let Some((words, origins)) = &explanation.gate {
        let from = styled(DIM, format!("from {}", words::places(origins)));
        line(out, "approval", &format!("{}  {from}", plain(words)))?;
    }
    for change in &explanation.changes {
        let text = format!("{} ({}): {}", change.action.as_str(), change.effect.as_str(), plain(&change.reason));
        line(out, "next", &text)?;
    }
    if let Some(reason) = &explanation.skip {
        nothing(out, explanation, reason)?;
    }
    if let Some(hold) = &explanation.held {
        line(out, "held", &styled(WAITS, format!("{}: {}", hold.limit.as_str(), plain(&hold.reason))))?;
    }
    if let Some(owed) = &explanation.owed {
        let since = words::moment(owed.since);
        line(out, "owed", &styled(BAD, format!("the end of access, due since {since} ({})", owed.reason.as_str())))?;
    }
    if let Some(failure) = &explanation.failure {
        line(out, "failed", &styled(BAD, plain(failure)))?;
    }
    Ok(())
}
