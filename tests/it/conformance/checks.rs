//! The checks. Each is given a fresh subject.

use std::collections::BTreeSet;

use rosterd::connector::ErrorClass;
use rosterd::connector::Look;
use rosterd::model::account::AccountState;
use rosterd::model::ids::AccountId;
use rosterd::model::plan::Coverage;
use serde_json::json;

use crate::conformance::subject::Change;
use crate::conformance::subject::Subject;
use crate::conformance::subject::group;
use crate::conformance::subject::path;
use crate::conformance::subject::person;
use crate::conformance::subject::role;
use crate::conformance::subject::shape;

pub(crate) async fn a_probe_tells_a_realm_that_stays(subject: Subject) {
    let first = subject.connector.probe().await.unwrap();
    subject.create("ada").await;
    assert!(!first.realm.as_str().is_empty());
    assert_eq!(subject.connector.probe().await.unwrap().realm, first.realm);
}

pub(crate) async fn a_creation_is_active_and_found_by_id_and_by_both_names(subject: Subject) {
    let made = subject.create("ada").await;
    subject.create("grace").await;
    assert_eq!(made.state, AccountState::Active);
    assert_eq!(made.values, person("ada"));
    assert_eq!(subject.look(&made.id).await, made);
    for (at, value) in [("userName", "ada@acme.example"), ("externalId", "u-ada")] {
        let found = subject.find(at, value).await.unwrap();
        assert!(found.proven, "{at}");
        assert_eq!(found.accounts, std::slice::from_ref(&made), "{at}");
    }
}

pub(crate) async fn user_names_are_found_in_any_case_and_external_ids_only_exactly(subject: Subject) {
    let made = subject.create("ada").await;
    let found = subject.find("userName", "ADA@Acme.Example").await.unwrap();
    assert_eq!(found.accounts, [made]);
    let found = subject.find("externalId", "U-ADA").await.unwrap();
    assert_eq!((found.accounts, found.proven), (Vec::new(), true));
}

pub(crate) async fn what_is_not_there_is_proven_absent(subject: Subject) {
    for round in ["in an empty target", "in one that holds others"] {
        let by_id = subject.connector.fetch(&shape(), &Look::Id(AccountId::from("nobody"))).await.unwrap();
        assert_eq!((by_id.accounts, by_id.proven), (Vec::new(), true), "{round}");
        for at in ["userName", "externalId"] {
            let found = subject.find(at, "nobody \"quoted\\\"").await.unwrap();
            assert_eq!((found.accounts, found.proven), (Vec::new(), true), "{at} {round}");
        }
        subject.create(if round.contains("empty") { "ada" } else { "grace" }).await;
    }
}

pub(crate) async fn a_listing_shows_every_account_once_and_proves_it(subject: Subject) {
    let (accounts, coverage) = subject.observe().await.unwrap();
    assert_eq!((accounts.len(), coverage), (0, Coverage::Complete));
    let mut made = Vec::new();
    for number in 0..25 {
        made.push(subject.create(&format!("user{number:02}")).await);
    }
    let disabled = subject.update(&made[3], Change::active(false)).await.unwrap();
    made[3] = disabled;
    let (mut accounts, coverage) = subject.observe().await.unwrap();
    assert_eq!(coverage, Coverage::Complete);
    accounts.sort_by(|one, other| one.id.cmp(&other.id));
    made.sort_by(|one, other| one.id.cmp(&other.id));
    assert_eq!(accounts, made);
}

pub(crate) async fn an_update_writes_what_it_names_and_nothing_beside_it(subject: Subject) {
    let made = subject.create("ada").await;
    let other = subject.create("grace").await;
    let mut change = Change::set("title", json!("Director"));
    change.set.insert(path("emails[type eq \"work\"].value"), json!("ada@new.example"));
    change.set.insert(path("name.familyName"), json!("King"));
    let updated = subject.update(&made, change).await.unwrap();
    let mut expected = made.clone();
    expected.values.insert(path("title"), json!("Director"));
    expected.values.insert(path("emails[type eq \"work\"].value"), json!("ada@new.example"));
    expected.values.insert(path("name.familyName"), json!("King"));
    expected.version.clone_from(&updated.version);
    assert_eq!(updated, expected);
    assert_eq!(subject.look(&made.id).await, expected);
    assert_eq!(subject.look(&other.id).await, other);
}

pub(crate) async fn a_cleared_attribute_is_gone(subject: Subject) {
    let made = subject.create("ada").await;
    let change = Change {
        clear: [path("nickName"), path("emails[type eq \"work\"].value"), path("name.givenName")].into(),
        ..Change::none()
    };
    let updated = subject.update(&made, change).await.unwrap();
    let kept: BTreeSet<_> = updated.values.keys().map(|path| path.as_str().to_owned()).collect();
    let cost_center = crate::conformance::subject::COST_CENTER;
    assert_eq!(kept, ["externalId", "name.familyName", "title", cost_center, "userName"].map(str::to_owned).into());
    assert_eq!(subject.look(&made.id).await.values, updated.values);
}

pub(crate) async fn a_disabled_account_comes_back_with_its_id_and_its_values(subject: Subject) {
    assert!(subject.connector.capabilities().reactivates);
    let made = subject.create("ada").await;
    let disabled = subject.update(&made, Change::active(false)).await.unwrap();
    assert_eq!((disabled.state, &disabled.id), (AccountState::Disabled, &made.id));
    assert_eq!(subject.look(&made.id).await, disabled);
    let found = subject.find("userName", "ada@acme.example").await.unwrap();
    assert_eq!(found.accounts, std::slice::from_ref(&disabled));
    let mut change = Change::active(true);
    change.set.insert(path("title"), json!("Returned"));
    let back = subject.update(&disabled, change).await.unwrap();
    assert_eq!((back.state, &back.id), (AccountState::Active, &made.id));
    let mut expected = made.values;
    expected.insert(path("title"), json!("Returned"));
    assert_eq!(subject.look(&made.id).await.values, expected);
}

