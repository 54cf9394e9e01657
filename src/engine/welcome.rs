//! The mail to the person of a new account: which template, which words, and what lets them in.
//!
//! # Guarantees
//! - It goes to the address that the user's document had when the creation was recorded, and to no other.
//! - A generated password and a link stand in that mail alone; what is kept of a link is its hash.

use std::collections::BTreeMap;

use chrono::DateTime;
use chrono::TimeDelta;
use chrono::Utc;
use ring::rand::SystemRandom;
use serde_json::Value as Json;

use crate::connector::PasswordPaths;
use crate::expr::Context;
use crate::expr::Names;
use crate::expr::Template;
use crate::model::ids::InviteId;
use crate::model::ids::MessageId;
use crate::model::ids::RecordId;
use crate::model::invite::CredentialKind;
use crate::model::invite::Invite;
use crate::model::invite::InviteState;
use crate::model::link::Space;
use crate::model::message::Content;
use crate::model::message::MAIL;
use crate::model::message::Mail;
use crate::model::message::Posted;
use crate::model::target::Credential;
use crate::model::target::MailTemplate;
use crate::model::target::Target;
use crate::model::target::Welcome;
use crate::model::user::User;
use crate::secrets::credential;
use crate::secrets::secret::Secret;

/// One welcome, ready to be committed with its intent.
pub(crate) struct Made {
    pub(crate) mail: Posted,
    pub(crate) invite: Invite,
    /// What the creation sends besides.
    pub(crate) password: Option<Password>,
}

/// A password that rosterd made.
pub(crate) struct Password {
    pub(crate) secret: Secret,
    pub(crate) must_change: bool,
}

/// Whom a welcome is for.
pub(crate) struct Guest<'a> {
    pub(crate) target: &'a Target,
    pub(crate) space: &'a Space,
    pub(crate) user: &'a User,
    /// The user name of the account, where it has one.
    pub(crate) user_name: Option<&'a str>,
}

/// What a user's mail would be sent to.
pub(crate) fn address(user: &User) -> Option<&str> {
    user.email.as_deref().filter(|email| !email.is_empty())
}

/// The kind of a credential.
pub(crate) fn kind(credential: &Credential) -> CredentialKind {
    match credential {
        Credential::Link { .. } => CredentialKind::Link,
        Credential::Generated { .. } => CredentialKind::Generated,
        Credential::Sso => CredentialKind::Sso,
        Credential::None => CredentialKind::None,
    }
}

/// What the id of a welcome begins with.
const WELCOME: &str = "welcome-";

/// The mail of an invite: the first one, or the one by which it was sent again.
pub(crate) fn mail_id(id: &InviteId, resent: u32) -> MessageId {
    let again = if resent == 0 { String::new() } else { format!("-{resent}") };
    MessageId::from(format!("{WELCOME}{id}{again}"))
}

/// Whether a message brings an invite.
pub(crate) fn is_one(message: &MessageId) -> bool {
    message.as_str().starts_with(WELCOME)
}

/// Makes the welcome of a creation that is about to be recorded.
///
/// # Errors
/// A sentence for the person who looks after the target.
pub(crate) fn make(
    id: &InviteId,
    (welcome, guest): (&Welcome, &Guest<'_>),
    takes: Option<&PasswordPaths>,
    now: DateTime<Utc>,
) -> Result<Made, String> {
    let random = SystemRandom::new();
    let failed = |error: credential::NoRandomness| error.to_string();
    let (mut token, mut password, mut expires) = (None, None, None);
    match &welcome.credential {
        Credential::Link { expires: lasts, .. } => {
            token = Some(credential::token(&random).map_err(failed)?);
            expires = Some(now + TimeDelta::from_std(*lasts).unwrap_or(TimeDelta::MAX));
        }
        Credential::Generated { length, must_change } => {
            let secret = credential::password(*length, &random).map_err(failed)?;
            let enforced = takes.is_some_and(|paths| paths.must_change.is_some());
            password = Some(Password { secret, must_change: *must_change && enforced });
        }
        Credential::Sso | Credential::None => {}
    }
    let said = Said { token: token.as_ref(), password: password.as_ref(), expires };
    let message = mail_id(id, 0);
    let to =
        address(guest.user).ok_or("the user has no `email` to send a welcome to; give one, or take `welcome` out")?;
    let mail = mail(welcome, guest, to, &said)?;
    let mail = Posted::due(message.clone(), MAIL, now, Content::Mail(mail)).about(&guest.target.name, &guest.user.id);
    let invite = Invite {
        id: id.clone(),
        space: guest.space.clone(),
        record: RecordId::clone(&guest.user.id),
        kind: kind(&welcome.credential),
        to: to.to_owned(),
        token: token.as_ref().map(|token| credential::hash(token.expose())),
        message,
        made: now,
        expires,
        resent: 0,
        state: InviteState::Held,
        ended: None,
    };
    Ok(Made { mail: mail.held(), invite, password })
}

/// The same invite with a fresh link, and the mail that tells it; the link before is void.
///
/// # Errors
/// As [`make`].
pub(crate) fn again(
    invite: &Invite,
    (welcome, guest): (&Welcome, &Guest<'_>),
    now: DateTime<Utc>,
) -> Result<(Posted, Invite), String> {
    let Credential::Link { expires, .. } = &welcome.credential else {
        return Err("its target sends no links any more".to_owned());
    };
    let token = credential::token(&SystemRandom::new()).map_err(|error| error.to_string())?;
    let expires = Some(now + TimeDelta::from_std(*expires).unwrap_or(TimeDelta::MAX));
    let said = Said { token: Some(&token), password: None, expires };
    let resent = invite.resent.saturating_add(1);
    let message = mail_id(&invite.id, resent);
    let mail = mail(welcome, guest, &invite.to, &said)?;
    let mail = Posted::due(message.clone(), MAIL, now, Content::Mail(mail)).about(&guest.target.name, &guest.user.id);
    let invite = Invite {
        token: Some(credential::hash(token.expose())),
        message,
        made: now,
        expires,
        resent,
        state: InviteState::Sent,
        ended: None,
        ..invite.clone()
    };
    Ok((mail, invite))
}

/// What a welcome says that nothing else knows.
struct Said<'a> {
    token: Option<&'a Secret>,
    password: Option<&'a Password>,
    expires: Option<DateTime<Utc>>,
}

fn mail(welcome: &Welcome, guest: &Guest<'_>, to: &str, said: &Said<'_>) -> Result<Mail, String> {
    let template = in_language(&welcome.templates, guest.user.locale.as_deref())
        .ok_or_else(|| format!("`welcome` of `{}` has no template", guest.target.name))?;
    let others = others(welcome, guest, said);
    let context = Context::welcome(guest.user, guest.target, &others);
    let written = |source: &str, escape: fn(&str) -> String| {
        let template = Template::compile_text(source, &Names::welcome());
        let text = template.and_then(|compiled| compiled.text(&context, escape));
        text.map_err(|error| format!("the template `{}` gives no mail: {error}", template_name(welcome, source)))
    };
    Ok(Mail {
        to: to.to_owned(),
        subject: one_line(&written(&template.subject, str::to_owned)?),
        text: written(&template.text, str::to_owned)?,
        html: template.html.as_deref().map(|html| written(html, html_escaped)).transpose()?,
        holds_password: said.password.is_some(),
    })
}

fn template_name<'a>(welcome: &'a Welcome, source: &str) -> &'a str {
    let holds = |template: &&MailTemplate| {
        template.subject == source || template.text == source || template.html.as_deref() == Some(source)
    };
    welcome.templates.iter().find(holds).map_or("", |template| template.name.as_str())
}

