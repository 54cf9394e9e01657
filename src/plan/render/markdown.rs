//! The plan for a pull request.

use crate::model::change::Change;
use crate::model::plan::Plan;
use crate::plan::render::words;

/// The plan as markdown, ending in a line break. Artefacts are shared: without `show_personal`
/// they hold record ids, account ids and field names, and no value that is personal. Sensitive
/// values never stand in them.
pub fn markdown(plan: &Plan, show_personal: bool) -> String {
    let mut lines = vec![format!("### Plan for {}", escaped(&words::heading(plan))), String::new()];
    lines.push(format!("Mode {}; {}.", words::mode(plan), escaped(&words::coverage(&plan.coverage))));
    lines.push(String::new());
    lines.push(format!("**{}**", words::totals(plan)));
    lines.extend(plan.administrators.iter().flat_map(|count| [String::new(), escaped(&words::administrators(count))]));
    table(&mut lines, None, &plan.changes, show_personal);
    for hold in &plan.holds {
        table(&mut lines, Some(&format!("Held: {}", hold.reason)), &hold.changes, show_personal);
    }
    let skips: Vec<_> = plan.skips.iter().filter(|skip| words::is_told(skip)).collect();
    if !skips.is_empty() {
        lines.extend([String::new(), "Not done".to_owned(), String::new()]);
        lines.extend(["| user | account | why |".to_owned(), "| --- | --- | --- |".to_owned()]);
    }
    for skip in skips {
        let account = skip.account.as_ref().map(|account| format!("`{account}`")).unwrap_or_default();
        let (why, hint) = words::skip(plan, skip, show_personal);
        let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
        lines.push(row(&[&format!("`{}`", skip.record), &account, &format!("{why}{hint}")]));
    }
    lines.push(String::new());
    words::plain(&lines)
}

fn table(lines: &mut Vec<String>, title: Option<&str>, changes: &[Change], show_personal: bool) {
    if changes.is_empty() {
        return;
    }
    lines.push(String::new());
    if let Some(title) = title {
        lines.extend([escaped(title), String::new()]);
    }
    lines.push("| | action | user | account | what | why |".to_owned());
    lines.push("| --- | --- | --- | --- | --- | --- |".to_owned());
    for change in changes {
        let account = change.account.as_ref().map(|account| format!("`{account}`")).unwrap_or_default();
        let cells = [
            &format!("`{}`", words::sign(change.action)),
            change.action.as_str(),
            &format!("`{}`", change.record),
            &account,
            &what(change, show_personal),
            &words::why(change),
        ];
        lines.push(row(&cells));
    }
}

fn what(change: &Change, show_personal: bool) -> String {
    let fields = change.fields.iter().map(|field| words::field(field, show_personal));
    let grants = change.grant.iter().map(|entry| format!("+ {}", words::entitlement(entry)));
    let revokes = change.revoke.iter().map(|entry| format!("- {}", words::entitlement(entry)));
    fields.chain(grants).chain(revokes).collect::<Vec<_>>().join("; ")
}

fn row(cells: &[&str]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| escaped(cell)).collect();
    format!("| {} |", cells.join(" | "))
}

/// Text must not be able to end its cell, open a link or an element, or mention anybody. In code
/// spans nothing but the cell's end means anything, so what is one must be beyond doubt: values
/// come from targets, and backticks that pair up otherwise than here would bare them.
fn escaped(text: &str) -> String {
    let text = with_single_pairs(text);
    let mut escaped = String::with_capacity(text.len());
    let mut code = false;
    for character in text.chars() {
        code ^= character == '`';
        match character {
            // A backslash before it, which stands for itself in code, would take the escape away.
            '|' if escaped.ends_with('\\') => escaped.push('\u{a6}'),
            '|' => escaped.push_str("\\|"),
            '\n' | '\r' => escaped.push(' '),
            '\\' if !code => escaped.push_str("&#92;"),
            '<' if !code => escaped.push_str("&lt;"),
            '>' if !code => escaped.push_str("&gt;"),
            '[' if !code => escaped.push_str("\\["),
            '@' if !code => escaped.push_str("&#64;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// The text with backticks only where one opens a span and the next one closes it: no runs of
/// several, which pair with runs of their own length, and none left over (`CommonMark` 6.1).
fn with_single_pairs(text: &str) -> String {
    let single: Vec<char> = {
        let letters: Vec<char> = text.chars().collect();
        let ticks = |at: Option<usize>| at.and_then(|at| letters.get(at)) == Some(&'`');
        let alone = |at: usize| !ticks(at.checked_sub(1)) && !ticks(Some(at + 1));
        letters
            .iter()
            .enumerate()
            .map(|(at, letter)| if *letter == '`' && !alone(at) { '\'' } else { *letter })
            .collect()
    };
    let count = single.iter().filter(|letter| **letter == '`').count();
    let last = single.iter().rposition(|letter| *letter == '`').filter(|_| count % 2 == 1);
    single.into_iter().enumerate().map(|(at, letter)| if Some(at) == last { '\'' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_of_a_target_can_end_the_code_that_it_stands_in() {
        for id in ["a` ``` <b> @all", "a` `` <b> @all", "a`<b>@all", "a\\` <b> @all", "a``<b>@all``"] {
            let cell = escaped(&format!("`{id}`"));
            let mut outside = String::new();
            cell.split('`').step_by(2).for_each(|part| outside.push_str(part));
            assert!(!outside.contains(['<', '@', '\\']), "{cell}");
            assert!(!cell.contains("``") && cell.matches('`').count().is_multiple_of(2), "{cell}");
        }
    }

    #[test]
    fn what_means_something_in_markdown_is_written_as_it_looks_and_in_code_it_stands_as_it_is() {
        assert_eq!(escaped("a\\b <c> [d] @e|f\ng\rh"), "a&#92;b &lt;c&gt; \\[d] &#64;e\\|f g h");
        let code = "`a\\b <c> [d] @e`";
        assert_eq!(escaped(code), code);
        assert_eq!(escaped("`a` <b> `c`"), "`a` &lt;b&gt; `c`");
        assert_eq!((escaped("a|b"), escaped("`a\\|b`")), ("a\\|b".to_owned(), "`a\\\u{a6}b`".to_owned()));
    }

    #[test]
    fn backticks_stand_in_single_pairs_alone() {
        for (text, single) in [("``", "''"), ("a`", "a'"), ("`a`", "`a`"), ("`a` `", "`a` '"), ("`a``b`", "`a''b`")] {
            assert_eq!(with_single_pairs(text), single, "{text}");
        }
    }

    #[test]
    fn no_value_of_a_target_can_end_its_cell() {
        for text in ["a|b", "`a|b`", "a\\|b", "`a\\|b`", "`a||b`", "`\\\\|`"] {
            let cell = escaped(text).replace("\\\\", "");
            assert!(!cell.replace("\\|", "").contains('|'), "{text}: {cell}");
        }
    }
}
