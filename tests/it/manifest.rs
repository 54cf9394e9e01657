//! Documents from files: the samples are sound, and every broken document is told of with its
//! place and with what would be right.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use rosterd::manifest;
use rosterd::manifest::Allowed;
use rosterd::manifest::Documents;
use rosterd::manifest::Kind;
use rosterd::manifest::OperatorDocuments;
use rosterd::manifest::Problem;
use rosterd::manifest::Rules;
use rosterd::model::ids::RecordId;
use rosterd::model::path::AttributePath;
use rosterd::model::target::MappingValue;
use rosterd::model::target::Mode;
use rosterd::model::target::Own;
use rosterd::model::target::Schedule;

/// One load; `operator` files are those that only operators can change.
fn load_beside(files: &[(&str, &[u8])], operator: &[(&str, &[u8])], rules: &Rules) -> Documents {
    let parse = |(name, bytes): &(&str, &[u8])| Arc::new(manifest::parse_file(name, bytes));
    let included = OperatorDocuments::new(operator.iter().map(parse));
    let mut documents = manifest::combine(files.iter().map(parse), &included, rules);
    manifest::add_snippets(&mut documents.problems, |file| {
        files.iter().chain(operator).find(|(name, _)| *name == file).map(|(_, bytes)| bytes.to_vec())
    });
    documents
}

fn load(files: &[(&str, &[u8])], rules: &Rules) -> Documents {
    load_beside(files, &[], rules)
}

fn try_out() -> Rules {
    Rules { operator_documents_allowed: Allowed::Loopback, teams: None, ..Rules::default() }
}

#[test]
fn all_samples_load_without_a_problem() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests");
    let mut files = Vec::new();
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "yaml") && path.file_name().unwrap() != "rosterd.yaml" {
                files.push((path.to_string_lossy().into_owned(), fs::read(&path).unwrap()));
            }
        }
    }
    let files: Vec<_> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let documents = load(&files, &try_out());
    let told: Vec<String> = documents.problems.iter().map(|problem| manifest::render(problem, false)).collect();
    assert!(told.is_empty(), "{}", told.join("\n\n"));
    assert!(documents.users.len() > 5 && documents.targets.len() > 5);
}

/// A broken document of `tests/it/broken`, as the files there write it:
///
/// ```text
/// === what is wrong [rules]
/// ! code line:column hint
/// the document
/// +++ b.yaml
/// another file
/// ```
struct Case<'a> {
    name: &'a str,
    rules: &'a str,
    expected: Vec<&'a str>,
    files: Vec<(&'a str, String)>,
}

fn cases(text: &str) -> Vec<Case<'_>> {
    text.split("=== ").skip(1).map(case).collect()
}

fn case(text: &str) -> Case<'_> {
    let (title, body) = text.split_once('\n').unwrap();
    let (name, rules) = title.split_once(" [").unwrap_or((title, "]"));
    let mut case = Case { name, rules: rules.trim_end_matches(']'), expected: Vec::new(), files: Vec::new() };
    let mut files = vec![("a.yaml", String::new())];
    for line in body.split_inclusive('\n') {
        if let Some(expected) = line.strip_prefix("! ") {
            case.expected.push(expected.trim_end());
        } else if let Some(file) = line.strip_prefix("+++ ") {
            files.push((file.trim_end(), String::new()));
        } else {
            files.last_mut().unwrap().1.push_str(line);
        }
    }
    case.files = files;
    case
}

impl Case<'_> {
    fn problems(&self) -> Vec<Problem> {
        let mut rules = try_out();
        if let Some(teams) = self.rules.strip_prefix("teams=") {
            rules.teams = Some(teams.split(',').map(str::to_owned).collect());
        }
        let base = ("base.yaml", BASE.as_bytes());
        let files: Vec<_> = self.files.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
        let documents = match self.rules {
            // Without operator documents in the folder, those of the base stand elsewhere.
            "no" | "yes" => {
                let allowed = if self.rules == "no" { Allowed::No } else { Allowed::Yes };
                rules.operator_documents_allowed = allowed;
                let parts: Vec<&str> = BASE.split("---\n").collect();
                let (operators, staff) = (parts[..2].join("---\n"), parts[2]);
                let with_roles: Vec<_> = files.into_iter().chain([("roles.yaml", staff.as_bytes())]).collect();
                load_beside(&with_roles, &[("targets.yaml", operators.as_bytes())], &rules)
            }
            "operator" => load_beside(&[base], &files, &rules),
            _ => load(&files.into_iter().chain([base]).collect::<Vec<_>>(), &rules),
        };
        documents.problems
    }

    /// Compares the problems with those expected: all of them, in order, and nothing else.
    fn mismatch(&self) -> Option<String> {
        let problems = self.problems();
        let found: Vec<String> = problems.iter().map(told).collect();
        let same = found == self.expected;
        (!same).then(|| {
            let seen: Vec<String> = problems.iter().map(|problem| manifest::render(problem, false)).collect();
            let expected = self.expected.join("\n! ");
            format!("=== {}\n! {}\nexpected\n! {expected}\n{}", self.name, found.join("\n! "), seen.join("\n"))
        })
    }
}

