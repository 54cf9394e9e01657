//! Pages of lists, by cursor.

use axum::http::StatusCode;
use serde::Deserialize;

use crate::server::problem::Refusal;
use crate::server::wire::Page;

/// Entries of a page where the caller does not say.
const USUAL: usize = 100;

/// Most entries of one page: a page is built in memory.
const MOST: usize = 1000;

/// The `limit` of a query, checked.
pub(crate) fn limit(asked: Option<usize>) -> Result<usize, Refusal> {
    match asked.unwrap_or(USUAL) {
        limit @ 1..=MOST => Ok(limit),
        other => {
            let detail = format!("`limit` is {other}, and a page has 1 to {MOST} entries");
            Err(Refusal::new(StatusCode::BAD_REQUEST, "bad-query", detail).hint("follow `next` for more"))
        }
    }
}

/// `?after=&limit=`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Paging {
    /// The cursor: `next` of the page before.
    pub(crate) after: Option<String>,
    /// At most so many entries.
    pub(crate) limit: Option<usize>,
}

/// A page of rows that were asked for with one more than `limit`: that one proves a next page.
pub(crate) fn cut<T>(mut items: Vec<T>, limit: usize, cursor: impl Fn(&T) -> String) -> Page<T> {
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(cursor);
    Page { items, next }
}

/// A page of a list that is whole in memory, ordered by its cursor.
pub(crate) fn of<T>(items: Vec<T>, paging: &Paging, cursor: impl Fn(&T) -> String) -> Result<Page<T>, Refusal> {
    let limit = limit(paging.limit)?;
    let mut keyed: Vec<(String, T)> = items.into_iter().map(|item| (cursor(&item), item)).collect();
    keyed.sort_by(|left, right| left.0.cmp(&right.0));
    let after = |(key, _): &(String, T)| paging.after.as_ref().is_none_or(|after| key > after);
    let rest = keyed.into_iter().filter(after).map(|(_, item)| item).take(limit + 1).collect();
    Ok(cut(rest, limit, cursor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn following_next_shows_every_entry_once() {
        let all: Vec<String> = (0..7).map(|n| format!("e{n}")).collect();
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let paging = Paging { after: after.take(), limit: Some(3) };
            let page = of(all.clone(), &paging, String::clone).unwrap();
            seen.extend(page.items);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, all);
    }

    #[test]
    fn a_last_page_that_is_full_names_no_next_one() {
        let page = of(vec![1, 2], &Paging { after: None, limit: Some(2) }, ToString::to_string).unwrap();
        assert_eq!(page, Page { items: vec![1, 2], next: None });
    }

    #[test]
    fn a_page_of_none_and_one_of_too_many_are_refused() {
        assert!(limit(Some(0)).is_err());
        assert!(limit(Some(MOST + 1)).is_err());
        assert_eq!(limit(None), Ok(USUAL));
    }
}
