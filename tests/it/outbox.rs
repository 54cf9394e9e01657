//! Messages that are committed with the fact that they tell, over crashes, refusals and servers that are away.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use rosterd::connector::ErrorClass;
use rosterd::engine::EngineError;
use rosterd::engine::Running;
use rosterd::engine::outbox::Post;
use rosterd::manifest::Documents;
use rosterd::model::account::AccountState;
use rosterd::model::ids::RecordId;
use rosterd::model::invite::CredentialKind;
use rosterd::model::invite::Invite;
use rosterd::model::invite::InviteFilter;
use rosterd::model::invite::InviteState;
use rosterd::model::message::Content;
use rosterd::model::message::MessageState;
use rosterd::model::message::Posted;
use rosterd::model::target::Credential;
use rosterd::model::target::MailTemplate;
use rosterd::model::target::Target;
use rosterd::model::target::Welcome;
use rosterd::model::user::User;
use rosterd::notifiers::file::FileNotifier;
use rosterd::notify::Notifier;
use rosterd::notify::NotifyClass;
use rosterd::notify::NotifyError;

use crate::support::mail::MemoryMail;
use crate::support::make::documents;
use crate::support::make::inactive;
use crate::support::make::origin;
use crate::support::make::target;
use crate::support::make::user;
use crate::support::rig::Rig;
use crate::support::target::Fault;

const LINK: &str = "https://app.example/activate?token=TOKEN";

fn link() -> Credential {
    Credential::Link { url: LINK.to_owned(), expires: Duration::from_hours(72), resend_at_most: 2 }
}

fn generated() -> Credential {
    Credential::Generated { length: 20, must_change: true }
}

fn welcoming(credential: Credential) -> Target {
    let template = MailTemplate {
        name: "hello".to_owned(),
        locale: "en".to_owned(),
        subject: "Your account at {{ target.title }}".to_owned(),
        text: "{{ account.userName }} {{ invite.link }} {{ credential.password }} {{ credential.mustChange }}"
            .to_owned(),
        html: None,
        origin: origin("Template hello"),
    };
    let welcome = Welcome {
        title: "App".to_owned(),
        names: vec!["hello".to_owned()],
        templates: vec![template],
        credential,
        origin: origin("Target app"),
    };
    Target { welcome: Some(welcome), ..target("app") }
}

fn declared(credential: Credential, users: impl IntoIterator<Item = User>) -> Documents {
    documents(users, [welcoming(credential)])
}

struct Place {
    rig: Rig,
    mail: Arc<MemoryMail>,
}

impl Place {
    fn new(documents: Documents) -> Self {
        Self::over(Rig::new(documents), Arc::default())
    }

    fn over(rig: Rig, mail: Arc<MemoryMail>) -> Self {
        let post = mail.post();
        Self::telling(rig, mail, post)
    }

    fn telling(rig: Rig, mail: Arc<MemoryMail>, post: Post) -> Self {
        rig.engine.tell_by(post);
        let inside = rig.target("app");
        inside.inside().takes_passwords = true;
        Self { rig, mail }
    }

    async fn start(&self) {
        self.rig.engine.start(Running::Daemon).await.unwrap();
        self.rig.rest().await;
    }

    async fn started(documents: Documents) -> Self {
        let place = Self::new(documents);
        place.start().await;
        place
    }

    /// Another process over what this one leaves behind. The process before ends without a word: what it
    /// would still commit is lost.
    async fn after_a_crash(self, documents: Documents) -> Self {
        let post = self.mail.post();
        self.after_a_while(documents, TimeDelta::zero(), post).await
    }

    /// The same, `away` after that, over other channels.
    async fn after_a_while(self, documents: Documents, away: TimeDelta, post: Post) -> Self {
        let now = self.rig.now() + away;
        let (targets, store) = self.rig.remains();
        store.open().full = true;
        self.rig.engine.stop().await;
        store.open().full = false;
        let rig = Rig::over(documents, targets, store);
        rig.clock.step(now - crate::support::rig::noon());
        let next = Self::telling(rig, self.mail, post);
        next.start().await;
        next
    }

    fn posted(&self) -> Vec<Posted> {
        self.rig.store.open().outbox.posted.clone()
    }

    async fn invite(&self, record: &str) -> Invite {
        let filter = InviteFilter { record: Some(record.into()), ..InviteFilter::default() };
        let mut invites = self.rig.engine.invites(&filter).await.unwrap();
        assert_eq!(invites.len(), 1, "{invites:?}");
        invites.remove(0)
    }

    async fn state(&self, record: &str) -> InviteState {
        self.invite(record).await.state
    }

