//! Those whose turn it is are told, on virtual time: who, when, once, and nothing after it is over.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use rosterd::engine::Running;
use rosterd::engine::outbox::Post;
use rosterd::manifest::Documents;
use rosterd::model::addressee::Addressee;
use rosterd::model::addressee::Whom;
use rosterd::model::approval::Approval;
use rosterd::model::approval::Escalation;
use rosterd::model::approval::Gate;
use rosterd::model::approval::Level;
use rosterd::model::approval::Party;
use rosterd::model::ids::RequestId;
use rosterd::model::message::Content;
use rosterd::model::message::Event;
use rosterd::model::message::MAIL;
use rosterd::model::message::MessageState;
use rosterd::model::plan::HoldKind;
use rosterd::model::request::RequestState;
use rosterd::model::request::Word;
use rosterd::model::target::MailTemplate;
use rosterd::model::target::Schedule;
use rosterd::model::target::Target;
use rosterd::model::user::User;
use rosterd::model::user::Validity;
use rosterd::notify::Notifier;
use rosterd::notify::NotifyClass;
use rosterd::notify::NotifyError;
use rosterd::plan::verdict::rights::Approver;
use serde_json::json;

use crate::support::mail::MemoryMail;
use crate::support::make::approver;
use crate::support::make::broken;
use crate::support::make::documents;
use crate::support::make::inactive;
use crate::support::make::origin;
use crate::support::make::target;
use crate::support::make::user;
use crate::support::rig::Rig;
use crate::support::rig::noon;

const HOUR: Duration = Duration::from_hours(1);

fn level(groups: &[&str]) -> Level {
    Level { any_of: groups.iter().map(|name| Party::Group((*name).to_owned())).collect(), ..Level::anybody() }
}

fn approval(levels: Vec<Level>) -> Approval {
    Approval { gates: Gate::ALL.into(), levels, origin: origin("approval"), ..Approval::ungated() }
}

fn gated(approval: Approval) -> Target {
    Target { approval: Some(approval), ..target("app") }
}

fn folder(user: User, folder: &str) -> User {
    User { labels: BTreeMap::from([("folder".to_owned(), folder.to_owned())]), ..user }
}

/// Somebody of a group, told at `PERSON@desk.example`.
fn person(group: &str, subject: &str) -> Addressee {
    let mail = format!("{subject}@desk.example");
    let whom = Whom::Person { subject: subject.to_owned(), mail, locale: None };
    Addressee { group: group.to_owned(), scope: BTreeMap::new(), whom, digest: None }
}

fn team(group: &str, name: &str) -> Addressee {
    Addressee { whom: Whom::Team(name.to_owned()), ..person(group, name) }
}

fn of_folder(to: Addressee, folder: &str) -> Addressee {
    Addressee { scope: BTreeMap::from([("folder".to_owned(), BTreeSet::from([folder.to_owned()]))]), ..to }
}

struct Place {
    rig: Rig,
    mail: Arc<MemoryMail>,
    hook: Arc<MemoryMail>,
    addressees: Vec<Addressee>,
}

impl Place {
    async fn over(rig: Rig, addressees: Vec<Addressee>, mail: Arc<MemoryMail>, hook: Arc<MemoryMail>) -> Self {
        let mut post = Post { addressees: addressees.clone(), ..mail.post() };
        post.channels.insert("desk".to_owned(), Arc::clone(&hook) as Arc<dyn Notifier>);
        let words = rosterd::settings::notices::EVENTS.iter().filter(|word| word.starts_with("request."));
        post.events.insert("desk".to_owned(), words.map(|word| (*word).to_owned()).collect());
        rig.engine.tell_by(post);
        rig.engine.start(Running::Daemon).await.unwrap();
        rig.rest().await;
        Self { rig, mail, hook, addressees }
    }

    async fn started(documents: Documents, addressees: Vec<Addressee>) -> Self {
        Self::over(Rig::new(documents), addressees, Arc::default(), Arc::default()).await
    }

    /// Another process over what this one leaves behind, which ends without a word.
    async fn after_a_crash(self, documents: Documents) -> Self {
        let now = self.rig.now();
        let (targets, store) = self.rig.remains();
        store.open().full = true;
        self.rig.engine.stop().await;
        store.open().full = false;
        let rig = Rig::over(documents, targets, store);
        rig.clock.step(now - noon());
        Self::over(rig, self.addressees, self.mail, self.hook).await
    }

