//! S3 and S4: what the person of a new account is told, and what lets them in.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::TimeDelta;
use rosterd::manifest::Documents;
use rosterd::model::ids::RecordId;
use rosterd::model::invite::Invite;
use rosterd::model::invite::InviteFilter;
use rosterd::model::invite::InviteState;
use rosterd::model::message::MessageFilter;
use rosterd::model::message::MessageState;

use crate::seeds::sample::Sample;
use crate::seeds::stage::Stage;

const CANDIDATES: &str = "candidate-desk";
const CLIENTS: &str = "client-desk";
const NOOR: &str = "noor.haddad@mail.example";

fn sample() -> Sample {
    Sample::of("s3-welcome")
}

/// The sample with passwords, as its README says.
fn with_passwords() -> Sample {
    let sample = sample();
    let link = "    template: [candidate-welcome, candidate-welcome-fr]\n    credential: { link: { url: \
                \"https://desk.agency.example/activate?token=TOKEN\", expires: 72h, resendAtMost: 5 } }\n";
    let generated = "    template: [candidate-password, candidate-password-fr]\n    credential: { generated: { \
                     length: 20, mustChange: true } }\n";
    sample.edit("targets.yaml", &[(link, generated)]);
    sample
}

async fn welcomed(stage: &Stage) {
    stage.until_active(CANDIDATES, 2).await;
    stage.until_active(CLIENTS, 1).await;
    stage.until("three mails", async |stage| stage.mail.mails().len() == 3).await;
    stage
        .until("all of them recorded", async |stage| {
            let filter = MessageFilter::default();
            stage.store.messages(&filter).await.unwrap().iter().all(|posted| posted.state == MessageState::Accepted)
        })
        .await;
}

/// The password in a mail: the one line without a space that ends no sentence.
fn password(text: &str) -> String {
    let line = |line: &&str| line.len() == 20 && !line.contains(' ');
    text.lines().find(line).unwrap_or_else(|| panic!("no password in {text}")).to_owned()
}

async fn invite(stage: &Stage, record: &str) -> Invite {
    let filter = InviteFilter { record: Some(record.into()), ..InviteFilter::default() };
    stage.engine.invites(&filter).await.unwrap().remove(0)
}

async fn resend(stage: &Stage, records: &[&str]) -> Vec<Result<Invite, String>> {
    let records: BTreeSet<RecordId> = records.iter().map(|record| RecordId::from(*record)).collect();
    let resent = stage.engine.resend(&CANDIDATES.into(), &records, "local").await.unwrap();
    resent.into_iter().map(|resent| resent.result).collect()
}

#[tokio::test]
async fn s3_4_each_new_user_gets_one_mail_from_the_template_of_its_kind_with_name_and_password() {
    let stage = Stage::live(with_passwords()).await;
    welcomed(&stage).await;
    let mail = stage.mail.to(NOOR);
    assert_eq!(mail.subject, "Your account at Candidate desk");
    assert!(mail.text.contains("Hello Noor") && mail.text.contains(&format!("is {NOOR}")), "{}", mail.text);
    let secret = password(&mail.text);
    let signed_in = stage.directory.sign_in(&CANDIDATES.into(), NOOR, &secret).await.unwrap();
    assert!(signed_in.is_some(), "the password opens the account");
    assert_eq!(stage.directory.sign_in(&CANDIDATES.into(), NOOR, "guessed").await.unwrap(), None);
    let french = stage.mail.to("elodie.marchand@mail.example");
    assert!(french.text.contains("Bonjour Élodie") && french.subject.starts_with("Votre compte"), "{}", french.text);
    assert_ne!(password(&french.text), secret);
    let client = stage.mail.to("tomas.rivera@sites.example");
    assert!(client.text.contains("client-401") && client.text.contains("single sign-on"), "{}", client.text);
    // Existing users are told nothing again.
    stage.sync(CANDIDATES).await;
    stage.assert_settled(CANDIDATES).await;
    assert_eq!(stage.mail.mails().len(), 3);
    stage.end().await;
}

