//! Values as they are compared, and the text of a match key for a user and for an account.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::correlate::names;
use crate::correlate::phantom;
use crate::correlate::phantom::Kind;
use crate::model::account::Account;
use crate::model::path::AttributePath;
use crate::model::projection::Projection;
use crate::model::target::AccountPolicy;
use crate::model::target::Mark;
use crate::model::target::MatchKey;

/// A desired value in the form in which the target gives it back.
pub type Canonicalize<'a> = dyn Fn(&AttributePath, &Value) -> Value + Sync + 'a;

/// How one target compares.
#[derive(Clone, Copy)]
pub struct Comparison<'a> {
    /// Its rules.
    pub policy: &'a AccountPolicy,
    /// Its form of values.
    pub canonicalize: &'a Canonicalize<'a>,
}

impl Comparison<'_> {
    /// Whether what the target holds at `path` is what is desired there.
    pub fn same(&self, path: &AttributePath, desired: &Value, observed: &Value) -> bool {
        self.comparable(path, &self.canonical(path, desired)) == self.comparable(path, observed)
    }

    /// Whether what the target holds at `path` says what is desired there, in whatever spelling.
    /// For drift alone: names and marks are compared as they are written.
    pub fn alike(&self, path: &AttributePath, desired: &Value, observed: &Value) -> bool {
        let by_letter = *path == AttributePath::user_name() || *path == AttributePath::external_id();
        let kind = Kind::of(path);
        self.same(path, desired, observed)
            || (!by_letter
                && phantom::alike(kind, self.policy.fold_user_name, &self.canonical(path, desired), observed))
    }

    /// The desired value in the target's form.
    pub fn canonical(&self, path: &AttributePath, desired: &Value) -> Value {
        (self.canonicalize)(path, desired)
    }

    /// What every key of `account.match` says about an account, in the order of the keys.
    pub fn of_account(&self, account: &Account) -> Vec<Option<String>> {
        let keys = self.policy.match_keys.iter();
        keys.map(|key| self.text(key, |path| account.values.get(path).cloned())).collect()
    }

    /// What one key says about a user: nothing if a path of it has no value. Earlier record ids
    /// count where the key is the mark, so that a renamed user still finds its account.
    pub fn of_projection(&self, key: &MatchKey, projection: &Projection) -> BTreeSet<String> {
        let own = self.text(key, |path| {
            let value = projection.values.get(path)?.value.as_ref()?;
            Some(self.canonical(path, value))
        });
        let mut texts: BTreeSet<String> = own.into_iter().collect();
        if let (Mark::At(mark), [path]) = (&self.policy.mark, key.0.as_slice())
            && mark == path
        {
            let earlier = projection.formerly.iter().map(|record| Value::from(record.as_str()));
            texts.extend(earlier.filter_map(|value| self.text(key, |path| Some(self.canonical(path, &value)))));
        }
        texts
    }

    /// The user name that an account has, as the target compares it.
    pub fn name_of(&self, account: &Account) -> Option<String> {
        let name = account.values.get(&AttributePath::user_name()).filter(|name| !is_empty(name))?;
        Some(self.comparable(&AttributePath::user_name(), name).to_string())
    }

    /// The user name that a user wants, as the target compares it.
    pub fn wanted_name(&self, projection: &Projection) -> Option<String> {
        let path = AttributePath::user_name();
        let name = self.canonical(&path, projection.values.get(&path)?.value.as_ref()?);
        Some(name).filter(|name| !is_empty(name)).map(|name| self.comparable(&path, &name).to_string())
    }

    fn text(&self, key: &MatchKey, value: impl Fn(&AttributePath) -> Option<Value>) -> Option<String> {
        let parts: Option<Vec<Value>> = key
            .0
            .iter()
            .map(|path| Some(self.comparable(path, &value(path)?)).filter(|value| !is_empty(value)))
            .collect();
        Some(Value::from(parts.filter(|parts| !parts.is_empty())?).to_string())
    }

    fn comparable(&self, path: &AttributePath, value: &Value) -> Value {
        match value {
            Value::String(name) if *path == AttributePath::user_name() => names::folded(self.policy, name).into(),
            Value::Array(items) => {
                // SCIM multi-valued attributes have no order (RFC 7643 section 2.4), and a
                // repeated value says nothing new.
                let mut items = items.clone();
                items.sort_by_cached_key(Value::to_string);
                items.dedup();
                Value::Array(items)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => value.clone(),
        }
    }
}

/// Whether a value says nothing (RFC 7643 section 2.5: null and the empty array are "unassigned").
pub fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A key as it is written in `match`.
pub fn written(key: &MatchKey) -> String {
    match key.0.as_slice() {
        [path] => path.to_string(),
        paths => format!("[{}]", paths.iter().map(AttributePath::as_str).collect::<Vec<_>>().join(", ")),
    }
}
