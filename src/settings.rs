//! The operator's configuration, and the only reader of the environment.

pub mod addressees;
pub mod decisions;
pub mod file;
pub mod notices;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use crate::manifest::Problem;
use crate::manifest::decision::DecisionKey;
use crate::manifest::locate;
use crate::manifest::locate::Located;
use crate::manifest::report::Report;
use crate::model::addressee::Addressee;
use crate::model::addressee::LabelScope;
use crate::schedule::parse_duration;
use crate::secrets::vault::BoundSecret;
use crate::secrets::vault::SecretSource;
use crate::secrets::vault::Vault;
use crate::settings::file::File;
use crate::settings::file::Secret;
use crate::settings::file::TargetsFrom;
use crate::settings::notices::MailSettings;
use crate::settings::notices::WebhookSettings;

/// Where the API listens, unless told otherwise.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
/// The store, unless told otherwise.
const STORE: &str = "./rosterd.db";
/// Where mails are put for trying out.
const MAILS: &str = "./rosterd-mails";
/// Percent of the accepted access that one load may take away.
const MAX_SHRINK: u32 = 20;
/// Where a file system gives no events (NFS, some container mounts), this is how late a change is
/// seen; reading unchanged folders again costs little more than listing them.
const RESCAN: Duration = Duration::from_secs(30);

/// Everything that an installation is built from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where the API listens; a loopback address.
    pub listen: SocketAddr,
    /// The store's file; beside it lie keys, exported heads, and the notes of a daemon. With
    /// [`Settings::postgres`] it is not made itself.
    pub store: PathBuf,
    /// The name of the secret that holds the URL of the database, where the store is one.
    pub postgres: Option<String>,
    /// The folder of users and roles.
    pub manifests: Option<PathBuf>,
    /// Files and folders of operator documents.
    pub include: Vec<PathBuf>,
    /// Named secrets.
    pub secrets: BTreeMap<String, BoundSecret>,
    /// Words that `User.teams` may use; `None`: any.
    pub teams: Option<BTreeSet<String>>,
    /// Files of the signing and the encryption key; `None`: `rosterd.keys` beside the store.
    pub keys: Option<(PathBuf, PathBuf)>,
    /// Whether operator documents may stand among the manifests.
    pub operator_documents: OperatorDocumentsIn,
    /// Percent of the accepted access that one load may take away.
    pub max_shrink: u32,
    /// How often folders are read again where no event came.
    pub rescan: Duration,
    /// Groups of approvers, and for which users each has a say, by the values of their labels; `None`:
    /// no approvers are named, and the holder of the local token decides.
    pub approvers: Option<BTreeMap<String, Vec<LabelScope>>>,
    /// Who is told of turns of these groups.
    pub addressees: Vec<Addressee>,
    /// Whose signed decisions are taken, by person.
    pub decision_keys: BTreeMap<String, DecisionKey>,
    /// How mails leave; `None`: none does.
    pub mail: Option<MailSettings>,
    /// Programs that are told, by name.
    pub webhooks: BTreeMap<String, WebhookSettings>,
}

/// Whether operator documents may stand among the manifests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperatorDocumentsIn {
    /// A configuration keeps them apart.
    Include,
    /// `targetsFrom: manifests`
    Manifests,
    /// There is no configuration: embedded and loopback targets may stand in the folder.
    TryOut,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: LISTEN,
            store: PathBuf::from(STORE),
            postgres: None,
            manifests: None,
            include: Vec::new(),
            secrets: BTreeMap::new(),
            teams: None,
            keys: None,
            operator_documents: OperatorDocumentsIn::TryOut,
            max_shrink: MAX_SHRINK,
            rescan: RESCAN,
            approvers: None,
            addressees: Vec::new(),
            decision_keys: BTreeMap::new(),
            mail: Some(MailSettings::File(PathBuf::from(MAILS))),
            webhooks: BTreeMap::new(),
        }
    }
}

