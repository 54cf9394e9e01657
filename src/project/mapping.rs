//! How one attribute gets its value, and where that came from.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde_json::Value;

use crate::expr::Context;
use crate::expr::ExprError;
use crate::expr::Names;
use crate::expr::Template;
use crate::model::origin::Origin;
use crate::model::projection::Conflict;
use crate::model::projection::Projected;
use crate::model::target::Mapping;
use crate::model::target::MappingValue;
use crate::model::target::Own;
use crate::model::user::User;
use crate::project::access::Held;
use crate::project::access::place;
use crate::project::user_line;

/// One mapping, compiled.
#[derive(Debug)]
pub(crate) struct Rule {
    value: Source,
    own: Own,
    translate: Option<BTreeMap<String, Value>>,
    clear: bool,
    personal: bool,
    sensitive: bool,
    origin: Origin,
    inputs: Vec<Input>,
}

#[derive(Debug)]
enum Source {
    Template(Template),
    Literal(Value),
}

/// Where an input of a template stands.
#[derive(Debug)]
enum Input {
    /// A key of [`User::lines`].
    UserField(String),
    /// Something of the document that has no line of its own: the record id, a label.
    UserDocument,
    /// A key of the attributes of grants.
    GrantAttribute(String),
}

/// What a mapping gives for one user.
#[derive(Debug, PartialEq)]
pub(crate) enum Applied {
    /// This value is wanted.
    Value(Value),
    /// The attribute is to be empty.
    Clear,
    /// The attribute is left alone.
    Unset,
}

impl Applied {
    /// The value, where there is one.
    pub(crate) fn into_value(self) -> Option<Value> {
        match self {
            Self::Value(value) => Some(value),
            Self::Clear | Self::Unset => None,
        }
    }
}

impl Rule {
    /// Compiles a mapping.
    pub(crate) fn compile(mapping: &Mapping) -> Result<Self, ExprError> {
        let value = match &mapping.value {
            MappingValue::Template(source) => Source::Template(Template::compile(source, &Names::mapping())?),
            MappingValue::Literal(value) => Source::Literal(value.clone()),
        };
        let inputs = match &value {
            Source::Template(template) => template.references().iter().filter_map(|name| input(name)).collect(),
            Source::Literal(_) => Vec::new(),
        };
        Ok(Self {
            value,
            own: mapping.own,
            translate: mapping.translate.clone(),
            clear: mapping.clear,
            personal: mapping.personal,
            sensitive: mapping.sensitive,
            origin: mapping.origin.clone(),
            inputs,
        })
    }

    /// The grant attributes that it may read.
    pub(crate) fn grant_attributes(&self) -> impl Iterator<Item = &str> {
        self.inputs.iter().filter_map(|input| match input {
            Input::GrantAttribute(name) => Some(name.as_str()),
            Input::UserField(_) | Input::UserDocument => None,
        })
    }

    /// Computes the value. A value that the translation table does not know is left alone even
    /// with `clear: true`: the input is there, what it means in the target is not known.
    pub(crate) fn apply(&self, context: &Context<'_>) -> Result<Applied, ExprError> {
        let absent = if self.clear { Applied::Clear } else { Applied::Unset };
        let value = match &self.value {
            Source::Template(template) => template.render(context)?,
            Source::Literal(value) => Some(value.clone()),
        };
        let Some(value) = value.filter(|value| !is_empty(value)) else { return Ok(absent) };
        let translated = match &self.translate {
            Some(table) => translate(value, table).filter(|value| !is_empty(value)),
            None => Some(value),
        };
        Ok(translated.map_or(Applied::Unset, Applied::Value))
    }

