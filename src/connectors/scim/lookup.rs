//! Finding one account: by id, by filter where the target's filters can be trusted, else by
//! reading the list.
//!
//! Targets answer a filter that they do not know with everybody, with nobody, or with an error;
//! some compare letters that the standard folds. So every hit is compared again here, and a
//! filter proves an absence only after it has found an account that is known to be there.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio::sync::mpsc;

use crate::connector::ConnectorError;
use crate::connector::ErrorClass;
use crate::connector::Found;
use crate::connector::Look;
use crate::connector::Shape;
use crate::connector::document;
use crate::connectors::scim::Scim;
use crate::connectors::scim::fault;
use crate::connectors::scim::groups::Members;
use crate::connectors::scim::paging::Sink;
use crate::connectors::scim::profile::FilterUse;
use crate::connectors::scim::profile::Inactive;
use crate::connectors::scim::wire;
use crate::http::answer::Answer;
use crate::model::account::Account;
use crate::model::ids::AccountId;
use crate::model::path::AttributePath;
use crate::model::plan::Coverage;
use crate::model::target::MatchKey;

/// How many accounts are looked through for one by which a filter can be tried.
const TRIAL_ACCOUNTS: u64 = 20;

/// What a trial of the filter on one path showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trial {
    /// It finds exactly the account asked for; `folds`: in other letters, too.
    Works { folds: bool },
    /// It is refused, ignored, or blind.
    Useless,
}

impl Scim {
    pub(crate) async fn look(&self, shape: &Shape, look: &Look) -> Result<Found, ConnectorError> {
        match look {
            Look::Id(id) => self.look_by_id(shape, id).await,
            Look::Key(key, values) => self.look_by_key(shape, key, values).await,
        }
    }

    async fn look_by_id(&self, shape: &Shape, id: &AccountId) -> Result<Found, ConnectorError> {
        let nobody = |proven| Ok(Found { accounts: Vec::new(), proven });
        let answer = self.wire.read("look", self.wire.url(&["Users", id.as_str()], &[])?).await?;
        match answer.status {
            200..=299 => {}
            404 | 410 => return nobody(true),
            // Some targets hide what is not there, or choke on an id that is none of theirs.
            400 | 403 => return nobody(false),
            _ => return Err(fault::of_read(&answer)),
        }
        match wire::resource_of(&answer) {
            Some(resource) if document::id(&resource).as_ref() == Some(id) => {
                let account = self.account_with_groups(&resource, shape).await?;
                Ok(Found { accounts: vec![account], proven: true })
            }
            Some(_) => Err(fault::of_http(answer.unreadable())),
            None => match wire::page_of(&answer) {
                Ok(page) if page.rows.is_empty() => nobody(true),
                _ => Err(fault::of_http(answer.unreadable())),
            },
        }
    }

    async fn look_by_key(&self, shape: &Shape, key: &MatchKey, values: &[Value]) -> Result<Found, ConnectorError> {
        if let ([path], [value]) = (key.0.as_slice(), values)
            && let Some(found) = self.look_by_filter(shape, path, value).await?
        {
            return Ok(found);
        }
        self.look_by_list(shape, key, values).await
    }

    /// `None`: the filter tells nothing, read the list.
    async fn look_by_filter(
        &self,
        shape: &Shape,
        path: &AttributePath,
        value: &Value,
    ) -> Result<Option<Found>, ConnectorError> {
        let trial = self.trial(path).await?;
        if trial == Some(Trial::Useless) {
            return Ok(None);
        }
        let Some(rows) = self.filtered(path, value).await? else { return Ok(None) };
        let mut accounts = Vec::with_capacity(rows.len());
        for resource in rows.values().filter(|resource| fits(resource, path, value)) {
            accounts.push(self.account_with_groups(resource, shape).await?);
        }
        let tells_all = trial.is_some_and(|trial| trial == Trial::Works { folds: true } || !is_folded(path));
        let hides = self.profile.inactive == Inactive::Hidden;
        // Where a list would hide the same accounts it would prove no more than the filter.
        Ok((tells_all || hides).then_some(Found { accounts, proven: tells_all && !hides }))
    }

