//! Writes to targets that refuse, ignore, garble or lose them.

use std::time::Duration;

use axum::http::Method;
use rosterd::connector::ErrorClass;
use rosterd::connector::Operation;
use rosterd::model::account::AccountState;
use serde_json::Value;
use serde_json::json;

use crate::conformance::scim::start;
use crate::conformance::subject::COST_CENTER;
use crate::conformance::subject::Change;
use crate::conformance::subject::group;
use crate::conformance::subject::path;
use crate::conformance::subject::person;
use crate::conformance::subject::role;
use crate::support::scim_server::Active;
use crate::support::scim_server::CreateAnswer;
use crate::support::scim_server::Knobs;
use crate::support::scim_server::Mishap;
use crate::support::scim_server::Patch;

fn praise(body: &Value) -> Mishap {
    Mishap::Answer(200, vec![], body.to_string())
}

#[tokio::test]
async fn a_creation_sends_the_whole_resource_and_who_sends_it() {
    let (subject, server) = start(Knobs::default(), json!({})).await;
    subject.try_create(person("ada"), [role("reader")]).await.unwrap();
    let sent = &server.calls(&Method::POST, "/Users")[0];
    assert_eq!(sent.content_type.as_deref(), Some("application/scim+json"));
    assert!(sent.user_agent.as_deref().unwrap().starts_with("rosterd/"));
    let enterprise = COST_CENTER.rsplit_once(':').unwrap().0;
    let expected = json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", enterprise],
        "active": true,
        "userName": "ada@acme.example",
        "externalId": "u-ada",
        "name": {"givenName": "Ada", "familyName": "Lovelace"},
        "emails": [{"type": "work", "value": "ada@acme.example"}],
        "title": "Analyst",
        "nickName": "Countess",
        "roles": [{"value": "reader"}],
        enterprise: {"costCenter": "C-17"},
    });
    assert_eq!(sent.body, expected);
}

#[tokio::test]
async fn a_change_is_one_patch_with_what_changed() {
    let (subject, server) = start(Knobs::default(), json!({})).await;
    let made = subject.create("ada").await;
    let mut change = Change::set("title", json!("Director"));
    change.clear.insert(path("nickName"));
    subject.update(&made, change).await.unwrap();
    let sent = server.calls(&Method::PATCH, "/Users");
    assert_eq!(sent.len(), 1);
    let expected = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [
        {"op": "replace", "path": "title", "value": "Director"},
        {"op": "remove", "path": "nickName"},
    ]});
    assert_eq!(sent[0].body, expected);
    assert_eq!(server.calls(&Method::PUT, "/Users").len(), 0);
}

#[tokio::test]
async fn a_missing_work_mail_is_added_beside_the_others() {
    let (subject, server) = start(Knobs::default(), json!({})).await;
    let home = json!({"type": "home", "value": "h@x", "primary": true});
    let id = server.put_in(json!({"userName": "ada", "emails": [home]}));
    let seen = subject.look(&id.as_str().into()).await;
    subject.update(&seen, Change::set("emails[type eq \"work\"].value", json!("w@x"))).await.unwrap();
    assert_eq!(server.user(&id)["emails"], json!([home, {"type": "work", "value": "w@x"}]));
}

