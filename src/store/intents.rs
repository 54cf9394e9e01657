//! Intents in the form in which stores keep them.
//!
//! A store has a row for each call that was ever made, and most of an intent's JSON would be names of
//! fields, and documents named once for each attribute. Here values stand in a fixed order, and each
//! document is named once.

use std::sync::Arc;

use chrono::DateTime;
use chrono::Utc;
use serde::Deserialize;
use serde::Serialize;
use serde::de::Error as _;
use serde_json::Value;

use crate::model::account::Membership;
use crate::model::change::Action;
use crate::model::change::Cause;
use crate::model::change::Change;
use crate::model::change::Effect;
use crate::model::change::EntitlementChange;
use crate::model::change::FieldChange;
use crate::model::history::Counting;
use crate::model::history::Intent;
use crate::model::ids::AccountId;
use crate::model::ids::CycleId;
use crate::model::ids::EntitlementName;
use crate::model::ids::IntentId;
use crate::model::ids::RecordId;
use crate::model::link::Space;
use crate::model::list::List;
use crate::model::origin::Origin;
use crate::model::path::AttributePath;

/// File and words of origins, without the line.
type Place = (Arc<str>, Arc<str>);
/// An origin: which of the places, and the line.
type Line = (usize, u32);
/// Path, before, after, personal, sensitive, origins.
type Field = (Arc<str>, Option<Value>, Option<Value>, u8, u8, Vec<Line>);
/// Record, account, action, effect, cause, active, reason.
type Essence = (RecordId, Option<AccountId>, Action, Effect, Option<Cause>, Option<bool>, Arc<str>);
/// Name, membership, privileged, origins.
type Entitlement = (Option<EntitlementName>, Membership, u8, Vec<Line>);

#[derive(Serialize, Deserialize)]
struct Kept(
    (IntentId, Space, CycleId, DateTime<Utc>, DateTime<Utc>, Counting),
    Essence,
    Vec<Field>,
    Vec<Entitlement>,
    Vec<Entitlement>,
    Vec<Line>,
    Vec<Place>,
);

#[derive(Default)]
struct Places(Vec<Place>);

impl Places {
    fn lines(&mut self, origins: &[Origin]) -> Vec<Line> {
        origins.iter().map(|origin| (self.put(origin), origin.line)).collect()
    }

    fn put(&mut self, origin: &Origin) -> usize {
        let known = self.0.iter().position(|(file, what)| *file == origin.file && *what == origin.what);
        known.unwrap_or_else(|| {
            self.0.push((Arc::clone(&origin.file), Arc::clone(&origin.what)));
            self.0.len() - 1
        })
    }

    fn origins(&self, lines: Vec<Line>) -> Result<List<Origin>, serde_json::Error> {
        let origin = |(place, line): Line| {
            let (file, what) = self.0.get(place).ok_or_else(|| serde_json::Error::custom("an origin without place"))?;
            Ok(Origin { file: Arc::clone(file), line, what: Arc::clone(what) })
        };
        lines.into_iter().map(origin).collect()
    }

    fn entitlements(&mut self, entries: &[EntitlementChange]) -> Vec<Entitlement> {
        let kept = |entry: &EntitlementChange| {
            let EntitlementChange { name, membership, privileged, origins } = entry;
            (name.clone(), membership.clone(), u8::from(*privileged), self.lines(origins))
        };
        entries.iter().map(kept).collect()
    }

    fn entitlement_changes(&self, entries: Vec<Entitlement>) -> Result<List<EntitlementChange>, serde_json::Error> {
        let change = |(name, membership, privileged, lines): Entitlement| {
            Ok(EntitlementChange { name, membership, privileged: privileged != 0, origins: self.origins(lines)? })
        };
        entries.into_iter().map(change).collect()
    }
}

/// The text of an intent.
///
/// # Errors
/// Where a value is no JSON.
pub fn text(intent: &Intent) -> Result<Vec<u8>, serde_json::Error> {
    let Intent { id, space, cycle, change, at, limit, counting } = intent;
    let Change { record, account, action, effect, cause, fields, grant, revoke, active, reason, origins } = change;
    let mut places = Places::default();
    let field = |field: &FieldChange| {
        let FieldChange { path, before, after, personal, sensitive, origins } = field;
        let flags = (u8::from(*personal), u8::from(*sensitive));
        (path.as_str().into(), before.clone(), after.clone(), flags.0, flags.1, places.lines(origins))
    };
    let fields = fields.iter().map(field).collect();
    let (grant, revoke, origins) = (places.entitlements(grant), places.entitlements(revoke), places.lines(origins));
    serde_json::to_vec(&Kept(
        (id.clone(), space.clone(), cycle.clone(), *at, *limit, *counting),
        (record.clone(), account.clone(), *action, *effect, *cause, *active, reason.clone()),
        fields,
        grant,
        revoke,
        origins,
        places.0,
    ))
}

