//! Listing by index pages (RFC 7644 section 3.4.2.4), and what such a listing proves.
//!
//! Targets clamp the page that was asked for, ignore the parameters, repeat items past the end,
//! state wrong totals and change the order between pages. So the index moves on by what was
//! received, a page without anything new ends the walk, and the walk goes one page past the
//! stated end: a total that only counts its own page is found out there.

use std::collections::BTreeSet;
use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher;

use serde_json::Value;
use tokio::sync::mpsc;

use crate::connector::ConnectorError;
use crate::connector::Shape;
use crate::connector::document;
use crate::connectors::scim::Scim;
use crate::connectors::scim::fault;
use crate::connectors::scim::groups::Members;
use crate::connectors::scim::profile::Inactive;
use crate::connectors::scim::wire;
use crate::connectors::scim::wire::Page;
use crate::model::account::Account;
use crate::model::plan::Coverage;

/// Where the accounts of a listing go. Each account goes there once, however often it is sent.
pub(crate) struct Sink<'a> {
    pub(crate) shape: &'a Shape,
    pub(crate) members: &'a Members,
    pub(crate) pages: &'a mpsc::Sender<Vec<Account>>,
    sent: BTreeSet<u64>,
}

impl<'a> Sink<'a> {
    pub(crate) fn new(shape: &'a Shape, members: &'a Members, pages: &'a mpsc::Sender<Vec<Account>>) -> Self {
        Self { shape, members, pages, sent: BTreeSet::new() }
    }
}

/// What one walk over the pages counted.
#[derive(Debug, Default)]
struct Tally {
    /// Hashes of ids: 8 bytes for each account. Two ids with one hash make the listing partial,
    /// which is the harmless side.
    ids: BTreeSet<u64>,
    received: u64,
    totals: BTreeSet<Option<u64>>,
    nameless: u64,
    broken_off: Option<String>,
    largest_page: usize,
    /// Pages in a row, shorter than others, after which as many were seen as they said there are.
    ends: u32,
    /// The last page held accounts, none of them new, before the stated total was reached.
    went_in_circles: bool,
}

/// What a walk showed.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Proven,
    /// Another walk may do better: the set or its order moved under this one.
    Moved(String),
    Unproven(String),
}

/// Five times the largest target that rosterd is made for; the ids alone are then 40 MB.
const MOST_ACCOUNTS: u64 = 5_000_000;
/// Accounts a page where neither settings nor the target say how many.
const USUAL_PAGE: u64 = 100;
/// Most accounts a page that are asked for unbidden: a page is held in memory as a whole.
const LARGEST_PAGE: u64 = 1_000;
/// Accounts beyond the stated total that may be joiners while the list is read.
const SLACK: u64 = 10_000;

impl Scim {
    /// Sends every account to `sink` and says what the listing proves.
    ///
    /// A walk that saw the order or the set move is repeated once.
    pub(crate) async fn list(&self, sink: &mut Sink<'_>) -> Result<Coverage, ConnectorError> {
        let first = self.walk(sink).await?;
        let (tally, verdict) = match first.verdict() {
            Verdict::Moved(_) => {
                let second = self.walk(sink).await?;
                let verdict = second.verdict();
                (second, verdict)
            }
            settled @ (Verdict::Proven | Verdict::Unproven(_)) => (first, settled),
        };
        Ok(match verdict {
            Verdict::Moved(reason) | Verdict::Unproven(reason) => Coverage::Partial(reason),
            Verdict::Proven if self.profile.inactive == Inactive::Hidden => {
                Coverage::Partial("the profile says that lists leave disabled accounts out".to_owned())
            }
            Verdict::Proven if sink.sent.len() > tally.ids.len() => {
                Coverage::Partial("accounts vanished while the list was read".to_owned())
            }
            Verdict::Proven => Coverage::Complete,
        })
    }

