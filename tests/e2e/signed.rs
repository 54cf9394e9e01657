//! A decision by file: written by the program, signed by `ssh-keygen`, believed for its signature.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::daemon::eventually;
use crate::servers::installed;

/// A key of the person `alice` and the sample of the portal, whose configuration names it.
async fn installation() -> TempDir {
    let folder = TempDir::new().expect("a folder");
    let mut made = Command::new("ssh-keygen");
    made.args(["-q", "-t", "ed25519", "-N", "", "-f", "key"]).current_dir(folder.path());
    assert!(made.status().await.expect("it runs").success());
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/s2-portal");
    fs::create_dir_all(folder.path().join("m")).expect("a folder");
    for name in ["people.yaml", "target.yaml", "templates.yaml"] {
        fs::copy(sample.join(name), folder.path().join("m").join(name)).expect("a copy");
    }
    let key = fs::read_to_string(folder.path().join("key.pub")).expect("a key");
    let text = format!(
        "listen: 127.0.0.1:0\nmanifests: [ {{ folder: m }} ]\ntargetsFrom: manifests\napprovers: [ {{ group: desk, label: {{ \
         folder: C0417 }} }} ]\ndecisionsFrom: {{ keys: {{ alice: {{ key: \"{}\", groups: [desk] }} }} }}\n",
        key.trim()
    );
    fs::write(folder.path().join("rosterd.yaml"), text).expect("written");
    folder
}

/// The decision among the manifests, as editors save: the daemon sees all of it or nothing.
fn saved(folder: &Path, document: &str) {
    let draft = folder.join("draft");
    fs::write(&draft, document).and_then(|()| fs::rename(&draft, folder.join("m/decision.yaml"))).expect("written");
}

#[tokio::test]
async fn s2_4_a_decision_that_a_person_signed_by_ssh_keygen_lets_the_user_in_and_one_that_was_changed_does_not() {
    if installed("OpenSSH", "/usr/bin/ssh-keygen").is_none() {
        return;
    }
    let folder = installation().await;
    let command = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rosterd"));
        command.args(["--config", "rosterd.yaml"]).args(arguments).current_dir(folder.path()).stdin(Stdio::null());
        command
    };
    let listed = async |state: &str| -> Vec<Value> {
        let output =
            command(&["requests", "list", "--state", state, "--output", "json"]).output().await.expect("it runs");
        serde_json::from_slice::<Vec<Value>>(&output.stdout).unwrap_or_default()
    };
    let log = fs::File::create(folder.path().join("log")).expect("a log");
    let mut daemon = command(&["run"]).stdout(Stdio::null()).stderr(log).kill_on_drop(true).spawn().expect("it runs");
    // Before that a question is answered by a look, which has the store that the daemon waits for.
    let note = folder.path().join("rosterd.run");
    let announced = || fs::read_to_string(&note).is_ok_and(|note| note.contains("http://"));
    eventually("the daemon is there", async || announced().then_some(())).await;
    let waiting = eventually("a request waits", async || listed("pending").await.pop()).await;
    let id = waiting["request"]["id"].as_str().expect("an id");
    let arguments = ["requests", "sign", id, "--decision", "accept", "--by", "alice", "--key", "key"];
    let signed = command(&arguments).output().await.expect("it runs");
    assert!(signed.status.success(), "{}", String::from_utf8_lossy(&signed.stderr));
    let document = String::from_utf8(signed.stdout).expect("text");
    saved(folder.path(), &document.replace(id, "0000000000000000"));
    let validated = command(&["validate"]).output().await.expect("it runs");
    let said = format!("{}{}", String::from_utf8_lossy(&validated.stdout), String::from_utf8_lossy(&validated.stderr));
    assert!(!validated.status.success() && said.contains("bad-signature"), "{said}");
    saved(folder.path(), &document);
    let accepted = eventually("it is accepted", async || listed("accepted").await.pop()).await;
    assert_eq!(accepted["request"]["id"], id);
    assert_eq!(accepted["request"]["decided"]["person"], "alice");
    eventually("the account is there", async || {
        let done = listed("accepted").await.pop()?["request"]["done"].clone();
        (!done.is_null()).then_some(())
    })
    .await;
    daemon.kill().await.expect("it ends");
}