#[tokio::test]
async fn where_patch_is_refused_the_resource_is_put_back_whole_and_patch_is_not_tried_again() {
    for status in [405, 501, 400] {
        let (subject, server) = start(Knobs { patch: Patch::Refused(status), ..Knobs::default() }, json!({})).await;
        let foreign = json!({"urn:x": {"mailbox": "m1"}, "locale": "fr", "photos": [{"value": "p"}]});
        let mut user = foreign.clone();
        user["userName"] = json!("ada");
        user["active"] = json!(true);
        let id = server.put_in(user);
        let seen = subject.look(&id.as_str().into()).await;
        subject.update(&seen, Change::set("title", json!("Boss"))).await.unwrap();
        let seen = subject.update(&seen, Change::active(false)).await.unwrap();
        assert_eq!(seen.state, AccountState::Disabled);
        let user = server.user(&id);
        for (name, value) in foreign.as_object().unwrap() {
            assert_eq!(&user[name], value, "{status} {name}");
        }
        assert_eq!(user["title"], "Boss");
        assert_eq!(server.calls(&Method::PATCH, "/Users").len(), 1, "{status}");
        let bodies = server.calls(&Method::PUT, "/Users");
        assert!(bodies.iter().all(|sent| sent.body.get("password").is_none() && sent.if_match.is_none()));
    }
}

#[tokio::test]
async fn a_real_version_guards_a_whole_resource() {
    let config = Some(json!({"etag": {"supported": true}, "patch": {"supported": false}}));
    let (subject, server) = start(Knobs { etags: true, config, ..Knobs::default() }, json!({})).await;
    let made = subject.create("ada").await;
    assert!(made.version.is_some());
    subject.update(&made, Change::set("title", json!("Boss"))).await.unwrap();
    let put = &server.calls(&Method::PUT, "/Users")[0];
    assert_eq!(put.if_match, made.version);
    assert_eq!(server.calls(&Method::PATCH, "").len(), 0, "it says that it has no PATCH");
    server.next(Method::PUT, "/Users", Mishap::Answer(412, vec![], "{}".into()));
    let error = subject.update(&made, Change::set("title", json!("x"))).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Changed);
}

#[tokio::test]
async fn a_version_that_nothing_vouches_for_guards_nothing() {
    let (subject, server) = start(Knobs { etags: true, ..Knobs::default() }, json!({"update": "put"})).await;
    let made = subject.create("ada").await;
    assert_eq!(made.version, None);
    subject.update(&made, Change::set("title", json!("Boss"))).await.unwrap();
    assert_eq!(server.calls(&Method::PUT, "/Users")[0].if_match, None);
}

#[tokio::test]
async fn a_path_that_patch_does_not_know_is_written_by_put() {
    let (subject, server) = start(Knobs { patch: Patch::NoFilteredPaths, ..Knobs::default() }, json!({})).await;
    let made = subject.create("ada").await;
    subject.update(&made, Change::set("emails[type eq \"work\"].value", json!("n@x"))).await.unwrap();
    assert_eq!(server.user(made.id.as_str())["emails"], json!([{"type": "work", "value": "n@x"}]));
    subject.update(&made, Change::set("title", json!("Boss"))).await.unwrap();
    assert_eq!(server.calls(&Method::PUT, "/Users").len(), 1, "plain paths are patched");
}

#[tokio::test]
async fn a_disabling_that_is_praised_and_ignored_is_an_error() {
    let (subject, server) = start(Knobs { patch: Patch::IgnoredButPraised, ..Knobs::default() }, json!({})).await;
    let made = subject.try_create(person("ada"), [role("reader")]).await.unwrap();
    server.inside().groups[0]["members"] = json!([{"value": made.id.as_str()}]);
    for change in [
        Change::active(false),
        Change { remove: [group("g1")].into(), ..Change::none() },
        Change { remove: [role("reader")].into(), ..Change::none() },
    ] {
        let error = subject.update(&made, change).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Transient);
        assert!(error.message.contains("tried again"), "{error}");
    }
}

#[tokio::test]
async fn an_ignored_attribute_is_shown_as_it_stays() {
    let (subject, _server) = start(Knobs { patch: Patch::IgnoredButPraised, ..Knobs::default() }, json!({})).await;
    let made = subject.create("ada").await;
    let shown = subject.update(&made, Change::set("title", json!("Boss"))).await.unwrap();
    assert_eq!(shown.values[&path("title")], json!("Analyst"));
}