    async fn walk(&self, sink: &mut Sink<'_>) -> Result<Tally, ConnectorError> {
        let mut tally = Tally::default();
        let size = self.page_size().await;
        loop {
            let page = match self.page(tally.received + 1, size).await {
                Ok(page) => page,
                Err(error) if tally.received == 0 && sink.sent.is_empty() => return Err(error),
                // Some targets call an index past the end a mistake.
                Err(_) if tally.is_full() => return Ok(tally),
                Err(error) => {
                    tally.broken_off = Some(error.message);
                    return Ok(tally);
                }
            };
            let was_full = tally.is_full();
            let (total, empty) = (page.total, page.rows.is_empty());
            let fresh = tally.take(page);
            let went_on = !fresh.is_empty();
            self.hand_over(fresh, sink, &mut tally).await?;
            if tally.runs_away() {
                tally.broken_off = Some("more accounts came than any list of this size can hold".to_owned());
            }
            if tally.broken_off.is_some() || tally.runs_after_joiners() {
                return Ok(tally);
            }
            if !went_on || total == Some(0) {
                tally.went_in_circles = !empty && !was_full;
                return Ok(tally);
            }
        }
    }

    async fn hand_over(
        &self,
        fresh: Vec<(u64, Value)>,
        sink: &mut Sink<'_>,
        tally: &mut Tally,
    ) -> Result<(), ConnectorError> {
        let mut accounts = Vec::with_capacity(fresh.len());
        for (hash, resource) in fresh {
            if sink.sent.insert(hash) {
                accounts.push(self.account(&resource, sink.shape, Some(sink.members)).await?);
            }
        }
        if !accounts.is_empty() && sink.pages.send(accounts).await.is_err() {
            tally.broken_off = Some("nobody wanted to see the rest".to_owned());
        }
        Ok(())
    }

    async fn page_size(&self) -> u64 {
        let most = self.service().await.max_results;
        match self.profile.page_size {
            Some(asked) => most.map_or(u64::from(asked.get()), |most| most.min(u64::from(asked.get()))),
            None => most.unwrap_or(USUAL_PAGE).min(LARGEST_PAGE),
        }
    }

    pub(crate) async fn page(&self, start: u64, count: u64) -> Result<Page, ConnectorError> {
        let (start, count) = (start.to_string(), count.to_string());
        let url = self.wire.url(&["Users"], &[("startIndex", &start), ("count", &count)])?;
        let answer = self.wire.read("list", url).await?;
        if answer.is_success() { wire::page_of(&answer) } else { Err(fault::of_read(&answer)) }
    }
}

impl Tally {
    /// Counts a page and gives back what is new in it.
    fn take(&mut self, page: Page) -> Vec<(u64, Value)> {
        let rows = page.rows.len();
        let shorter = rows < self.largest_page;
        self.largest_page = rows.max(self.largest_page);
        self.totals.insert(page.total);
        self.received += rows as u64;
        let mut fresh = Vec::with_capacity(page.rows.len());
        for row in page.rows {
            let Some(id) = document::id(&row) else {
                self.nameless += 1;
                continue;
            };
            let hash = hash(id.as_str());
            if self.ids.insert(hash) {
                fresh.push((hash, row));
            }
        }
        let ended = shorter && page.total == Some(self.ids.len() as u64);
        self.ends = if ended { self.ends + 1 } else { 0 };
        fresh
    }

    /// Whether each page only brings who came since the one before: as long as accounts are made, by us
    /// perhaps, such a walk has no end.
    fn runs_after_joiners(&self) -> bool {
        self.ends > 1
    }

    fn total(&self) -> Option<u64> {
        match self.totals.iter().collect::<Vec<_>>().as_slice() {
            [total] => **total,
            _ => None,
        }
    }

    /// Whether as many accounts were seen as the target says there are.
    fn is_full(&self) -> bool {
        self.total().is_some_and(|total| total == self.ids.len() as u64)
    }

    /// Whether the list goes on past all reason: a target that makes up ids would never end it.
    fn runs_away(&self) -> bool {
        let most = self.total().map_or(MOST_ACCOUNTS, |total| total.saturating_add(SLACK).min(MOST_ACCOUNTS));
        self.ids.len() as u64 > most
    }

