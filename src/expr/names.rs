//! The variables that templates and conditions may name.

use serde_json::Value as Json;
use serde_json::json;

use crate::expr::ExprError;

/// Which variables may be referenced, and which fields they have.
#[derive(Clone, Copy, Debug)]
pub struct Names(&'static [Root]);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Root {
    User,
    Grant,
    Target,
    Account,
    /// A target as mails speak of it.
    Place,
    /// An account that was just made.
    NewAccount,
    Credential,
    Invite,
    Request,
    Approver,
}

/// What one name under a root holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    /// A value: nothing can be named below it.
    Value,
    /// A map of keys that people choose: exactly one key must be named below it.
    Map,
}

const USER: [(&str, Field); 13] = [
    ("id", Field::Value),
    ("givenName", Field::Value),
    ("familyName", Field::Value),
    ("email", Field::Value),
    ("timeZone", Field::Value),
    ("locale", Field::Value),
    ("userType", Field::Value),
    ("active", Field::Value),
    ("login", Field::Value),
    ("teams", Field::Value),
    ("manager", Field::Value),
    ("labels", Field::Map),
    ("attributes", Field::Map),
];
const GRANT: [(&str, Field); 1] = [("attributes", Field::Map)];
const TARGET: [(&str, Field); 3] = [("name", Field::Value), ("environment", Field::Value), ("labels", Field::Map)];
const PLACE: [(&str, Field); 4] =
    [("title", Field::Value), ("name", Field::Value), ("environment", Field::Value), ("labels", Field::Map)];
const NEW_ACCOUNT: [(&str, Field); 1] = [("userName", Field::Value)];
const CREDENTIAL: [(&str, Field); 2] = [("password", Field::Value), ("mustChange", Field::Value)];
const REQUEST: [(&str, Field); 9] = [
    ("id", Field::Value),
    ("why", Field::Value),
    ("action", Field::Value),
    ("entitlements", Field::Value),
    ("scope", Field::Value),
    ("level", Field::Value),
    ("since", Field::Value),
    ("expires", Field::Value),
    ("reminders", Field::Value),
];
const APPROVER: [(&str, Field); 1] = [("name", Field::Value)];
const INVITE: [(&str, Field); 2] = [("link", Field::Value), ("expires", Field::Value)];

impl Names {
    /// `user.*`, `grant.attributes.*`, `target.{name, environment, labels.*}`: for mappings.
    pub const fn mapping() -> Self {
        Self(&[Root::User, Root::Grant, Root::Target])
    }

    /// `user.*`: for conditions about a person.
    pub const fn user() -> Self {
        Self(&[Root::User])
    }

    /// `user.*`, `target.*`, `account.userName`, `invite.*`: for the mail to the person of a new account.
    pub const fn welcome() -> Self {
        Self(&[Root::User, Root::Place, Root::NewAccount, Root::Invite, Root::Credential])
    }

    /// `user.*`, `target.*`, `request.*`, `approver.name`: for the mail to those whose turn it is to decide.
    pub const fn request() -> Self {
        Self(&[Root::User, Root::Place, Root::Request, Root::Approver])
    }

    /// `account.id`, `account.state` and any attribute path: for conditions about an account.
    pub const fn account() -> Self {
        Self(&[Root::Account])
    }

    /// Checks one reference, cut into its names.
    pub(crate) fn check(&self, segments: &[String]) -> Result<(), ExprError> {
        let [root, fields @ ..] = segments else { return Err(ExprError::new("an empty name")) };
        let Some(root) = self.0.iter().find(|known| known.as_str() == root) else {
            return Err(unknown("variable", root, self.0.iter().map(|root| root.as_str())));
        };
        let known = match root {
            Root::User => &USER[..],
            Root::Grant => &GRANT[..],
            Root::Target => &TARGET[..],
            Root::Place => &PLACE[..],
            Root::NewAccount => &NEW_ACCOUNT[..],
            Root::Credential => &CREDENTIAL[..],
            Root::Invite => &INVITE[..],
            Root::Request => &REQUEST[..],
            Root::Approver => &APPROVER[..],
            // A target has the attributes that it has.
            Root::Account if fields.is_empty() => return Err(bare("account", "account.userType")),
            Root::Account => return Ok(()),
        };
        let name = root.as_str();
        let Some((field, below)) = fields.split_first() else {
            let example = known.first().map_or("", |(field, _)| field);
            return Err(bare(name, &format!("{name}.{example}")));
        };
        let Some((_, kind)) = known.iter().find(|(known, _)| known == field) else {
            return Err(unknown_field(name, field, known));
        };
        match (kind, below) {
            (Field::Value, []) | (Field::Map, [_]) => Ok(()),
            (Field::Map, []) => Err(bare(&format!("{name}.{field}"), &format!("{name}.{field}.site"))),
            (_, [.., last]) => Err(ExprError::new(format!("`{}` has no field `{last}`", path_before(segments)))),
        }
    }
}