#[tokio::test]
async fn a_disabling_is_believed_only_when_it_is_seen() {
    let (subject, server) = start(Knobs::default(), json!({})).await;
    let made = subject.create("ada").await;
    let echo = json!({"id": made.id.as_str(), "userName": "ada@acme.example", "active": false});
    server.next(Method::PATCH, "/Users", praise(&echo));
    assert_eq!(subject.update(&made, Change::active(false)).await.unwrap_err().class, ErrorClass::Transient);
}

#[tokio::test]
async fn a_fresh_write_may_stay_unseen_for_the_time_the_profile_grants() {
    let (subject, server) = start(Knobs::default(), json!({"visibleWithin": "1s"})).await;
    let made = subject.create("ada").await;
    let stale = json!({"id": made.id.as_str(), "userName": "ada@acme.example", "active": true});
    server.next(Method::GET, "/Users", praise(&stale));
    let disabled = subject.update(&made, Change::active(false)).await.unwrap();
    assert_eq!(disabled.state, AccountState::Disabled);
}

#[tokio::test]
async fn booleans_are_written_as_text_where_the_target_shows_or_wants_text() {
    let knobs = || Knobs { active: Active::Text, ..Knobs::default() };
    let (subject, server) = start(knobs(), json!({"activeAs": "string"})).await;
    let made = subject.create("ada").await;
    assert_eq!(made.state, AccountState::Active);
    assert_eq!(subject.update(&made, Change::active(false)).await.unwrap().state, AccountState::Disabled);
    assert_eq!(server.calls(&Method::PATCH, "/Users")[0].body["Operations"][0]["value"], "False");
    let (subject, server) = start(knobs(), json!({"update": "put"})).await;
    let made = subject.create("ada").await;
    subject.update(&made, Change::active(false)).await.unwrap();
    assert_eq!(server.calls(&Method::PUT, "/Users")[0].body["active"], "False");
}

#[tokio::test]
async fn a_state_that_is_never_shown_is_unknown() {
    let (subject, _server) = start(Knobs { active: Active::Absent, ..Knobs::default() }, json!({})).await;
    let made = subject.create("ada").await;
    assert_eq!(made.state, AccountState::Unknown);
    assert_eq!(subject.update(&made, Change::active(false)).await.unwrap().state, AccountState::Unknown);
}

#[tokio::test]
async fn a_creation_without_an_id_in_its_answer_is_looked_up() {
    for create_answer in [CreateAnswer::OnlyId, CreateAnswer::Empty, CreateAnswer::Html] {
        let (subject, server) = start(Knobs { create_answer, ..Knobs::default() }, json!({})).await;
        server.fill(2);
        let made = subject.create("ada").await;
        assert_eq!(made.values, person("ada"), "{create_answer:?}");
        assert_eq!(server.calls(&Method::POST, "/Users").len(), 1);
    }
}

/// A second creation may follow only what surely left nothing (L2).
#[tokio::test]
async fn a_creation_that_was_taken_is_uncertain_whatever_happens_when_it_is_read() {
    let (id, nothing) = (CreateAnswer::OnlyId, CreateAnswer::Empty);
    for (create_answer, status) in [(id, 401), (id, 404), (id, 500), (nothing, 401), (nothing, 500)] {
        let (subject, server) = start(Knobs { create_answer, ..Knobs::default() }, json!({})).await;
        // As many as a reading may try.
        for _ in 0..4 {
            server.next(Method::GET, "/Users", Mishap::Answer(status, vec![], "{}".to_owned()));
        }
        let error =
            subject.try_create(person("ada"), []).await.map(drop).expect_err(&format!("{create_answer:?}, {status}"));
        assert_eq!(error.class, ErrorClass::Uncertain, "{create_answer:?}, then {status}: {error}");
    }
}