/// A problem on one line: code, place, hint.
fn told(problem: &Problem) -> String {
    let file = if problem.file == "a.yaml" { String::new() } else { format!("{}:", problem.file) };
    let hint = problem.hint.as_deref().unwrap_or("(no hint)");
    format!("{} {file}{}:{} {hint}", problem.code, problem.line, problem.column)
}

const BASE: &str = include_str!("broken/base.yaml");
const BROKEN: [&str; 5] = [
    include_str!("broken/syntax.txt"),
    include_str!("broken/header.txt"),
    include_str!("broken/users.txt"),
    include_str!("broken/roles.txt"),
    include_str!("broken/targets.txt"),
];

#[test]
fn every_broken_document_is_told_with_its_code_its_place_and_what_would_be_right() {
    let cases: Vec<Case<'_>> = BROKEN.iter().flat_map(|text| cases(text)).collect();
    assert!(cases.len() >= 70, "only {} broken documents", cases.len());
    let wrong: Vec<String> = cases.iter().filter_map(Case::mismatch).collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n\n"));
}

#[test]
fn no_problem_shows_a_secret() {
    for case in BROKEN.iter().flat_map(|text| cases(text)) {
        for problem in case.problems() {
            let shown = format!("{}{problem:?}", manifest::render(&problem, true));
            for secret in ["hunter2", "p4ss"] {
                assert!(!shown.contains(secret), "{}: {shown}", case.name);
            }
        }
    }
}

#[test]
fn every_problem_of_a_place_shows_the_line_and_marks_it() {
    for case in BROKEN.iter().flat_map(|text| cases(text)) {
        for problem in case.problems() {
            let snippet = problem.snippet.unwrap_or_default();
            assert!(snippet.ends_with('^'), "{}: {snippet}", case.name);
            assert!(snippet.contains(&format!("{} | ", problem.line)), "{}: {snippet}", case.name);
        }
    }
}

#[test]
fn an_exception_explains_an_account_of_its_target() {
    let text = "apiVersion: rosterd.dev/v1
kind: Exception
metadata: { name: crm-batch }
spec: { target: crm, account: svc-batch, owner: u-1, reason: nightly import, until: 2027-06-30 }
";
    let files = [("a.yaml", text), ("b.yaml", &user("u-1", "{}")), ("base.yaml", BASE)];
    let files = files.map(|(name, text)| (name, text.as_bytes()));
    let documents = load(&files, &try_out());
    assert_eq!(codes(&documents), []);
    let target = documents.targets.iter().find(|target| target.name.as_str() == "crm").unwrap();
    let found: Vec<_> = target.exceptions.iter().map(|found| (found.account.as_str(), found.owner.as_str())).collect();
    assert_eq!(found, [("svc-batch", "u-1")]);
    assert_eq!(target.exceptions[0].until.unwrap().to_rfc3339(), "2027-06-30T00:00:00+00:00");
    let folder = load(&files, &Rules { operator_documents_allowed: Allowed::No, teams: None, ..Rules::default() });
    assert!(folder.problems.iter().any(|problem| problem.code == "operator-document" && problem.file == "a.yaml"));
}

fn user(name: &str, spec: &str) -> String {
    format!("apiVersion: rosterd.dev/v1\nkind: User\nmetadata: {{ name: {name} }}\nspec: {spec}\n")
}

fn codes(documents: &Documents) -> Vec<(&str, u32, u32)> {
    documents.problems.iter().map(|problem| (problem.code, problem.line, problem.column)).collect()
}