    /// Who was written to since this was asked last, and about whom, in the order of addresses.
    fn told(&self) -> Vec<String> {
        let taken = std::mem::take(&mut self.mail.inside().taken);
        let mut told: Vec<_> = taken
            .iter()
            .map(|posted| match &posted.content {
                Some(Content::Mail(mail)) => {
                    let name = mail.to.split('@').next().unwrap();
                    let why = posted.id.as_str().rsplit('-').nth(1).unwrap();
                    format!("{name} {} {why}", posted.record.as_ref().unwrap())
                }
                other => panic!("no mail: {other:?}"),
            })
            .collect();
        told.sort();
        told
    }

    fn heard(&self) -> Vec<Event> {
        let taken = std::mem::take(&mut self.hook.inside().taken);
        let event = |content: Option<Content>| match content {
            Some(Content::Event(event)) => event,
            other => panic!("no event: {other:?}"),
        };
        taken.into_iter().map(|posted| event(posted.content)).collect()
    }

    fn words(&self) -> Vec<String> {
        self.heard().into_iter().map(|event| event.kind.replace("dev.rosterd.request.", "")).collect()
    }

    async fn id(&self, record: &str) -> RequestId {
        let all = self.rig.engine.requests(&|_| true).await.unwrap();
        all.into_iter().find(|shown| shown.request.record.as_str() == record).unwrap().request.id
    }

    async fn say(&self, record: &str, word: Word, approver: &Approver) -> RequestState {
        let id = self.id(record).await;
        let reason = (word == Word::Refuse).then(|| "no".to_owned());
        let said = self.rig.engine.decide_requests(&[id], (word, reason), approver, &|_| true).await.unwrap();
        self.rig.rest().await;
        said[0].result.clone().unwrap().state
    }
}

#[tokio::test(start_paused = true)]
async fn s4_8_people_are_told_only_when_it_is_their_turn_and_one_decision_moves_it_on() {
    let levels = vec![level(&["first", "also"]), level(&["second"])];
    let addressees = ["rose first", "ines also", "zoe second"]
        .map(|it| it.split_once(' ').unwrap())
        .map(|(who, at)| person(at, who));
    let place = Place::started(documents([user("u-1")], [gated(approval(levels))]), addressees.to_vec()).await;
    assert_eq!(place.told(), ["ines u-1 new", "rose u-1 new"], "any one of the level, and nobody behind it");
    place.rig.sync("app").await.unwrap();
    place.rig.pass(HOUR * 24).await;
    assert_eq!(place.told(), [] as [&str; 0], "once, whatever looks again");
    assert_eq!(place.say("u-1", Word::Accept, &approver("rose", &["first"])).await, RequestState::Pending);
    assert_eq!(place.told(), ["zoe u-1 turn"]);
    assert_eq!(place.say("u-1", Word::Accept, &approver("zoe", &["second"])).await, RequestState::Accepted);
    place.rig.pass(HOUR * 48).await;
    assert_eq!(place.told(), [] as [&str; 0], "nothing after it was decided");
    assert_eq!(place.words(), ["asked", "agreed", "accepted"]);
}

#[tokio::test(start_paused = true)]
async fn s4_8_any_one_of_a_team_is_told_in_their_language_and_the_team_decides_nothing() {
    let member = |id: &str, locale: &str| User {
        teams: BTreeSet::from(["credit".to_owned()]),
        roles: Vec::new(),
        locale: Some(locale.to_owned()),
        ..user(id)
    };
    let gone = User { active: false, ..member("m-3", "en") };
    let declared = documents(
        [user("u-1"), member("m-1", "en"), member("m-2", "fr-FR"), gone],
        [gated(approval(vec![level(&["credit-emea"])]))],
    );
    let place = Place::started(declared, vec![team("credit-emea", "credit"), team("others", "credit")]).await;
    let subject = |to: &str| place.mail.to(to).subject;
    assert!(subject("m-1@acme.example").contains("waits for your decision"));
    assert!(subject("m-2@acme.example").contains("attend votre décision"));
    assert_eq!(place.told(), ["m-1 u-1 new", "m-2 u-1 new"], "who left is told nothing");
    let id = place.id("u-1").await;
    let in_no_group = approver("m-1", &["credit"]);
    let said = place.rig.engine.decide_requests(&[id], (Word::Accept, None), &in_no_group, &|_| true).await.unwrap();
    assert!(said[0].result.is_err(), "a team is told, and never approves");
}

