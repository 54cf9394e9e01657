//! S5: test and production of a website, each with its own address and key.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;

use rosterd::app::connectors::Makers;
use rosterd::clock::SystemClock;
use rosterd::engine::Running;
use rosterd::manifest::Allowed;
use rosterd::manifest::Rules;
use rosterd::metrics::Metrics;
use rosterd::secrets::vault::BoundSecret;
use rosterd::secrets::vault::SecretSource;
use rosterd::secrets::vault::Vault;
use rosterd::secrets::vault::origin_of;

use crate::seeds::s5::sample;
use crate::seeds::stage::Stage;
use crate::support::scim_server::FakeScim;
use crate::support::scim_server::Knobs;
use crate::support::scim_server::TOKEN;

const UK: &str = "storefront-uk";

/// Names of the secrets that were read, in order.
type Read = Arc<Mutex<Vec<String>>>;

/// The sample with one website on SCIM servers, and what is read of the two keys.
async fn websites(test: &FakeScim, production: &FakeScim) -> (Stage, Read) {
    let sample = sample();
    let block = |server: &FakeScim, secret: &str| {
        format!("{{ url: \"{}\", auth: {{ bearer: {{ secret: {secret} }} }} }}", server.url)
    };
    let shared = "  connector: { directory: {} }\n  environment: test\n  environments: { test: {}, production: {} }\n";
    let own = format!(
        "  connector: {{ scim: {{}} }}\n  environment: test\n  environments: {{ test: {}, production: {} }}\n",
        block(test, "shop-test"),
        block(production, "shop")
    );
    sample.edit("targets.yaml", &[(shared, "")]);
    // The other website stays where it is.
    for (site, lines) in [(UK, own.as_str()), ("storefront-fr", shared)] {
        let place = "  defaults: websites\n";
        sample.edit_document("targets.yaml", &format!("name: {site}"), &[(place, &format!("{place}{lines}"))]);
    }
    let bound = |variable: &str, server: &FakeScim| BoundSecret {
        source: SecretSource::Env(variable.to_owned()),
        origins: BTreeSet::from([origin_of(&server.url).unwrap()]),
    };
    let secrets = BTreeMap::from([
        ("shop-test".to_owned(), bound("SHOP_TEST", test)),
        ("shop".to_owned(), bound("SHOP", production)),
    ]);
    let read = Read::default();
    let noted = Arc::clone(&read);
    let vault = Vault::new(secrets, move |name| {
        noted.lock().unwrap().push(name.to_owned());
        Some(TOKEN.to_owned())
    });
    let vault = vault.unwrap();
    let rules = Rules { operator_documents_allowed: Allowed::Yes, teams: None, ..Rules::default() };
    let stage = Stage::reaching(sample, rules, |directory, _| {
        let (metrics, clock) = (Arc::new(Metrics::new()), Arc::new(SystemClock));
        Makers { vault, directory: Arc::clone(directory), metrics, clock }.factory()
    });
    let stage = stage.await;
    stage.engine.start(Running::Daemon).await.unwrap();
    (stage, read)
}

fn names(server: &FakeScim) -> Vec<String> {
    let mut names: Vec<_> =
        server.inside().users.iter().map(|user| user["userName"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

const CUSTOMERS: [&str; 2] = ["priya.nair@millhouse.example", "rosalind.keane@keane-sons.example"];

#[tokio::test]
async fn s5_2_in_test_mode_production_is_never_called_and_its_key_never_read() {
    let (test, production) = (FakeScim::start(Knobs::default()).await, FakeScim::start(Knobs::default()).await);
    let (stage, read) = websites(&test, &production).await;
    stage.until("the customers", async |_| names(&test).len() >= 2).await;
    stage.until_idle(UK).await;
    stage.sample.edit_document("people.yaml", "name: s5-001", &[("familyName: Nair", "familyName: Menon")]);
    let renamed = async |_: &Stage| test.inside().users.iter().any(|user| user["name"]["familyName"] == "Menon");
    stage.until("the new name", renamed).await;
    stage.assert_settled(UK).await;
    assert_eq!(production.inside().seen.len(), 0, "production is never called");
    let read: BTreeSet<_> = read.lock().unwrap().iter().cloned().collect();
    assert_eq!(read, BTreeSet::from(["SHOP_TEST".to_owned()]));
    stage.end().await;
}

#[tokio::test]
async fn s5_2_the_switch_to_production_starts_there_with_nothing_of_test() {
    let (test, production) = (FakeScim::start(Knobs::default()).await, FakeScim::start(Knobs::default()).await);
    let (stage, read) = websites(&test, &production).await;
    stage.until("the customers", async |_| names(&test).len() >= 2).await;
    stage.until_idle(UK).await;
    let switch = [("environment: test\n", "environment: production\n")];
    stage.sample.edit_document("targets.yaml", "name: storefront-uk", &switch);
    stage.until("the customers in production", async |_| names(&production).len() >= 2).await;
    stage.until_idle(UK).await;
    stage.assert_settled(UK).await;
    assert_eq!(stage.status(UK).space.unwrap().environment.as_str(), "production");
    let calls = test.inside().seen.len();
    stage.assert_settled(UK).await;
    assert_eq!(test.inside().seen.len(), calls, "test is called no more");
    assert!(read.lock().unwrap().contains(&"SHOP".to_owned()));
    assert_eq!(
        (names(&test), names(&production)),
        (CUSTOMERS.map(str::to_owned).to_vec(), CUSTOMERS.map(str::to_owned).to_vec())
    );
    stage.end().await;
}
