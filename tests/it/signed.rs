//! Signed `Decision` documents: which count, for what, and once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::SHA512;
use ring::digest::digest;
use ring::signature::Ed25519KeyPair;
use ring::signature::KeyPair as _;
use rosterd::engine::requests::Shown;
use rosterd::manifest::Allowed;
use rosterd::manifest::Documents;
use rosterd::manifest::OperatorDocuments;
use rosterd::manifest::Rules;
use rosterd::manifest::combine;
use rosterd::manifest::decision::DecisionKey;
use rosterd::manifest::decision::NAMESPACE;
use rosterd::manifest::decision::Said;
use rosterd::manifest::parse_file;
use rosterd::manifest::sshsig::PublicKey;
use rosterd::model::approval::Approval;
use rosterd::model::approval::Gate;
use rosterd::model::approval::Level;
use rosterd::model::approval::Party;
use rosterd::model::approval::Signed;
use rosterd::model::ids::RequestId;
use rosterd::model::request::RequestState;
use rosterd::model::request::Word;
use rosterd::model::target::Target;
use rosterd::model::user::User;

use crate::support::make::approver;
use crate::support::make::broken;
use crate::support::make::documents;
use crate::support::make::origin;
use crate::support::make::target;
use crate::support::make::user;
use crate::support::rig::Rig;

fn string(part: &[u8]) -> Vec<u8> {
    [&u32::try_from(part.len()).unwrap().to_be_bytes(), part].concat()
}

/// Somebody with a key.
struct Hand(Ed25519KeyPair);

impl Hand {
    fn new(seed: u8) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
    }

    fn blob(&self) -> Vec<u8> {
        [string(b"ssh-ed25519"), string(self.0.public_key().as_ref())].concat()
    }

    fn key(&self, group: &str) -> DecisionKey {
        let key = PublicKey::parse(&format!("ssh-ed25519 {} x", STANDARD.encode(self.blob()))).unwrap();
        let groups = BTreeMap::from([(group.to_owned(), vec![BTreeMap::new()])]);
        DecisionKey { key, groups, outside: false, scope: BTreeMap::new() }
    }

    /// As `ssh-keygen -Y sign` does, by the letter of PROTOCOL.sshsig.
    fn sign(&self, line: &str) -> String {
        let hashed = digest(&SHA512, line.as_bytes());
        let head = [string(NAMESPACE.as_bytes()), string(b""), string(b"sha512")].concat();
        let signature = self.0.sign(&[&b"SSHSIG"[..], &head, &string(hashed.as_ref())].concat());
        let signature = [string(b"ssh-ed25519"), string(signature.as_ref())].concat();
        let blob = [&b"SSHSIG"[..], &1_u32.to_be_bytes(), &string(&self.blob()), &head, &string(&signature)].concat();
        format!("-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n", STANDARD.encode(blob))
    }

    fn document(&self, said: Said<'_>) -> String {
        said.document(&self.sign(&said.line()))
    }
}

const TARGET: &str = "apiVersion: rosterd.dev/v1\nkind: Target\nmetadata: { name: app }\nspec:\n  connector: { directory: {} }\n  \
                      account: { userName: \"{{ user.email }}\" }\n  approval: {}\n";

fn said() -> Said<'static> {
    Said {
        target: "app",
        request: "0c7f5b1e2a9d4863",
        digest: "d",
        word: Word::Accept,
        reason: Some("known to us: \"Ada\""),
        by: "alice",
        at: "2026-11-22T12:00:00Z",
    }
}

fn load(texts: &[&str], keys: &[(&str, &Hand)]) -> Documents {
    let rules = Rules {
        operator_documents_allowed: Allowed::Loopback,
        decision_keys: keys.iter().map(|(name, hand)| ((*name).to_owned(), hand.key("desk"))).collect(),
        ..Rules::default()
    };
    let file = |(at, text): (usize, &&str)| Arc::new(parse_file(&format!("{at}.yaml"), text.as_bytes()));
    combine(texts.iter().enumerate().map(file), &OperatorDocuments::default(), &rules)
}