#[tokio::test(start_paused = true)]
async fn s4_8_nobody_is_told_of_users_that_are_not_theirs_of_themselves_or_of_what_they_wrote() {
    let gate = Approval { scope_label: Some("folder".to_owned()), ..approval(vec![Level::anybody()]) };
    let mut written = folder(user("u-2"), "acme");
    written.labels.insert("author".to_owned(), "ines".to_owned());
    let herself = User { email: Some("Rose@desk.example".to_owned()), ..folder(user("u-3"), "acme") };
    let users = [folder(user("u-1"), "acme"), written, herself, folder(user("u-4"), "bolt")];
    let addressees = vec![
        of_folder(person("desk", "rose"), "acme"),
        of_folder(person("desk", "ines"), "acme"),
        of_folder(person("desk", "zoe"), "bolt"),
        // Without a folder there is no right for any.
        person("desk", "max"),
    ];
    let place = Place::started(documents(users, [gated(gate)]), addressees).await;
    let all = ["ines u-1 new", "ines u-3 new", "rose u-1 new", "rose u-2 new", "zoe u-4 new"];
    assert_eq!(place.told(), all);
}

#[tokio::test(start_paused = true)]
async fn s4_8_where_several_must_agree_the_others_are_told_and_who_agreed_is_not_again() {
    let two = Level { quorum: 2, ..level(&["desk"]) };
    let gate = Approval { remind_every: Some(HOUR * 24), ..approval(vec![two]) };
    let addressees = ["rose", "ines"].map(|who| person("desk", who)).to_vec();
    let twice = [addressees.clone(), vec![person("desk", "rose")]].concat();
    let place = Place::started(documents([user("u-1")], [gated(gate)]), twice).await;
    assert_eq!(place.told(), ["ines u-1 new", "rose u-1 new"], "an address is told once");
    assert_eq!(place.say("u-1", Word::Accept, &approver("rose", &["desk"])).await, RequestState::Pending);
    place.rig.pass(HOUR * 25).await;
    assert_eq!(place.told(), ["ines u-1 reminder1"]);
    assert_eq!(place.words(), ["asked", "agreed", "reminded"]);
}

#[tokio::test(start_paused = true)]
async fn s2_9_approvers_are_reminded_and_who_joins_by_escalation_is_told_of_that() {
    let escalate = Some(Escalation { after: HOUR * 48, to: [Party::Group("heads".to_owned())].into() });
    let gate = Approval {
        remind_every: Some(HOUR * 24),
        expires: Some(HOUR * 60),
        ..approval(vec![Level { escalate, ..level(&["desk"]) }])
    };
    let place =
        Place::started(documents([user("u-1")], [gated(gate)]), vec![person("desk", "rose"), person("heads", "ada")]);
    let place = place.await;
    assert_eq!(place.told(), ["rose u-1 new"]);
    place.rig.pass(HOUR * 25).await;
    assert_eq!(place.told(), ["rose u-1 reminder1"]);
    place.rig.pass(HOUR * 24).await;
    assert_eq!(place.told(), ["ada u-1 escalation", "rose u-1 escalation"]);
    place.rig.pass(HOUR * 100).await;
    assert_eq!(place.told(), [] as [&str; 0], "nothing after it expired");
    assert_eq!(place.words(), ["asked", "reminded", "escalated", "reminded", "expired"]);
    assert_eq!(place.say("u-1", Word::Reopen, &approver("rose", &["desk"])).await, RequestState::Pending);
    assert_eq!(place.told(), ["rose u-1 new"], "a reopened one is asked anew");
}