/// A variable of the environment. Everybody else takes what this gives.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl Settings {
    /// Reads a configuration. Relative paths in it start at its own folder.
    ///
    /// # Errors
    /// Every problem, located.
    pub fn read(path: &Path) -> Result<Self, Vec<Problem>> {
        let name = path.to_string_lossy();
        let bytes = std::fs::read(path).map_err(|error| vec![unreadable(&name, &error.to_string())])?;
        Self::parse(&name, &bytes, path.parent().unwrap_or_else(|| Path::new("")))
    }

    /// Reads the text of a configuration that stands in `folder`.
    ///
    /// # Errors
    /// Every problem, located.
    pub fn parse(name: &str, bytes: &[u8], folder: &Path) -> Result<Self, Vec<Problem>> {
        locate::read(name, bytes, |file: File, _, report| {
            file.refuse_later(report);
            Some(settle(file, folder, report))
        })
    }
}

/// From what is written to what holds.
fn settle(file: File, folder: &Path, report: &mut Report<'_>) -> Settings {
    let defaults = Settings::default();
    let postgres = file.store.as_ref().and_then(|store| postgres(store, &file.secrets, report));
    let store = file.store.and_then(|store| store.sqlite).unwrap_or(defaults.store);
    let operator_documents = match file.targets_from {
        Some(TargetsFrom::Manifests) => OperatorDocumentsIn::Manifests,
        None => OperatorDocumentsIn::Include,
    };
    let keys = file.keys.map(|keys| (folder.join(&keys.value.sign.file), folder.join(&keys.value.encrypt.file)));
    let names: BTreeSet<String> = file.secrets.keys().cloned().collect();
    let mail = file.mail.and_then(|mail| notices::mail(mail, &names, folder, report));
    let webhooks = notices::webhooks(file.webhooks, &names, folder, report);
    let secrets = file.secrets.into_iter().filter_map(|(name, secret)| {
        let bound = bind(&name, &secret, folder, report)?;
        Some((name, bound))
    });
    let secrets = secrets.collect();
    let teams: Option<BTreeSet<String>> = file.teams.map(|teams| teams.into_iter().collect());
    let known = (mail.is_some(), teams.as_ref());
    let (approvers, addressees) = match file.approvers {
        Some(entries) => approvers(entries, known, report),
        None => (None, Vec::new()),
    };
    Settings {
        listen: file.listen.and_then(|text| listen(&text, report)).unwrap_or(LISTEN),
        store: folder.join(store),
        postgres,
        manifests: manifests(&file.manifests, folder, report),
        include: file.include.iter().map(|path| folder.join(&path.value)).collect(),
        secrets,
        teams,
        keys,
        operator_documents,
        max_shrink: file.max_shrink.and_then(|percent| max_shrink(&percent, report)).unwrap_or(MAX_SHRINK),
        rescan: file.rescan.and_then(|text| rescan(&text, report)).unwrap_or(RESCAN),
        decision_keys: file
            .decisions_from
            .map(|written| decisions::keys(written, approvers.as_ref(), report))
            .unwrap_or_default(),
        approvers,
        addressees,
        mail,
        webhooks,
    }
}

/// Groups by name. Whoever is in one is said by tokens, never by manifests.
fn approvers(
    entries: Vec<Located<file::Approvers>>,
    (can_mail, teams): (bool, Option<&BTreeSet<String>>),
    report: &mut Report<'_>,
) -> (Option<BTreeMap<String, Vec<LabelScope>>>, Vec<Addressee>) {
    let (mut groups, mut told): (BTreeMap<String, Vec<LabelScope>>, _) = (BTreeMap::new(), Vec::new());
    for Located { value: file::Approvers { group, label, tell }, place } in entries {
        if group.value.trim().is_empty() {
            report
                .add(group.place, "blank-value", "a group of approvers has a name")
                .hint("write `group: credit-emea`");
        }
        let scope: LabelScope = label.into_iter().map(|(label, wanted)| (label, wanted.into_set())).collect();
        if scope.values().any(BTreeSet::is_empty) {
            report
                .add(place, "wrong-value", "this group decides about nobody: a label has no value")
                .hint("name values, or leave the label out: then it is for all");
        }
        if let Some(first) = tell.first().filter(|_| !can_mail) {
            report
                .add(first.place, "missing-field", "nobody can be told: the configuration says not how mails leave")
                .hint("add `mail: { smtp: { host: mail.example }, from: \"Name <name@host>\" }`");
        }
        told.extend(addressees::addressees((&group.value, &scope), tell, teams, report));
        groups.entry(group.value).or_default().push(scope);
    }
    (Some(groups), told)
}