fn codes(documents: &Documents) -> Vec<&'static str> {
    documents.problems.iter().map(|problem| problem.code).collect()
}

#[test]
fn s2_6_a_decision_document_counts_only_signed_by_a_key_that_the_operator_named() {
    let (alice, mallory) = (Hand::new(1), Hand::new(2));
    let document = alice.document(said());
    let documents = load(&[TARGET, &document], &[("alice", &alice)]);
    assert_eq!(documents.problems, []);
    let signed = &documents.signed[&documents.targets[0].name];
    assert_eq!((signed.len(), signed[0].person.as_str(), signed[0].word), (1, "alice", Word::Accept));
    assert_eq!(signed[0].reason.as_deref(), said().reason);
    let refused = |text: &str, keys: &[(&str, &Hand)]| {
        let documents = load(&[TARGET, text], keys);
        assert_eq!(documents.signed, BTreeMap::new());
        codes(&documents)
    };
    assert_eq!(refused(&document, &[]), ["unsupported-kind"], "nobody's are taken where the operator names no key");
    assert_eq!(refused(&document, &[("bob", &alice)]), ["unknown-key"]);
    assert_eq!(refused(&mallory.document(said()), &[("alice", &alice)]), ["bad-signature"]);
    for (from, to) in [
        ("decision: accept", "decision: refuse"),
        ("request: \"0c7f", "request: \"1c7f"),
        ("digest: \"d\"", "digest: \"e\""),
        ("known to us", "known to all"),
        ("12:00:00Z", "13:00:00Z"),
    ] {
        assert_eq!(document.matches(from).count(), 1, "{from} in {document}");
        assert_eq!(refused(&document.replace(from, to), &[("alice", &alice)]), ["bad-signature"], "{from}");
    }
    let silent = Said { word: Word::Refuse, reason: None, ..said() };
    assert_eq!(refused(&alice.document(silent), &[("alice", &alice)]), ["missing-field"]);
    assert_eq!(codes(&load(&[TARGET, &document, &document], &[("alice", &alice)])), ["duplicate-name"; 2]);
}

#[test]
fn a_word_that_counts_nowhere_is_told_and_keeps_nobody_elses_documents_back() {
    let alice = Hand::new(1);
    let document = alice.document(said());
    let check = |approval: &str, key: DecisionKey, expected: &[&str]| {
        let target = TARGET.replace("approval: {}", approval);
        let rules = Rules {
            operator_documents_allowed: Allowed::Loopback,
            decision_keys: BTreeMap::from([("alice".to_owned(), key)]),
            ..Rules::default()
        };
        let files =
            [Arc::new(parse_file("t.yaml", target.as_bytes())), Arc::new(parse_file("d.yaml", document.as_bytes()))];
        let documents = combine(files, &OperatorDocuments::default(), &rules);
        assert_eq!(codes(&documents), expected, "{approval}: {:?}", documents.problems);
        assert!(!documents.problems.iter().any(rosterd::manifest::Problem::blocks));
        assert_eq!(
            documents.signed[&documents.targets[0].name].len(),
            1,
            "a document that is not released may ask them"
        );
    };
    let key = || alice.key("desk");
    let none = || DecisionKey { groups: BTreeMap::new(), ..key() };
    let folder =
        || DecisionKey { scope: BTreeMap::from([("folder".to_owned(), ["acme".to_owned()].into())]), ..none() };
    check("approval: { levels: [ { anyOf: [\"group:desk\"] } ] }", key(), &[]);
    check("approval: { levels: [ { anyOf: [\"group:desk\"] } ] }", none(), &["no-say"]);
    check("approval: { levels: [ { anyOf: [\"person:alice\"] } ] }", none(), &[]);
    check("approval: {}", none(), &[]);
    check("approval: {}", DecisionKey { outside: true, ..none() }, &["no-say"]);
    check("approval: { scopeLabel: folder }", key(), &["no-say"]);
    check("approval: { scopeLabel: folder }", none(), &["no-say"]);
    check("approval: { scopeLabel: folder }", folder(), &[]);
}