#[test]
fn a_user_is_read_whole() {
    let text = "apiVersion: rosterd.dev/v1
kind: User
metadata:
  name: 0012
  formerly: [u-77]
  labels: { folder: acme, floor: 3 }
spec:
  givenName: No
  familyName: \"Null\"
  email: ada@acme.example
  timeZone: Europe/London
  locale: en-GB
  userType: employee
  active: false
  validFrom: 2026-12-01T00:00:00Z
  validUntil: 2027-03-31T18:00:00+02:00
  login: password
  roles: [staff, { name: staff, validUntil: 2027-01-31T18:00:00Z }]
  teams: [credit-emea]
  manager: u-0007
  attributes: { phone: +442079460000, approvalLimit: 5000, billTo: 0017, tags: [a, 1, true] }
";
    let documents = load(&[("a.yaml", text.as_bytes()), ("base.yaml", BASE.as_bytes())], &try_out());
    assert_eq!(codes(&documents), []);
    let user = documents.users.values().next().unwrap();
    // Plain text stays as it is written wherever text belongs.
    assert_eq!(
        (user.id.as_str(), user.given_name.as_deref(), user.family_name.as_deref()),
        ("0012", Some("No"), Some("Null"))
    );
    assert_eq!(user.labels["floor"], "3");
    assert!(!user.active);
    assert_eq!(user.valid.until.unwrap().to_rfc3339(), "2027-03-31T16:00:00+00:00");
    assert_eq!(user.roles.len(), 2);
    assert_eq!(
        serde_json::to_string(&user.attributes).unwrap(),
        r#"{"approvalLimit":5000,"billTo":"0017","phone":"+442079460000","tags":["a",1,true]}"#
    );
    assert_eq!((user.origin.line, user.lines["roles"], user.lines["attributes.billTo"]), (4, 18, 21));
    assert_eq!(user.origin.what.as_ref(), "User 0012");
}

#[test]
fn the_same_document_as_json_with_a_mark_and_with_windows_lines_is_the_same_user() {
    let yaml = user("u-1", "{ givenName: Ada }");
    let json = r#"{"apiVersion": "rosterd.dev/v1", "kind": "User", "metadata": {"name": "u-1"}, "spec": {"givenName": "Ada"}}"#;
    for text in [yaml.clone(), json.to_owned(), format!("\u{feff}{yaml}"), yaml.replace('\n', "\r\n")] {
        let documents = load(&[("a.json", text.as_bytes())], &try_out());
        assert_eq!(codes(&documents), [], "{text}");
        assert_eq!(documents.users.values().next().unwrap().given_name.as_deref(), Some("Ada"), "{text}");
    }
}