#[tokio::test(start_paused = true)]
async fn s4_8_what_did_not_leave_before_a_decision_or_a_leaving_never_does() {
    let gate = || gated(approval(vec![level(&["desk"])]));
    let users = || [user("u-1"), user("u-2"), user("u-3")];
    let rig = Rig::new(documents(users(), [gate()]));
    let mail: Arc<MemoryMail> = Arc::default();
    mail.fail(NotifyClass::Door, 4);
    let place = Place::over(rig, vec![person("desk", "rose")], mail, Arc::default()).await;
    assert_eq!(place.told(), [] as [&str; 0], "the mail server is away");
    place.say("u-1", Word::Accept, &approver("rose", &["desk"])).await;
    place.rig.declare(documents([user("u-1"), inactive("u-2"), user("u-3")], [gate()])).await;
    place.rig.pass(HOUR * 3).await;
    assert_eq!(place.told(), ["rose u-3 new"]);
    let mut words = place.words();
    words.sort();
    assert_eq!(words, ["accepted", "asked", "asked", "asked", "withdrawn"]);
}

/// A gate by folder and group, whose mails wait for a mail server.
async fn waiting_for_the_server(users: Vec<User>, addressees: Vec<Addressee>) -> (Place, Target) {
    let gate = Approval { scope_label: Some("folder".to_owned()), ..approval(vec![level(&["desk"])]) };
    let rig = Rig::new(documents(users, [gated(gate.clone())]));
    let mail: Arc<MemoryMail> = Arc::default();
    mail.fail(NotifyClass::Door, 4);
    let place = Place::over(rig, addressees, mail, Arc::default()).await;
    assert_eq!(place.told(), [] as [&str; 0], "the mail server is away");
    (place, gated(gate))
}

#[tokio::test(start_paused = true)]
async fn what_did_not_leave_yet_never_leaves_to_who_decides_no_more() {
    let member = |id: &str, team: &str| User {
        teams: BTreeSet::from([team.to_owned()]),
        roles: Vec::new(),
        ..folder(user(id), "acme")
    };
    let users = |of_u1: &str, of_m2: &str| {
        vec![folder(user("u-1"), of_u1), member("m-1", "credit"), member("m-2", of_m2), folder(user("u-2"), "acme")]
    };
    let to = vec![of_folder(person("desk", "rose"), "acme"), of_folder(team("desk", "credit"), "acme")];
    let (place, target) = waiting_for_the_server(users("acme", "credit"), to).await;
    place.rig.declare(documents(users("bolt", "sales"), [target])).await;
    place.rig.pass(HOUR).await;
    assert_eq!(place.told(), ["m-1 u-2 new", "rose u-2 new"], "u-1 is others', and m-2 is in another team");
}

#[tokio::test(start_paused = true)]
async fn who_is_taken_out_of_the_configuration_gets_no_mail_that_was_written_before() {
    let to = ["rose", "ines"].map(|who| of_folder(person("desk", who), "acme")).to_vec();
    let users = || vec![folder(user("u-1"), "acme")];
    let (place, target) = waiting_for_the_server(users(), to.clone()).await;
    let place = Place { addressees: to[1..].to_vec(), ..place };
    let place = place.after_a_crash(documents(users(), [target])).await;
    place.rig.pass(HOUR).await;
    assert_eq!(place.told(), ["ines u-1 new"]);
}

#[tokio::test(start_paused = true)]
async fn while_nobody_knows_who_decides_a_mail_about_it_waits() {
    let to = vec![of_folder(person("desk", "rose"), "acme")];
    let users = || vec![folder(user("u-1"), "acme")];
    let (place, target) = waiting_for_the_server(users(), to).await;
    let mut other = target.clone();
    other.approval = Some(Approval { levels: vec![level(&["mallory"])], ..target.approval.clone().unwrap() });
    let place = place.after_a_crash(broken(documents(users(), [other]))).await;
    place.rig.pass(HOUR).await;
    assert_eq!(place.told(), [] as [&str; 0]);
    place.rig.declare(documents(users(), [target])).await;
    place.rig.pass(HOUR).await;
    assert_eq!(place.told(), ["rose u-1 new"], "it is not lost");
}