#[test]
fn a_signed_decision_counts_while_the_document_that_asks_nobody_is_not_released() {
    let alice = Hand::new(1);
    let bare = TARGET.replace("  approval: {}\n", "");
    let documents = load(&[&bare, &alice.document(said())], &[("alice", &alice)]);
    assert_eq!(documents.problems, []);
    assert_eq!(documents.signed[&documents.targets[0].name].len(), 1);
}

/// L11
#[tokio::test(start_paused = true)]
async fn what_was_signed_is_a_word_while_taking_the_gate_out_waits_for_a_release() {
    let rig = Rig::started(with(user("u-1"), gated(), &[])).await;
    let no = word(&rig.waiting().await, ("alice", "desk"), Word::Refuse);
    rig.declare(with(user("u-1"), target("app"), &[no])).await;
    rig.pass(Duration::from_secs(5)).await;
    assert_eq!(rig.waiting().await.request.state, RequestState::Refused);
}

#[test]
fn a_signed_decision_may_stand_among_users_where_no_other_operator_document_may() {
    let alice = Hand::new(1);
    let document = alice.document(said());
    let keys = BTreeMap::from([("alice".to_owned(), alice.key("desk"))]);
    let rules = Rules { operator_documents_allowed: Allowed::No, decision_keys: keys, ..Rules::default() };
    let operator = OperatorDocuments::new(vec![Arc::new(parse_file("t.yaml", TARGET.as_bytes()))]);
    let documents = combine([Arc::new(parse_file("d.yaml", document.as_bytes()))], &operator, &rules);
    assert_eq!(documents.problems, []);
    assert_eq!(documents.signed[&documents.targets[0].name].len(), 1);
}

fn gate() -> Approval {
    let level = Level { any_of: [Party::Group("desk".to_owned())].into(), ..Level::anybody() };
    Approval { gates: Gate::ALL.into(), levels: vec![level], origin: origin("approval"), ..Approval::ungated() }
}

fn gated() -> Target {
    Target { approval: Some(gate()), ..target("app") }
}

/// One user, and what was signed about requests of `app`.
fn with(user: User, target: Target, signed: &[Signed]) -> Documents {
    let signed = (!signed.is_empty()).then(|| ("app".into(), signed.to_vec()));
    Documents { signed: signed.into_iter().collect(), ..documents([user], [target]) }
}

/// A word that is signed, by somebody of a group.
fn word(shown: &Shown, (person, group): (&str, &str), word: Word) -> Signed {
    Signed {
        name: format!("{}-{person}", word.as_str()),
        by: format!("signed:{person}:{}", word.as_str()),
        person: person.to_owned(),
        groups: BTreeMap::from([(group.to_owned(), vec![BTreeMap::new()])]),
        outside: false,
        scope: BTreeMap::new(),
        request: shown.request.id.clone(),
        digest: shown.digest.clone(),
        word,
        reason: Some("so".to_owned()),
        origin: origin("Decision"),
    }
}

impl Rig {
    async fn waiting(&self) -> Shown {
        self.engine.requests(&|_| true).await.unwrap().pop().unwrap()
    }

    /// By a token.
    async fn rose_says(&self, id: &RequestId, word: Word) {
        let rose = approver("rose", &["desk"]);
        let word = (word, Some("so".to_owned()));
        let said = self.engine.decide_requests(std::slice::from_ref(id), word, &rose, &|_| true).await.unwrap();
        assert!(said[0].result.is_ok(), "{:?}", said[0].result);
    }

    async fn declare_signed(&self, user: User, signed: &[Signed]) -> RequestState {
        self.declare(with(user, gated(), signed)).await;
        self.pass(Duration::from_secs(5)).await;
        self.waiting().await.request.state
    }
}