impl Root {
    fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Grant => "grant",
            Self::Target | Self::Place => "target",
            Self::Account | Self::NewAccount => "account",
            Self::Credential => "credential",
            Self::Invite => "invite",
            Self::Request => "request",
            Self::Approver => "approver",
        }
    }
}

fn path_before(segments: &[String]) -> String {
    segments.split_last().map(|(_, before)| before.join(".")).unwrap_or_default()
}

fn bare(name: &str, example: &str) -> ExprError {
    ExprError::new(format!("`{name}` is not one value")).hint(format!("name a field of it: `{example}`"))
}

fn unknown_field(root: &str, field: &str, known: &[(&str, Field)]) -> ExprError {
    let error = unknown("field", &format!("{root}.{field}"), std::iter::empty());
    let names = known.iter().map(|(name, _)| *name);
    match nearest(field, names.clone()) {
        Some(near) => error.hint(format!("did you mean `{root}.{near}`?")),
        None if root == "user" => error.hint(format!(
            "`{root}` has {}; your own fields stand under `user.attributes.{field}`",
            names.collect::<Vec<_>>().join(", ")
        )),
        None => error.hint(format!("`{root}` has {}", names.collect::<Vec<_>>().join(", "))),
    }
}

fn unknown<'a>(kind: &str, name: &str, known: impl Iterator<Item = &'a str> + Clone) -> ExprError {
    let error = ExprError::new(format!("unknown {kind} `{name}`"));
    if let Some(near) = nearest(name, known.clone()) {
        return error.hint(format!("did you mean `{near}`?"));
    }
    let names: Vec<&str> = known.collect();
    if names.is_empty() { error } else { error.hint(format!("here is {}", names.join(", "))) }
}

/// A value of the kind that a reference always has; `None` where people choose the kind.
pub(crate) fn sample(reference: &str) -> Option<Json> {
    let value = match reference {
        "user.id" => json!("u-1001"),
        "user.givenName" => json!("Ada"),
        "user.familyName" => json!("Lovelace"),
        "user.email" => json!("ada@acme.example"),
        "user.timeZone" => json!("Europe/London"),
        "user.locale" => json!("en-GB"),
        "user.userType" => json!("employee"),
        "user.active" | "credential.mustChange" => json!(true),
        "user.login" => json!("sso"),
        "user.teams" => json!(["credit-emea"]),
        "user.manager" => json!("u-0007"),
        "target.name" => json!("collections"),
        "target.environment" => json!("default"),
        "target.title" => json!("Collections"),
        "credential.password" => json!("a password"),
        "invite.link" => json!("https://portal.example/activate?token=t"),
        "invite.expires" | "request.since" | "request.expires" => json!("2027-01-31 18:00 UTC"),
        "request.id" => json!("0c7f5b1e2a9d4863"),
        "request.why" => json!("new"),
        "request.action" => json!("create"),
        "request.entitlements" => json!("portfolio-emea, admin"),
        "request.level" => json!(1),
        "request.reminders" => json!(0),
        "approver.name" => json!("rose"),
        "request.scope" => json!("acme"),
        _ if reference.starts_with("user.labels.") || reference.starts_with("target.labels.") => json!("acme"),
        _ => return None,
    };
    Some(value)
}

/// The word among `known` that was probably meant: at most two letters changed, added, left out
/// or swapped with their neighbour, and less than half of the word.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.into_iter().map(|name| (distance(&name.to_lowercase(), &word.to_lowercase()), name)).min()?;
    let allowed = (word.chars().count() / 2).min(2);
    (near.0 <= allowed).then_some(near.1)
}

/// Optimal string alignment distance, in letters.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (row, a) in left.iter().enumerate() {
        let mut line = vec![row + 1];
        for (column, b) in right.iter().enumerate() {
            let cost = usize::from(a != b);
            let above = last.get(column + 1).map_or(usize::MAX, |above| above + 1);
            let beside = line.get(column).map_or(usize::MAX, |beside| beside + 1);
            let diagonal = last.get(column).map_or(usize::MAX, |diagonal| diagonal + cost);
            let neighbours = |at: usize, letters: &[char]| at.checked_sub(1).and_then(|at| letters.get(at).copied());
            let swapped = neighbours(row, &left) == Some(*b) && neighbours(column, &right) == Some(*a);
            let swap = match column.checked_sub(1).and_then(|at| before_last.get(at)) {
                Some(corner) if swapped => corner + 1,
                _ => usize::MAX,
            };
            line.push(above.min(beside).min(diagonal).min(swap));
        }
        before_last = std::mem::replace(&mut last, line);
    }
    last.last().copied().unwrap_or_default()
}
