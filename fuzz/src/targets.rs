//! What is done with outside bytes, one function a parser: none may panic, hang or eat memory.
//!
//! `fuzz/run` searches for bytes that do; `tests/it/fuzz.rs` replays those that were found.

// Named in full: two programs include this file, one of them from elsewhere.
#[path = "targets/scim.rs"]
mod scim;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::OnceLock;

use chrono::DateTime;
use chrono::Utc;
use rosterd::cli::saved;
use rosterd::connector::Shape;
use rosterd::connector::document;
use rosterd::expr::Condition;
use rosterd::expr::Context;
use rosterd::expr::Names;
use rosterd::expr::Template;
use rosterd::manifest::Allowed;
use rosterd::manifest::Documents;
use rosterd::manifest::OperatorDocuments;
use rosterd::manifest::Rules;
use rosterd::manifest::add_snippets;
use rosterd::manifest::combine;
use rosterd::manifest::parse_file;
use rosterd::manifest::render;
use rosterd::model::account::Account;
use rosterd::model::account::Membership;
use rosterd::model::history::Intent;
use rosterd::model::path::AttributePath;
use rosterd::model::snapshot::Snapshot;
use rosterd::model::target::Schedule;
use rosterd::model::target::Target as TargetDocument;
use rosterd::model::user::User;
use rosterd::model::users::Users;
use rosterd::plan::render as shown;
use rosterd::project::Projector;
use rosterd::project::Table;
use rosterd::schedule::Timetable;
use rosterd::schedule::parse_duration;
use rosterd::secrets::keys::Keys;
use rosterd::settings::Settings;
use rosterd::store::transfer;
use serde_json::Value;
use serde_json::json;

/// What takes the bytes.
pub(crate) type Target = fn(&[u8]);

/// Every target, by the name of its folder of inputs.
pub(crate) const ALL: [(&str, Target); 10] = [
    ("manifests", manifests),
    ("expressions", expressions),
    ("scim-answers", scim::answers),
    ("scim-resources", resources),
    ("paths", paths),
    ("schedules", schedules),
    ("saved-plans", saved_plans),
    ("settings", settings),
    ("store-import", store_import),
    ("journal", journal),
];

/// Between the parts of an input: several files, or a head and a body.
const CUT: &str = "\n%%%%\n";

fn parts(data: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let mut rest = data;
    while let Some(at) = rest.windows(CUT.len()).position(|window| window == CUT.as_bytes()) {
        parts.push(rest.get(..at).unwrap_or_default());
        rest = rest.get(at + CUT.len()..).unwrap_or_default();
    }
    parts.push(rest);
    parts
}

fn rules() -> Rules {
    Rules { operator_documents_allowed: Allowed::Loopback, teams: None, ..Rules::default() }
}

/// Files of a folder: read, put together in both orders, complained about, projected.
fn manifests(data: &[u8]) {
    let parts = parts(data);
    let file = |(number, bytes): (usize, &&[u8])| Arc::new(parse_file(&format!("{number}.yaml"), bytes));
    let files: Vec<_> = parts.iter().enumerate().take(4).map(file).collect();
    let documents = combine(files.clone(), &OperatorDocuments::default(), &rules());
    let turned = combine(files.into_iter().rev(), &OperatorDocuments::default(), &rules());
    assert!(documents.digest == turned.digest && documents.problems == turned.problems, "the order of files counts");
    let mut problems = documents.problems.clone();
    let number = |file: &str| file.trim_end_matches(".yaml").parse::<usize>().ok();
    add_snippets(&mut problems, |file| parts.get(number(file)?).map(|bytes| bytes.to_vec()));
    for problem in &problems {
        assert!(!render(problem, false).is_empty() && !render(problem, true).is_empty());
    }
    projected(documents);
}

/// Every user in every target, one after another and all at once.
fn projected(documents: Documents) {
    let Documents { users, roles, targets, .. } = documents;
    let snapshot = |users| Arc::new(Snapshot { users, roles: roles.clone() });
    for target in targets {
        let Ok(projector) = Projector::new(target) else { continue };
        let projector = Arc::new(projector);
        let mut whole = Table::new(Arc::clone(&projector));
        whole.begin(&snapshot(users.clone()), &Arc::default(), noon());
        let mut single = Table::new(projector);
        let mut so_far = Users::default();
        for user in users.values() {
            so_far.insert(&user);
            single.refresh(&snapshot(so_far.clone()), &Arc::default(), noon());
        }
        for record in users.keys() {
            assert!(whole.desired(record).is_some(), "everybody has an answer");
            assert_eq!(whole.desired(record), single.desired(record), "the order in which users are projected counts");
        }
    }
}

