//! Writes that never settle: they are backed off and told, or given up (L3).

use std::time::Duration;

use rosterd::model::target::Mapping;
use rosterd::model::target::MappingValue;
use rosterd::model::target::Target;
use rosterd::model::user::User;

use crate::support::make::documents;
use crate::support::make::path;
use crate::support::make::target;
use crate::support::make::user;
use crate::support::rig::Rig;

const GIVEN: &str = "name.givenName";
const FAMILY: &str = "name.familyName";

fn named(given: &str) -> User {
    User { given_name: Some(given.to_owned()), ..user("u") }
}

/// The target `app`, which writes the family name too.
fn with_family() -> Target {
    let mut app = target("app");
    let given = app.account.attributes[&path(GIVEN)].clone();
    let family = Mapping { value: MappingValue::Template("{{ user.familyName }}".to_owned()), ..given };
    app.account.attributes.insert(path(FAMILY), family);
    app
}

#[tokio::test(start_paused = true)]
async fn two_attributes_that_the_target_couples_are_told_and_written_ever_more_rarely() {
    let rig = Rig::started(documents([named("Ada")], [with_family()])).await;
    rig.target("app").inside().latency = Duration::from_millis(10);
    rig.target("app").inside().coupled = Some([path(GIVEN), path(FAMILY)]);
    rig.declare(documents([named("Grace")], [with_family()])).await;
    rig.pass(Duration::from_mins(30)).await;
    let writes = rig.target("app").count("update");
    assert!(writes <= 20, "{writes} in half an hour");
    let failures = rig.status("app").failures;
    let told = failures.get(&"u".into()).expect("it is told");
    assert!(told.contains(GIVEN) && told.contains(FAMILY), "{told}");
    let report = rig.sync("app").await.unwrap();
    assert_eq!(report.failures.len(), 1, "and a caller is told, too");
    rig.target("app").inside().coupled = None;
    rig.pass(Duration::from_mins(30)).await;
    rig.assert_settled("app").await;
    assert_eq!(rig.status("app").failures.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_attribute_that_is_answered_as_written_and_dropped_after_is_the_targets_in_the_end() {
    let rig = Rig::started(documents([named("Ada")], [target("app")])).await;
    rig.target("app").inside().echoed.insert(path(GIVEN));
    rig.declare(documents([named("Grace")], [target("app")])).await;
    assert_eq!(rig.target("app").count("update"), 1, "its answer says that it was done");
    for _ in 0..10 {
        rig.sync("app").await.unwrap();
        rig.pass(Duration::from_mins(5)).await;
    }
    let writes = rig.target("app").count("update");
    assert!((2..=4).contains(&writes), "{writes}");
    assert!(rig.metrics.encode().contains("rosterd_target_controlled_attributes{target=\"app\"} 1"));
    let explanation = rig.engine.explain(&"u".into(), &"app".into()).await.unwrap();
    assert!(explanation.hand.unwrap().given_up.contains_key(&path(GIVEN)));
    rig.assert_settled("app").await;
    rig.target("app").inside().echoed.clear();
    rig.declare(documents([named("Edsger")], [target("app")])).await;
    let account = rig.target("app").by_name("u@acme.example").unwrap();
    assert_eq!(account.values[&path(GIVEN)], "Edsger", "another value is another matter");
}

#[tokio::test(start_paused = true)]
async fn who_edits_one_value_again_and_again_is_no_target_that_drops_it() {
    let rig = Rig::started(documents([named("Ada")], [target("app")])).await;
    for _ in 0..6 {
        let id = rig.target("app").by_name("u@acme.example").unwrap().id;
        rig.target("app").inside().accounts.get_mut(&id).unwrap().values.insert(path(GIVEN), "Eve".into());
        rig.sync("app").await.unwrap();
        rig.rest().await;
        assert_eq!(rig.target("app").by_name("u@acme.example").unwrap().values[&path(GIVEN)], "Ada");
    }
    assert!(rig.store.open().hands.is_empty());
}
