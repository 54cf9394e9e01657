//! S2.9 and S4.8 over the sample: approvers are told of what waits for them.

use std::time::Duration;

use rosterd::model::request::RequestState;
use rosterd::model::request::Word;

use crate::seeds::s2::of_folders;
use crate::seeds::s2::sample;
use crate::seeds::s2::signatory;
use crate::seeds::stage::Stage;

/// Signs for the company of folder C0417.
const GAELLE: &str = "s2-003";

#[tokio::test(start_paused = true)]
async fn s2_9_approvers_of_a_folder_are_told_of_a_new_request_in_their_language_and_those_of_another_are_not() {
    let sample = sample();
    sample.put("more.yaml", &signatory("s2-010", "C0552", "ten@atelier-benali.example"));
    sample.put(
        "desk.yaml",
        "apiVersion: rosterd.dev/v1\nkind: User\nmetadata: { name: d-1 }\nspec: { givenName: Max, email: max@bank.example, \
         teams: [portal-desk] }\n",
    );
    let stage = Stage::on_paused_time(sample).await;
    let id = stage.request(GAELLE, RequestState::Pending).await.request.id;
    stage.until("three mails", async |stage| stage.mail.mails().len() == 3).await;
    let rose = stage.mail.to("rose@bank.example");
    assert_eq!(rose.subject, "Dossier C0417 : Gaelle Renaud attend votre décision");
    assert!(rose.text.contains(&format!("rosterd requests accept {id}")), "{}", rose.text);
    assert!(rose.text.contains("the client portal"), "{}", rose.text);
    assert_eq!(stage.mail.to("max@bank.example").subject, "Folder C0417: Gaelle Renaud waits for you", "one of a team");
    assert_eq!(stage.mail.to("ines@bank.example").subject, "Folder C0552: G Fs2-010 waits for you", "her folder alone");
    stage.say(&id, Word::Accept, &of_folders("rose", &["C0417"])).await.unwrap();
    tokio::time::sleep(Duration::from_hours(25)).await;
    let mails = stage.mail.mails();
    let reminded: Vec<_> = mails.iter().skip(3).map(|mail| (mail.to.as_str(), mail.subject.as_str())).collect();
    assert_eq!(reminded, [("ines@bank.example", "Reminder: Folder C0552: G Fs2-010 waits for you")]);
    stage.end().await;
}
