//! The plan for a terminal.

use crate::model::change::Change;
use crate::model::plan::Plan;
use crate::plan::render::words;

/// The plan as plain text, ending in a line break. It shows personal values, as the person at
/// the terminal may see the documents too; sensitive ones never.
pub fn text(plan: &Plan) -> String {
    let mut lines = vec![format!("plan for {}, mode {}", words::heading(plan), words::mode(plan))];
    lines.push(words::coverage(&plan.coverage));
    lines.extend(plan.administrators.as_ref().map(words::administrators));
    section(&mut lines, None, plan.changes.iter().flat_map(change));
    for hold in &plan.holds {
        let title = format!("held: {}", hold.reason);
        section(&mut lines, Some(title), hold.changes.iter().flat_map(change));
    }
    let skips = plan.skips.iter().filter(|skip| words::is_told(skip)).flat_map(|skip| {
        let account = skip.account.as_ref().map(|account| format!(" account `{account}`")).unwrap_or_default();
        let (why, hint) = words::skip(plan, skip, true);
        let line = format!("  ! `{}`{account}: {why}", skip.record);
        std::iter::once(line).chain(hint.map(|hint| format!("      hint: {hint}")))
    });
    section(&mut lines, Some("not done".to_owned()), skips);
    lines.push(String::new());
    lines.push(words::totals(plan));
    lines.push(String::new());
    words::plain(&lines)
}

fn section(lines: &mut Vec<String>, title: Option<String>, body: impl Iterator<Item = String>) {
    let body: Vec<String> = body.collect();
    if body.is_empty() {
        return;
    }
    lines.push(String::new());
    lines.extend(title);
    lines.extend(body);
}

fn change(change: &Change) -> Vec<String> {
    let account = change.account.as_ref().map(|account| format!(" account `{account}`")).unwrap_or_default();
    let action = change.action.as_str();
    let sign = words::sign(change.action);
    let mut lines = vec![format!("  {sign} {action:<10} `{}`{account}: {}", change.record, words::why(change))];
    lines.extend(change.fields.iter().map(|field| format!("      {}", words::field(field, true))));
    lines.extend(change.grant.iter().map(|entry| format!("      + {}", words::entitlement(entry))));
    lines.extend(change.revoke.iter().map(|entry| format!("      - {}", words::entitlement(entry))));
    lines
}
