//! A user in few bytes: a million of them are kept, and few are looked at.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use chrono::DateTime;
use chrono::Utc;
use serde::Deserialize;
use serde::Serialize;
use serde_json::Value;

use crate::model::ids::RecordId;
use crate::model::origin::Origin;
use crate::model::user::Login;
use crate::model::user::RoleHeld;
use crate::model::user::User;
use crate::model::user::Validity;

/// A user, packed. Copies share the bytes; equal users have equal bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct PackedUser {
    id: RecordId,
    bytes: Arc<[u8]>,
}

/// Fields that documents write by these names: their lines are kept by position in this list.
const FIELDS: [&str; 15] = [
    "active",
    "attributes",
    "email",
    "familyName",
    "givenName",
    "locale",
    "login",
    "manager",
    "roles",
    "teams",
    "timeZone",
    "userType",
    "validFrom",
    "validUntil",
    "password",
];

/// What the bytes hold. Only this module reads them, and never across processes.
#[derive(Serialize, Deserialize)]
struct Form<'b> {
    /// First, since these are asked for without unpacking the rest.
    dated: bool,
    #[serde(borrow)]
    formerly: Vec<&'b str>,
    #[serde(borrow)]
    labels: Vec<(&'b str, &'b str)>,
    given_name: Option<&'b str>,
    family_name: Option<&'b str>,
    email: Option<&'b str>,
    time_zone: Option<&'b str>,
    locale: Option<&'b str>,
    user_type: Option<&'b str>,
    active: bool,
    valid: Span,
    password: bool,
    #[serde(borrow)]
    roles: Vec<(&'b str, Span, u32)>,
    #[serde(borrow)]
    teams: Vec<&'b str>,
    manager: Option<&'b str>,
    #[serde(borrow)]
    attributes: Vec<(&'b str, Item<'b>)>,
    file: &'b str,
    line: u32,
    /// What stands there, where it is not `User ID`.
    what: Option<&'b str>,
    #[serde(borrow)]
    lines: Vec<(Field<'b>, u32)>,
}

/// `from` and `until`, each as seconds and nanoseconds.
type Span = (Option<(i64, u32)>, Option<(i64, u32)>);

/// A value of an attribute. Numbers keep every bit, which a text would not promise.
#[derive(Serialize, Deserialize)]
enum Item<'b> {
    Null,
    Flag(bool),
    Signed(i64),
    Unsigned(u64),
    Real(f64),
    Text(&'b str),
    #[serde(borrow)]
    List(Vec<Item<'b>>),
    #[serde(borrow)]
    Map(Vec<(&'b str, Item<'b>)>),
}

#[derive(Serialize, Deserialize)]
enum Field<'b> {
    Known(u8),
    Other(&'b str),
}

impl PackedUser {
    /// Packs a user.
    pub fn of(user: &User) -> Self {
        let form = Form {
            dated: user.is_dated(),
            formerly: user.formerly.iter().map(RecordId::as_str).collect(),
            labels: user.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
            given_name: user.given_name.as_deref(),
            family_name: user.family_name.as_deref(),
            email: user.email.as_deref(),
            time_zone: user.time_zone.as_deref(),
            locale: user.locale.as_deref(),
            user_type: user.user_type.as_deref(),
            active: user.active,
            valid: span(user.valid),
            password: user.login == Login::Password,
            roles: user.roles.iter().map(|held| (held.name.as_str(), span(held.valid), held.line)).collect(),
            teams: user.teams.iter().map(String::as_str).collect(),
            manager: user.manager.as_ref().map(RecordId::as_str),
            attributes: user.attributes.iter().map(|(name, value)| (name.as_str(), Item::of(value))).collect(),
            file: &user.origin.file,
            line: user.origin.line,
            what: (*user.origin.what != *declared_as(&user.id)).then_some(&user.origin.what),
            lines: user.lines.iter().map(|(field, line)| (Field::of(field), *line)).collect(),
        };
        #[expect(clippy::expect_used, reason = "only sequences of unknown length have no form, and here is none")]
        let bytes = postcard::to_stdvec(&form).expect("every user has a form");
        Self { id: user.id.clone(), bytes: bytes.into() }
    }

    /// Whose document it is.
    pub fn id(&self) -> &RecordId {
        &self.id
    }

    /// Whether any access begins or ends at a date.
    pub fn is_dated(&self) -> bool {
        self.bytes.first() == Some(&1)
    }

    /// Whether the user had another record id.
    pub fn is_renamed(&self) -> bool {
        // A length that is not zero.
        self.bytes.get(1) != Some(&0)
    }

    /// The user, unpacked.
    pub fn user(&self) -> User {
        #[expect(clippy::expect_used, reason = "the bytes were made by `of`; a user made up instead could lose access")]
        let form: Form<'_> = postcard::from_bytes(&self.bytes).expect("what was packed");
        form.user(&self.id)
    }
}

impl Form<'_> {
    fn user(self, id: &RecordId) -> User {
        let text = |text: Option<&str>| text.map(str::to_owned);
        let held =
            |(name, valid, line): (&str, Span, u32)| RoleHeld { name: name.into(), valid: validity(valid), line };
        let what = self.what.map_or_else(|| declared_as(id), Cow::Borrowed);
        User {
            id: id.clone(),
            formerly: self.formerly.into_iter().map(RecordId::from).collect(),
            labels: self.labels.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            given_name: text(self.given_name),
            family_name: text(self.family_name),
            email: text(self.email),
            time_zone: text(self.time_zone),
            locale: text(self.locale),
            user_type: text(self.user_type),
            active: self.active,
            valid: validity(self.valid),
            login: if self.password { Login::Password } else { Login::Sso },
            roles: self.roles.into_iter().map(held).collect(),
            teams: self.teams.into_iter().map(str::to_owned).collect(),
            manager: self.manager.map(RecordId::from),
            attributes: self.attributes.into_iter().map(|(name, item)| (name.to_owned(), item.value())).collect(),
            origin: Origin { file: self.file.into(), line: self.line, what: what.into() },
            lines: self.lines.into_iter().map(|(field, line)| (field.name().to_owned(), line)).collect(),
        }
    }
}

impl<'b> Item<'b> {
    fn of(value: &'b Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(flag) => Self::Flag(*flag),
            Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(number), _, _) => Self::Signed(number),
                (None, Some(number), _) => Self::Unsigned(number),
                (None, None, number) => Self::Real(number.unwrap_or_default()),
            },
            Value::String(text) => Self::Text(text),
            Value::Array(items) => Self::List(items.iter().map(Self::of).collect()),
            Value::Object(fields) => {
                Self::Map(fields.iter().map(|(name, value)| (name.as_str(), Self::of(value))).collect())
            }
        }
    }

    fn value(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Flag(flag) => flag.into(),
            Self::Signed(number) => number.into(),
            Self::Unsigned(number) => number.into(),
            Self::Real(number) => number.into(),
            Self::Text(text) => text.into(),
            Self::List(items) => items.into_iter().map(Self::value).collect(),
            Self::Map(fields) => fields.into_iter().map(|(name, item)| (name.to_owned(), item.value())).collect(),
        }
    }
}