pub(crate) async fn a_user_name_changes_without_a_new_account(subject: Subject) {
    let made = subject.create("ada").await;
    let renamed = subject.update(&made, Change::set("userName", json!("king@acme.example"))).await.unwrap();
    assert_eq!(renamed.id, made.id);
    assert_eq!(subject.find("userName", "king@acme.example").await.unwrap().accounts, [renamed]);
    assert_eq!(subject.find("userName", "ada@acme.example").await.unwrap().accounts, []);
    assert_eq!(subject.observe().await.unwrap().0.len(), 1);
}

pub(crate) async fn memberships_are_added_and_taken_without_touching_others(subject: Subject) {
    let ada = subject.create("ada").await;
    let grace = subject.try_create(person("grace"), [group("g1")]).await.unwrap();
    let joined = Change { add: [group("g1"), group("g2")].into(), ..Change::none() };
    let ada = subject.update(&ada, joined).await.unwrap();
    assert_eq!(ada.memberships, [group("g1"), group("g2")].into());
    assert_eq!(subject.look(&ada.id).await, ada);
    let left = Change { remove: [group("g1")].into(), ..Change::none() };
    let ada = subject.update(&ada, left).await.unwrap();
    assert_eq!(ada.memberships, [group("g2")].into());
    assert_eq!(subject.look(&ada.id).await, ada);
    assert_eq!(subject.look(&grace.id).await.memberships, [group("g1")].into());
    let (accounts, _) = subject.observe().await.unwrap();
    let shown = accounts.into_iter().find(|account| account.id == ada.id).unwrap();
    assert_eq!(shown.memberships, [group("g2")].into());
}

pub(crate) async fn roles_are_added_and_taken_without_touching_others(subject: Subject) {
    let ada = subject.try_create(person("ada"), [role("reader")]).await.unwrap();
    assert_eq!(ada.memberships, [role("reader")].into());
    let ada = subject.update(&ada, Change { add: [role("writer")].into(), ..Change::none() }).await.unwrap();
    assert_eq!(ada.memberships, [role("reader"), role("writer")].into());
    let ada = subject.update(&ada, Change { remove: [role("reader")].into(), ..Change::none() }).await.unwrap();
    assert_eq!(ada.memberships, [role("writer")].into());
    assert_eq!(subject.look(&ada.id).await, ada);
}

pub(crate) async fn a_creation_starts_with_its_memberships(subject: Subject) {
    let asked: BTreeSet<_> = [group("g1"), role("reader")].into();
    let made = subject.try_create(person("ada"), asked.clone()).await.unwrap();
    assert_eq!(made.memberships, asked);
    assert_eq!(subject.look(&made.id).await.memberships, asked);
}

pub(crate) async fn a_second_account_of_one_name_is_refused_as_existing(subject: Subject) {
    let made = subject.create("ada").await;
    let mut values = person("other");
    values.insert(path("userName"), json!("ADA@acme.example"));
    let error = subject.try_create(values, []).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Exists, "{error}");
    let other = subject.create("grace").await;
    let clash = Change::set("userName", json!("ada@acme.example"));
    // A target that takes the clash must not be told apart from one that does not have the rule;
    // one that refuses it must say why.
    if let Err(error) = subject.update(&other, clash).await {
        assert_eq!(error.class, ErrorClass::Exists, "{error}");
    }
    assert_eq!(subject.look(&made.id).await, made);
}

pub(crate) async fn a_change_of_an_account_that_is_gone_says_so(subject: Subject) {
    let mut ghost = subject.create("ada").await;
    ghost.id = AccountId::from("nobody");
    for change in [Change::set("title", json!("x")), Change::active(false)] {
        assert_eq!(subject.update(&ghost, change).await.unwrap_err().class, ErrorClass::NotFound);
    }
}

pub(crate) async fn a_change_may_be_applied_twice(subject: Subject) {
    let made = subject.try_create(person("ada"), [group("g1"), role("reader")]).await.unwrap();
    let change = || Change {
        set: [(path("title"), json!("Director"))].into(),
        clear: [path("nickName")].into(),
        active: Some(false),
        add: [group("g2"), role("writer")].into(),
        remove: [group("g1"), role("reader")].into(),
    };
    let mut once = subject.update(&made, change()).await.unwrap();
    let again = subject.update(&made, change()).await.unwrap();
    once.version.clone_from(&again.version);
    assert_eq!(again, once);
    assert_eq!(again.memberships, [group("g2"), role("writer")].into());
}

pub(crate) async fn canonical_values_are_those_that_are_read_back(subject: Subject) {
    let mut wide = shape();
    let roles = json!(["writer", "reader"]);
    wide.paths.insert(path("roles"));
    let mut values = person("ada");
    values.insert(path("roles"), roles.clone());
    let operation = rosterd::connector::Operation::Create { values: values.clone(), memberships: BTreeSet::new() };
    let made = subject.connector.apply(&wide, &[operation]).await.remove(0).unwrap().account.unwrap();
    for (at, value) in &values {
        assert_eq!(made.values.get(at), Some(&subject.connector.canonicalize(at, value)), "{at}");
    }
}