fn noon() -> DateTime<Utc> {
    DateTime::from_timestamp(1_784_030_400, 0).unwrap_or_default()
}

/// Somebody with a value in every field, and a target and an account to go with them.
struct Sample {
    user: User,
    target: Arc<TargetDocument>,
    account: Account,
}

const SAMPLE: &str = r#"
apiVersion: rosterd.dev/v1
kind: User
metadata: { name: u-1, labels: { folder: acme } }
spec:
  givenName: Ada
  familyName: Lovelace
  email: ada@acme.example
  timeZone: Europe/London
  locale: en-GB
  userType: employee
  validUntil: 2027-03-31T18:00:00+02:00
  roles: [r]
  teams: [one, two]
  manager: u-1
  attributes: { phone: "+44 20 7946 0000", approvalLimit: 5000, billTo: "C-17", empty: "" }
---
apiVersion: rosterd.dev/v1
kind: Role
metadata: { name: r }
spec: { grants: [ { target: t, level: all, attributes: { role: Filtered } } ] }
---
apiVersion: rosterd.dev/v1
kind: Target
metadata: { name: t, labels: { env: test } }
spec:
  connector: { scim: {} }
  environment: test
  environments: { test: { url: "http://127.0.0.1:1/" } }
  account: { match: [userName], userName: "{{ user.email }}" }
"#;

fn sample() -> &'static Sample {
    static SAMPLES: OnceLock<Sample> = OnceLock::new();
    SAMPLES.get_or_init(|| {
        let file = Arc::new(parse_file("sample.yaml", SAMPLE.as_bytes()));
        let documents = combine([file], &OperatorDocuments::default(), &rules());
        assert_eq!(documents.problems, [], "the sample is sound");
        let user = documents.users.values().next().expect("a user");
        let target = documents.targets.into_iter().next().expect("a target");
        let resource = json!({ "id": "1", "userName": "ada", "active": true, "userType": "Employee",
            "emails": [{ "type": "work", "value": "ada@acme.example" }] });
        let account = document::account(&resource, &shape()).expect("an account");
        Sample { user, target, account }
    })
}

fn shape() -> Shape {
    let paths = ["name.givenName", "emails[type eq \"work\"].value", "emails", "userType", "roles", COST_CENTER];
    Shape {
        paths: paths.iter().filter_map(|path| AttributePath::parse(path).ok()).collect(),
        memberships: [Membership::Group("g1".to_owned()), Membership::Role("admin".to_owned())].into(),
    }
}

const COST_CENTER: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:costCenter";

/// The text as a template of a mapping and as both kinds of condition.
fn expressions(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Sample { user, target, account } = sample();
    let grant = BTreeMap::from([("role".to_owned(), Value::from("Filtered"))]);
    if let Ok(template) = Template::compile(text, &Names::mapping()) {
        let context = Context::new(user, &grant, target);
        let once = template.render(&context).map_err(|error| error.to_string());
        assert_eq!(once, template.render(&context).map_err(|error| error.to_string()), "equal inputs, equal values");
    }
    if let Ok(condition) = Condition::compile(text, &Names::user()) {
        condition.holds(&Context::of_user(user)).ok();
    }
    if let Ok(condition) = Condition::compile(text, &Names::account()) {
        condition.holds(&Context::of_account(account)).ok();
    }
}

/// A path, and a resource that it is read from, written to and cleared in.
fn resources(data: &[u8]) {
    let parts = parts(data);
    let [head, body, ..] = parts.as_slice() else { return };
    let Ok(resource) = serde_json::from_slice::<Value>(body) else { return };
    document::account(&resource, &shape()).ok();
    document::state(&resource);
    document::canonical(&resource);
    let path = std::str::from_utf8(head).ok().and_then(|head| AttributePath::parse(head).ok());
    let Some(path) = path else { return };
    let before = document::get(&resource, &path);
    for value in [json!("x"), json!(["a", "b"]), json!({ "value": "x" }), json!(null), json!(true)] {
        let mut changed = resource.clone();
        document::set(&mut changed, &path, &value);
        document::get(&changed, &path);
        document::clear(&mut changed, &path);
        document::written(&path.parts(), &value, before.as_ref());
    }
    let again = document::canonical(&document::canonical(&resource));
    assert_eq!(again, document::canonical(&resource), "the form for comparing is a form");
}