#[tokio::test]
async fn s3_4_a_generated_password_is_found_nowhere_but_in_its_mail() {
    let stage = Stage::live(with_passwords()).await;
    // As long as the mail server does not take it the password lies in the store, and nobody can read it.
    stage.mail.fail(rosterd::notify::NotifyClass::Later, 1_000);
    stage.until_active(CANDIDATES, 2).await;
    stage.until("a try", async |stage| !stage.mail.inside().tried.is_empty()).await;
    let before = readable(&stage).await;
    stage.mail.inside().faults.clear();
    stage.until("three mails", async |stage| stage.mail.mails().len() == 3).await;
    let secret = password(&stage.mail.to(NOOR).text);
    for (place, bytes) in before.into_iter().chain(readable(&stage).await) {
        let found = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
        assert!(!found, "the password stands in {place}");
    }
    let content = async |stage: &Stage| {
        let kept = stage.store.messages(&MessageFilter::default()).await.unwrap();
        kept.iter().all(|posted| posted.content.is_none())
    };
    stage.until("erased after the mail server took it", content).await;
    stage.end().await;
}

/// Everything that somebody may read, by its name.
async fn readable(stage: &Stage) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(stage.sample.path("")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            found.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    assert!(found.len() >= 2, "the store and the directory are there");
    let mut show = |name: &str, text: String| found.push((name.to_owned(), text.into_bytes()));
    let target = CANDIDATES.into();
    show("status", format!("{:?}", stage.engine.status()));
    show("plan", format!("{:?}", stage.engine.plan(&target, None, None).await.unwrap()));
    show("explain", format!("{:?}", stage.engine.explain(&"cand-3001".into(), &target).await.unwrap()));
    show("invites", format!("{:?}", stage.engine.invites(&InviteFilter::default()).await.unwrap()));
    show("outbox", format!("{:?}", stage.store.messages(&MessageFilter::default()).await.unwrap()));
    show("audit", format!("{:?}", stage.store.audit(Some(&target), 0, 10_000).await.unwrap()));
    let spaces = stage.store.spaces(&target).await.unwrap();
    for space in spaces {
        show("intents", format!("{:?}", stage.store.intents_of(&space, &"cand-3001".into(), 10).await.unwrap()));
    }
    show("accounts", format!("{:?}", stage.accounts(CANDIDATES).await));
    found
}

fn problems(sample: &Sample) -> Vec<&'static str> {
    let Documents { problems, .. } = sample.documents();
    problems.iter().map(|problem| problem.code).collect()
}

#[test]
fn s3_5_the_password_tag_is_refused_anywhere_but_in_a_welcome_whose_target_makes_one() {
    assert_eq!(problems(&sample()), [""; 0]);
    assert_eq!(problems(&with_passwords()), [""; 0]);
    // A template with the password, at a target that makes none.
    let other = sample();
    other.edit(
        "targets.yaml",
        &[("{ template: client-welcome, credential: sso }", "{ template: candidate-password, credential: sso }")],
    );
    assert_eq!(problems(&other), ["password-tag"]);
    // In a subject, and in an attribute of an account.
    let subject = sample();
    subject.edit_document(
        "templates.yaml",
        "name: client-welcome",
        &[("Your account at", "{{ credential.password }} at")],
    );
    assert_eq!(problems(&subject), ["password-tag"]);
    let mapped = sample();
    mapped.edit("targets.yaml", &[("value: \"{{ user.familyName }}\"", "value: \"{{ credential.password }}\"")]);
    assert!(problems(&mapped).contains(&"bad-template"), "{:?}", problems(&mapped));
}