#[tokio::test(start_paused = true)]
async fn a_signed_decision_is_taken_once_even_where_the_request_is_reopened() {
    let rig = Rig::started(with(user("u-1"), gated(), &[])).await;
    let shown = rig.waiting().await;
    let no = word(&shown, ("alice", "desk"), Word::Refuse);
    assert_eq!(rig.declare_signed(user("u-1"), std::slice::from_ref(&no)).await, RequestState::Refused);
    let request = rig.waiting().await.request;
    assert_eq!(request.decided.as_ref().map(|vote| vote.person.as_str()), Some("alice"));
    rig.rose_says(&request.id, Word::Reopen).await;
    let rig = rig.restarted(with(user("u-1"), gated(), &[no])).await;
    rig.sync("app").await.unwrap();
    assert_eq!(rig.waiting().await.request.state, RequestState::Pending, "it was used up");
    let yes = word(&rig.waiting().await, ("alice", "desk"), Word::Accept);
    assert_eq!(rig.declare_signed(user("u-1"), &[yes]).await, RequestState::Accepted);
    assert_eq!(rig.target("app").count("create"), 1);
    let decided = rig.waiting().await.request.decided.unwrap();
    assert_eq!((decided.by.as_str(), decided.person.as_str()), ("signed:alice:accept", "alice"));
    assert_eq!(rig.store.open().unaudited, [] as [String; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_signed_decision_is_bound_to_what_was_shown() {
    let rig = Rig::started(with(user("u-1"), gated(), &[])).await;
    let yes = word(&rig.waiting().await, ("alice", "desk"), Word::Accept);
    let other = User { email: Some("mallory@acme.example".to_owned()), ..user("u-1") };
    assert_eq!(
        rig.declare_signed(other, std::slice::from_ref(&yes)).await,
        RequestState::Pending,
        "it is somebody else's address now"
    );
    assert_eq!(rig.target("app").count("create"), 0);
    assert_eq!(rig.declare_signed(user("u-1"), &[yes]).await, RequestState::Accepted);
}

#[tokio::test(start_paused = true)]
async fn nobody_signs_about_themselves_about_what_they_wrote_or_where_it_is_not_their_turn() {
    let mut written = user("u-1");
    written.labels.insert("author".to_owned(), "ines".to_owned());
    let rig = Rig::started(with(written.clone(), gated(), &[])).await;
    let shown = rig.waiting().await;
    let who = [("u-1", "desk"), ("U-1@acme.example", "desk"), ("ines", "desk"), ("max", "others"), ("zoe", "")];
    let signed = who.map(|who| word(&shown, who, Word::Accept));
    assert_eq!(rig.declare_signed(written.clone(), &signed).await, RequestState::Pending);
    assert_eq!(rig.target("app").count("create"), 0);
    let yes = word(&shown, ("alice", "desk"), Word::Accept);
    assert_eq!(rig.declare_signed(written, &[signed.to_vec(), vec![yes]].concat()).await, RequestState::Accepted);
}

#[tokio::test(start_paused = true)]
async fn two_who_sign_differently_do_not_decide_differently() {
    let rig = Rig::started(with(user("u-1"), gated(), &[])).await;
    let shown = rig.waiting().await;
    let both = [word(&shown, ("alice", "desk"), Word::Refuse), word(&shown, ("bob", "desk"), Word::Accept)];
    assert_eq!(rig.declare_signed(user("u-1"), &both).await, RequestState::Refused, "the first last word stands");
    rig.sync("app").await.unwrap();
    assert_eq!((rig.target("app").count("create"), rig.waiting().await.request.votes.len()), (0, 1));
}

/// L11, L12
#[tokio::test(start_paused = true)]
async fn a_signed_decision_of_an_earlier_round_is_no_word_about_a_request_that_was_reopened() {
    let rig = Rig::started(with(user("u-1"), gated(), &[])).await;
    let shown = rig.waiting().await;
    // Signed, and kept until somebody else's refusal was taken back.
    let kept = word(&shown, ("alice", "desk"), Word::Accept);
    rig.rose_says(&shown.request.id, Word::Refuse).await;
    assert_eq!(rig.declare_signed(user("u-1"), std::slice::from_ref(&kept)).await, RequestState::Refused);
    rig.rose_says(&shown.request.id, Word::Reopen).await;
    let other = User { given_name: Some("Else".to_owned()), ..user("u-1") };
    assert_eq!(rig.declare_signed(other, &[]).await, RequestState::Pending);
    assert_eq!(rig.declare_signed(user("u-1"), std::slice::from_ref(&kept)).await, RequestState::Pending);
    let rig = rig.restarted(with(user("u-1"), gated(), &[kept])).await;
    assert_eq!((rig.waiting().await.request.state, rig.target("app").count("create")), (RequestState::Pending, 0));
}

#[test]
fn a_decision_of_a_key_that_was_taken_away_keeps_nobody_elses_documents_back() {
    let (alice, bob) = (Hand::new(1), Hand::new(2));
    let documents = load(&[TARGET, &alice.document(said())], &[("bob", &bob)]);
    assert_eq!(codes(&documents), ["unknown-key"], "it is told");
    assert!(!documents.problems.iter().any(rosterd::manifest::Problem::blocks));
    let documents = load(&[&alice.document(said())], &[("alice", &alice)]);
    assert_eq!(codes(&documents), ["unknown-target"]);
    assert!(!documents.problems.iter().any(rosterd::manifest::Problem::blocks));
}

/// L14
#[tokio::test(start_paused = true)]
async fn who_signed_before_their_turn_is_heard_when_it_comes() {
    let level = |group: &str| Level { any_of: [Party::Group(group.to_owned())].into(), ..Level::anybody() };
    let two = |signed: &[Signed]| {
        let approval = Approval { levels: vec![level("desk"), level("chiefs")], ..gate() };
        with(user("u-1"), Target { approval: Some(approval), ..target("app") }, signed)
    };
    let rig = Rig::started(two(&[])).await;
    let shown = rig.waiting().await;
    // In one load, and in the order of names that of the second level comes first.
    let both = [word(&shown, ("alice", "chiefs"), Word::Accept), word(&shown, ("rosa", "desk"), Word::Accept)];
    rig.declare(two(&both)).await;
    rig.pass(Duration::from_secs(5)).await;
    assert_eq!(rig.waiting().await.request.state, RequestState::Accepted);
    // The other way round the first level agrees by a token, later.
    let rig = Rig::started(two(&both[..1])).await;
    let shown = rig.waiting().await;
    rig.declare(two(&[word(&shown, ("alice", "chiefs"), Word::Accept)])).await;
    rig.rose_says(&shown.request.id, Word::Accept).await;
    rig.pass(Duration::from_secs(5)).await;
    assert_eq!(rig.waiting().await.request.state, RequestState::Accepted);
}

#[tokio::test(start_paused = true)]
async fn a_decision_that_is_signed_leaves_the_task_of_its_target_as_it_is() {
    let rig = Rig::started(with(user("u-1"), gated(), &[])).await;
    let yes = word(&rig.waiting().await, ("alice", "desk"), Word::Accept);
    let listed = rig.target("app").count("list");
    // One that says something about no request that there is: nothing follows from it.
    let other = Signed { request: "0000000000000000".into(), ..yes.clone() };
    assert_eq!(rig.declare_signed(user("u-1"), std::slice::from_ref(&other)).await, RequestState::Pending);
    assert_eq!(rig.target("app").count("list"), listed, "nothing began anew");
    assert_eq!(rig.declare_signed(user("u-1"), &[other, yes]).await, RequestState::Accepted);
    assert_eq!(rig.target("app").count("list"), listed, "the user is looked at, and nobody else");
    assert_eq!(rig.target("app").count("create"), 1);
}

/// L11
#[tokio::test(start_paused = true)]
async fn what_is_signed_in_documents_that_nobody_accepted_is_no_word() {
    let rig = Rig::started(with(user("u-1"), gated(), &[])).await;
    let yes = word(&rig.waiting().await, ("alice", "desk"), Word::Accept);
    let both = || with(user("u-1"), gated(), std::slice::from_ref(&yes));
    rig.declare(broken(both())).await;
    rig.pass(Duration::from_secs(5)).await;
    assert_eq!(rig.waiting().await.request.state, RequestState::Pending);
    let rig = rig.restarted(broken(both())).await;
    assert_eq!(rig.waiting().await.request.state, RequestState::Pending);
    rig.declare(both()).await;
    rig.pass(Duration::from_secs(5)).await;
    assert_eq!(rig.waiting().await.request.state, RequestState::Accepted);
}