/// The intent of a text. One that an earlier version wrote is the intent's own JSON.
///
/// # Errors
/// Where it is neither.
pub fn intent(text: &[u8]) -> Result<Intent, serde_json::Error> {
    if text.starts_with(b"{") {
        return serde_json::from_slice(text);
    }
    let Kept(head, change, fields, grant, revoke, origins, places) = serde_json::from_slice(text)?;
    let (id, space, cycle, at, limit, counting) = head;
    let (record, account, action, effect, cause, active, reason) = change;
    let places = Places(places);
    let field = |(path, before, after, personal, sensitive, lines): Field| {
        let path = AttributePath::parse(&path).map_err(serde_json::Error::custom)?;
        let (personal, sensitive) = (personal != 0, sensitive != 0);
        Ok(FieldChange { path, before, after, personal, sensitive, origins: places.origins(lines)? })
    };
    let fields = fields.into_iter().map(field).collect::<Result<_, serde_json::Error>>()?;
    let (grant, revoke) = (places.entitlement_changes(grant)?, places.entitlement_changes(revoke)?);
    let origins = places.origins(origins)?;
    let change = Change { record, account, action, effect, cause, fields, grant, revoke, active, reason, origins };
    Ok(Intent { id, space, cycle, change, at, limit, counting })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn everything() -> Intent {
        let origin = |file: &str, line| Origin { file: file.into(), line, what: "User u-1".into() };
        let field = |path: &str, before, after, personal, sensitive, line| FieldChange {
            path: AttributePath::parse(path).unwrap(),
            before,
            after,
            personal,
            sensitive,
            origins: vec![origin("targets/crm.json", 1), origin("users.yaml", line)].into(),
        };
        let entitlement = |name: Option<&str>, membership, privileged| EntitlementChange {
            name: name.map(Into::into),
            membership,
            privileged,
            origins: vec![origin("roles.yaml", 3)].into(),
        };
        let change = Change {
            record: "u-1".into(),
            account: Some("a-1".into()),
            action: Action::Narrow,
            effect: Effect::Narrows,
            cause: Some(Cause::Explicit),
            fields: vec![
                field("title", Some(json!("Old")), None, false, true, 9),
                field("emails[type eq \"work\"].value", None, Some(json!({"a": [1.5, null]})), true, false, 10),
            ]
            .into(),
            grant: vec![entitlement(None, Membership::Role("r".to_owned()), false)].into(),
            revoke: vec![entitlement(Some("admin"), Membership::Group("g".to_owned()), true)].into(),
            active: Some(false),
            reason: "it ended".into(),
            origins: vec![Origin::decision("revocation of u-1"), origin("users.yaml", 0)].into(),
        };
        let at = "2026-11-22T12:00:00.000000001Z".parse().unwrap();
        let space = Space { target: "crm".into(), environment: "live".into(), realm: "crm.example".into() };
        let counting = Counting { at, dated: true };
        Intent { id: "i-1".into(), space, cycle: "c-1".into(), change, at, limit: at, counting }
    }

    #[test]
    fn an_intent_is_read_as_it_was_written() {
        let written = everything();
        let text = text(&written).unwrap();
        assert_eq!(intent(&text).unwrap(), written);
        assert!(text.len() * 3 < serde_json::to_vec(&written).unwrap().len() * 2);
    }

    #[test]
    fn an_intent_of_an_earlier_version_is_read_too() {
        let written = everything();
        assert_eq!(intent(&serde_json::to_vec(&written).unwrap()).unwrap(), written);
    }

    #[test]
    fn an_origin_that_names_no_place_is_no_intent() {
        let text = String::from_utf8(text(&everything()).unwrap()).unwrap();
        assert!(intent(text.replace("[0,1]", "[9,1]").as_bytes()).is_err());
    }
}
