//! Every way in which a list fails to show everybody, and what is made of it.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::http::Method;
use rosterd::connector::ErrorClass;
use rosterd::model::plan::Coverage;
use serde_json::json;

use crate::conformance::scim::start;
use crate::support::scim_server::Knobs;
use crate::support::scim_server::Mishap;
use crate::support::scim_server::Paging;
use crate::support::scim_server::Total;

/// Lists 25 accounts and expects so many distinct ones, each once, and this coverage: `None` is
/// complete, a text is part of the reason of a partial one.
async fn check(knobs: Knobs, accounts: usize, reason: Option<&str>) {
    let (subject, server) = start(knobs, json!({"pageSize": 10})).await;
    server.fill(25);
    let (seen, coverage) = subject.observe().await.unwrap();
    let ids: BTreeSet<_> = seen.iter().map(|account| account.id.clone()).collect();
    assert_eq!((ids.len(), seen.len()), (accounts, accounts), "distinct and all");
    match (coverage, reason) {
        (Coverage::Complete, None) => {}
        (Coverage::Partial(text), Some(reason)) => assert!(text.contains(reason), "{text}"),
        (coverage, _) => panic!("{coverage:?}"),
    }
}

#[tokio::test]
async fn a_page_that_is_clamped_in_silence_moves_the_index_by_what_was_received() {
    check(Knobs { max_page: 4, ..Knobs::default() }, 25, None).await;
}

#[tokio::test]
async fn a_total_written_as_text_counts() {
    check(Knobs { total: Total::Text, ..Knobs::default() }, 25, None).await;
}

#[tokio::test]
async fn items_repeated_past_the_end_are_seen_once() {
    check(Knobs { paging: Paging::RepeatsPastTheEnd, ..Knobs::default() }, 25, None).await;
}

#[tokio::test]
async fn an_error_past_the_end_is_an_end() {
    check(Knobs { paging: Paging::RefusesPastTheEnd, ..Knobs::default() }, 25, None).await;
}

#[tokio::test]
async fn ignored_page_parameters_end_the_walk_and_prove_nothing() {
    check(
        Knobs { paging: Paging::IgnoresParameters, ..Knobs::default() },
        10,
        Some("page parameters seem to be ignored"),
    )
    .await;
}

#[tokio::test]
async fn a_list_without_a_total_proves_nothing() {
    check(Knobs { total: Total::Absent, ..Knobs::default() }, 25, Some("does not state")).await;
}

#[tokio::test]
async fn a_total_that_counts_only_its_page_is_found_out() {
    check(Knobs { total: Total::CountsThePage, ..Knobs::default() }, 25, Some("total changed")).await;
    let knobs = Knobs { total: Total::CountsThePage, max_page: 5, ..Knobs::default() };
    check(knobs, 25, Some("total")).await;
}

#[tokio::test]
async fn a_total_above_what_is_sent_proves_nothing() {
    check(Knobs { total: Total::Plus(3), ..Knobs::default() }, 25, Some("25 of 28")).await;
}

#[tokio::test]
async fn an_order_that_moves_once_is_read_again_and_then_proven() {
    check(Knobs { paging: Paging::Turns(1), ..Knobs::default() }, 25, None).await;
}

#[tokio::test]
async fn an_order_that_never_rests_proves_nothing() {
    check(Knobs { paging: Paging::Turns(usize::MAX), ..Knobs::default() }, 24, Some("repeat")).await;
}

#[tokio::test]
async fn a_row_sent_twice_on_a_page_is_one_account() {
    check(Knobs { paging: Paging::SameRowTwice, ..Knobs::default() }, 23, Some("of 25")).await;
}

#[tokio::test]
async fn a_profile_that_hides_disabled_accounts_never_proves_a_list() {
    let (subject, server) = start(Knobs::default(), json!({"profile": "atlassian"})).await;
    server.fill(3);
    let (_, coverage) = subject.observe().await.unwrap();
    assert!(matches!(coverage, Coverage::Partial(reason) if reason.contains("disabled")));
    let found = subject.find("userName", "nobody").await.unwrap();
    assert_eq!((found.accounts, found.proven), (Vec::new(), false));
}