    async fn resend(&self, record: &str) -> Result<Invite, String> {
        let records = BTreeSet::from([RecordId::from(record)]);
        self.rig.engine.resend(&"app".into(), &records, "local").await.unwrap().remove(0).result
    }

    async fn redeem(&self, token: &str) -> Result<Invite, EngineError> {
        self.rig.engine.redeem(&"app".into(), token, "token:app").await
    }

    /// The token of the newest mail.
    fn token(&self) -> String {
        let text = self.mail.mails().last().unwrap().text.clone();
        text.split("token=").nth(1).unwrap().split(' ').next().unwrap().to_owned()
    }
}

#[tokio::test(start_paused = true)]
async fn a_mail_leaves_once_and_only_after_its_account_is_there() {
    let place = Place::new(declared(link(), [user("u-1")]));
    place.rig.target("app").inside().latency = Duration::from_secs(5);
    place.start().await;
    place.rig.pass(Duration::from_secs(15)).await;
    let (held, mails) = (place.posted(), place.mail.mails());
    assert!(held.iter().all(|posted| posted.state != MessageState::Due) || mails.len() == 1);
    place.rig.pass(Duration::from_mins(5)).await;
    let mail = place.mail.to("u-1@acme.example");
    assert_eq!(mail.subject, "Your account at App");
    assert!(mail.text.starts_with("u-1@acme.example https://app.example/activate?token="), "{}", mail.text);
    let posted = place.posted();
    assert_eq!((posted[0].state, &posted[0].content), (MessageState::Accepted, &None), "what it said is erased");
    place.rig.pass(Duration::from_hours(48)).await;
    assert_eq!(place.mail.inside().tried.len(), 1, "told once");
    assert_eq!(place.state("u-1").await, InviteState::Sent);
    place.rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn a_creation_that_is_refused_or_lost_on_its_way_tells_nobody() {
    let place = Place::new(declared(link(), [user("u-1")]));
    place.rig.target("app").inside().faults.push_back(Fault::Refuse(ErrorClass::Refused, None));
    place.start().await;
    place.rig.pass(Duration::from_mins(1)).await;
    assert_eq!(place.mail.mails().len(), 0);
    let posted = place.posted();
    assert_eq!((posted.len(), posted[0].state, &posted[0].content), (1, MessageState::Void, &None));
    assert_eq!(place.state("u-1").await, InviteState::Void);
    // The next cycle makes the account, and its mail is another one.
    place.rig.target("app").inside().faults.push_back(Fault::LoseRequest);
    place.rig.sync("app").await.unwrap();
    place.rig.pass(Duration::from_mins(5)).await;
    place.mail.to("u-1@acme.example");
    assert_eq!(place.posted().len(), 3, "each creation has its own");
    place.rig.assert_settled("app").await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_taken_now_is_tried_again_under_the_same_id_and_keeps_nobody_waiting() {
    let place = Place::new(declared(link(), [user("u-1"), user("u-2")]));
    place.mail.fail(NotifyClass::Later, 1);
    place.start().await;
    assert_eq!(place.mail.mails().len(), 1, "the other one is not kept waiting");
    place.rig.pass(Duration::from_mins(5)).await;
    assert_eq!(place.mail.mails().len(), 2);
    let tried: Vec<String> = place.mail.inside().tried.iter().map(|(_, id)| id.clone()).collect();
    assert_eq!(tried.len(), 3);
    assert_eq!(tried.iter().filter(|id| **id == tried[0]).count(), 2);
    let waits = place.rig.metrics.encode();
    assert!(waits.contains(r#"rosterd_outbox_failures_total{channel="mail",reason="later"} 1"#), "{waits}");
    assert!(waits.contains(r#"rosterd_outbox_depth{channel="mail"} 0"#), "{waits}");
}

#[tokio::test(start_paused = true)]
async fn a_mail_server_that_is_away_is_asked_ever_more_rarely_and_then_told_everything() {
    let users: Vec<User> = (0..40).map(|number| user(&format!("u-{number}"))).collect();
    let place = Place::new(declared(link(), users));
    place.mail.fail(NotifyClass::Door, 5);
    place.start().await;
    assert_eq!(place.mail.inside().tried.len(), 1, "it is not asked forty times");
    place.rig.pass(Duration::from_secs(4)).await;
    let depth = place.rig.metrics.encode();
    assert!(depth.contains(r#"rosterd_outbox_depth{channel="mail"} 40"#), "{depth}");
    place.rig.pass(Duration::from_mins(20)).await;
    let to: BTreeSet<String> = place.mail.mails().into_iter().map(|mail| mail.to).collect();
    assert_eq!((to.len(), place.mail.mails().len()), (40, 40));
    assert_eq!(place.mail.inside().tried.len(), 45);
}

#[tokio::test(start_paused = true)]
async fn a_message_is_given_up_after_five_days_and_says_so() {
    let place = Place::new(declared(link(), [user("u-1")]));
    place.mail.fail(NotifyClass::Later, 10_000);
    place.start().await;
    place.rig.pass(Duration::from_hours(24 * 6)).await;
    let posted = place.posted();
    assert_eq!((posted[0].state, &posted[0].content), (MessageState::Void, &None), "its link ran out before");
    assert_eq!(place.state("u-1").await, InviteState::Expired);
    let place = Place::new(declared(Credential::Sso, [user("u-1")]));
    place.mail.fail(NotifyClass::Later, 10_000);
    place.start().await;
    place.rig.pass(Duration::from_hours(24 * 6)).await;
    let posted = place.posted();
    assert_eq!(posted[0].state, MessageState::Refused);
    assert!(posted[0].why.as_ref().unwrap().starts_with("given up after 5 days"), "{:?}", posted[0].why);
    assert!(place.mail.inside().tried.len() < 1_000, "up to a quarter of an hour apart");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_mail_server_is_shown_on_the_account_and_stops_nobody_else() {
    let place = Place::new(declared(link(), [user("u-1"), user("u-2")]));
    place.mail.inside().unknown.insert("u-1@acme.example".to_owned());
    place.start().await;
    place.rig.pass(Duration::from_hours(1)).await;
    place.mail.to("u-2@acme.example");
    assert_eq!(place.mail.inside().tried.len(), 2, "what is refused is not tried again");
    let explained = place.rig.engine.explain(&"u-1".into(), &"app".into()).await.unwrap();
    let told = explained.told.join("\n");
    assert!(told.contains("by mail: refused (the mail server refused the mail: 550 5.1.1 no such mailbox)"), "{told}");
    assert!(told.contains("invite to u-1@acme.example by link: not sent, since its mail was refused"), "{told}");
}

/// A process dies between any two steps: nothing is lost, and nothing is told twice but a mail whose
/// acceptance was not recorded, once more under the same id.
#[tokio::test(start_paused = true)]
async fn a_crash_between_mail_and_record_sends_it_at_most_once_more_under_the_same_id() {
    let declared = || declared(generated(), [user("u-1")]);
    let place = Place::new(declared());
    // The server takes it, and its answer comes late.
    place.mail.inside().latency = (Duration::ZERO, Duration::from_secs(20));
    place.start().await;
    assert_eq!(place.mail.mails().len(), 1);
    assert_eq!(place.posted()[0].state, MessageState::Due, "nobody recorded it yet");
    let place = place.after_a_crash(declared()).await;
    place.rig.pass(Duration::from_mins(30)).await;
    let ids: Vec<String> = place.mail.inside().tried.iter().map(|(_, id)| id.clone()).collect();
    assert_eq!(ids.len(), 2, "{ids:?}");
    assert_eq!(ids[0], ids[1]);
    assert_eq!(place.posted()[0].state, MessageState::Accepted);
    assert_eq!(place.rig.target("app").count("create"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_call_and_outcome_loses_no_mail_and_its_password_is_the_accounts() {
    let declared = || declared(generated(), [user("u-1")]);
    let place = Place::new(declared());
    place.rig.target("app").inside().faults.push_back(Fault::LoseReply);
    place.rig.target("app").inside().bad_looks = Some(ErrorClass::Transient);
    place.start().await;
    assert_eq!(place.mail.mails().len(), 0, "nobody knows whether the account is there");
    assert_eq!(place.posted()[0].state, MessageState::Held);
    place.rig.target("app").inside().bad_looks = None;
    let place = place.after_a_crash(declared()).await;
    place.rig.pass(Duration::from_mins(5)).await;
    let mail = place.mail.to("u-1@acme.example");
    let (password, must_change) = place.rig.target("app").inside().passwords["u-1@acme.example"].clone();
    assert!(mail.text.contains(&password) && mail.holds_password && must_change, "{}", mail.text);
    assert_eq!(place.rig.target("app").count("create"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_crash_before_the_call_makes_one_account_whose_password_is_the_one_that_was_mailed() {
    let declared = || declared(generated(), [user("u-1")]);
    let place = Place::new(declared());
    place.rig.target("app").inside().faults.push_back(Fault::LoseRequest);
    place.rig.target("app").inside().bad_looks = Some(ErrorClass::Transient);
    place.start().await;
    place.rig.target("app").inside().bad_looks = None;
    let place = place.after_a_crash(declared()).await;
    place.rig.pass(Duration::from_mins(5)).await;
    let password = place.rig.target("app").inside().passwords["u-1@acme.example"].0.clone();
    assert!(place.mail.to("u-1@acme.example").text.contains(&password));
    let states: Vec<MessageState> = place.posted().iter().map(|posted| posted.state).collect();
    assert_eq!(states, [MessageState::Void, MessageState::Accepted], "the first one's mail never leaves");
}

/// A creation that was answered by nobody, and that a person said the account of before a look could.
async fn linked_before_a_look() -> (Place, Arc<MemoryMail>) {
    let (mail, hook): (Arc<MemoryMail>, Arc<MemoryMail>) = Default::default();
    let told = BTreeSet::from(["account.created".to_owned()]);
    let mut post = mail.post();
    post.channels.insert("desk".to_owned(), Arc::clone(&hook) as Arc<dyn Notifier>);
    post.events.insert("desk".to_owned(), told);
    let place = Place::telling(Rig::new(declared(generated(), [user("u-1")])), mail, post);
    place.rig.target("app").inside().faults.push_back(Fault::LoseReply);
    place.start().await;
    assert_eq!(place.posted()[0].state, MessageState::Held, "nobody looked yet");
    (place, hook)
}

async fn link_and_look(place: &Place) {
    let account = place.rig.target("app").by_name("u-1@acme.example").unwrap().id;
    place.rig.engine.link(&"app".into(), &"u-1".into(), &account, "alice").await.unwrap();
    place.rig.pass(Duration::from_mins(30)).await;
}

#[tokio::test(start_paused = true)]
async fn a_creation_whose_account_a_person_linked_meanwhile_is_told_like_any_other() {
    let (place, hook) = linked_before_a_look().await;
    link_and_look(&place).await;
    let password = place.rig.target("app").inside().passwords["u-1@acme.example"].0.clone();
    assert!(place.mail.to("u-1@acme.example").text.contains(&password), "the one mail that holds it leaves");
    assert_eq!(place.state("u-1").await, InviteState::Told);
    assert_eq!(hook.inside().taken.len(), 1, "and programs hear of the account");
    place.rig.assert_settled("app").await;
}

/// Nobody knows which password is the account's.
#[tokio::test(start_paused = true)]
async fn of_two_creations_of_unknown_end_neither_mails_its_password() {
    let (place, _hook) = linked_before_a_look().await;
    // As where a rename made one user of two.
    {
        let mut store = place.rig.store.open();
        let mut second = store.intents[0].clone();
        second.id = "second".into();
        let mut mail = store.outbox.posted[0].clone();
        mail.id = "welcome-second".into();
        let mut invite = store.outbox.invites.values().next().unwrap().clone();
        (invite.id, invite.message, invite.token) = ("second".into(), "welcome-second".into(), None);
        store.intents.push(second);
        store.outbox.posted.push(mail);
        store.outbox.invites.insert(invite.id.clone(), invite);
    }
    let place = place.after_a_crash(declared(generated(), [user("u-1")])).await;
    place.rig.pass(Duration::from_mins(30)).await;
    assert_eq!(place.rig.store.open().outcomes.len(), 2, "nothing stays open");
    assert_eq!(place.mail.inside().tried.len(), 0);
    for posted in place.posted() {
        assert_eq!((posted.state, &posted.content), (MessageState::Void, &None));
        assert!(posted.why.as_ref().unwrap().contains("which of several creations"), "{:?}", posted.why);
    }
    let invites = place.rig.engine.invites(&InviteFilter::default()).await.unwrap();
    assert!(invites.iter().all(|invite| invite.state == InviteState::Void), "{invites:?}");
    let explained = place.rig.engine.explain(&"u-1".into(), &"app".into()).await.unwrap();
    assert!(explained.told.join("\n").contains("let the target set a new password"), "{:?}", explained.told);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_takes_no_record_of_a_mail_sends_no_other_and_not_the_same_again() {
    let place = Place::new(declared(link(), [user("u-1"), user("u-2")]));
    place.mail.inside().latency = (Duration::ZERO, Duration::from_secs(2));
    place.start().await;
    assert_eq!(place.mail.mails().len(), 1);
    place.rig.store.open().full = true;
    place.rig.pass(Duration::from_mins(10)).await;
    assert_eq!(place.mail.mails().len(), 1, "what was handed over is recorded first");
    place.rig.store.open().full = false;
    place.rig.pass(Duration::from_mins(1)).await;
    assert_eq!(place.mail.mails().len(), 2);
    assert_eq!(place.mail.inside().tried.len(), 2, "and neither came twice");
}

#[tokio::test(start_paused = true)]
async fn no_account_is_made_whose_person_cannot_be_told_how_to_enter() {
    let rig = Rig::new(declared(link(), [user("u-1")]));
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.rest().await;
    assert_eq!(rig.target("app").count("create"), 0);
    let why = rig.status("app").failures.remove(&"u-1".into()).unwrap();
    assert!(why.contains("add `mail:` to rosterd.yaml"), "{why}");

    let place = Place::started(declared(link(), [User { email: None, ..user("u-1") }])).await;
    assert_eq!(place.rig.target("app").count("create"), 0, "there is nowhere to send it");

    let place = Place::new(declared(generated(), [user("u-1")]));
    place.rig.target("app").inside().takes_passwords = false;
    place.start().await;
    assert_eq!(place.rig.target("app").count("create"), 0);
    let why = place.rig.status("app").failures.remove(&"u-1".into()).unwrap();
    assert!(why.contains("takes no password"), "{why}");
    assert_eq!(place.posted(), [], "nothing is kept of what was not done");
}

#[tokio::test(start_paused = true)]
async fn a_generated_password_goes_to_a_mail_server_or_nowhere() {
    let place = Place::new(declared(generated(), [user("u-1")]));
    place.mail.inside().refuses_passwords = true;
    place.start().await;
    assert_eq!(place.rig.target("app").count("create"), 0);
    let why = place.rig.status("app").failures.remove(&"u-1".into()).unwrap();
    assert!(why.contains("set `mail.smtp`"), "{why}");

    let folder = tempfile::tempdir().unwrap();
    let files = FileNotifier::new(folder.path().join("mails"));
    assert!(!files.takes_passwords());
    let place = Place::started(declared(link(), [user("u-1")])).await;
    let mut posted = place.mail.inside().taken[0].clone();
    files.deliver(&posted).await.unwrap();
    files.deliver(&posted).await.unwrap();
    let written: Vec<_> =
        std::fs::read_dir(folder.path().join("mails")).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(written.len(), 1, "a repetition is the same file");
    let text = std::fs::read_to_string(&written[0]).unwrap();
    assert!(text.contains("To: u-1@acme.example") && text.contains("Your account at App"), "{text}");
    let Some(Content::Mail(mail)) = &mut posted.content else { panic!("no mail") };
    mail.holds_password = true;
    assert_eq!(files.deliver(&posted).await.unwrap_err().class, NotifyClass::Refused);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_repeats_a_password_in_its_answer_gets_it_nowhere() {
    let place = Place::new(declared(generated(), [user("u-1")]));
    place.rig.target("app").inside().repeats_passwords = true;
    place.start().await;
    let why = place.rig.status("app").failures.remove(&"u-1".into()).unwrap();
    assert_eq!(why, "`***` is too weak");
    assert_eq!(place.mail.mails().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn webhooks_are_told_once_what_they_asked_for() {
    let rig = Rig::new(documents([user("u-1"), user("u-2")], [target("app")]));
    let (asked, other) = (Arc::new(MemoryMail::default()), Arc::new(MemoryMail::default()));
    let channel = |name: &str, notifier: &Arc<MemoryMail>| (name.to_owned(), Arc::clone(notifier) as Arc<dyn Notifier>);
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    rig.engine.tell_by(Post {
        channels: BTreeMap::from([channel("desk", &asked), channel("ops", &other)]),
        events: BTreeMap::from([
            ("desk".to_owned(), words(&["account.created", "account.disabled"])),
            ("ops".to_owned(), words(&["account.disabled"])),
        ]),
        ..Post::default()
    });
    asked.fail(NotifyClass::Later, 1);
    rig.engine.start(Running::Daemon).await.unwrap();
    rig.rest().await;
    rig.declare(documents([inactive("u-1"), user("u-2")], [target("app")])).await;
    rig.pass(Duration::from_mins(5)).await;
    let told = |notifier: &MemoryMail| -> Vec<(String, String)> {
        let event = |posted: &Posted| match &posted.content {
            Some(Content::Event(event)) => (event.kind.clone(), event.subject.clone().unwrap()),
            other => panic!("no event: {other:?}"),
        };
        let mut told: Vec<_> = notifier.inside().taken.iter().map(event).collect();
        told.sort();
        told
    };
    let event = |kind: &str, record: &str| (format!("dev.rosterd.account.{kind}"), format!("app/{record}"));
    assert_eq!(told(&asked), [event("created", "u-1"), event("created", "u-2"), event("disabled", "u-1")]);
    assert_eq!(told(&other), [event("disabled", "u-1")]);
    let ids: BTreeSet<_> = asked.inside().taken.iter().map(|posted| posted.id.clone()).collect();
    assert_eq!(ids.len(), 3);
    for posted in &asked.inside().taken {
        let said = serde_json::to_string(&posted.content).unwrap();
        assert!(!said.contains("acme.example") && !said.contains("Given"), "no names: {said}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_link_lets_one_person_in_once() {
    let place = Place::started(declared(link(), [user("u-1")])).await;
    let token = place.token();
    assert!(matches!(place.redeem("guessed").await, Err(EngineError::Stale(_))));
    let elsewhere = place.rig.engine.redeem(&"other".into(), &token, "token:other").await;
    assert!(matches!(elsewhere, Err(EngineError::Stale(_))), "it is another target's");
    let invite = place.redeem(&token).await.unwrap();
    assert_eq!(
        (invite.record.as_str(), invite.state, invite.kind),
        ("u-1", InviteState::Accepted, CredentialKind::Link)
    );
    assert!(matches!(place.redeem(&token).await, Err(EngineError::Stale(_))), "good once");
    assert_eq!(place.state("u-1").await, InviteState::Accepted);
    assert!(place.resend("u-1").await.unwrap_err().contains("came already"));
    let stored = format!("{:?}", place.rig.store.open().outbox.invites);
    assert!(!stored.contains(&token), "only its hash is kept");
}

#[tokio::test(start_paused = true)]
async fn a_link_ends_with_the_access_whatever_ends_it() {
    let place = Place::started(declared(link(), [user("u-1"), user("u-2")])).await;
    place.rig.declare(declared(link(), [inactive("u-1"), user("u-2")])).await;
    assert_eq!(place.state("u-1").await, InviteState::Revoked);
    let ended: Vec<_> = place.rig.store.open().outbox.invites.values().map(|invite| invite.state).collect();
    assert!(ended.contains(&InviteState::Revoked), "in the store too, with the removal: {ended:?}");
    assert!(place.resend("u-1").await.is_err());
    assert_eq!(place.state("u-2").await, InviteState::Sent);
    // A removal that the target does not take yet ends the link all the same.
    place.rig.target("app").inside().shut = true;
    place.rig.declare(declared(link(), [inactive("u-1"), inactive("u-2")])).await;
    let token = place.token();
    assert!(matches!(place.redeem(&token).await, Err(EngineError::Stale(_))));
}

#[tokio::test(start_paused = true)]
async fn a_later_address_voids_what_was_sent_to_the_one_before() {
    let place = Place::new(declared(link(), [user("u-1")]));
    place.mail.fail(NotifyClass::Later, 100);
    place.start().await;
    let moved = User { email: Some("thief@elsewhere.example".to_owned()), ..user("u-1") };
    place.rig.declare(declared(link(), [moved])).await;
    place.mail.inside().faults.clear();
    place.rig.pass(Duration::from_mins(30)).await;
    assert_eq!(place.state("u-1").await, InviteState::Revoked);
    assert_eq!(place.mail.mails().len(), 0, "the address was fixed with the intent, and is not the user's now");
    assert!(place.resend("u-1").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_ends_no_invite() {
    let place = Place::started(declared(link(), [user("u-1")])).await;
    place.rig.clock.step(TimeDelta::days(10));
    place.rig.pass(Duration::from_mins(5)).await;
    assert_eq!(place.state("u-1").await, InviteState::Sent, "nobody believes that ten days passed");
    place.redeem(&place.token()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_account_that_waits_for_its_person_is_not_missing() {
    let place = Place::started(declared(link(), [user("u-1")])).await;
    for account in place.rig.target("app").inside().accounts.values_mut() {
        account.state = AccountState::Pending;
    }
    place.rig.sync("app").await.unwrap();
    place.rig.pass(Duration::from_hours(48)).await;
    place.rig.assert_settled("app").await;
    assert_eq!(place.rig.target("app").count("create"), 1);
    assert_eq!(place.mail.mails().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_welcome_taken_out_between_call_and_answer_keeps_no_mail_back() {
    let place = Place::new(declared(link(), [user("u-1")]));
    place.rig.target("app").inside().faults.push_back(Fault::LoseReply);
    place.rig.target("app").inside().bad_looks = Some(ErrorClass::Transient);
    place.start().await;
    place.rig.target("app").inside().bad_looks = None;
    let place = place.after_a_crash(documents([user("u-1")], [target("app")])).await;
    place.rig.pass(Duration::from_mins(5)).await;
    assert_eq!(place.mail.mails().len(), 1);
    assert_eq!(place.rig.target("app").count("create"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_mail_waits_while_its_target_is_not_declared_and_its_link_lets_nobody_in() {
    let place = Place::new(declared(link(), [user("u-1"), user("u-2")]));
    place.mail.inside().latency = (Duration::ZERO, Duration::from_secs(20));
    place.start().await;
    assert_eq!(place.mail.mails().len(), 1);
    let (first, token) = (place.mail.mails()[0].to.clone(), place.token());
    place.rig.declare(documents([user("u-1"), user("u-2")], [])).await;
    place.rig.pass(Duration::from_hours(1)).await;
    assert_eq!(place.mail.mails().len(), 1, "nobody can tell who is to have an account there");
    assert!(matches!(place.redeem(&token).await, Err(EngineError::Stale(_))));
    place.rig.declare(declared(link(), [user("u-1"), user("u-2")])).await;
    place.rig.pass(Duration::from_hours(1)).await;
    assert_eq!(place.mail.mails().len(), 2, "{first} and the other one");
    place.redeem(&token).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn no_mail_reaches_an_address_that_is_anothers_because_its_target_is_gone() {
    let place = Place::new(declared(generated(), [user("u-1")]));
    place.mail.fail(NotifyClass::Later, 1);
    place.start().await;
    let moved = User { email: Some("new@acme.example".to_owned()), ..user("u-1") };
    place.rig.declare(documents([moved], [])).await;
    place.rig.pass(Duration::from_hours(1)).await;
    assert_eq!(place.mail.mails().len(), 0);
    let posted = place.posted();
    assert_eq!((posted[0].state, &posted[0].content), (MessageState::Void, &None), "its password is erased");
}

#[tokio::test(start_paused = true)]
async fn what_was_voided_after_its_batch_was_read_does_not_leave() {
    let users = || [user("u-1"), user("u-2"), user("u-3")];
    let place = Place::new(declared(link(), users()));
    place.mail.inside().latency = (Duration::ZERO, Duration::from_secs(20));
    place.start().await;
    let first = place.mail.mails()[0].to.clone();
    let mut others: Vec<&str> = vec!["u-1", "u-2", "u-3"];
    others.retain(|record| !first.starts_with(record));
    // One leaves and comes back, and the other is sent another link: what waits is not theirs any more.
    let (leaver, other) = (others[0], others[1]);
    let without = users().map(|it| if it.id.as_str() == leaver { inactive(leaver) } else { it });
    place.rig.declare(declared(link(), without)).await;
    place.rig.declare(declared(link(), users())).await;
    place.resend(other).await.unwrap();
    place.rig.pass(Duration::from_mins(10)).await;
    let to = |record: &str| place.mail.mails().iter().filter(|mail| mail.to.starts_with(record)).count();
    assert_eq!((to(leaver), to(other)), (0, 1));
    assert_eq!(place.redeem(&place.token()).await.unwrap().record.as_str(), other);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_invited_again_who_is_to_have_no_account() {
    let place = Place::started(declared(link(), [user("u-1")])).await;
    place.rig.pass(Duration::from_hours(73)).await;
    assert_eq!(place.state("u-1").await, InviteState::Expired);
    place.rig.declare(declared(link(), [inactive("u-1")])).await;
    let why = place.resend("u-1").await.unwrap_err();
    assert!(why.contains("is to have no account in `app`"), "{why}");
    assert_eq!(place.mail.mails().len(), 1);
    place.rig.declare(declared(link(), [user("u-1")])).await;
    place.resend("u-1").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_mail_counts_as_tried_for_long_only_from_its_first_try() {
    let place = Place::new(declared(Credential::Sso, [user("u-1")]));
    place.rig.target("app").inside().faults.push_back(Fault::LoseReply);
    place.rig.target("app").inside().bad_looks = Some(ErrorClass::Transient);
    place.start().await;
    place.rig.pass(Duration::from_hours(24 * 6)).await;
    assert_eq!(place.posted()[0].state, MessageState::Held);
    place.rig.target("app").inside().bad_looks = None;
    place.mail.fail(NotifyClass::Later, 3);
    place.rig.pass(Duration::from_hours(1)).await;
    assert_eq!((place.mail.mails().len(), place.mail.inside().tried.len()), (1, 4));
}

#[tokio::test(start_paused = true)]
async fn who_was_away_for_days_tries_again_before_giving_up() {
    let declared = || declared(Credential::Sso, [user("u-1")]);
    let place = Place::new(declared());
    place.mail.fail(NotifyClass::Later, 5);
    place.start().await;
    let post = place.mail.post();
    let place = place.after_a_while(declared(), TimeDelta::days(10), post).await;
    place.rig.pass(Duration::from_hours(1)).await;
    assert_eq!((place.mail.mails().len(), place.mail.inside().tried.len()), (1, 6));
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_for_more_than_a_day_is_asked_again_after_a_day() {
    let place = Place::new(declared(Credential::Sso, [user("u-1")]));
    let error = NotifyError { retry_after: Some(Duration::MAX), ..NotifyError::new(NotifyClass::Door, "not now") };
    place.mail.inside().faults.push_back(error);
    place.start().await;
    place.rig.pass(Duration::from_hours(23)).await;
    assert_eq!(place.mail.inside().tried.len(), 1, "what is asked for is granted");
    place.rig.pass(Duration::from_hours(2)).await;
    assert_eq!(place.mail.mails().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_mail_server_that_thinks_for_minutes_gets_no_mail_twice_and_keeps_nobody_from_stopping() {
    let place = Place::new(declared(Credential::Sso, [user("u-1"), user("u-2")]));
    place.mail.inside().limit = Some(Duration::from_mins(18));
    place.mail.inside().latency = (Duration::ZERO, Duration::from_mins(9));
    place.start().await;
    place.rig.pass(Duration::from_mins(15)).await;
    assert_eq!(place.mail.inside().tried.len(), 2, "one after the other");
    let began = tokio::time::Instant::now();
    place.rig.engine.stop().await;
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn messages_of_a_channel_that_was_taken_out_are_given_up_like_others() {
    let declared = || declared(Credential::Sso, [user("u-1")]);
    let place = Place::new(declared());
    place.mail.fail(NotifyClass::Later, 1);
    place.start().await;
    let other = Arc::clone(&place.mail) as Arc<dyn Notifier>;
    let post = Post { channels: BTreeMap::from([("desk".to_owned(), other)]), ..Post::default() };
    let place = place.after_a_while(declared(), TimeDelta::zero(), post).await;
    place.rig.pass(Duration::from_hours(24 * 4)).await;
    assert_eq!(place.posted()[0].state, MessageState::Due, "the channel may come back");
    assert!(place.posted()[0].why.as_ref().unwrap().contains("no `mail` is in rosterd.yaml"));
    place.rig.pass(Duration::from_hours(24 * 2)).await;
    let posted = place.posted();
    assert_eq!((posted[0].state, &posted[0].content), (MessageState::Refused, &None));
    assert_eq!(place.state("u-1").await, InviteState::Void, "and nobody waits for it");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_cannot_be_opened_keeps_no_other_and_is_not_taken_for_sent() {
    let place = Place::new(declared(Credential::Sso, [user("u-1"), user("u-2"), user("u-3")]));
    place.mail.inside().latency = (Duration::ZERO, Duration::from_secs(20));
    place.start().await;
    let broken = {
        let mut store = place.rig.store.open();
        let broken = store
            .outbox
            .posted
            .iter_mut()
            .find(|posted| posted.attempts == 0 && posted.id.as_str() != place.mail.inside().tried[0].1)
            .unwrap();
        broken.content = None;
        broken.id.clone()
    };
    place.rig.pass(Duration::from_mins(10)).await;
    assert_eq!(place.mail.mails().len(), 2);
    place.rig.pass(Duration::from_hours(24 * 6)).await;
    let posted = place.posted().into_iter().find(|posted| posted.id == broken).unwrap();
    assert_eq!(posted.state, MessageState::Refused);
    assert!(posted.why.as_ref().unwrap().contains("cannot be opened"), "{:?}", posted.why);
}

#[tokio::test(start_paused = true)]
async fn an_invite_by_which_nobody_comes_ends_when_its_mail_is_taken() {
    let place = Place::new(declared(generated(), [user("u-1")]));
    place.mail.inside().latency = (Duration::ZERO, Duration::from_secs(20));
    place.start().await;
    assert_eq!(place.state("u-1").await, InviteState::Sent, "nobody took it yet");
    place.rig.pass(Duration::from_mins(1)).await;
    let invite = place.invite("u-1").await;
    assert_eq!((invite.state, invite.ended.is_some()), (InviteState::Told, true));
    let why = place.resend("u-1").await.unwrap_err();
    assert!(why.contains("let the target set a new one"), "{why}");
    place.rig.pass(Duration::from_mins(10)).await;
    let metrics = place.rig.metrics.encode();
    assert!(metrics.contains(r#"rosterd_invites{state="told",target="app"} 1"#), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn a_command_waits_for_the_word_of_a_slow_mail_server_and_begins_no_other_mail_for_long() {
    let place = Place::new(declared(Credential::Sso, (0..9).map(|number| user(&format!("u-{number}")))));
    place.mail.inside().latency = (Duration::ZERO, Duration::from_secs(12));
    place.rig.engine.start(Running::Once).await.unwrap();
    place.rig.sync("app").await.unwrap();
    let began = tokio::time::Instant::now();
    place.rig.engine.stop().await;
    assert!(began.elapsed() < Duration::from_mins(1), "{:?}", began.elapsed());
    let taken = place.mail.mails().len();
    let recorded = place.posted().iter().filter(|posted| posted.state == MessageState::Accepted).count();
    assert_eq!((taken, recorded), (3, 3), "none that was taken is sent by the next command, too");
    assert!(place.posted().iter().all(|posted| posted.attempts == 0));
}
