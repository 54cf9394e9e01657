//! Attribute paths in SCIM notation (RFC 7644 section 3.10), in the closed form that mappings use.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;

/// The path of one attribute of an account.
///
/// Three forms and an optional schema URN before any of them:
/// `title`, `name.givenName`, `emails[type eq "work"].value`,
/// `urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:costCenter`.
/// Compared by its text; [`AttributePath::parts`] splits it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AttributePath(Arc<str>);

/// The pieces of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathParts<'a> {
    /// Schema URN, without the colon that ends it.
    pub schema: Option<&'a str>,
    /// First attribute name.
    pub attribute: &'a str,
    /// `(sub-attribute, literal)` of `[sub eq "literal"]`.
    pub filter: Option<(&'a str, &'a str)>,
    /// Name after the dot.
    pub sub: Option<&'a str>,
}

/// Why a text is not a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not an attribute path; write `title`, `name.givenName`, `emails[type eq \"work\"].value` or `urn:…:User:costCenter`"
)]
pub struct PathError(String);

impl AttributePath {
    /// Reads a path.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        match split(text) {
            Some(_) => Ok(Self(text.into())),
            None => Err(PathError(text.to_owned())),
        }
    }

    /// `userName`.
    pub fn user_name() -> Self {
        Self("userName".into())
    }

    /// `externalId`.
    pub fn external_id() -> Self {
        Self("externalId".into())
    }

    /// The text as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The pieces.
    pub fn parts(&self) -> PathParts<'_> {
        split(&self.0).unwrap_or(PathParts { schema: None, attribute: &self.0, filter: None, sub: None })
    }
}

fn split(text: &str) -> Option<PathParts<'_>> {
    // A URN holds colons and, in its version, dots: the attribute follows the last colon
    // that stands before any filter.
    let head_end = text.find('[').unwrap_or(text.len());
    let (schema, rest) = match text.get(..head_end)?.rfind(':') {
        Some(colon) => (Some(text.get(..colon)?), text.get(colon + 1..)?),
        None => (None, text),
    };
    if schema.is_some_and(|urn| !urn.starts_with("urn:") || urn.len() < 6) {
        return None;
    }
    let (attribute, filter, tail) = match rest.find('[') {
        None => match rest.split_once('.') {
            Some((attribute, sub)) => (attribute, None, Some(sub)),
            None => (rest, None, None),
        },
        Some(open) => {
            let close = rest.rfind(']')?;
            let (sub, literal) = rest.get(open + 1..close)?.split_once(" eq ")?;
            let literal = literal.strip_prefix('"')?.strip_suffix('"')?;
            let tail = match rest.get(close + 1..)? {
                "" => None,
                tail => Some(tail.strip_prefix('.')?),
            };
            (rest.get(..open)?, Some((sub, literal)), tail)
        }
    };
    let plain = is_name(attribute)
        && filter.is_none_or(|(sub, literal)| is_name(sub) && !literal.is_empty() && !literal.contains(['"', '\\']))
        && tail.is_none_or(is_name);
    plain.then_some(PathParts { schema, attribute, filter, sub: tail })
}

/// `ATTRNAME` of RFC 7644, with the leading `$` of `$ref`.
fn is_name(text: &str) -> bool {
    let body = text.strip_prefix('$').unwrap_or(text);
    body.starts_with(|c: char| c.is_ascii_alphabetic())
        && body.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

impl TryFrom<String> for AttributePath {
    type Error = PathError;

    fn try_from(text: String) -> Result<Self, PathError> {
        Self::parse(&text)
    }
}

impl From<AttributePath> for String {
    fn from(path: AttributePath) -> Self {
        path.0.as_ref().to_owned()
    }
}

impl fmt::Display for AttributePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AttributePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_split_into_schema_attribute_filter_and_sub_attribute() {
        let path = AttributePath::parse("emails[type eq \"work\"].value").unwrap();
        let expected =
            PathParts { schema: None, attribute: "emails", filter: Some(("type", "work")), sub: Some("value") };
        assert_eq!(path.parts(), expected);
        let urn =
            AttributePath::parse("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value").unwrap();
        let schema = Some("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User");
        assert_eq!(urn.parts(), PathParts { schema, attribute: "manager", filter: None, sub: Some("value") });
    }

    #[test]
    fn texts_that_are_no_paths_are_refused() {
        for text in ["", ".", "a.", "a..b", "a b", "emails[type eq work].value", "emails[type eq \"w\"", "x:y", "é"] {
            assert!(AttributePath::parse(text).is_err(), "{text:?}");
        }
    }
}