    fn verdict(&self) -> Verdict {
        let seen = self.ids.len() as u64;
        if let Some(reason) = &self.broken_off {
            return Verdict::Unproven(format!("the list broke off after {seen} accounts: {reason}"));
        }
        if self.nameless > 0 {
            return Verdict::Unproven(format!("{} accounts were listed without an id", self.nameless));
        }
        if self.totals.contains(&None) {
            return Verdict::Unproven(format!(
                "the target does not state how many accounts there are; {seen} were seen"
            ));
        }
        let Some(total) = self.total() else {
            return Verdict::Moved(format!("the stated total changed while the list was read; {seen} were seen"));
        };
        match seen.cmp(&total) {
            std::cmp::Ordering::Equal => Verdict::Proven,
            std::cmp::Ordering::Greater => {
                Verdict::Unproven(format!("{seen} accounts were sent although the stated total is {total}"))
            }
            std::cmp::Ordering::Less if self.went_in_circles => Verdict::Unproven(format!(
                "pages repeat, so page parameters seem to be ignored: {seen} of {total} accounts were seen"
            )),
            std::cmp::Ordering::Less if self.received > seen => {
                Verdict::Moved(format!("accounts repeat between pages: {seen} of {total} were seen"))
            }
            std::cmp::Ordering::Less => {
                Verdict::Moved(format!("the list ended early: {seen} of {total} accounts were seen"))
            }
        }
    }
}

/// Stable inside one process, which is as long as a listing lives.
fn hash(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Counts pages of ids and shows the verdict as one word and its reason.
    #[track_caller]
    fn check(pages: &[(&[&str], Option<u64>)], expected: &str) {
        let mut tally = Tally::default();
        for (ids, total) in pages {
            let rows = ids.iter().map(|id| json!({ "id": id })).collect();
            let full = tally.is_full();
            let fresh = tally.take(Page { rows, total: *total });
            tally.went_in_circles = fresh.is_empty() && !ids.is_empty() && !full;
        }
        let text = match tally.verdict() {
            Verdict::Proven => "proven".to_owned(),
            Verdict::Moved(reason) => format!("moved: {reason}"),
            Verdict::Unproven(reason) => format!("unproven: {reason}"),
        };
        assert!(text.contains(expected), "{text:?} should hold {expected:?}");
    }

    #[test]
    fn a_listing_proves_itself_by_distinct_ids_that_equal_a_steady_total() {
        check(&[(&["a", "b"], Some(3)), (&["c"], Some(3)), (&[], Some(3))], "proven");
        check(&[(&["a", "b"], Some(2)), (&["a", "b"], Some(2))], "proven");
        check(&[(&[], Some(0))], "proven");
    }

    #[test]
    fn every_doubt_is_named() {
        check(&[(&["a"], None), (&[], None)], "unproven: the target does not state");
        check(&[(&["a", "b"], Some(2)), (&["c"], Some(2))], "unproven: 3 accounts were sent although");
        check(&[(&["a", "b"], Some(5)), (&["a", "b"], Some(5))], "unproven: pages repeat");
        check(&[(&["a", "b"], Some(4)), (&["b", "c"], Some(4)), (&[], Some(4))], "moved: accounts repeat");
        check(&[(&["a"], Some(4)), (&[], Some(4))], "moved: the list ended early: 1 of 4");
        check(&[(&["a"], Some(2)), (&["b"], Some(3)), (&[], Some(3))], "moved: the stated total changed");
    }

    #[test]
    fn a_list_that_grows_while_it_is_read_is_not_read_for_ever() {
        let ended = |pages: &[(usize, u64)]| {
            let mut tally = Tally::default();
            let mut next = 0..;
            let mut ended = false;
            for (rows, total) in pages {
                let rows = next.by_ref().take(*rows).map(|id: u64| json!({ "id": id.to_string() })).collect();
                tally.take(Page { rows, total: Some(*total) });
                ended = tally.runs_after_joiners();
            }
            ended
        };
        assert!(!ended(&[(100, 203), (100, 204), (5, 205)]), "one page past the end tells of wrong totals");
        assert!(ended(&[(100, 203), (100, 204), (5, 205), (2, 207)]));
        assert!(!ended(&[(100, 100), (100, 100), (40, 40), (3, 3)]), "totals that count their own page are no end");
        assert!(!ended(&[(2, 5), (2, 5), (1, 5)]));
    }

    #[test]
    fn a_list_that_goes_on_past_all_reason_is_ended() {
        let tally =
            |total, seen| Tally { totals: BTreeSet::from([total]), ids: (0..seen).collect(), ..Tally::default() };
        assert!(!tally(Some(100), 10_100).runs_away());
        assert!(tally(Some(100), 10_101).runs_away());
        assert!(!tally(None, 10_101).runs_away(), "without a stated total only the absolute bound ends it");
    }
}