#[test]
fn anchors_and_merges_are_followed() {
    let spec = "\n  attributes:\n    a: &a [x, y]\n    b: *a\n---\n";
    let merged = "\n  attributes: { <<: [{ a: 1, b: 1 }, { b: 2, c: 2 }], a: 0 }\n";
    let text = user("u-1", spec) + &user("u-2", merged);
    let documents = load(&[("a.yaml", text.as_bytes())], &try_out());
    assert_eq!(codes(&documents), []);
    let attributes: Vec<String> =
        documents.users.values().map(|user| serde_json::to_string(&user.attributes).unwrap()).collect();
    assert_eq!(attributes, [r#"{"a":["x","y"],"b":["x","y"]}"#, r#"{"a":0,"b":1,"c":2}"#]);
}

#[test]
fn a_target_wins_over_its_defaults_maps_merge_and_lists_replace() {
    let text = r#"apiVersion: rosterd.dev/v1
kind: TargetDefaults
metadata: { name: web2 }
spec:
  connector: { scim: { profile: aws } }
  mode: enforce
  schedule: { every: 1h }
  account:
    match: [externalId, userName]
    protected: [root]
    userName: "{{ user.email }}"
    attributes: { title: { value: a, own: create }, name.givenName: { value: "{{ user.givenName }}" } }
---
apiVersion: rosterd.dev/v1
kind: Target
metadata: { name: shop }
spec:
  defaults: web2
  connector: { scim: {} }
  schedule: { cron: "0 3 * * *" }
  account:
    match: [userName]
    attributes: { title: { value: b } }
"#;
    let documents = load(&[("a.yaml", text.as_bytes())], &try_out());
    assert_eq!(codes(&documents), []);
    let target = &documents.targets[0];
    assert_eq!(target.settings.value, serde_json::json!({ "profile": "aws" }));
    assert_eq!(target.schedule, Some(Schedule::Cron { cron: "0 3 * * *".into(), time_zone: "UTC".into() }));
    assert_eq!(target.mode, Mode::Enforce);
    assert_eq!((target.account.match_keys.len(), target.account.attributes.len()), (1, 2));
    let title = &target.account.attributes[&AttributePath::parse("title").unwrap()];
    assert_eq!((&title.value, title.own), (&MappingValue::Literal("b".into()), Own::Create));
    assert_eq!((title.personal, title.origin.line), (false, 23));
    assert_eq!(target.account.protected, ["root"]);
}

#[test]
fn only_the_chosen_environment_is_kept() {
    let text = r#"apiVersion: rosterd.dev/v1
kind: Target
metadata: { name: shop }
spec:
  connector: { scim: {} }
  environment: test
  environments:
    test: { url: "http://127.0.0.1:9001/scim/v2", auth: { bearer: { env: SHOP } } }
    production: { url: "https://shop.example/scim/v2", auth: { bearer: { secret: shop } } }
  account: { userName: "{{ user.email }}" }
"#;
    let documents = load(&[("a.yaml", text.as_bytes())], &try_out());
    assert_eq!(codes(&documents), []);
    let target = &documents.targets[0];
    assert_eq!(target.environment.as_str(), "test");
    assert_eq!(target.settings.value, serde_json::json!({ "profile": "generic" }));
    assert_eq!((target.endpoint.line("/auth/bearer/env"), target.endpoint.line("")), (8, 8));
    assert!(!serde_json::to_string(target.as_ref()).unwrap().contains("shop.example"));
}

#[test]
fn a_target_that_users_brought_gets_nothing_at_all() {
    let text = r#"apiVersion: rosterd.dev/v1
kind: Target
metadata: { name: crm2 }
spec:
  connector: { scim: {} }
  environments: { x: { url: "https://evil.example", auth: { bearer: { secret: collections } } } }
  account: { userName: "{{ user.email }}" }
"#;
    let documents = load(&[("a.yaml", text.as_bytes())], &Rules::default());
    assert_eq!(codes(&documents), [("operator-document", 2, 7)]);
    assert!(documents.targets.is_empty());
}

#[test]
fn sound_documents_stand_beside_broken_ones() {
    let text =
        user("u-1", "{ active: false }") + "---\n" + &user("u-2", "{ active: [ }") + "---\n" + &user("u-3", "{}");
    let documents = load(&[("a.yaml", text.as_bytes()), ("b.yaml", b"\xff\xfe")], &try_out());
    let ids: Vec<&str> = documents.users.keys().map(RecordId::as_str).collect();
    assert_eq!(ids, ["u-1", "u-3"]);
    assert_eq!(codes(&documents), [("syntax", 9, 17), ("not-utf-8", 0, 0)]);
}

#[test]
fn bytes_that_are_not_utf_8_spoil_their_own_document_alone() {
    let mut bytes = user("u-1", "{}").into_bytes();
    bytes.extend(b"---\nkind: \xe9t\xe9\n---\n");
    bytes.extend(user("u-2", "{}").into_bytes());
    let documents = load(&[("a.yaml", &bytes)], &try_out());
    assert_eq!(codes(&documents), [("not-utf-8", 6, 7)]);
    assert_eq!(documents.users.len(), 2);
}

#[test]
fn what_is_too_large_is_refused_unread() {
    let long = user("u-1", &format!("{{ givenName: {} }}", "a".repeat(4 << 20)));
    let documents = load(&[("a.yaml", long.as_bytes())], &try_out());
    assert_eq!(codes(&documents), [("too-large", 1, 1)]);
    let file = vec![b'#'; (64 << 20) + 1];
    assert_eq!(codes(&load(&[("a.yaml", &file)], &try_out())), [("too-large", 0, 0)]);
    let wordy = user("u-1", &format!("{{ givenName: {} }}", "a".repeat(20_000)));
    assert_eq!(codes(&load(&[("a.yaml", wordy.as_bytes())], &try_out())), [("too-large", 4, 20)]);
}

#[test]
fn a_hostile_document_is_told_of_in_a_few_problems() {
    let fields: Vec<String> = (0..5_000).map(|at| format!("\n  field{at}: x")).collect();
    let spec = fields.concat();
    let documents = load(&[("a.yaml", user("u-1", &spec).as_bytes())], &try_out());
    assert!(documents.problems.len() <= 61, "{}", documents.problems.len());
    let keys = "a: 1, ".repeat(20_000);
    let documents = load(&[("a.yaml", user("u-1", &format!("{{ {keys} }}")).as_bytes())], &try_out());
    assert!(documents.problems.len() <= 61, "{}", documents.problems.len());
    assert!(documents.problems.iter().any(|problem| problem.code == "more"));
}

#[test]
fn the_order_of_files_changes_nothing() {
    let (one, two) = (user("u-1", "{ roles: [no-such] }"), user("u-2", "{ emial: x }"));
    let forth = load(&[("a.yaml", one.as_bytes()), ("b.yaml", two.as_bytes())], &try_out());
    let back = load(&[("b.yaml", two.as_bytes()), ("a.yaml", one.as_bytes())], &try_out());
    assert_eq!((&forth.digest, &forth.problems), (&back.digest, &back.problems));
    let other = load(&[("a.yaml", one.as_bytes())], &try_out());
    assert_ne!(forth.digest, other.digest);
    assert_eq!(forth.digest.as_str().len(), 64);
}

#[test]
fn the_schema_of_each_kind_knows_its_fields_and_no_others() {
    for kind in Kind::ALL {
        let schema = manifest::schema(kind);
        assert_eq!(schema["properties"]["kind"]["const"], kind.as_str());
        assert_eq!(schema["additionalProperties"], false);
        let required: Vec<&str> =
            schema["required"].as_array().unwrap().iter().filter_map(|word| word.as_str()).collect();
        for word in ["apiVersion", "kind", "metadata", "spec"] {
            assert!(required.contains(&word), "{kind:?} {required:?}");
        }
    }
    let text = manifest::schema(Kind::User).to_string();
    assert!(text.contains("givenName") && text.contains("date-time"), "{text}");
}

proptest! {
    #[test]
    fn no_bytes_make_reading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        load(&[("a.yaml", &bytes)], &try_out());
    }

    #[test]
    fn no_pieces_of_yaml_make_reading_panic(
        pieces in proptest::collection::vec(proptest::sample::select(PIECES.to_vec()), 0..40),
    ) {
        let text = pieces.concat();
        let documents = load(&[("a.yaml", text.as_bytes())], &try_out());
        for problem in &documents.problems {
            manifest::render(problem, true);
        }
    }

    #[test]
    fn a_broken_sample_still_gives_located_problems(cut in 0_usize..2000, put in "\\PC{0,3}") {
        let at = (0..=cut.min(BASE.len())).rev().find(|at| BASE.is_char_boundary(*at)).unwrap_or(0);
        let (head, tail) = BASE.split_at(at);
        let text = format!("{head}{put}{tail}");
        for problem in load(&[("a.yaml", text.as_bytes())], &try_out()).problems {
            prop_assert!(problem.line >= 1, "{problem:?}");
            prop_assert!(problem.hint.is_some(), "{problem:?}");
        }
    }
}

const PIECES: [&str; 34] = [
    "apiVersion: rosterd.dev/v1\n",
    "kind: User\n",
    "kind: Target\n",
    "metadata: { name: a }\n",
    "spec:\n",
    "---\n",
    "...\n",
    "  ",
    "\n",
    "- ",
    ": ",
    "{",
    "}",
    "[",
    "]",
    ",",
    "\"",
    "'",
    "&a ",
    "*a",
    "<<: ",
    "!!str ",
    "!x ",
    "|\n",
    ">\n",
    "#",
    "%",
    "\t",
    "null",
    "roles",
    "auth",
    "é",
    "{{ user.email }}",
    "password: hunter2\n",
];

#[test]
fn a_file_of_broken_documents_is_told_of_in_part_and_its_sound_users_still_count() {
    let mut text = "---\nx\n".repeat(20_000);
    text.push_str("---\napiVersion: rosterd.dev/v1\nkind: User\nmetadata: { name: u-1 }\n");
    text.push_str("spec: { givenName: A, familyName: B, email: a@x.example, active: false, roles: [] }\n");
    let documents = load(&[("a.yaml", text.as_bytes())], &Rules::default());
    assert!(documents.users.contains_key(&RecordId::from("u-1")));
    assert_eq!(documents.problems.len(), 1_001);
    let more = documents.problems.iter().find(|problem| problem.code == "more").expect("a word about the rest");
    assert_eq!(more.message, "19000 more problems stand in this file");
}

#[test]
fn a_near_word_is_looked_for_once_however_many_users_name_an_unknown_role() {
    let role = "apiVersion: rosterd.dev/v1\nkind: Role\nmetadata: { name: agent }\nspec: { grants: [] }\n";
    let user = |number: usize, role: &str| {
        format!(
            "---\napiVersion: rosterd.dev/v1\nkind: User\nmetadata: {{ name: u-{number:03} }}\nspec: {{ givenName: A, \
             familyName: B, email: u{number}@x.example, roles: [{role}] }}\n"
        )
    };
    let hints = |role_of: &dyn Fn(usize) -> String| {
        let text: String = (0..300).map(|number| user(number, &role_of(number))).collect();
        let documents = load(&[("a.yaml", text.as_bytes()), ("b.yaml", role.as_bytes())], &Rules::default());
        let hints = documents.problems.into_iter().map(|problem| problem.hint.unwrap_or_default());
        hints.filter(|hint| hint == "did you mean `agent`?").count()
    };
    assert_eq!(hints(&|_| "agnet".to_owned()), 300);
    assert_eq!(hints(&|number| format!("agent{number}")), 100);
}
