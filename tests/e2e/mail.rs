//! Mail through a real server that takes nothing before STARTTLS and sign-in, read back from it.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;

use chrono::DateTime;
use rosterd::model::message::Content;
use rosterd::model::message::MAIL;
use rosterd::model::message::Mail;
use rosterd::model::message::Posted;
use rosterd::notifiers::smtp::Security;
use rosterd::notifiers::smtp::SmtpNotifier;
use rosterd::notifiers::smtp::SmtpSettings;
use rosterd::notify::Notifier;
use rosterd::notify::NotifyClass;
use rosterd::secrets::secret::Secret;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Child;
use tokio::process::Command;

use crate::daemon::eventually;
use crate::servers::installed;
use crate::servers::started;

const USER: &str = "desk";
const PASSWORD: &str = "canary-of-the-mail-server";

/// A running mail server. It ends when this is dropped.
struct MailServer {
    port: u16,
    folder: TempDir,
    _process: Child,
}

impl MailServer {
    /// `None` (said on standard error) where it is not installed.
    async fn start(mode: &str) -> Option<Self> {
        let program = installed("aiosmtpd", "aiosmtpd/bin/python")?;
        let folder = TempDir::new().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let issued = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
        fs::write(at("cert.pem"), issued.cert.pem()).expect("written");
        fs::write(at("key.pem"), issued.signing_key.serialize_pem()).expect("written");
        fs::write(at("smtp.py"), include_str!("servers/smtp.py")).expect("written");
        let command = |port: u16| {
            let mut command = Command::new(&program);
            command.arg(at("smtp.py")).args([mode, &port.to_string()]).arg(at("mails")).arg(at("cert.pem"));
            command.arg(at("key.pem")).args([USER, PASSWORD]).stdin(Stdio::null());
            command
        };
        let log = at("log");
        let ready = async |_port: u16| fs::read_to_string(&log).unwrap_or_default().contains("ready");
        let (port, process) = started(command, &log, ready).await;
        Some(Self { port, folder, _process: process })
    }