/// The name of the secret with the URL of the database.
fn postgres(
    store: &file::Store,
    secrets: &BTreeMap<String, Located<Secret>>,
    report: &mut Report<'_>,
) -> Option<String> {
    let postgres = store.postgres.as_ref()?;
    if store.sqlite.is_some() {
        report
            .add(postgres.place, "unsupported-value", "a store is a file or a database, not both")
            .hint("take `sqlite` or `postgres` out; `rosterd store export` and `import` move what is remembered");
    }
    let name = &postgres.value.url.value.secret;
    if !secrets.contains_key(name) {
        report
            .add(postgres.value.url.place, "unknown-secret", format!("no secret is named `{name}`"))
            .hint("declare it under `secrets`, with `origins: [\"postgres://HOST:PORT\"]`");
    }
    Some(name.clone())
}

fn listen(text: &Located<String>, report: &mut Report<'_>) -> Option<SocketAddr> {
    let literal = text.value.replacen("localhost", "127.0.0.1", 1);
    match literal.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Some(address),
        Ok(address) => {
            let message = format!(
                "`{address}` can be reached from other machines, and nobody could sign in there: this version listens \
                 on loopback only"
            );
            let hint = format!("write `127.0.0.1:{}`, and put a proxy that signs people in before it", address.port());
            report.add(text.place, "listen-without-sign-in", message).hint(hint);
            None
        }
        Err(_) => {
            let message = format!("`{}` is not an address with a port", text.value);
            report.add(text.place, "wrong-value", message).hint("write `127.0.0.1:8080` or `[::1]:8080`");
            None
        }
    }
}

fn manifests(entries: &[Located<file::Manifests>], base: &Path, report: &mut Report<'_>) -> Option<PathBuf> {
    if let Some(second) = entries.get(1) {
        report
            .add(second.place, "unsupported-value", "this version of rosterd reads one folder of manifests")
            .hint("name the folder above them: it is read with everything below it");
    }
    let first = entries.first()?;
    if first.value.folder.is_none() && !first.value.is_later() {
        report.add(first.place, "missing-field", "the field `folder` is missing").hint("add `folder: DIR`");
    }
    first.value.folder.as_ref().map(|folder| base.join(folder))
}

fn bind(name: &str, secret: &Located<Secret>, base: &Path, report: &mut Report<'_>) -> Option<BoundSecret> {
    let source = match (&secret.value.file, &secret.value.env) {
        (Some(file), None) => SecretSource::File(base.join(file)),
        (None, Some(variable)) => SecretSource::Env(variable.clone()),
        (Some(_), Some(_)) | (None, None) => {
            let message = format!("the secret `{name}` needs exactly one of `file` and `env`");
            report.add(secret.place, "secret-source", message).hint("write `file: PATH` or `env: NAME`");
            return None;
        }
    };
    if secret.value.origins.is_empty() {
        let message = format!("the secret `{name}` is bound to no origin, so it could be sent nowhere");
        report.add(secret.place, "secret-origins", message).hint("add `origins: [\"https://crm.example\"]`");
    }
    let bound = |origins| BoundSecret { source: source.clone(), origins };
    for origin in &secret.value.origins {
        let one = BTreeMap::from([(name.to_owned(), bound(BTreeSet::from([origin.value.clone()])))]);
        if let Err(error) = Vault::new(one, |_| None) {
            report.add(origin.place, "secret-origins", error.to_string()).hint("leave path, user and query out");
        }
    }
    Some(bound(secret.value.origins.iter().map(|origin| origin.value.clone()).collect()))
}

fn max_shrink(percent: &Located<u32>, report: &mut Report<'_>) -> Option<u32> {
    if (1..=100).contains(&percent.value) {
        return Some(percent.value);
    }
    let message = format!("`{}` is not a share of access in percent", percent.value);
    report.add(percent.place, "wrong-value", message).hint("write a number from 1 to 100; 20 is the default");
    None
}