#[tokio::test]
async fn s3_7_the_password_must_be_changed_at_the_first_sign_in_and_the_mail_says_so() {
    let stage = Stage::live(with_passwords()).await;
    welcomed(&stage).await;
    let text = stage.mail.to(NOOR).text;
    assert!(text.contains("You are asked to change it when you first sign in."), "{text}");
    let signed_in = stage.directory.sign_in(&CANDIDATES.into(), NOOR, &password(&text)).await.unwrap();
    assert!(signed_in.unwrap().must_change);
    assert!(stage.mail.to("elodie.marchand@mail.example").text.contains("Il vous sera demandé"));
    stage.end().await;
    // Where it is not demanded the mail asks for it.
    let mild = with_passwords();
    mild.edit("targets.yaml", &[("mustChange: true", "mustChange: false")]);
    let stage = Stage::live(mild).await;
    welcomed(&stage).await;
    let text = stage.mail.to(NOOR).text;
    assert!(text.contains("Please change it when you first sign in."), "{text}");
    let signed_in = stage.directory.sign_in(&CANDIDATES.into(), NOOR, &password(&text)).await.unwrap();
    assert!(!signed_in.unwrap().must_change);
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn s4_3_the_link_of_an_activation_mail_ends_after_three_days_and_is_sent_again_to_one_or_many() {
    let stage = Stage::on_paused_time(sample()).await;
    welcomed(&stage).await;
    let first = invite(&stage, "cand-3001").await;
    assert_eq!(first.expires.unwrap() - first.made, TimeDelta::hours(72));
    let link = |text: &str| text.split("token=").nth(1).unwrap().lines().next().unwrap().to_owned();
    let old = link(&stage.mail.to(NOOR).text);
    stage.sleep_until(first.expires.unwrap() - TimeDelta::minutes(2)).await;
    assert_eq!(invite(&stage, "cand-3001").await.state, InviteState::Sent);
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert_eq!(invite(&stage, "cand-3001").await.state, InviteState::Expired);
    let redeem = async |token: &str| stage.engine.redeem(&CANDIDATES.into(), token, "token:desk").await;
    assert!(redeem(&old).await.is_err(), "three days are over");
    // To many at once, each with a fresh link, and one of them is no candidate at all.
    let sent = resend(&stage, &["cand-3001", "cand-3002", "nobody"]).await;
    assert_eq!(sent.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, false]);
    stage.until("two more mails", async |stage| stage.mail.mails().len() == 5).await;
    let fresh = stage.mail.mails().into_iter().rfind(|mail| mail.to == NOOR).unwrap();
    assert_ne!(link(&fresh.text), old);
    assert_eq!(redeem(&link(&fresh.text)).await.unwrap().record.as_str(), "cand-3001");
    // Five times and no more.
    for _ in 0..4 {
        assert!(resend(&stage, &["cand-3002"]).await[0].is_ok());
    }
    let refused = resend(&stage, &["cand-3002"]).await.remove(0).unwrap_err();
    assert!(refused.contains("5 times"), "{refused}");
    stage.assert_settled(CANDIDATES).await;
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn s4_3_an_invite_survives_a_week_of_cycles_and_ends_with_its_user() {
    let stage = Stage::on_paused_time(sample()).await;
    welcomed(&stage).await;
    stage.sample.edit_document("people.yaml", "cand-3002", &[("  login:", "  active: false\n  login:")]);
    stage.saved();
    stage.until_active(CANDIDATES, 1).await;
    assert_eq!(invite(&stage, "cand-3002").await.state, InviteState::Revoked);
    assert!(resend(&stage, &["cand-3002"]).await[0].is_err());
    tokio::time::sleep(Duration::from_hours(24 * 7)).await;
    assert_eq!(invite(&stage, "cand-3001").await.state, InviteState::Expired);
    assert_eq!(invite(&stage, "client-401").await.state, InviteState::Told, "nobody comes by single sign-on");
    assert_eq!(stage.mail.mails().len(), 3, "nobody was told twice");
    stage.assert_settled(CANDIDATES).await;
    stage.end().await;
}