#[tokio::test]
async fn duplicates_are_known_in_every_dialect() {
    for duplicates in [
        (409, ""),
        (400, "User already exists"),
        (422, "userName has already been taken"),
        (500, "duplicate key value violates unique constraint"),
    ] {
        let (subject, _server) = start(Knobs { duplicates, ..Knobs::default() }, json!({})).await;
        subject.create("ada").await;
        let error = subject.try_create(person("ada"), []).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Exists, "{duplicates:?}");
    }
}

#[tokio::test]
async fn refusals_of_a_creation_fall_into_classes() {
    let (subject, server) = start(Knobs::default(), json!({})).await;
    let detail = |text: &str| json!({ "detail": text }).to_string();
    for (status, body, class) in [
        (402, String::new(), ErrorClass::Quota),
        (403, detail("No seats left in your plan"), ErrorClass::Quota),
        (403, detail("the owner cannot be changed"), ErrorClass::Refused),
        (403, String::new(), ErrorClass::Door),
        (401, String::new(), ErrorClass::Door),
        (400, detail("title is too long"), ErrorClass::Refused),
        (404, String::new(), ErrorClass::Refused),
        (500, String::new(), ErrorClass::Uncertain),
        (502, "<html>".to_owned(), ErrorClass::Uncertain),
        (308, String::new(), ErrorClass::Door),
    ] {
        server.next(Method::POST, "/Users", Mishap::Answer(status, vec![], body));
        let error = subject.try_create(person("ada"), []).await.unwrap_err();
        assert_eq!(error.class, class, "{status}: {error}");
    }
    assert!(server.inside().users.is_empty());
}

#[tokio::test]
async fn a_write_is_not_sent_again_by_itself_and_says_how_long_to_wait() {
    let (subject, server) = start(Knobs::default(), json!({})).await;
    for status in [429, 503] {
        server.next(Method::POST, "/Users", Mishap::Answer(status, vec![("retry-after", "2".into())], String::new()));
        let error = subject.try_create(person("ada"), []).await.unwrap_err();
        assert_eq!((error.class, error.retry_after), (ErrorClass::RateLimited, Some(Duration::from_secs(2))));
    }
    assert_eq!(server.calls(&Method::POST, "/Users").len(), 2);
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_uncertain_and_the_same_read_is_not() {
    let (subject, server) = start(Knobs::default(), json!({"callLimit": "1s"})).await;
    for lost in [Mishap::CutAfterDoing, Mishap::Hang] {
        server.next(Method::POST, "/Users", lost);
        let error = subject.try_create(person("ada"), []).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Uncertain);
    }
    assert_eq!(server.inside().users.len(), 1, "the cut one was done");
    server.next(Method::GET, "/Users", Mishap::Hang);
    assert_eq!(subject.observe().await.unwrap_err().class, ErrorClass::Transient);
}

#[tokio::test]
async fn a_write_that_cannot_be_read_back_is_uncertain() {
    let (subject, server) = start(Knobs { patch: Patch::AnswersNothing, ..Knobs::default() }, json!({})).await;
    let made = subject.create("ada").await;
    server.next(Method::GET, "/Users", Mishap::Answer(200, vec![], "<html>".into()));
    let error = subject.update(&made, Change::active(false)).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Uncertain);
}

#[tokio::test]
async fn a_required_attribute_that_is_not_mapped_stops_a_creation_before_it_is_sent() {
    let (subject, server) = start(Knobs::default(), json!({"required": ["displayName"]})).await;
    let error = subject.try_create(person("ada"), []).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Refused);
    assert!(error.message.contains("displayName"));
    assert_eq!(server.calls(&Method::POST, "").len(), 0);
}