fn others(welcome: &Welcome, guest: &Guest<'_>, said: &Said<'_>) -> BTreeMap<&'static str, Json> {
    let mut others = BTreeMap::from([("target.title", Json::from(welcome.title.as_str()))]);
    if let Some(name) = guest.user_name {
        others.insert("account.userName", name.into());
    }
    if let Some(password) = said.password {
        others.insert("credential.password", password.secret.expose().into());
    }
    let must_change = said.password.is_some_and(|password| password.must_change);
    others.insert("credential.mustChange", must_change.into());
    if let (Some(token), Credential::Link { url, .. }) = (said.token, &welcome.credential) {
        others.insert("invite.link", url.replacen("TOKEN", token.expose(), 1).into());
    }
    if let Some(expires) = said.expires {
        let zone = guest.user.time_zone.as_deref();
        others.insert("invite.expires", crate::schedule::in_zone(expires, zone).into());
    }
    others
}

/// The template of a reader's language: the whole locale, then its language alone, then the first.
pub(crate) fn in_language<'a>(templates: &'a [MailTemplate], locale: Option<&str>) -> Option<&'a MailTemplate> {
    let same = |wanted: &str| {
        let fits = |template: &&MailTemplate| template.locale.eq_ignore_ascii_case(wanted);
        templates.iter().find(fits)
    };
    let language = |locale: &str| locale.split(['-', '_']).next().unwrap_or_default().to_owned();
    let exact = locale.and_then(same);
    let near = || {
        let wanted = language(locale?);
        let fits = |template: &&MailTemplate| language(&template.locale).eq_ignore_ascii_case(&wanted);
        same(&wanted).or_else(|| templates.iter().find(fits))
    };
    exact.or_else(near).or_else(|| templates.first())
}

/// A header is one line: nothing that a name holds begins another.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// Text as it stands in HTML, in quotes or not.
pub(crate) fn html_escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(locale: &str) -> MailTemplate {
        MailTemplate {
            name: format!("welcome-{locale}"),
            locale: locale.to_owned(),
            subject: "x".to_owned(),
            text: "x".to_owned(),
            html: None,
            origin: crate::model::origin::Origin { file: "t.yaml".into(), line: 1, what: "Template".into() },
        }
    }

    #[test]
    fn a_user_is_written_to_in_their_language_or_else_in_the_first() {
        let templates = ["en", "fr", "fr-CA"].map(template);
        let chosen = |locale| in_language(&templates, locale).map(|template| template.locale.as_str());
        assert_eq!(chosen(Some("fr-CA")), Some("fr-CA"));
        assert_eq!(chosen(Some("fr-FR")), Some("fr"));
        assert_eq!(chosen(Some("FR")), Some("fr"));
        assert_eq!(chosen(Some("de-DE")), Some("en"));
        assert_eq!(chosen(None), Some("en"));
    }

    #[test]
    fn what_a_name_holds_begins_no_header_and_no_tag() {
        assert_eq!(one_line("Hello\r\nBcc: x"), "Hello  Bcc: x");
        assert_eq!(html_escaped("<b onclick='x'>\"&"), "&lt;b onclick=&#39;x&#39;&gt;&quot;&amp;");
    }
}