impl<'b> Field<'b> {
    fn of(name: &'b str) -> Self {
        let known = FIELDS.iter().position(|field| *field == name).and_then(|position| u8::try_from(position).ok());
        known.map_or(Self::Other(name), Self::Known)
    }

    fn name(&self) -> &'b str {
        match self {
            Self::Known(position) => FIELDS.get(usize::from(*position)).copied().unwrap_or_default(),
            Self::Other(name) => name,
        }
    }
}

/// What stands where a user is declared.
fn declared_as(id: &RecordId) -> Cow<'static, str> {
    format!("User {id}").into()
}

fn span(valid: Validity) -> Span {
    let moment = |at: DateTime<Utc>| (at.timestamp(), at.timestamp_subsec_nanos());
    (valid.from.map(moment), valid.until.map(moment))
}

fn validity((from, until): Span) -> Validity {
    #[expect(clippy::expect_used, reason = "the numbers were taken from a moment")]
    let moment = |(seconds, nanoseconds)| DateTime::from_timestamp(seconds, nanoseconds).expect("a moment");
    Validity { from: from.map(moment), until: until.map(moment) }
}

impl fmt::Debug for PackedUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.user().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn any_word() -> impl Strategy<Value = String> {
        prop_oneof!["[a-z]{0,6}", Just("é\u{1f600}\n".to_owned())]
    }

    fn any_validity() -> impl Strategy<Value = Validity> {
        let moment = || prop::option::of((-10_000_i64..10_000_000_000, 0..1_000_000_000_u32));
        (moment(), moment()).prop_map(validity)
    }

    fn any_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            any_word().prop_map(|word| json!(word)),
            any::<i64>().prop_map(|number| json!(number)),
            any::<f64>().prop_map(|number| json!(number)),
            any::<bool>().prop_map(|flag| json!(flag)),
            prop::collection::vec(any_word(), 0..3).prop_map(|words| json!(words)),
        ]
    }

    fn any_user() -> impl Strategy<Value = User> {
        let words = || prop::option::of(any_word());
        let names = (words(), words(), words(), words(), words(), words());
        let lists = (
            prop::collection::vec(any_word(), 0..3),
            prop::collection::btree_map(any_word(), any_word(), 0..3),
            prop::collection::vec((any_word(), any_validity(), any::<u32>()), 0..3),
            prop::collection::btree_set(any_word(), 0..3),
            prop::collection::btree_map(any_word(), any_value(), 0..3),
        );
        let field = prop_oneof![prop::sample::select(&FIELDS[..]).prop_map(str::to_owned), any_word()];
        let lines = prop::collection::btree_map(field, any::<u32>(), 0..4);
        let rest = (any::<bool>(), any::<bool>(), any_validity(), words(), any_word(), words(), any::<u32>(), lines);
        (any_word(), names, lists, rest).prop_map(|(id, names, lists, rest)| {
            let (given_name, family_name, email, time_zone, locale, user_type) = names;
            let (formerly, labels, roles, teams, attributes) = lists;
            let (active, password, valid, manager, file, what, line, lines) = rest;
            let held = |(name, valid, line): (String, _, _)| RoleHeld { name: name.into(), valid, line };
            let what = what.map_or_else(|| declared_as(&id.as_str().into()).into(), Arc::from);
            User {
                id: id.into(),
                formerly: formerly.into_iter().map(RecordId::from).collect(),
                roles: roles.into_iter().map(held).collect(),
                manager: manager.map(RecordId::from),
                login: if password { Login::Password } else { Login::Sso },
                origin: Origin { file: file.into(), line, what },
                labels,
                given_name,
                family_name,
                email,
                time_zone,
                locale,
                user_type,
                active,
                valid,
                teams,
                attributes,
                lines,
            }
        })
    }

    proptest! {
        #[test]
        fn a_user_who_was_packed_is_the_same_user(user in any_user()) {
            let packed = PackedUser::of(&user);
            prop_assert_eq!((packed.is_dated(), packed.is_renamed()), (user.is_dated(), !user.formerly.is_empty()));
            prop_assert_eq!(packed.user(), user);
        }

        #[test]
        fn users_are_equal_where_their_bytes_are(one in any_user(), other in any_user()) {
            prop_assert_eq!(PackedUser::of(&one) == PackedUser::of(&other), one == other);
            prop_assert!(PackedUser::of(&one) == PackedUser::of(&one.clone()));
        }
    }

    #[test]
    fn a_packed_user_is_small() {
        let user = User {
            given_name: Some("Adaeze".into()),
            family_name: Some("Lane".into()),
            email: Some("adaeze.lane@acme.example".into()),
            roles: vec![RoleHeld { name: "agent".into(), valid: Validity::default(), line: 10 }],
            lines: FIELDS.iter().take(8).map(|field| ((*field).to_owned(), 8)).collect(),
            ..User::plain("u-0000001")
        };
        assert!(PackedUser::of(&user).bytes.len() < 120, "{}", PackedUser::of(&user).bytes.len());
    }
}
