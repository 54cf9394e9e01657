//! Look-ups against targets whose filters lie.

use axum::http::Method;
use rosterd::connector::ErrorClass;
use rosterd::connector::Look;
use rosterd::model::ids::AccountId;
use rosterd::model::target::MatchKey;
use serde_json::json;

use crate::conformance::scim::start;
use crate::conformance::subject::path;
use crate::conformance::subject::shape;
use crate::support::scim_server::Filters;
use crate::support::scim_server::Knobs;
use crate::support::scim_server::Mishap;
use crate::support::scim_server::Total;
use crate::support::scim_server::UnknownUser;

/// Looks for a user that is there and for one that is not, twice; says how many lists were read
/// in the second round.
async fn check(filters: Filters) -> usize {
    let (subject, server) = start(Knobs { filters, ..Knobs::default() }, json!({})).await;
    server.fill(25);
    let mut lists = 0;
    for _ in 0..2 {
        let before = lists_of(&server);
        for name in ["u7", "U7"] {
            let found = subject.find("userName", name).await.unwrap();
            let names: Vec<_> = found.accounts.iter().filter_map(|account| account.user_name()).collect();
            assert_eq!((names, found.proven), (vec!["u7"], true), "{filters:?} {name}");
        }
        let found = subject.find("userName", "nobody").await.unwrap();
        assert_eq!((found.accounts, found.proven), (Vec::new(), true), "{filters:?}");
        lists = lists_of(&server) - before;
    }
    lists
}

fn lists_of(server: &crate::support::scim_server::FakeScim) -> usize {
    server.calls(&Method::GET, "/Users").iter().filter(|seen| seen.query.contains("startIndex")).count()
}

#[tokio::test]
async fn a_filter_that_found_a_known_account_is_trusted_without_lists() {
    assert_eq!(check(Filters::Work).await, 0);
}

#[tokio::test]
async fn a_filter_that_shows_everybody_is_not_asked_again() {
    assert!(check(Filters::ShowEverybody).await > 0);
}

#[tokio::test]
async fn a_filter_that_shows_nobody_proves_nothing_and_the_list_is_read() {
    assert!(check(Filters::ShowNobody).await > 0);
}

#[tokio::test]
async fn a_refused_filter_makes_way_for_the_list() {
    for status in [400, 405, 500, 501, 403, 404] {
        assert!(check(Filters::Refused(status)).await > 0, "{status}");
    }
}

#[tokio::test]
async fn a_filter_that_compares_letters_proves_no_absence_of_a_user_name() {
    assert!(check(Filters::CompareLetters).await > 0);
}

#[tokio::test]
async fn without_filters_a_partial_list_leaves_a_look_up_unproven() {
    let knobs = Knobs { filters: Filters::ShowEverybody, total: Total::Absent, ..Knobs::default() };
    let (subject, server) = start(knobs, json!({})).await;
    server.fill(25);
    let found = subject.find("userName", "nobody").await.unwrap();
    assert_eq!((found.accounts, found.proven), (Vec::new(), false));
    let found = subject.find("userName", "u7").await.unwrap();
    assert_eq!((found.accounts.len(), found.proven), (1, false));
}

#[tokio::test]
async fn a_profile_without_filters_sends_none() {
    let (subject, server) = start(Knobs::default(), json!({"filter": "none"})).await;
    server.fill(3);
    assert_eq!(subject.find("userName", "u1").await.unwrap().accounts.len(), 1);
    assert!(server.calls(&Method::GET, "/Users").iter().all(|seen| !seen.query.contains("filter")));
}

#[tokio::test]
async fn one_account_found_twice_is_one_account() {
    let (subject, server) = start(Knobs::default(), json!({})).await;
    server.fill(2);
    subject.find("userName", "u0").await.unwrap();
    let row = json!({"id": "id/1", "userName": "u0"});
    let page = json!({"totalResults": 2, "Resources": [row, row]});
    server.next(Method::GET, "/Users", Mishap::Answer(200, vec![], page.to_string()));
    assert_eq!(subject.find("userName", "u0").await.unwrap().accounts.len(), 1);
}

#[tokio::test]
async fn a_composite_key_demands_that_every_part_agrees() {
    let (subject, server) = start(Knobs::default(), json!({})).await;
    for (name, family, title) in [("a", "King", "Boss"), ("b", "King", "Clerk"), ("c", "Hopper", "Boss")] {
        server.put_in(json!({"userName": name, "name": {"familyName": family}, "title": title}));
    }
    let key = MatchKey(vec![path("name.familyName"), path("title")]);
    let look = Look::Key(key, vec![json!("King"), json!("Boss")]);
    let found = subject.connector.fetch(&shape(), &look).await.unwrap();
    let names: Vec<_> = found.accounts.iter().filter_map(|account| account.user_name()).collect();
    assert_eq!((names, found.proven), (vec!["a"], true));
}

#[tokio::test]
async fn a_mail_of_another_type_is_no_hit() {
    let (subject, server) = start(Knobs::default(), json!({})).await;
    server.put_in(json!({"userName": "a", "emails": [{"type": "work", "value": "a@x"}]}));
    server.put_in(json!({"userName": "b", "emails": [{"type": "home", "value": "b@x"}]}));
    let work = "emails[type eq \"work\"].value";
    assert_eq!(subject.find(work, "A@x").await.unwrap().accounts.len(), 1);
    let found = subject.find(work, "b@x").await.unwrap();
    assert_eq!((found.accounts, found.proven), (Vec::new(), true));
}

#[tokio::test]
async fn an_unknown_id_is_absent_in_every_dialect_and_proven_where_it_is_said() {
    for (unknown_user, proven) in
        [(UnknownUser::NotFound, true), (UnknownUser::EmptyList, true), (UnknownUser::Forbidden, false)]
    {
        let (subject, _server) = start(Knobs { unknown_user, ..Knobs::default() }, json!({})).await;
        let found = subject.connector.fetch(&shape(), &Look::Id(AccountId::from("x"))).await.unwrap();
        assert_eq!((found.accounts, found.proven), (Vec::new(), proven), "{unknown_user:?}");
    }
}

#[tokio::test]
async fn an_id_that_would_name_another_resource_is_never_sent() {
    let (subject, server) = start(Knobs::default(), json!({})).await;
    for id in ["..", "."] {
        let error = subject.connector.fetch(&shape(), &Look::Id(AccountId::from(id))).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Refused);
    }
    assert!(server.inside().seen.is_empty());
}

#[tokio::test]
async fn secrets_in_an_answer_are_not_kept() {
    let (subject, server) = start(Knobs::default(), json!({})).await;
    server.fill(1);
    let (accounts, _) = subject.observe().await.unwrap();
    assert!(!format!("{accounts:?}").contains("$2b$hash"));
}
