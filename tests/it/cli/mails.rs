//! Mails that do not leave.

use super::*;

const TEMPLATE: &str = "
---
apiVersion: rosterd.dev/v1
kind: Template
metadata: { name: hello }
spec:
  use: welcome
  locale: en
  subject: Hello
  text: \"Hello {{ user.givenName }}\"
";

#[test]
fn a_mail_that_cannot_be_delivered_is_told_and_its_invite_is_not_called_sent() {
    let place = Place::new();
    place.company(&["u1"]);
    let welcoming =
        TARGET.replace("  mode: enforce\n", "  mode: enforce\n  welcome: { template: hello, credential: sso }\n");
    place.write("m/target.yaml", &(welcoming + TEMPLATE));
    // A file where the folder of mails is to be.
    place.write("mails", "");
    place.write("rosterd.yaml", "manifests: [ { folder: m } ]\ntargetsFrom: manifests\nmail: { file: mails }\n");
    let run = |arguments: &[&str]| place.run(&[arguments, &["--config", "rosterd.yaml"]].concat());
    run(&["apply"]).ends(DONE);
    for form in ["text", "markdown"] {
        let status = run(&["status", "--output", form]).ends(DONE);
        assert!(status.out.contains("not delivered: 1 message of `mail`"), "{status:?}");
        assert!(status.out.contains("`mails` cannot be written"), "{status:?}");
    }
    let invites = run(&["invites", "list"]).ends(DONE);
    assert!(invites.out.contains("to be sent") && invites.out.contains("cannot be written"), "{invites:?}");
    assert!(!invites.out.contains("  sent "), "{invites:?}");
    assert_eq!(run(&["status", "--output", "json"]).json()["undelivered"][0]["waiting"], 1);
}
