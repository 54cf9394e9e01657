//! `rosterd.yaml` as it is written.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::manifest::locate::Located;
use crate::manifest::report::Report;
use crate::settings::addressees::TellFile;
use crate::settings::decisions::DecisionsFile;
use crate::settings::notices::MailFile;
use crate::settings::notices::WebhookFile;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct File {
    /// Address of the API.
    pub listen: Option<Located<String>>,
    /// Where rosterd remembers.
    pub store: Option<Store>,
    /// Where users and roles are.
    pub manifests: Vec<Located<Manifests>>,
    /// Operator documents: files and folders.
    pub include: Vec<Located<PathBuf>>,
    /// Named secrets.
    pub secrets: BTreeMap<String, Located<Secret>>,
    /// Words that `User.teams` may use.
    pub teams: Option<Vec<String>>,
    /// Key files.
    pub keys: Option<Located<Keys>>,
    /// `manifests`: operator documents may stand in the folder.
    pub targets_from: Option<TargetsFrom>,
    /// Percent of the accepted access that one load may take away.
    pub max_shrink: Option<Located<u32>>,
    /// How often folders are read again where no event came.
    pub rescan: Option<Located<String>>,
    /// Groups of approvers, and for which users each has a say.
    pub approvers: Option<Vec<Located<Approvers>>>,
    /// Whose signed decisions are taken.
    pub decisions_from: Option<Located<DecisionsFile>>,
    /// How mails leave.
    pub mail: Option<Located<MailFile>>,
    /// Programs that are told.
    pub webhooks: BTreeMap<String, Located<WebhookFile>>,
    sign_in: Option<Located<IgnoredAny>>,
    allow_unencrypted_launch: Option<Located<IgnoredAny>>,
    retention: Option<Located<IgnoredAny>>,
}

/// `store`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Store {
    /// A file.
    pub sqlite: Option<PathBuf>,
    /// A database.
    pub postgres: Option<Located<Postgres>>,
}

/// `store.postgres`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Postgres {
    /// Its URL, which holds a password and so is a secret.
    pub url: Located<SecretName>,
}

/// `{ secret: NAME }`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretName {
    /// A name under `secrets`.
    pub secret: String,
}

/// One entry of `manifests`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifests {
    /// A folder.
    pub folder: Option<PathBuf>,
    git: Option<Located<IgnoredAny>>,
}

impl Manifests {
    /// Whether it names a source of a later version.
    pub fn is_later(&self) -> bool {
        self.git.is_some()
    }
}

/// One entry of `secrets`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Secret {
    /// A file that holds it.
    pub file: Option<PathBuf>,
    /// A variable that holds it.
    pub env: Option<String>,
    /// Who may see it.
    #[serde(default)]
    pub origins: Vec<Located<String>>,
    exec: Option<Located<IgnoredAny>>,
}

/// `keys`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Keys {
    /// Signs audit heads.
    pub sign: KeyFile,
    /// Encrypts the snapshot.
    pub encrypt: KeyFile,
}

/// One entry of `keys`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyFile {
    /// The file.
    pub file: PathBuf,
}

/// One entry of `approvers`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Approvers {
    /// A group, as tokens name it.
    pub group: Located<String>,
    /// For which users it decides: values of their labels. Left out: for all.
    #[serde(default)]
    pub label: BTreeMap<String, OneOrMore>,
    /// Who is told when it is the group's turn.
    #[serde(default)]
    pub tell: Vec<Located<TellFile>>,
}

/// One value or a list of them.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum OneOrMore {
    /// `acme`
    One(String),
    /// `[acme, bolt]`
    More(Vec<String>),
}

impl OneOrMore {
    /// The values, each once.
    pub fn into_set(self) -> BTreeSet<String> {
        match self {
            Self::One(value) => BTreeSet::from([value]),
            Self::More(values) => values.into_iter().collect(),
        }
    }
}

/// `targetsFrom`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TargetsFrom {
    /// Operator documents may stand in the folder of manifests.
    Manifests,
}

impl File {
    /// Refuses keys of the design that this version does not have: taking `signIn` and doing
    /// nothing about it would open a door that its writer believes closed.
    pub fn refuse_later(&self, report: &mut Report<'_>) {
        let manifests = self.manifests.iter().filter_map(|entry| entry.value.git.as_ref());
        let exec = self.secrets.values().filter_map(|entry| entry.value.exec.as_ref());
        let named = [
            (self.sign_in.as_ref(), "signIn", "take it out and let `listen` stay on loopback"),
            (self.allow_unencrypted_launch.as_ref(), "allowUnencryptedLaunch", "take it out: nothing is launched yet"),
            (self.retention.as_ref(), "retention", "take it out: this version keeps everything"),
        ];
        let listed = manifests.map(|git| (git, "git", "write `folder: DIR`, and let git update that folder"));
        let listed = listed.chain(exec.map(|exec| (exec, "exec", "write `file: PATH` or `env: NAME`")));
        let named = named.into_iter().filter_map(|(key, name, hint)| Some((key?, name, hint)));
        for (key, name, hint) in named.chain(listed) {
            let message = format!("this version of rosterd does not have `{name}` yet");
            report.add(key.place, "unsupported-field", message).hint(hint);
        }
    }
}