#[tokio::test]
async fn members_are_taken_out_by_filter_or_by_value_as_the_profile_says() {
    for (settings, path) in [(json!({}), "members[value eq \"id/1\"]"), (json!({"membersRemove": "value"}), "members")]
    {
        let (subject, server) = start(Knobs::default(), settings).await;
        let made = subject.try_create(person("ada"), [group("g1")]).await.unwrap();
        // The stand-in takes the first form only; what counts here is what was sent.
        drop(subject.update(&made, Change { remove: [group("g1")].into(), ..Change::none() }).await);
        let sent = server.calls(&Method::PATCH, "/Groups").pop().unwrap();
        assert_eq!(
            (&sent.body["Operations"][0]["op"], &sent.body["Operations"][0]["path"]),
            (&json!("remove"), &json!(path))
        );
    }
}

#[tokio::test]
async fn a_group_that_is_not_there_is_no_missing_account() {
    let (subject, server) = start(Knobs::default(), json!({})).await;
    let made = subject.try_create(person("ada"), [group("g1")]).await.unwrap();
    server.inside().groups.clear();
    let error = subject.update(&made, Change { add: [group("g1")].into(), ..Change::none() }).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Refused);
    assert!(error.message.contains("g1"));
    subject.update(&made, Change { remove: [group("g1")].into(), ..Change::none() }).await.unwrap();
}

#[tokio::test]
async fn who_was_let_in_before_a_group_refused_them_is_in_for_all_that_is_known() {
    for settings in [json!({}), json!({"update": "put"})] {
        let (subject, server) = start(Knobs::default(), settings).await;
        let made = subject.create("ada").await;
        let off = subject.update(&made, Change::active(false)).await.unwrap();
        server.next(Method::PATCH, "/Groups", Mishap::Answer(403, vec![], json!({"detail": "no"}).to_string()));
        let change = Change { add: [group("g1")].into(), ..Change::active(true) };
        let error = subject.update(&off, change).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Uncertain, "only a look tells that they are in: {error}");
    }
}

#[tokio::test]
async fn a_new_account_whose_group_refuses_it_is_told_without_the_membership() {
    let (subject, server) = start(Knobs::default(), json!({})).await;
    server.next(Method::PATCH, "/Groups", Mishap::Answer(500, vec![], String::new()));
    let made = subject.try_create(person("ada"), [group("g1")]).await.unwrap();
    assert_eq!(made.memberships, [].into());
}

#[tokio::test]
async fn a_long_list_of_members_is_never_put_back_whole() {
    let (subject, server) = start(Knobs { patch: Patch::Refused(405), ..Knobs::default() }, json!({})).await;
    let made = subject.create("ada").await;
    let members: Vec<_> = (0..100).map(|number| json!({"value": format!("other{number}")})).collect();
    server.inside().groups[0]["members"] = json!(members);
    let error = subject.update(&made, Change { add: [group("g1")].into(), ..Change::none() }).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Refused);
    assert_eq!(server.members("g1").len(), 100);
    assert_eq!(server.calls(&Method::PUT, "/Groups").len(), 0);
}

#[tokio::test]
async fn a_name_that_the_target_keeps_in_small_letters_is_canonical_in_small_letters() {
    let knobs = Knobs { lower_cases_names: true, ..Knobs::default() };
    let (subject, _server) = start(knobs, json!({"userNameCase": "lower"})).await;
    let mut values = person("ada");
    values.insert(path("userName"), json!("Ada@Acme.Example"));
    let made = subject.try_create(values, []).await.unwrap();
    let canonical = subject.connector.canonicalize(&path("userName"), &json!("Ada@Acme.Example"));
    assert_eq!(made.values[&path("userName")], canonical);
}

#[tokio::test]
async fn a_deletion_that_is_answered_with_404_is_of_unknown_end_whatever_the_next_look_says() {
    let (subject, server) = start(Knobs::default(), json!({})).await;
    let seen = subject.create("ada").await.into();
    let nobody = || Mishap::Answer(404, vec![], "{}".to_owned());
    server.next(Method::DELETE, "/Users", nobody());
    server.next(Method::GET, "/Users", nobody());
    let error = subject.apply(Operation::Delete { seen }).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Uncertain, "{}", error.message);
}