    /// Rows that a filter gave, by id; `None` if it was refused or ignored, which is remembered.
    async fn filtered(
        &self,
        path: &AttributePath,
        value: &Value,
    ) -> Result<Option<BTreeMap<AccountId, Value>>, ConnectorError> {
        let filter = filter(path, value);
        let answer = self.wire.read("look", self.wire.url(&["Users"], &[("filter", &filter)])?).await?;
        let Some(page) = self.filter_page(path, &answer)? else { return Ok(None) };
        if page.iter().any(|row| !mentions(row, path, value)) {
            // Everybody was sent: the filter was not looked at.
            self.remember(path, Trial::Useless);
            return Ok(None);
        }
        Ok(Some(page.into_iter().filter_map(|row| Some((document::id(&row)?, row))).collect()))
    }

    fn filter_page(&self, path: &AttributePath, answer: &Answer) -> Result<Option<Vec<Value>>, ConnectorError> {
        if answer.is_success() {
            return wire::page_of(answer).map(|page| Some(page.rows));
        }
        if fault::refuses_filter(answer) {
            // A 500 may pass; the other answers are the target's opinion of filters.
            if answer.status != 500 {
                self.remember(path, Trial::Useless);
            }
            return Ok(None);
        }
        if matches!(answer.status, 403 | 404) { Ok(None) } else { Err(fault::of_read(answer)) }
    }

    /// Tries the filter on an account that is known to be there, once for each path. `None`: there
    /// is no account to try it on.
    async fn trial(&self, path: &AttributePath) -> Result<Option<Trial>, ConnectorError> {
        if self.profile.filter == FilterUse::None || self.service().await.no_filter {
            return Ok(Some(Trial::Useless));
        }
        if let Some(trial) = self.remembered(path) {
            return Ok(Some(trial));
        }
        let page = self.page(1, TRIAL_ACCOUNTS).await?;
        let known = page.rows.iter().find_map(|row| Some((document::id(row)?, document::get(row, path)?)));
        let Some((id, value)) = known.filter(|(_, value)| value.is_string()) else { return Ok(None) };
        let Some(hits) = self.filtered(path, &value).await? else { return Ok(Some(Trial::Useless)) };
        let trial = if hits.contains_key(&id) {
            let swapped = Value::from(swap_case(value.as_str().unwrap_or_default()));
            let folds =
                is_folded(path) && self.filtered(path, &swapped).await?.is_some_and(|hits| hits.contains_key(&id));
            Trial::Works { folds }
        } else {
            Trial::Useless
        };
        self.remember(path, trial);
        Ok(Some(trial))
    }

    fn remembered(&self, path: &AttributePath) -> Option<Trial> {
        self.trials.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get(path).copied()
    }

    fn remember(&self, path: &AttributePath, trial: Trial) {
        self.trials.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(path.clone(), trial);
    }

    async fn look_by_list(&self, shape: &Shape, key: &MatchKey, values: &[Value]) -> Result<Found, ConnectorError> {
        let mut wide = Shape { paths: shape.paths.clone(), memberships: std::collections::BTreeSet::new() };
        wide.paths.extend(key.0.iter().cloned());
        let nobody = Members::default();
        let (sender, mut receiver) = mpsc::channel(2);
        let mut sink = Sink::new(&wide, &nobody, &sender);
        let mut hits: Vec<AccountId> = Vec::new();
        let listing = self.list(&mut sink);
        tokio::pin!(listing);
        let coverage = loop {
            tokio::select! {
                Some(page) = receiver.recv() => collect(&mut hits, page, key, values),
                coverage = &mut listing => break coverage?,
            }
        };
        while let Ok(page) = receiver.try_recv() {
            collect(&mut hits, page, key, values);
        }
        hits.sort();
        let mut accounts = Vec::with_capacity(hits.len());
        for id in hits {
            accounts.extend(self.look_by_id(shape, &id).await?.accounts);
        }
        Ok(Found { accounts, proven: coverage == Coverage::Complete })
    }

    /// The one account that a creation without an id in its answer made.
    pub(crate) async fn made(
        &self,
        shape: &Shape,
        key: AttributePath,
        value: Value,
    ) -> Result<Account, ConnectorError> {
        let found = self.look_by_key(shape, &MatchKey(vec![key]), &[value]).await?;
        match <[Account; 1]>::try_from(found.accounts) {
            Ok([account]) => Ok(account),
            Err(others) => Err(ConnectorError {
                class: ErrorClass::Uncertain,
                message: format!("`create` was answered without an id, and a look-up found {} accounts", others.len()),
                retry_after: None,
            }),
        }
    }
}