#[tokio::test(start_paused = true)]
async fn s4_8_whose_turn_an_open_request_becomes_by_a_label_or_a_team_is_told_once() {
    let member = |id: &str, teams: &[&str]| User {
        teams: teams.iter().map(|team| (*team).to_owned()).collect(),
        roles: Vec::new(),
        ..user(id)
    };
    let gate = Approval { scope_label: Some("folder".to_owned()), ..approval(vec![level(&["desk"])]) };
    let declared = |of_u1: &str, teams: &[&str]| {
        let users = [folder(user("u-1"), of_u1), folder(user("u-2"), "acme"), member("m-1", teams)];
        documents(users, [gated(gate.clone())])
    };
    let addressees = vec![
        of_folder(person("desk", "rose"), "acme"),
        of_folder(person("desk", "ines"), "bolt"),
        of_folder(team("desk", "credit"), "acme"),
    ];
    let place = Place::started(declared("acme", &[]), addressees).await;
    assert_eq!(place.told(), ["rose u-1 new", "rose u-2 new"]);
    place.rig.declare(declared("bolt", &[])).await;
    let joined = |told: Vec<String>| -> Vec<String> {
        let whom =
            |told: &String| told.rsplit_once(" joined").map_or_else(|| told.clone(), |(whom, _)| whom.to_owned());
        told.iter().map(whom).collect()
    };
    assert_eq!(joined(place.told()), ["ines u-1"], "it is hers by another label");
    place.rig.declare(declared("bolt", &["credit"])).await;
    assert_eq!(joined(place.told()), ["m-1 u-2"], "who joins the team");
    place.rig.declare(declared("bolt", &["credit", "sales"])).await;
    place.rig.sync("app").await.unwrap();
    let place = place.after_a_crash(declared("bolt", &["credit"])).await;
    place.rig.pass(HOUR * 24).await;
    assert_eq!(place.told(), [] as [&str; 0], "once, over edits and restarts");
}

#[tokio::test(start_paused = true)]
async fn who_joins_a_team_as_their_validity_begins_is_told_of_what_waits_then() {
    let from = noon() + TimeDelta::hours(3);
    let member = User {
        teams: ["credit".to_owned()].into(),
        roles: Vec::new(),
        valid: Validity { from: Some(from), until: Some(from + TimeDelta::hours(2)) },
        ..user("m-1")
    };
    let gate = gated(approval(vec![level(&["desk"])]));
    let place =
        Place::started(documents([user("u-1"), user("u-2"), member], [gate]), vec![team("desk", "credit")]).await;
    assert_eq!(place.told(), [] as [&str; 0]);
    place.rig.pass(HOUR * 2).await;
    assert_eq!(place.told(), [] as [&str; 0], "not yet one of them");
    place.rig.pass(HOUR + Duration::from_mins(1)).await;
    let told = place.told();
    assert!(told.len() == 2 && told[0].starts_with("m-1 u-1 ") && told[1].starts_with("m-1 u-2 "), "{told:?}");
    place.rig.pass(HOUR * 24).await;
    assert_eq!(place.told(), [] as [&str; 0], "once");
}

#[tokio::test(start_paused = true)]
async fn s4_8_whose_turn_an_open_request_becomes_by_the_configuration_or_a_released_level_is_told_once() {
    let declared = |levels: &[&str]| documents([user("u-1")], [gated(approval(vec![level(levels)]))]);
    let to = vec![person("desk", "rose"), person("heads", "ada")];
    let place = Place::started(declared(&["desk"]), to).await;
    assert_eq!(place.told(), ["rose u-1 new"]);
    let place = Place { addressees: [place.addressees.clone(), vec![person("desk", "ines")]].concat(), ..place };
    let place = place.after_a_crash(declared(&["desk"])).await;
    place.rig.pass(HOUR).await;
    let [told] = &place.told()[..] else { panic!("one mail") };
    assert!(told.starts_with("ines u-1 joined"), "{told}");
    place.rig.declare(declared(&["desk", "heads"])).await;
    place.rig.pass(HOUR).await;
    assert_eq!(place.told(), [] as [&str; 0], "others decide only once somebody released that");
    place.rig.release(HoldKind::Loosen).await;
    place.rig.pass(HOUR).await;
    let [told] = &place.told()[..] else { panic!("one mail") };
    assert!(told.starts_with("ada u-1 joined"), "{told}");
    assert_eq!(place.say("u-1", Word::Accept, &approver("ada", &["heads"])).await, RequestState::Accepted);
}

