//! Who asks, and what they may do.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header;

use crate::model::ids::TargetName;
use crate::server::Api;
use crate::server::problem::Refusal;
use crate::server::token;
use crate::server::wire::Right;
use crate::store::Token;

/// Somebody whose right was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The word in audit events: `local`, `token:NAME`, `anonymous`.
    pub(crate) actor: String,
    /// What they may do.
    pub(crate) right: Right,
    /// Where.
    pub(crate) reach: Reach,
    /// The person behind it: tokens of one subject are one person's.
    pub(crate) person: String,
    /// Groups of approvers that they are in.
    pub(crate) groups: BTreeSet<String>,
    /// For which users they decide, by the values of each label; empty: for all.
    pub(crate) labels: BTreeMap<String, BTreeSet<String>>,
}

/// The targets that a caller may see and act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Every target, and what belongs to none: the source, tokens, the installation's audit chain.
    All,
    /// These targets alone.
    Only(BTreeSet<TargetName>),
}

impl Reach {
    /// Whether `target` is within.
    pub(crate) fn covers(&self, target: &TargetName) -> bool {
        match self {
            Self::All => true,
            Self::Only(targets) => targets.contains(target),
        }
    }
}

impl Caller {
    /// Somebody who reaches everything and is in no group.
    fn somebody(actor: &str, right: Right) -> Self {
        let (groups, labels) = (BTreeSet::new(), BTreeMap::new());
        Self { actor: actor.to_owned(), right, reach: Reach::All, person: actor.to_owned(), groups, labels }
    }

    /// Refuses unless `target` is within reach.
    pub(crate) fn reach_target(&self, target: &TargetName) -> Result<(), Refusal> {
        if self.reach.covers(target) {
            return Ok(());
        }
        Err(forbidden(format!("`{}` is not good for the target `{target}`", self.actor)))
    }

    /// Whether `target` is within reach.
    pub(crate) fn reaches(&self, target: &TargetName) -> bool {
        self.reach.covers(target)
    }

    /// Refuses unless every target is within reach.
    pub(crate) fn reach_all(&self) -> Result<(), Refusal> {
        if self.reach == Reach::All {
            return Ok(());
        }
        Err(forbidden(format!("this concerns every target, and `{}` is good for some alone", self.actor)))
    }

    /// Refuses unless the caller has at least this right.
    pub(crate) fn need(&self, right: Right) -> Result<(), Refusal> {
        if self.right >= right {
            return Ok(());
        }
        Err(forbidden(format!("this needs the right `{right}`, and `{}` has `{}`", self.actor, self.right)))
    }
}

fn forbidden(detail: String) -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, "no-right", detail)
        .hint("`rosterd tokens create` makes another token, for those who may")
}

/// Finds out who asks. Without a token it is anybody on this machine, who may read.
///
/// A token that is not good is refused even where none is needed: its holder should know.
pub(crate) async fn authenticate(api: &Api, headers: &HeaderMap) -> Result<Caller, Refusal> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = given.next() else {
        return Ok(Caller::somebody("anonymous", Right::Viewer));
    };
    let secret = value.to_str().ok().and_then(bearer).filter(|_| given.next().is_none());
    let hash = secret.and_then(token::hash).ok_or_else(unknown)?;
    if api.local_token.as_deref().is_some_and(|local| token::same(local, &hash)) {
        return Ok(Caller::somebody("local", Right::Admin));
    }
    // Every hash is looked at, so that the time does not tell which one came near.
    let mut tokens = api.store.tokens().await?;
    tokens.retain(|token| token::same(&token.hash, &hash));
    stored(api, tokens.pop().ok_or_else(unknown)?)
}

/// The text after `Bearer`, whose letters may be of any case (RFC 9110 section 11.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, secret) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}

fn stored(api: &Api, token: Token) -> Result<Caller, Refusal> {
    let Token { name, hash: _, subject, right, targets, groups, labels, created: _, expires } = token;
    if expires <= api.clock.now() {
        return Err(Refusal::new(
            StatusCode::UNAUTHORIZED,
            "token-expired",
            format!("the token `{name}` ended {expires}"),
        )
        .hint("`rosterd tokens create` makes a new one"));
    }
    let Ok(right) = right.parse() else {
        let detail = format!("the token `{name}` has the right `{right}`, which this version does not know");
        return Err(Refusal::new(StatusCode::FORBIDDEN, "no-right", detail).hint("revoke it and make a new one"));
    };
    let reach = if targets.is_empty() { Reach::All } else { Reach::Only(targets) };
    Ok(Caller { actor: format!("token:{name}"), right, reach, person: subject, groups, labels })
}

fn unknown() -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, "unknown-token", "the token in `Authorization` is not known here").hint(
        "it was revoked, or belongs to another rosterd; `ROSTERD_TOKEN` and the local token file are where it comes from",
    )
}

/// A write without a token.
pub(crate) fn no_token() -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, "no-token", "this needs a token: send `Authorization: Bearer TOKEN`")
        .hint("the daemon writes a local token file at its start; `rosterd tokens create` makes others")
}