    fn certificate(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    /// What it took, in order.
    fn mails(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.path().join("mails")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    fn notifier(&self, security: Security, password: &str) -> SmtpNotifier {
        let made = SmtpNotifier::new(SmtpSettings {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            security,
            sign_in: Some((USER.to_owned(), Secret::new(password))),
            ca: Some(fs::read(self.certificate()).expect("a certificate")),
            from: "Recruiting desk <desk@agency.example>".to_owned(),
        });
        made.expect("settings that can be used")
    }
}

fn mail(to: &str) -> Posted {
    let mail = Mail {
        to: to.to_owned(),
        subject: "Votre compte est prêt".to_owned(),
        text: "Bonjour Élodie,\n\nhG7-kd.Qw~2mhG7-kd.Q\n".to_owned(),
        html: Some("<p>Bonjour Élodie</p>".to_owned()),
        holds_password: true,
    };
    let at = DateTime::from_timestamp(1_800_000_000, 0).expect("a moment");
    Posted::due("welcome-1".into(), MAIL, at, Content::Mail(mail))
}

#[tokio::test]
async fn a_mail_leaves_encrypted_and_signed_in_and_is_the_same_at_every_attempt() {
    for (mode, security) in [("starttls", Security::StartTls), ("tls", Security::Tls)] {
        let Some(server) = MailServer::start(mode).await else { return };
        let notifier = server.notifier(security, PASSWORD);
        notifier.deliver(&mail("elodie@mail.example")).await.expect("it is taken");
        notifier.deliver(&mail("elodie@mail.example")).await.expect("it is taken again");
        let [first, second] = server.mails().try_into().expect("two mails");
        assert_eq!(first, second, "to the letter, the id and the date");
        assert_eq!((&first["encrypted"], &first["signed_in"]), (&true.into(), &true.into()), "{mode}");
        assert_eq!(first["to"], serde_json::json!(["elodie@mail.example"]));
        let headers = &first["headers"];
        assert_eq!(headers["Message-ID"], "<welcome-1@agency.example>");
        assert_eq!(headers["Subject"], "Votre compte est prêt");
        assert_eq!(headers["Auto-Submitted"], "auto-generated");
        assert!(headers["From"].as_str().expect("text").contains("desk@agency.example"));
        assert!(first["text"].as_str().expect("text").contains("hG7-kd.Qw~2mhG7-kd.Q"));
        assert!(first["html"].as_str().expect("text").contains("<p>Bonjour Élodie</p>"));
    }
}

#[tokio::test]
async fn nothing_leaves_to_a_server_that_is_not_trusted_not_encrypted_or_does_not_let_us_in() {
    let Some(server) = MailServer::start("starttls").await else { return };
    let door = async |notifier: SmtpNotifier| {
        let error = notifier.deliver(&mail("ada@mail.example")).await.expect_err("it is not taken");
        assert_eq!(error.class, NotifyClass::Door, "{error}");
        assert!(!error.message.contains("canary") && !error.message.contains("hG7"), "{error}");
    };
    door(server.notifier(Security::StartTls, "wrong")).await;
    // Another authority signed what this one believes.
    let other = MailServer::start("starttls").await.expect("installed");
    let distrusting = SmtpSettings {
        host: "127.0.0.1".to_owned(),
        port: server.port,
        security: Security::StartTls,
        sign_in: None,
        ca: Some(fs::read(other.certificate()).expect("a certificate")),
        from: "a@b.example".to_owned(),
    };
    door(SmtpNotifier::new(distrusting).expect("settings")).await;
    let plain = MailServer::start("plain").await.expect("installed");
    door(plain.notifier(Security::StartTls, PASSWORD)).await;
    assert_eq!((server.mails().len(), plain.mails().len()), (0, 0));
}

#[tokio::test]
async fn what_a_server_says_of_an_address_decides_whether_it_is_tried_again() {
    let Some(server) = MailServer::start("starttls").await else { return };
    let notifier = server.notifier(Security::StartTls, PASSWORD);
    let error = notifier.deliver(&mail("reject@mail.example")).await.expect_err("it is refused");
    assert_eq!(error.class, NotifyClass::Refused);
    assert!(error.message.contains("no such mailbox"), "{error}");
    let error = notifier.deliver(&mail("later@mail.example")).await.expect_err("it is put off");
    assert_eq!(error.class, NotifyClass::Later);
    notifier.deliver(&mail("later@mail.example")).await.expect("it is taken");
    assert_eq!(server.mails().len(), 1);
}

/// The sample with passwords, in a folder with a configuration for this server.
fn installation(server: &MailServer) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/s3-welcome");
    for name in ["people.yaml", "targets.yaml", "templates.yaml"] {
        let mut text = fs::read_to_string(sample.join(name)).expect("a sample");
        if name == "targets.yaml" {
            let from = text.find("    template: [candidate-welcome").expect("the welcome");
            let to = text.find("\n---\napiVersion: rosterd.dev/v1\nkind: Target\nmetadata: { name: client-desk }");
            let generated = "    template: [candidate-password, candidate-password-fr]\n    credential: generated";
            text.replace_range(from..to.expect("the next document"), generated);
        }
        text = text.replace("elodie.marchand@mail.example", "later.elodie@mail.example");
        text = text.replace("tomas.rivera@sites.example", "reject.tomas@sites.example");
        fs::create_dir_all(folder.path().join("m")).expect("a folder");
        fs::write(folder.path().join("m").join(name), text).expect("written");
    }
    let (port, ca) = (server.port, server.certificate());
    let text = format!(
        "listen: 127.0.0.1:0\nmanifests: [ {{ folder: m }} ]\ntargetsFrom: manifests\nsecrets:\n  smtp: {{ env: \
         SMTP_PASSWORD, origins: [\"smtp://127.0.0.1:{port}\"] }}\nmail:\n  smtp: {{ host: 127.0.0.1, port: {port}, \
         user: {USER}, password: {{ secret: smtp }}, ca: {} }}\n  from: \"Desk <desk@agency.example>\"\n",
        ca.display()
    );
    fs::write(folder.path().join("rosterd.yaml"), text).expect("written");
    folder
}

#[tokio::test]
async fn s3_4_the_program_mails_each_new_user_a_password_through_a_server_that_demands_starttls_and_sign_in() {
    let Some(server) = MailServer::start("starttls").await else { return };
    let folder = installation(&server);
    let command = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rosterd"));
        command.args(["--config", "rosterd.yaml"]).args(arguments).current_dir(folder.path());
        command.env("SMTP_PASSWORD", PASSWORD).env("ROSTERD_LOG", "trace").stdin(Stdio::null());
        command
    };
    // A short command sends what its work is about before it ends.
    let applied = command(&["apply", "--yes"]).output().await.expect("it runs");
    let said = format!("{}{}", String::from_utf8_lossy(&applied.stdout), String::from_utf8_lossy(&applied.stderr));
    assert!(applied.status.success(), "{said}");
    let to = |name: &str| server.mails().into_iter().filter(|mail| mail["to"][0] == name).collect::<Vec<_>>();
    let noor = to("noor.haddad@mail.example");
    assert_eq!(noor.len(), 1, "{said}");
    assert_eq!((&noor[0]["encrypted"], &noor[0]["signed_in"]), (&true.into(), &true.into()));
    let text = noor[0]["text"].as_str().expect("text").replace('\r', "");
    assert!(text.contains("Hello Noor") && text.contains("You are asked to change it"), "{text}");
    let password = text.lines().find(|line| line.len() == 20 && !line.contains(' ')).expect("a password").to_owned();
    // The daemon goes on with what was put off.
    let log = fs::File::create(folder.path().join("log")).expect("a log");
    let mut daemon = command(&["run"]).stdout(Stdio::null()).stderr(log).kill_on_drop(true).spawn().expect("it runs");
    eventually("the other one is mailed", async || (to("later.elodie@mail.example").len() == 1).then_some(())).await;
    let explained = async || {
        let output = command(&["explain", "client-401", "--output", "json"]).output().await.expect("it runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    eventually("the refusal is shown", async || explained().await.contains("no such mailbox").then_some(())).await;
    daemon.kill().await.expect("it ends");
    assert_eq!(server.mails().len(), 2, "nobody was told twice");
    let files = fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("a file").path());
    for path in files.filter(|path| path.is_file()) {
        let bytes = fs::read(&path).expect("read");
        let holds = |canary: &str| bytes.windows(canary.len()).any(|part| part == canary.as_bytes());
        assert!(!holds(&password) && !holds(PASSWORD), "a password in {}", path.display());
    }
    assert!(!said.contains(&password) && !said.contains(PASSWORD));
}