#[tokio::test(start_paused = true)]
async fn a_mail_that_may_have_been_taken_is_sent_again_hours_apart_and_thrice_at_most() {
    let declared = || documents([user("u-1")], [gated(approval(vec![level(&["desk"])]))]);
    let rig = Rig::new(declared());
    let mail: Arc<MemoryMail> = Arc::default();
    mail.inside().faults.extend(std::iter::repeat_n(NotifyError::unsure(), 100));
    let place = Place::over(rig, vec![person("desk", "rose")], mail, Arc::default()).await;
    place.rig.pass(HOUR * 24).await;
    let tried: Vec<_> = place.mail.inside().tried.iter().map(|(at, _)| *at).collect();
    assert_eq!(tried.len(), 3);
    assert!(tried.windows(2).all(|two| two[1] - two[0] >= HOUR), "{tried:?}");
    let ended = place.rig.store.open().outbox.posted.clone();
    let ended = ended.iter().find(|posted| posted.channel == MAIL).unwrap();
    assert_eq!((ended.state, &ended.content), (MessageState::Refused, &None));
    assert!(ended.why.as_ref().unwrap().contains("it may have come all the same"), "{:?}", ended.why);
    // A process that ends after each try sends no more of them: it knows of the one before.
    let rig = Rig::new(declared());
    let mail: Arc<MemoryMail> = Arc::default();
    mail.inside().faults.extend(std::iter::repeat_n(NotifyError::unsure(), 100));
    let mut place = Place::over(rig, vec![person("desk", "rose")], mail, Arc::default()).await;
    for _ in 0..4 {
        place = place.after_a_crash(declared()).await;
        place.rig.pass(HOUR + Duration::from_secs(1)).await;
    }
    assert_eq!(place.mail.inside().tried.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn s2_9_a_new_request_is_told_by_a_webhook_that_names_nobody_but_by_record_id() {
    let gate = gated(approval(vec![level(&["desk"])]));
    let place = Place::started(documents([user("u-1")], [gate]), Vec::new()).await;
    let heard = place.heard();
    assert_eq!(heard.len(), 1);
    assert_eq!((heard[0].kind.as_str(), heard[0].subject.as_deref()), ("dev.rosterd.request.asked", Some("app/u-1")));
    let data = &heard[0].data;
    assert_eq!(data["request"], place.id("u-1").await.as_str());
    assert_eq!(json!([data["state"], data["turn"], data["level"]]), json!(["pending", ["group:desk"], 0]));
    let said = data.to_string();
    assert!(!said.contains("acme.example") && !said.contains("Given"), "no names: {said}");
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_request_and_mail_tells_everybody_and_nobody_twice() {
    let declared = || documents([user("u-1")], [gated(approval(vec![level(&["desk"])]))]);
    let rig = Rig::new(declared());
    let mail: Arc<MemoryMail> = Arc::default();
    mail.fail(NotifyClass::Later, 1);
    let place = Place::over(rig, vec![person("desk", "rose")], mail, Arc::default()).await;
    assert_eq!(place.told(), [] as [&str; 0]);
    let place = place.after_a_crash(declared()).await;
    place.rig.pass(HOUR).await;
    assert_eq!(place.told(), ["rose u-1 new"], "what was committed with the request left");
    let place = place.after_a_crash(declared()).await;
    place.rig.pass(HOUR).await;
    assert_eq!(place.told(), [] as [&str; 0]);
}

#[tokio::test(start_paused = true)]
async fn s2_9_a_target_writes_to_its_approvers_by_its_own_template_or_else_in_rosterds_words() {
    let template = |text: &str| MailTemplate {
        name: "ask".to_owned(),
        locale: "en".to_owned(),
        subject: "{{ target.title }} asks {{ approver.name }}\r\nBcc: x@y.example".to_owned(),
        text: text.to_owned(),
        html: Some("<p>{{ user.givenName }}</p>".to_owned()),
        origin: origin("Template ask"),
    };
    let told_by = async |text: &str| {
        let mut gate = approval(vec![level(&["desk"])]);
        gate.mail.title = "The app".to_owned();
        gate.mail.templates = vec![template(text)];
        let odd = User { given_name: Some("<b>Ada</b>".to_owned()), ..user("u-1") };
        let place = Place::started(documents([odd], [gated(gate)]), vec![person("desk", "rose")]).await;
        let id = place.id("u-1").await;
        (place.mail.to("rose@desk.example"), id)
    };
    let (mail, id) = told_by("{{ request.why }} {{ request.id }} {{ user.id }}").await;
    assert_eq!(mail.text, format!("new {id} u-1"));
    assert_eq!(mail.subject, "The app asks rose  Bcc: x@y.example");
    assert_eq!(mail.html.as_deref(), Some("<p>&lt;b&gt;Ada&lt;/b&gt;</p>"));
    let (mail, id) = told_by("{{ nobody.knows }}").await;
    assert!(mail.text.contains(&format!("rosterd requests accept {id}")), "{}", mail.text);
}

fn at_eight(to: Addressee) -> Addressee {
    let (cron, time_zone) = ("0 8 * * *".to_owned(), "UTC".to_owned());
    Addressee { digest: Some(Schedule::Cron { cron, time_zone }), ..to }
}

#[tokio::test(start_paused = true)]
async fn s2_9_who_wants_a_digest_gets_one_mail_of_all_that_waits_and_none_where_nothing_does() {
    let gate = || gated(approval(vec![level(&["desk"])]));
    let declared = || documents([user("u-1"), user("u-2"), user("u-3")], [gate()]);
    let addressees = vec![at_eight(person("desk", "rose")), person("desk", "ines"), at_eight(person("other", "max"))];
    let place = Place::started(declared(), addressees).await;
    assert_eq!(place.told(), ["ines u-1 new", "ines u-2 new", "ines u-3 new"], "nothing of it at once");
    place.say("u-2", Word::Accept, &approver("ines", &["desk"])).await;
    place.rig.pass(HOUR * 21).await;
    let mails = place.mail.mails();
    assert_eq!(mails.len(), 1, "{mails:?}");
    assert_eq!(
        (mails[0].to.as_str(), mails[0].subject.as_str()),
        ("rose@desk.example", "2 requests wait for your decision")
    );
    let text = &mails[0].text;
    assert!(text.contains("(u-1)") && text.contains("(u-3)") && !text.contains("(u-2)"), "{text}");
    let place = place.after_a_crash(declared()).await;
    place.rig.pass(HOUR).await;
    assert_eq!(place.mail.mails().len(), 1, "one mail a time, over restarts");
    place.say("u-1", Word::Refuse, &approver("ines", &["desk"])).await;
    place.mail.fail(NotifyClass::Door, 6);
    place.rig.pass(HOUR * 22 + Duration::from_secs(2)).await;
    place.say("u-3", Word::Refuse, &approver("ines", &["desk"])).await;
    place.rig.pass(HOUR * 48).await;
    assert_eq!(place.mail.mails().len(), 1, "nothing waits, and what was on its way is void");
}

#[tokio::test(start_paused = true)]
async fn a_digest_that_waited_for_the_mail_server_names_only_what_its_reader_still_decides() {
    let gate = Approval { scope_label: Some("folder".to_owned()), ..approval(vec![level(&["desk"])]) };
    let declared =
        |of_u1: &str| documents([folder(user("u-1"), of_u1), folder(user("u-2"), "acme")], [gated(gate.clone())]);
    let addressees = ["rose", "ines"].map(|who| at_eight(of_folder(person("desk", who), "acme"))).to_vec();
    let place = Place::started(declared("acme"), addressees).await;
    place.mail.fail(NotifyClass::Door, 6);
    place.rig.pass(HOUR * 20 + Duration::from_secs(2)).await;
    assert_eq!(place.mail.mails().len(), 0, "the mail server is away");
    place.rig.declare(declared("bolt")).await;
    place.rig.pass(HOUR).await;
    let mails = place.mail.mails();
    assert_eq!(mails.len(), 2);
    for mail in mails {
        assert_eq!(mail.subject, "1 request waits for your decision");
        assert!(mail.text.contains("(u-2)") && !mail.text.contains("(u-1)"), "{}", mail.text);
    }
}

#[tokio::test(start_paused = true)]
async fn s4_8_whose_turn_it_is_by_name_is_told_and_nobody_about_themselves() {
    let rose = Level { any_of: [Party::Person("rose".to_owned())].into(), ..Level::anybody() };
    let addressees = vec![person("desk", "rose"), person("desk", "zoe")];
    let own = User { email: Some("rose@desk.example".to_owned()), ..user("u-2") };
    let declared = documents([user("u-1"), own], [gated(approval(vec![rose]))]);
    let place = Place::started(declared, addressees).await;
    assert_eq!(place.told(), ["rose u-1 new"]);
}