fn rescan(text: &Located<String>, report: &mut Report<'_>) -> Option<Duration> {
    match parse_duration(&text.value) {
        Ok(duration) if duration >= Duration::from_secs(1) => Some(duration),
        Ok(_) => {
            report.add(text.place, "bad-duration", "folders are read again once a second at most").hint("write `30s`");
            None
        }
        Err(error) => {
            report.add(text.place, "bad-duration", error.to_string()).hint("write `30s` or `5m`");
            None
        }
    }
}

fn unreadable(name: &str, why: &str) -> Problem {
    Problem {
        file: name.to_owned(),
        line: 0,
        column: 0,
        code: "unreadable",
        message: format!("the configuration cannot be read: {why}"),
        hint: Some("check the path given by `--config`; without one rosterd runs for trying out".to_owned()),
        snippet: None,
        conflict_of: None,
        drops_document: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::addressee::Whom;
    use crate::notifiers::smtp::Security;

    fn settings(text: &str) -> Result<Settings, Vec<Problem>> {
        Settings::parse("rosterd.yaml", text.as_bytes(), Path::new("/etc/rosterd"))
    }

    fn check(text: &str, code: &str, line: u32, hint: &str) {
        let problems = settings(text).unwrap_err();
        let [problem] = problems.as_slice() else { panic!("{problems:?}") };
        assert_eq!((problem.code, problem.line), (code, line), "{problem:?}");
        assert!(problem.hint.as_deref().unwrap_or_default().contains(hint), "{problem:?}");
    }

    #[test]
    fn paths_start_at_the_folder_of_the_configuration() {
        let text = "store: { sqlite: state.db }\nmanifests: [ { folder: people } ]\ninclude: [ targets/ ]\n\
                    secrets:\n  crm: { file: crm.token, origins: [\"https://crm.example\"] }\n";
        let settings = settings(text).unwrap();
        assert_eq!(settings.store, Path::new("/etc/rosterd/state.db"));
        assert_eq!(settings.manifests.as_deref(), Some(Path::new("/etc/rosterd/people")));
        assert_eq!(settings.include, [Path::new("/etc/rosterd/targets/")]);
        assert_eq!(settings.secrets["crm"].source, SecretSource::File("/etc/rosterd/crm.token".into()));
        assert_eq!(settings.operator_documents, OperatorDocumentsIn::Include);
    }

    #[test]
    fn an_address_that_others_can_reach_is_refused_while_nobody_signs_in() {
        check("listen: 0.0.0.0:8080\n", "listen-without-sign-in", 1, "127.0.0.1:8080");
        check("listen: \"[::]:80\"\n", "listen-without-sign-in", 1, "127.0.0.1:80");
        check("# x\nlisten: here\n", "wrong-value", 2, "127.0.0.1:8080");
        assert_eq!(settings("listen: localhost:0\n").unwrap().listen.port(), 0);
    }

    #[test]
    fn keys_of_later_versions_are_refused_by_name_and_misspelt_ones_are_put_right() {
        check("manifests: []\nsignIn: { oidc: { issuer: x } }\n", "unsupported-field", 2, "loopback");
        check("manifests: [ { git: { url: x } } ]\n", "unsupported-field", 1, "folder: DIR");
        check("manifests: [ { folder: a }, { folder: b } ]\n", "unsupported-value", 1, "above");
        check("manifest: []\n", "unknown-field", 1, "manifests");
    }

    #[test]
    fn approvers_are_groups_with_the_labels_for_which_each_has_a_say() {
        let text = "approvers:\n  - { group: credit, label: { folder: [acme, bolt] } }\n  - { group: credit, label: { site: eu } }\n  - { group: all }\n";
        let approvers = settings(text).unwrap().approvers.unwrap();
        let scope = |label: &str, values: &[&str]| {
            LabelScope::from([(label.to_owned(), values.iter().map(|value| (*value).to_owned()).collect())])
        };
        assert_eq!(approvers["credit"], [scope("folder", &["acme", "bolt"]), scope("site", &["eu"])]);
        assert_eq!(approvers["all"], [LabelScope::new()]);
        assert_eq!(settings("listen: 127.0.0.1:0\n").unwrap().approvers, None);
        check("approvers: [ { group: credit, label: { folder: [] } } ]\n", "wrong-value", 1, "leave the label out");
    }

    #[test]
    fn signed_decisions_are_taken_from_keys_that_the_operator_names_and_from_nobody_else() {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICy4/CnH7S+bmnXuir4IKRwAReYtwsq33EgkQPgDYr3t alice";
        let other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA bob";
        for nobody in ["listen: 127.0.0.1:0\n", "decisionsFrom: none\n"] {
            assert_eq!(settings(nobody).unwrap().decision_keys, BTreeMap::new());
        }
        let read = |approvers: &str| {
            let text = format!(
                "{approvers}decisionsFrom:\n  keys:\n    alice: \"{key}\"\n    bob: {{ key: \"{other}\", groups: [desk, far], label: {{ folder: a }} }}\n"
            );
            settings(&text).unwrap().decision_keys
        };
        let everywhere = vec![LabelScope::new()];
        let unnamed = read("");
        assert_eq!(unnamed["alice"].groups, BTreeMap::new(), "an approver, as anybody with that right is");
        assert_eq!(unnamed["bob"].groups.len(), 2);
        assert_eq!(unnamed["bob"].scope["folder"], BTreeSet::from(["a".to_owned()]));
        let named = read("approvers: [ { group: desk } ]\n");
        assert!(named["alice"].outside && !named["bob"].outside && !unnamed["alice"].outside, "in none of the groups");
        assert_eq!(named["bob"].groups, BTreeMap::from([("desk".to_owned(), everywhere)]));
        check("decisionsFrom: { keys: { alice: \"ssh-rsa AAAA\" } }\n", "wrong-value", 1, "ssh-keygen -t ed25519");
        check("decisionsFrom: { keys: {} }\n", "blank-value", 1, "none");
        let twice = format!("decisionsFrom: {{ keys: {{ alice: \"{key}\", bob: {{ key: \"{key} bob\" }} }} }}\n");
        check(&twice, "wrong-value", 1, "each person has a key of their own");
    }

    #[test]
    fn whom_turns_are_told_to_are_people_with_an_address_and_teams_that_there_are() {
        let told = |tell: &str| {
            format!(
                "mail: {{ file: m }}\nteams: [desk]\napprovers: [ {{ group: g, label: {{ folder: a }}, tell: [ {tell} ] }} ]\n"
            )
        };
        let read = settings(&told(
            "{ person: rose, mail: r@a.example, locale: fr }, { team: desk, digest: { cron: \"0 8 * * MON\", timeZone: Europe/Paris } }",
        ));
        let addressees = read.unwrap().addressees;
        let scope = LabelScope::from([("folder".to_owned(), BTreeSet::from(["a".to_owned()]))]);
        assert!(addressees.iter().all(|to| to.group == "g" && to.scope == scope));
        let (subject, mail, locale) = ("rose".to_owned(), "r@a.example".to_owned(), Some("fr".to_owned()));
        assert_eq!(addressees[0].whom, Whom::Person { subject, mail, locale });
        assert_eq!((&addressees[1].whom, addressees[1].digest.is_some()), (&Whom::Team("desk".to_owned()), true));
        check(&told("{ person: rose, mail: nobody }"), "wrong-value", 3, "rose@acme.example");
        check(&told("{ person: rose }"), "wrong-value", 3, "mail: name@host");
        check(&told("{ person: rose, mail: r@a.example, team: desk }"), "wrong-value", 3, "team: NAME");
        check(&told("{ team: dask }"), "unknown-team", 3, "`desk`");
        check(&told("{ team: desk, digest: { cron: \"0 0 31 2 *\" } }"), "bad-schedule", 3, "MON-FRI");
        check(&told("{ team: desk, digest: { every: 0s } }"), "bad-schedule", 3, "");
        check(&told("{ team: desk, digest: {} }"), "wrong-value", 3, "every: 24h");
        check("approvers: [ { group: g, tell: [ { team: desk } ] } ]\n", "missing-field", 1, "mail:");
    }

    #[test]
    fn a_store_is_a_file_or_a_database_whose_url_is_a_declared_secret() {
        let secrets = "secrets:\n  db: { env: DB, origins: [\"postgres://db.example\"] }\n";
        let read = settings(&format!("store: {{ postgres: {{ url: {{ secret: db }} }} }}\n{secrets}")).unwrap();
        assert_eq!(read.postgres.as_deref(), Some("db"));
        assert_eq!(read.store, Path::new("/etc/rosterd/rosterd.db"), "keys and heads lie beside the configuration");
        check("store: { postgres: { url: { secret: db } } }\n", "unknown-secret", 1, "postgres://HOST:PORT");
        check(
            &format!("store: {{ sqlite: a, postgres: {{ url: {{ secret: db }} }} }}\n{secrets}"),
            "unsupported-value",
            1,
            "export",
        );
        check("store: { postgres: { url: \"postgres://a:b@c/d\" } }\n", "wrong-type", 1, "");
    }

    #[test]
    fn mails_leave_encrypted_through_one_server_signed_in_by_a_declared_secret() {
        let secrets = "secrets:\n  smtp: { env: SMTP, origins: [\"smtp://mail.example:587\"] }\n";
        let smtp = |text: &str| format!("mail: {{ smtp: {{ {text} }}, from: \"Rosterd <a@b.example>\" }}\n{secrets}");
        let read = settings(&smtp("host: mail.example, user: r, password: { secret: smtp }")).unwrap();
        let Some(MailSettings::Smtp { port, security, sign_in, .. }) = read.mail else { panic!("no server") };
        assert_eq!((port, security), (587, Security::StartTls));
        assert_eq!(sign_in, Some(("r".to_owned(), "smtp".to_owned())));
        assert_eq!(settings("maxShrink: 20\n").unwrap().mail, None, "a configuration says how mails leave");
        check(&smtp("host: mail.example, security: none"), "unencrypted", 1, "starttls");
        assert!(settings(&smtp("host: 127.0.0.1, security: none")).is_ok());
        check(&smtp("host: mail.example, user: r"), "missing-field", 1, "password");
        check(&smtp("host: mail.example, user: r, password: { secret: no }"), "unknown-secret", 1, "smtp://HOST:PORT");
        check("mail: { from: a@b.example }\n", "wrong-value", 1, "smtp:");
        check("mail: { smtp: { host: a } }\n", "missing-field", 1, "from:");
        check("mail: { smtp: { host: a }, from: nobody }\n", "wrong-value", 1, "name@host");
        check("mail: { smtp: { host: a, password: hunter2 }, from: a@b.example }\n", "wrong-type", 1, "");
    }

    #[test]
    fn a_webhook_is_encrypted_signed_by_a_declared_secret_and_told_what_there_is() {
        let secrets = "secrets:\n  hook: { env: HOOK, origins: [\"https://hooks.example\"] }\n";
        let hook = |text: &str| format!("webhooks: {{ ops: {{ {text} }} }}\n{secrets}");
        let read = settings(&hook("url: \"https://hooks.example/r\", key: { secret: hook }")).unwrap();
        assert_eq!(read.webhooks["ops"].events.len(), notices::EVENTS.len());
        let some = "url: \"https://hooks.example/r\", key: { secret: hook }, events: [account.created]";
        assert_eq!(
            settings(&hook(some)).unwrap().webhooks["ops"].events,
            BTreeSet::from(["account.created".to_owned()])
        );
        check(&hook("url: \"http://hooks.example/r\", key: { secret: hook }"), "unencrypted", 1, "https://");
        check(&hook("url: \"https://hooks.example/r\", key: { secret: no }"), "unknown-secret", 1, "secrets");
        let wrong = "url: \"https://hooks.example/r\", key: { secret: hook }, events: [account.create]";
        check(&hook(wrong), "wrong-value", 1, "account.created");
    }

    #[test]
    fn a_secret_needs_one_source_and_bare_origins() {
        check("secrets:\n  a: { origins: [\"https://a.example\"] }\n", "secret-source", 2, "env: NAME");
        check("secrets:\n  a: { env: A }\n", "secret-origins", 2, "origins:");
        check("secrets:\n  a: { env: A, origins: [\"https://a.example/scim\"] }\n", "secret-origins", 2, "path");
    }

    #[test]
    fn shares_and_times_are_held_to_what_makes_sense() {
        check("maxShrink: 0\n", "wrong-value", 1, "20");
        check("rescan: soon\n", "bad-duration", 1, "30s");
        check("rescan: 10ms\n", "bad-duration", 1, "30s");
        assert_eq!(settings("rescan: 5m\nmaxShrink: 35\n").unwrap().max_shrink, 35);
    }
}
