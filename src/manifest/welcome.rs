//! `spec.welcome` of targets, and the `Template` documents that it names: what the person of a new
//! account is told, and what lets them in.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::Deserializer;
use serde::de;
use serde::de::value::MapAccessDeserializer;
use serde::de::value::SeqAccessDeserializer;

use crate::expr::Names as ExprNames;
use crate::manifest::Problem;
use crate::manifest::combine;
use crate::manifest::decode::decode;
use crate::manifest::document;
use crate::manifest::document::Kind;
use crate::manifest::document::Metadata;
use crate::manifest::endpoint;
use crate::manifest::expression;
use crate::manifest::file::OperatorDocument;
use crate::manifest::located::Located;
use crate::manifest::merge::Placed;
use crate::manifest::merge::Targets;
use crate::manifest::report::Report;
use crate::manifest::role;
use crate::manifest::suggest;
use crate::manifest::text::Place;
use crate::manifest::words;
use crate::model::node::Node;
use crate::model::origin::Origin;
use crate::model::target::Credential;
use crate::model::target::MailTemplate;
use crate::model::target::Target;
use crate::model::target::Welcome;
use crate::schedule::parse_duration;

/// The tag of a generated password.
const PASSWORD: &str = "credential.password";
/// The tag of a link.
const LINK: &str = "invite.link";
/// How long a link is good, where nothing else is said: a long weekend.
const EXPIRES: Duration = Duration::from_hours(72);
/// A link that is good for longer is a password in a mailbox.
const LONGEST: Duration = Duration::from_hours(24 * 30);
/// How often a link is sent again, where nothing else is said.
const RESEND_AT_MOST: u32 = 5;
/// Characters of a password, where nothing else is said: over 110 bits.
const LENGTH: usize = 20;
/// The shortest that is made.
const SHORTEST: usize = 12;
/// Longer ones are cut by targets that say nothing.
const LONGEST_PASSWORD: usize = 64;

/// What the person of a new account is told, and what lets them in.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct WelcomeEntry {
    /// Names of `Template` documents: one for each language. The first is also for every other one.
    template: Names,
    /// What lets the person in: `link` (default), `generated`, `sso` or `none`.
    credential: Option<Located<CredentialEntry>>,
}