fn collect(hits: &mut Vec<AccountId>, page: Vec<Account>, key: &MatchKey, values: &[Value]) {
    let agrees = |account: &Account| {
        key.0.iter().zip(values).all(|(path, value)| account.values.get(path).is_some_and(|own| same(path, own, value)))
    };
    hits.extend(page.into_iter().filter(agrees).map(|account| account.id));
}

fn fits(resource: &Value, path: &AttributePath, value: &Value) -> bool {
    document::get(resource, path).is_some_and(|own| same(path, &own, value))
}

/// `externalId` is case exact (RFC 7643 section 3.1), `userName` and most texts are not (section 4.1.1).
fn same(path: &AttributePath, own: &Value, asked: &Value) -> bool {
    match (own.as_str(), document::canonical(asked).as_str()) {
        (Some(own), Some(asked)) if is_exact(path) => own == asked,
        (Some(own), Some(asked)) => own.eq_ignore_ascii_case(asked),
        _ => *own == document::canonical(asked),
    }
}

fn is_exact(path: &AttributePath) -> bool {
    path.as_str().eq_ignore_ascii_case("externalId")
}

fn is_folded(path: &AttributePath) -> bool {
    !is_exact(path)
}

/// `eq` with the value as a JSON literal (RFC 7644 section 3.4.2.2): quotes and backslashes in it
/// stay part of it. A filter inside the path is left out, few targets take one there: what it
/// would have sorted out is sorted out here.
fn filter(path: &AttributePath, value: &Value) -> String {
    let parts = path.parts();
    let schema = parts.schema.map(|urn| format!("{urn}:")).unwrap_or_default();
    let sub = parts.sub.map(|sub| format!(".{sub}")).unwrap_or_default();
    format!("{schema}{}{sub} eq {value}", parts.attribute)
}

/// Whether a row holds the value anywhere in the attribute that was asked for.
fn mentions(row: &Value, path: &AttributePath, value: &Value) -> bool {
    let parts = path.parts();
    let holder = parts.schema.and_then(|urn| document::member(row, urn)).unwrap_or(row);
    document::member(holder, parts.attribute).is_some_and(|attribute| holds(attribute, value))
}

fn holds(tree: &Value, value: &Value) -> bool {
    match (tree, value) {
        (Value::Array(items), _) => items.iter().any(|item| holds(item, value)),
        (Value::Object(object), _) => object.values().any(|item| holds(item, value)),
        (Value::String(own), Value::String(asked)) => own.eq_ignore_ascii_case(asked),
        (own, asked) => own == asked,
    }
}

fn swap_case(text: &str) -> String {
    let swap = |letter: char| match letter {
        'a'..='z' => letter.to_ascii_uppercase(),
        _ => letter.to_ascii_lowercase(),
    };
    text.chars().map(swap).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn path(text: &str) -> AttributePath {
        AttributePath::parse(text).unwrap()
    }

    #[test]
    fn filters_quote_and_escape_what_they_look_for() {
        assert_eq!(filter(&path("userName"), &json!("a\"b\\c")), "userName eq \"a\\\"b\\\\c\"");
        assert_eq!(filter(&path("emails[type eq \"work\"].value"), &json!("a@x")), "emails.value eq \"a@x\"");
        let urn = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:employeeNumber";
        assert_eq!(filter(&path(urn), &json!(7)), format!("{urn} eq 7"));
    }

    #[test]
    fn user_names_are_folded_and_external_ids_are_exact() {
        assert!(same(&path("userName"), &json!("ADA@x"), &json!("ada@X")));
        assert!(!same(&path("externalId"), &json!("U-1"), &json!("u-1")));
        assert!(!same(&path("userName"), &json!("ada"), &json!("adam")));
    }

    #[test]
    fn a_row_with_the_value_under_another_type_is_no_sign_of_an_ignored_filter() {
        let row = json!({"emails": [{"type": "home", "value": "a@x"}]});
        let work = path("emails[type eq \"work\"].value");
        assert!(mentions(&row, &work, &json!("A@x")));
        assert!(!fits(&row, &work, &json!("a@x")));
        assert!(!mentions(&row, &work, &json!("b@x")));
    }
}
