//! `receipt`: where a user has access, signed; and whether such a page is genuine.

use std::path::Path;

use serde_json::Value;

use crate::app::Purpose;
use crate::cli::args::Form;
use crate::cli::args::Global;
use crate::cli::client::Ask;
use crate::cli::failure::Exit;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::output::BAD;
use crate::cli::output::GOOD;
use crate::cli::output::Rows;
use crate::cli::output::STRONG;
use crate::cli::output::View;
use crate::cli::output::WAITS;
use crate::cli::output::plain;
use crate::cli::output::styled;
use crate::cli::session;
use crate::cli::words::moment;
use crate::cli::words::put;
use crate::engine::receipt::Call;
use crate::engine::receipt::Receipt;
use crate::engine::receipt::TargetReceipt;
use crate::engine::receipt::Verdict;
use crate::model::history::OutcomeResult;
use crate::server::wire::ReceiptVerdict;
use crate::server::wire::SignedReceipt;

/// `receipt USER`
pub async fn make(global: &Global, user: &str) -> Result<Exit, Failure> {
    let session = session::open(global, None, Purpose::Look).await?;
    let path = ["users", user, "receipt"];
    let signed = session.client.get::<SignedReceipt>(Ask::of(&path)).await;
    session.close().await;
    let signed = signed?;
    let view = View { data: &signed, text: &|| text(&signed), markdown: &|| markdown(&signed) };
    output::show(global.output, &view)?;
    Ok(if signed.receipt.verdict == Verdict::NotConfirmed { Exit::Held } else { Exit::Done })
}

/// `receipt --verify FILE`
pub async fn verify(global: &Global, file: &Path) -> Result<Exit, Failure> {
    let unread = |why: String| {
        Failure::new(format!("`{}` is no receipt: {why}", file.display()))
            .hint("a receipt that can be checked is the answer of `rosterd receipt USER --output json`")
    };
    let text = std::fs::read_to_string(file).map_err(|error| unread(error.to_string()))?;
    let body: Value = serde_json::from_str(&text).map_err(|error| unread(error.to_string()))?;
    let session = session::open(global, None, Purpose::Look).await?;
    let verdict = session.client.post::<ReceiptVerdict>(Ask::of(&["receipts", "verify"]), &body).await;
    session.close().await;
    let verdict = verdict?;
    let genuine = "genuine: signed by this installation, and not altered since";
    if verdict.problem.is_none() || global.output == Form::Json {
        output::told(global.output, &verdict, genuine)?;
    }
    match verdict.problem {
        None => Ok(Exit::Done),
        Some(problem) => Err(Failure::new(format!("the receipt is not genuine: {problem}"))
            .hint("check it where it was made, over the same key file")),
    }
}

fn said(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::OutEverywhere => "out everywhere: every target was asked and shows no access",
        Verdict::HasAccess => "has access where it is meant to; nothing is owed",
        Verdict::NotConfirmed => "NOT confirmed out everywhere",
    }
}

fn head(signed: &SignedReceipt) -> String {
    let Receipt { record, ids, at, revoked, verdict, open, targets: _ } = &signed.receipt;
    let style = match verdict {
        Verdict::OutEverywhere => GOOD,
        Verdict::HasAccess => WAITS,
        Verdict::NotConfirmed => BAD,
    };
    let mut out = format!("{} `{record}` at {}: ", styled(STRONG, "receipt of"), moment(*at));
    put(&mut out, format_args!("{}\n", styled(style, said(*verdict))));
    if ids.len() > 1 {
        let ids: Vec<_> = ids.iter().map(|id| format!("`{id}`")).collect();
        put(&mut out, format_args!("record ids: {}\n", ids.join(", ")));
    }
    if let Some(revoked) = revoked {
        let until = revoked.until.map(|until| format!(" until {}", moment(until))).unwrap_or_default();
        let why = revoked.reason.as_deref().map(|why| format!(": {}", plain(why))).unwrap_or_default();
        put(&mut out, format_args!("revoked by {} since {}{until}{why}\n", plain(&revoked.by), moment(revoked.at)));
    }
    for why in open {
        put(&mut out, format_args!("{} {}\n", styled(BAD, "open:"), plain(why)));
    }
    out
}

fn text(signed: &SignedReceipt) -> String {
    let mut out = head(signed);
    for target in &signed.receipt.targets {
        let TargetReceipt { target: name, because, account, shows, looked, calls, .. } = target;
        let account = account.as_ref().map(|account| format!(" (account {})", plain(account.as_str())));
        put(&mut out, format_args!("\n{}{}\n", styled(STRONG, name), account.unwrap_or_default()));
        put(
            &mut out,
            format_args!("  shows at {}: {}\n  {}\n", moment(*looked), plain(&shows.words()), plain(because)),
        );
        for call in calls {
            put(&mut out, format_args!("  {}\n", call_words(call)));
        }
    }
    put(&mut out, format_args!("\nsignature {} (keys {})\n", signed.signature, signed.keys));
    out
}

fn call_words(call: &Call) -> String {
    let Call { intent: _, at, action, effect: _, reason, outcome: _, ended: _ } = call;
    format!("{} {}: {} ({})", moment(*at), action.as_str(), plain(reason), outcome_words(call))
}

fn outcome_words(call: &Call) -> String {
    let ended = call.ended.map(|ended| format!(" at {}", moment(ended))).unwrap_or_default();
    match &call.outcome {
        None => "no answer yet".to_owned(),
        Some(OutcomeResult::Done) => format!("confirmed{ended}"),
        Some(OutcomeResult::Refused(why)) => format!("refused{ended}: {}", plain(why)),
        Some(OutcomeResult::Nothing(why)) => format!("left nothing{ended}: {}", plain(why)),
    }
}

fn markdown(signed: &SignedReceipt) -> String {
    let mut targets = Rows::new(&["target", "account", "looked at", "shows", "because"]);
    let mut calls = Rows::new(&["target", "at", "call", "why", "outcome"]);
    for receipt in &signed.receipt.targets {
        let account = receipt.account.as_ref().map_or("-", |account| account.as_str());
        let shows = plain(&receipt.shows.words());
        let because = plain(&receipt.because);
        targets.push(vec![receipt.target.to_string(), plain(account), moment(receipt.looked), shows, because]);
        for call in &receipt.calls {
            calls.push(vec![
                receipt.target.to_string(),
                moment(call.at),
                call.action.as_str().to_owned(),
                plain(&call.reason),
                outcome_words(call),
            ]);
        }
    }
    let head = head(signed);
    let head = anstream::adapter::strip_str(&head);
    format!(
        "{head}\n{}\n{}\nsignature `{}` (keys `{}`)\n",
        targets.markdown(),
        calls.markdown(),
        signed.signature,
        signed.keys
    )
}