/// One name, or several.
#[derive(Debug, JsonSchema)]
#[schemars(transparent)]
pub(crate) struct Names(#[schemars(with = "OneOrMany")] Vec<Located<String>>);

impl Names {
    pub(crate) fn into_names(self) -> Vec<String> {
        self.0.into_iter().map(|name| name.value).collect()
    }
}

#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "it stands for the shape of `Names` in the schema")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// A word, or a mapping of one key.
#[derive(Debug, JsonSchema)]
#[schemars(transparent)]
struct CredentialEntry(#[schemars(with = "WordOrBlock")] CredentialBlock);

#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "it stands for the shape of `CredentialEntry` in the schema")]
enum WordOrBlock {
    Word(CredentialWord),
    Block(CredentialBlock),
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum CredentialWord {
    Link,
    Generated,
    Sso,
    None,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CredentialBlock {
    /// A link that is good once.
    link: Option<LinkEntry>,
    /// A password that rosterd makes.
    generated: Option<GeneratedEntry>,
    /// Single sign-on.
    sso: Option<Empty>,
    /// Nothing that rosterd knows of.
    none: Option<Empty>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Empty {}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LinkEntry {
    /// Where the application takes the token, which stands in the place of the word `TOKEN`; by default
    /// `/activate?token=TOKEN` at the target.
    url: Option<Located<String>>,
    /// How long it is good: `72h`.
    expires: Option<Located<String>>,
    /// How often it may be sent again.
    resend_at_most: Option<u32>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GeneratedEntry {
    /// How many characters.
    length: Option<Located<usize>>,
    /// Whether the target shall have it changed at the first sign-in, where it can.
    must_change: Option<bool>,
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Located::<OneOrManyText>::deserialize(deserializer).map(|found| match found.value {
            OneOrManyText::One(value) => Self(vec![Located { value, place: found.place }]),
            OneOrManyText::Many(names) => Self(names),
        })
    }
}

/// What `Names` is read from.
enum OneOrManyText {
    One(String),
    Many(Vec<Located<String>>),
}

impl<'de> Deserialize<'de> for OneOrManyText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = OneOrManyText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a `Template`, or a list of them")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(OneOrManyText::One(text.to_owned()))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(OneOrManyText::Many)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl<'de> Deserialize<'de> for CredentialEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = CredentialEntry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`link`, `generated`, `sso`, `none`, or a mapping of one of them")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                let word = CredentialWord::deserialize(de::value::StrDeserializer::<E>::new(text))?;
                let mut block = CredentialBlock::default();
                match word {
                    CredentialWord::Link => block.link = Some(LinkEntry::default()),
                    CredentialWord::Generated => block.generated = Some(GeneratedEntry::default()),
                    CredentialWord::Sso => block.sso = Some(Empty {}),
                    CredentialWord::None => block.none = Some(Empty {}),
                }
                Ok(CredentialEntry(block))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                CredentialBlock::deserialize(MapAccessDeserializer::new(map)).map(CredentialEntry)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// The block of a target whose name and file are given, without its templates, which [`attach`] adds.
pub(crate) fn convert(
    entry: Located<WelcomeEntry>,
    title: Option<&Located<String>>,
    (name, file, endpoint): (&str, &Arc<str>, &Node),
    report: &mut Report<'_>,
) -> Option<Welcome> {
    let Located { value: WelcomeEntry { template: Names(names), credential }, place } = entry;
    if names.is_empty() {
        report.add(place, "blank-value", "no `template` is named").hint("name a `Template` document");
    }
    let title = title.filter(|title| words::line(&title.value, title.place, "a title", report));
    let origin = Origin { file: file.clone(), line: place.line, what: format!("Target {name}").into() };
    Some(Welcome {
        title: title.map_or_else(|| name.to_owned(), |title| title.value.clone()),
        names: names.into_iter().map(|name| name.value).collect(),
        templates: Vec::new(),
        credential: lets_in(credential, place, endpoint, report)?,
        origin,
    })
}

fn lets_in(
    entry: Option<Located<CredentialEntry>>,
    place: Place,
    endpoint: &Node,
    report: &mut Report<'_>,
) -> Option<Credential> {
    let (block, place) = match entry {
        Some(Located { value: CredentialEntry(block), place }) => (block, place),
        None => (CredentialBlock { link: Some(LinkEntry::default()), ..CredentialBlock::default() }, place),
    };
    match block {
        CredentialBlock { link: Some(entry), generated: None, sso: None, none: None } => {
            link(entry, place, endpoint, report)
        }
        CredentialBlock { link: None, generated: Some(entry), sso: None, none: None } => generated(&entry, report),
        CredentialBlock { link: None, generated: None, sso: Some(_), none: None } => Some(Credential::Sso),
        CredentialBlock { link: None, generated: None, sso: None, none: Some(_) } => Some(Credential::None),
        _ => {
            report
                .add(place, "wrong-value", "exactly one thing lets a person in")
                .hint("keep one of `link`, `generated`, `sso`, `none`");
            None
        }
    }
}

fn link(entry: LinkEntry, place: Place, endpoint: &Node, report: &mut Report<'_>) -> Option<Credential> {
    let LinkEntry { url, expires, resend_at_most } = entry;
    let expires = expires.map_or(Some(EXPIRES), |text| lasts(&text, report))?;
    let url = if let Some(url) = url {
        checked(&url, report)?
    } else if let Some(home) = home(endpoint) {
        format!("{home}/activate?token=TOKEN")
    } else {
        report
            .add(place, "missing-field", "the link has no `url`, and the target no address of its own")
            .hint("add `link: { url: \"https://portal.example/activate?token=TOKEN\" }`");
        return None;
    };
    Some(Credential::Link { url, expires, resend_at_most: resend_at_most.unwrap_or(RESEND_AT_MOST) })
}

/// The origin of the target's address.
fn home(endpoint: &Node) -> Option<String> {
    let (scheme, rest) = endpoint.value.get("url")?.as_str()?.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    let plain = matches!(scheme, "http" | "https") && !host.is_empty() && !host.contains('@');
    plain.then(|| format!("{scheme}://{host}"))
}

/// An address that takes a token: encrypted, or on this machine, and with one place for it.
fn checked(url: &Located<String>, report: &mut Report<'_>) -> Option<String> {
    let is_local = url.value.starts_with("http://") && endpoint::is_loopback(&url.value);
    if !url.value.starts_with("https://") && !is_local {
        report
            .add(url.place, "wrong-value", "a link that lets somebody in must be encrypted on its way")
            .hint("begin it with `https://`");
        return None;
    }
    if url.value.matches("TOKEN").count() != 1 || url.value.contains(|c: char| c.is_whitespace() || c.is_control()) {
        report
            .add(url.place, "wrong-value", "the link needs the word `TOKEN` once, where its token shall stand")
            .hint("write it like `https://portal.example/activate?token=TOKEN`");
        return None;
    }
    Some(url.value.clone())
}

fn lasts(text: &Located<String>, report: &mut Report<'_>) -> Option<Duration> {
    match parse_duration(&text.value) {
        Ok(lasts) if lasts >= Duration::from_mins(1) && lasts <= LONGEST => Some(lasts),
        Ok(_) => {
            report.add(text.place, "bad-duration", "a link is good for a minute to 30 days").hint("write `72h`");
            None
        }
        Err(error) => {
            report.add(text.place, "bad-duration", error.to_string()).hint("write `72h` or `3d`");
            None
        }
    }
}

fn generated(entry: &GeneratedEntry, report: &mut Report<'_>) -> Option<Credential> {
    let GeneratedEntry { length, must_change } = entry;
    if let Some(length) = length
        && !(SHORTEST..=LONGEST_PASSWORD).contains(&length.value)
    {
        report
            .add(length.place, "wrong-value", format!("a password of {} characters is not made", length.value))
            .hint(format!("write a number from {SHORTEST} to {LONGEST_PASSWORD}; {LENGTH} is the default"));
        return None;
    }
    let length = length.as_ref().map_or(LENGTH, |length| length.value);
    Some(Credential::Generated { length, must_change: must_change.unwrap_or(true) })
}

/// A mail in one language.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "Template")]
pub(crate) struct TemplateDocument {
    /// `rosterd.dev/v1`
    #[expect(dead_code, reason = "checked before the document is typed")]
    api_version: Option<String>,
    /// `Template`
    #[expect(dead_code, reason = "checked before the document is typed")]
    kind: Option<String>,
    metadata: Metadata,
    spec: TemplateSpec,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TemplateSpec {
    /// What it is for: `welcome`, the mail to the person of a new account; `request`, the mail to those whose
    /// turn it is to decide.
    #[serde(rename = "use")]
    purpose: Purpose,
    /// Its language, or language and region: `fr`, `en-GB`.
    locale: Located<String>,
    /// One line.
    subject: Located<String>,
    /// For every reader.
    text: Located<String>,
    /// For readers that show it.
    html: Option<Located<String>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Purpose {
    Welcome,
    Request,
}

impl Purpose {
    fn as_str(self) -> &'static str {
        match self {
            Self::Welcome => "welcome",
            Self::Request => "request",
        }
    }

    /// What its tags may name.
    fn names(self) -> ExprNames {
        match self {
            Self::Welcome => ExprNames::welcome(),
            Self::Request => ExprNames::request(),
        }
    }
}

/// A template, and which credentials its tags speak of.
struct Found {
    template: MailTemplate,
    purpose: Purpose,
    tags: BTreeSet<String>,
}

type Templates = BTreeMap<String, Option<Found>>;

/// Gives each target the templates that it names, and tells what is wrong with them.
pub(crate) fn attach(documents: &[Placed<'_>], targets: &mut Targets, problems: &mut Vec<Problem>) {
    let found = templates(documents, problems);
    for target in &mut targets.targets {
        if let Some(welcome) = &target.welcome {
            let before = problems.len();
            let chosen = named(&found, &welcome.names, (Purpose::Welcome, &welcome.origin), problems);
            problems.extend(chosen.iter().filter_map(|found| at_odds(welcome, target, found)));
            let chosen = chosen.iter().map(|found| found.template.clone()).collect();
            if problems.len() == before
                && let Some(welcome) = &mut Arc::make_mut(target).welcome
            {
                welcome.templates = chosen;
            }
        }
        if let Some(approval) = target.approval.as_ref().filter(|approval| !approval.mail.names.is_empty()) {
            let chosen = named(&found, &approval.mail.names, (Purpose::Request, &approval.origin), problems);
            let chosen = chosen.iter().map(|found| found.template.clone()).collect();
            if let Some(approval) = &mut Arc::make_mut(target).approval {
                approval.mail.templates = chosen;
            }
        }
    }
}

/// Those of these names that are there and for this; what is wrong with the others is told.
fn named<'a>(
    found: &'a Templates,
    names: &[String],
    (purpose, origin): (Purpose, &Origin),
    problems: &mut Vec<Problem>,
) -> Vec<&'a Found> {
    let mut chosen = Vec::new();
    for name in names {
        match found.get(name.as_str()) {
            Some(Some(found)) if found.purpose == purpose => chosen.push(found),
            Some(Some(found)) => {
                let (is, wanted) = (found.purpose.as_str(), purpose.as_str());
                let message = format!("the `Template` `{name}` is for `{is}`, and this is a `{wanted}`");
                let hint = format!("name a `Template` that says `use: {wanted}`");
                problems.push(combine::at(origin, "unknown-template", message, hint));
            }
            // What is wrong with it is told already.
            Some(None) => {}
            None => {
                let near = suggest::nearest(name, found.keys().map(String::as_str));
                let hint = near.map(|near| format!("did you mean `{near}`?"));
                let hint = hint.unwrap_or_else(|| "add a `Template` document of that name".to_owned());
                let message = format!("there is no `Template` of the name `{name}`");
                problems.push(combine::at(origin, "unknown-template", message, hint));
            }
        }
    }
    chosen
}

fn templates(documents: &[Placed<'_>], problems: &mut Vec<Problem>) -> Templates {
    let mut found = Templates::new();
    let mut origins: BTreeMap<String, Vec<Origin>> = BTreeMap::new();
    for (document, _) in documents.iter().filter(|(document, _)| document.kind == Kind::Template) {
        let mut report = Report::new(vec![&document.source]);
        let read = read(document, &mut report).filter(|_| report.is_empty());
        problems.extend(report.into_problems());
        match read {
            Some(read) => {
                let name = read.template.name.clone();
                origins.entry(name.clone()).or_default().push(read.template.origin.clone());
                found.insert(name, Some(read));
            }
            None => drop(document.name().map(|name| found.insert(name.to_owned(), None))),
        }
    }
    for (name, origins) in origins.iter().filter(|(_, origins)| origins.len() > 1) {
        combine::repeated(Kind::Template.as_str(), name, &origins.iter().collect::<Vec<_>>(), problems);
    }
    found
}

fn read(document: &OperatorDocument, report: &mut Report<'_>) -> Option<Found> {
    let TemplateDocument { metadata, spec, .. } = decode(&document.tree, report)?;
    let name = role::name(&metadata, &document.tree, "a template", report)?;
    let TemplateSpec { purpose, locale, subject, text, html } = spec;
    words::line(&subject.value, subject.place, "a subject", report);
    if !is_language(&locale.value) {
        report
            .add(locale.place, "bad-locale", format!("`{}` is not a language", locale.value))
            .hint("write it like `fr` or `en-GB`");
    }
    let mut tags = expression::mail(&text, &purpose.names(), report);
    let mut elsewhere = false;
    for line in [Some(&subject), html.as_ref()].into_iter().flatten() {
        let found = expression::mail(line, &purpose.names(), report);
        if found.contains(PASSWORD) {
            elsewhere = true;
            report
                .add(line.place, "password-tag", "a password stands in the `text` of a mail and nowhere else")
                .hint(format!("take `{{{{ {PASSWORD} }}}}` out here"));
        }
    }
    if let Some(html) = html.as_ref().filter(|_| tags.contains(PASSWORD) && !elsewhere) {
        report
            .add(html.place, "password-tag", "readers that show `html` would not see the password in the `text`")
            .hint("take `html` out of a template whose text has the password");
    }
    tags.retain(|tag| [PASSWORD, LINK].contains(&tag.as_str()));
    let origin = document::origin(Kind::Template, name, &document.source.file);
    let template = MailTemplate {
        name: name.value.clone(),
        locale: locale.value,
        subject: subject.value,
        text: text.value,
        html: html.map(|html| html.value),
        origin,
    };
    Some(Found { template, purpose, tags })
}

/// `fr`, `en-GB`: letters of a language, and of a region where there is one.
fn is_language(text: &str) -> bool {
    let letters = |part: &str, range: std::ops::RangeInclusive<usize>| {
        range.contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphabetic())
    };
    match text.split_once('-') {
        None => letters(text, 2..=3),
        Some((language, region)) => letters(language, 2..=3) && letters(region, 2..=4),
    }
}

/// What of a template does not fit what lets people into this target.
fn at_odds(welcome: &Welcome, target: &Target, found: &Found) -> Option<Problem> {
    let Found { template, tags, .. } = found;
    let generated = matches!(welcome.credential, Credential::Generated { .. });
    let link = matches!(welcome.credential, Credential::Link { .. });
    let (name, here) = (&template.name, &target.name);
    let problem = |code, message: String, hint: Cow<'static, str>| {
        Some(combine::at(&welcome.origin, code, message, hint.into_owned()))
    };
    if tags.contains(PASSWORD) && !generated {
        let message = format!("the template `{name}` has a password, and `{here}` makes none");
        return problem("password-tag", message, "write `credential: generated`, or name another template".into());
    }
    if generated && !tags.contains(PASSWORD) {
        let message = format!("`{here}` makes a password, and the text of `{name}` does not tell it");
        return problem("password-tag", message, format!("put `{{{{ {PASSWORD} }}}}` into its `text`").into());
    }
    if tags.contains(LINK) && !link {
        let message = format!("the text of `{name}` has a link, and `{here}` makes none");
        return problem("link-tag", message, "write `credential: link`, or name another template".into());
    }
    if link && !tags.contains(LINK) {
        let message = format!("`{here}` makes a link, and the text of `{name}` does not tell it");
        return problem("link-tag", message, format!("put `{{{{ {LINK} }}}}` into its `text`").into());
    }
    None
}