    /// The value with what the mapping says of it and the lines that it came from.
    pub(crate) fn projected(&self, value: Option<Value>, user: &User, given: &Given<'_>) -> Projected {
        let mut origins = Vec::with_capacity(1 + self.inputs.len());
        origins.push(self.origin.clone());
        for input in &self.inputs {
            match input {
                Input::UserField(field) if user.lines.contains_key(field) => origins.push(user_line(user, field)),
                Input::UserField(_) => {}
                Input::UserDocument => origins.push(user.origin.clone()),
                Input::GrantAttribute(name) => origins.extend(given.origins(name)),
            }
        }
        Projected { value, own: self.own, personal: self.personal, sensitive: self.sensitive, origins: origins.into() }
    }
}

fn input(reference: &str) -> Option<Input> {
    match reference.split_once('.')? {
        ("user", "id") => Some(Input::UserDocument),
        ("user", field) if field.starts_with("labels.") => Some(Input::UserDocument),
        ("user", field) => Some(Input::UserField(field.to_owned())),
        ("grant", field) => Some(Input::GrantAttribute(field.strip_prefix("attributes.")?.to_owned())),
        // What comes from the target stands in the same document as the mapping.
        _ => None,
    }
}

fn translate(value: Value, table: &BTreeMap<String, Value>) -> Option<Value> {
    match value {
        Value::String(word) => table.get(&word).cloned(),
        Value::Array(words) => Some(words.into_iter().filter_map(|word| translate(word, table)).collect()),
        Value::Null => None,
        other @ (Value::Bool(_) | Value::Number(_) | Value::Object(_)) => table.get(&other.to_string()).cloned(),
    }
}

/// Targets do not tell an empty value from none.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    }
}

/// The attributes that the user's grants of one target give, as far as mappings read them.
#[derive(Debug)]
pub(crate) struct Given<'a> {
    /// One value each; where grants differ, that of the first.
    pub(crate) values: BTreeMap<String, Value>,
    sources: BTreeMap<&'a str, Vec<(&'a Value, &'a Origin)>>,
}

impl<'a> Given<'a> {
    /// Merges the attributes named in `reads`; what nobody reads contradicts nobody.
    pub(crate) fn new(held: &[Held<'a>], reads: &BTreeSet<String>) -> Self {
        let mut sources: BTreeMap<&str, Vec<(&Value, &Origin)>> = BTreeMap::new();
        let grants = held.iter().map(|held| held.grant).filter(|_| !reads.is_empty());
        let all =
            grants.flat_map(|grant| grant.attributes.iter().map(move |(name, value)| (name, value, &grant.origin)));
        for (name, value, origin) in all.filter(|(name, ..)| reads.contains(*name)) {
            sources.entry(name).or_default().push((value, origin));
        }
        let first = |(name, values): (&&str, &Vec<(&Value, &Origin)>)| {
            values.first().map(|(value, _)| ((*name).to_owned(), (*value).clone()))
        };
        Self { values: sources.iter().filter_map(first).collect(), sources }
    }

    /// Refuses two grants that give different values to one attribute that a mapping reads.
    pub(crate) fn check(&self, user: &User) -> Result<(), Conflict> {
        for (name, values) in &self.sources {
            let Some(((first, at), rest)) = values.split_first() else { continue };
            let Some((other, other_at)) = rest.iter().find(|(value, _)| value != first) else { continue };
            return Err(Conflict {
                code: "unequal-values".to_owned(),
                message: format!(
                    "the grants of user `{}` give `{name}` two values: {first} ({}) and {other} ({})",
                    user.id,
                    place(at),
                    place(other_at)
                ),
                hint: "give both grants the same value, or take one of the roles away".to_owned(),
            });
        }
        Ok(())
    }

    fn origins(&self, name: &str) -> impl Iterator<Item = Origin> {
        self.sources.get(name).into_iter().flatten().map(|(_, origin)| (*origin).clone())
    }
}

/// The conflict of a user for whom a mapping cannot be computed.
pub(crate) fn unusable(user: &User, path: &str, error: &ExprError) -> Conflict {
    Conflict {
        code: "expression".to_owned(),
        message: format!("`{path}` of user `{}` cannot be computed: {error}", user.id),
        hint: error.hint.clone().unwrap_or_else(|| "correct the mapping, or the value that it reads".to_owned()),
    }
}