#[tokio::test]
async fn a_list_that_breaks_off_is_partial_and_names_the_cause() {
    let (subject, server) = start(Knobs::default(), json!({"pageSize": 10})).await;
    server.fill(25);
    let ok = || Mishap::Answer(200, vec![], json!({"totalResults": 25, "Resources": [{"id": "a"}]}).to_string());
    for broken in [
        Mishap::Answer(401, vec![], "{}".into()),
        Mishap::Answer(200, vec![], "<html>sign in</html>".into()),
        Mishap::Answer(200, vec![], String::new()),
        Mishap::Answer(200, vec![], "{\"detail\": \"hm\"}".into()),
        Mishap::Cut,
    ] {
        server.next(Method::GET, "/Users", ok());
        server.next(Method::GET, "/Users", broken.clone());
        let (seen, coverage) = subject.observe().await.unwrap();
        assert_eq!(seen.len(), 1);
        assert!(matches!(coverage, Coverage::Partial(reason) if reason.contains("broke off")), "{broken:?}");
    }
}

#[tokio::test]
async fn a_first_page_that_fails_is_an_error() {
    let (subject, server) = start(Knobs::default(), json!({})).await;
    for (broken, class) in [
        (Mishap::Answer(401, vec![], "{}".into()), ErrorClass::Door),
        (Mishap::Answer(403, vec![], "{}".into()), ErrorClass::Door),
        (Mishap::Answer(302, vec![("location", "/login".into())], String::new()), ErrorClass::Door),
        (Mishap::Answer(200, vec![], "<html>".into()), ErrorClass::Transient),
        (Mishap::Answer(500, vec![], "oops".into()), ErrorClass::Transient),
        (Mishap::Cut, ErrorClass::Transient),
    ] {
        server.next(Method::GET, "/Users", broken.clone());
        assert_eq!(subject.observe().await.unwrap_err().class, class, "{broken:?}");
    }
}

#[tokio::test]
async fn accounts_without_an_id_make_a_list_partial() {
    let (subject, server) = start(Knobs::default(), json!({})).await;
    let page = json!({"totalResults": 2, "Resources": [{"id": "a"}, {"userName": "no id"}, "no object"]});
    server.next(Method::GET, "/Users", Mishap::Answer(200, vec![], page.to_string()));
    let (seen, coverage) = subject.observe().await.unwrap();
    assert_eq!(seen.len(), 1);
    assert!(matches!(coverage, Coverage::Partial(reason) if reason.contains("without an id")));
}

#[tokio::test]
async fn a_listing_waits_as_long_as_it_is_asked_and_goes_on_where_it_was() {
    let (subject, server) = start(Knobs::default(), json!({"pageSize": 10})).await;
    server.fill(25);
    server.next(Method::GET, "/Users", Mishap::Answer(429, vec![("retry-after", "1".into())], String::new()));
    let started = std::time::Instant::now();
    let (seen, coverage) = subject.observe().await.unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert_eq!((seen.len(), coverage), (25, Coverage::Complete));
}

#[tokio::test]
async fn a_target_that_asks_for_more_patience_than_there_is_says_how_much() {
    let (subject, server) = start(Knobs::default(), json!({})).await;
    server.next(Method::GET, "/Users", Mishap::Answer(429, vec![("retry-after", "120".into())], String::new()));
    let error = subject.observe().await.unwrap_err();
    assert_eq!((error.class, error.retry_after), (ErrorClass::RateLimited, Some(Duration::from_mins(2))));
}

#[tokio::test]
async fn a_reader_that_leaves_ends_the_listing() {
    let (subject, server) = start(Knobs::default(), json!({"pageSize": 5})).await;
    server.fill(25);
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    drop(receiver);
    let coverage = subject.connector.observe(&crate::conformance::subject::shape(), sender).await.unwrap();
    assert!(matches!(coverage, Coverage::Partial(_)));
}