/// Paths with their filters: what is taken says of itself what was written.
fn paths(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(path) = AttributePath::parse(text) else { return };
    assert_eq!(path.as_str(), text);
    let parts = path.parts();
    let schema = parts.schema.map(|schema| format!("{schema}:")).unwrap_or_default();
    let filter = parts.filter.map(|(sub, literal)| format!("[{sub} eq \"{literal}\"]")).unwrap_or_default();
    let sub = parts.sub.map(|sub| format!(".{sub}")).unwrap_or_default();
    assert_eq!(format!("{schema}{}{filter}{sub}", parts.attribute), text);
    if parts.filter.is_some_and(|(by, _)| parts.sub.unwrap_or("value").eq_ignore_ascii_case(by)) {
        // Chosen by the very value that is written: it is found under the new one.
        return;
    }
    let whole = parts.filter.is_none() && parts.sub.is_none();
    let written = if whole { document::written(&parts, &json!("value"), None) } else { json!("value") };
    let mut resource = json!({});
    document::set(&mut resource, &path, &json!("value"));
    // In the form of the target: where it keeps lists, one value is a list.
    assert_eq!(document::get(&resource, &path), Some(document::canonical(&written)), "what is written is found");
}

/// Cron in a time zone, and durations.
fn schedules(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (cron, zone) = text.split_once('\n').unwrap_or((text, "UTC"));
    let schedule = Schedule::Cron { cron: cron.to_owned(), time_zone: zone.to_owned() };
    if let Ok(timetable) = Timetable::new(&schedule) {
        let mut at = noon();
        for _ in 0..5 {
            let Some(next) = timetable.next_after(at) else { break };
            assert!(next > at, "the next time is later");
            assert!(timetable.due(Some(at), next) && !timetable.due(Some(next), next), "due once");
            at = next;
        }
    }
    if let Ok(duration) = parse_duration(text)
        && let Ok(timetable) = Timetable::new(&Schedule::Every(duration))
    {
        assert!(timetable.next_after(noon()).is_none_or(|next| next > noon()), "the next time is later");
    }
}

/// A file for `apply`, and what is shown of it.
fn saved_plans(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(saved) = saved::parse(text) else { return };
    for plan in &saved.plans {
        shown::text(plan);
        shown::markdown(plan, true);
        shown::markdown(plan, false);
        shown::canonical_json(plan);
    }
}

/// `rosterd.yaml`
fn settings(data: &[u8]) {
    let Err(mut problems) = Settings::parse("rosterd.yaml", data, Path::new("/nowhere")) else { return };
    add_snippets(&mut problems, |_| Some(data.to_vec()));
    assert!(!problems.is_empty(), "a refusal says why");
    for problem in &problems {
        render(problem, true);
    }
}

fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| Keys::from_bytes(&[1; 32], &[2; 32]).expect("keys"))
}

/// A file that a store is moved by: as it is, and as rows under a seal that is good.
fn store_import(data: &[u8]) {
    transfer::row(data).ok();
    transfer::check(data, keys()).ok();
    let Some((first, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let table = &transfer::TABLES[usize::from(*first) % transfer::TABLES.len()];
    let mut file = Vec::new();
    let mut writer = transfer::Writer::new(&mut file, keys()).expect("a vector takes everything");
    if writer.row(table, text).is_ok() && writer.finish().is_ok() {
        transfer::check(&file, keys()).ok();
    }
}

/// A line of the journal, sealed and opened.
fn journal(data: &[u8]) {
    keys().open("journal", data).ok();
    let Ok(intent) = serde_json::from_slice::<Intent>(data) else { return };
    let text = serde_json::to_vec(&intent).expect("what was read is written");
    assert!(serde_json::from_slice::<Intent>(&text).is_ok(), "what was written is read");
}
