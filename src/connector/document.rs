//! Reading and writing attributes of a SCIM resource held as JSON (RFC 7643 sections 2 and 3).
//!
//! Three rules make what a target gives back comparable with what a mapping wants:
//! - names fold ASCII letters (RFC 7643 section 2.1); the spelling found in the resource is kept;
//! - an object that has a `value` stands for that value, a list of them for the list of values;
//! - a list is a set: [`canonical`] sorts it and drops repeats (RFC 7643 section 2.4: no order).
//!
//! Whoever wants to compare more than `value` of a multi-valued attribute names the part:
//! `emails[type eq "work"].value`, `emails[type eq "work"].primary`.

#![expect(clippy::wildcard_enum_match_arm, reason = "the six kinds of JSON values are closed by RFC 8259")]

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde_json::Map;
use serde_json::Value;

use crate::connector::Shape;
use crate::model::account::Account;
use crate::model::account::AccountState;
use crate::model::account::Membership;
use crate::model::ids::AccountId;
use crate::model::path::AttributePath;
use crate::model::path::PathParts;

/// Schema of users (RFC 7643 section 4.1).
pub const USER_SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
/// Schema of groups (RFC 7643 section 4.2).
pub const GROUP_SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";

/// Attributes of the core schema whose values are lists of objects (RFC 7643 section 4.1.2).
const PLURAL: [&str; 9] =
    ["emails", "phoneNumbers", "ims", "photos", "addresses", "groups", "entitlements", "roles", "x509Certificates"];

/// Single attributes whose plain value stands under `value` (RFC 7643 section 4.3).
const SINGLE_COMPLEX: [&str; 1] = ["manager"];

/// A resource that is not a user anybody can speak of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a resource without an `id` was sent; SCIM demands one (RFC 7643 section 3.1)")]
pub struct NoId;

/// The value at `path`, in canonical form. Absent, null and empty are all `None`.
pub fn get(resource: &Value, path: &AttributePath) -> Option<Value> {
    let parts = path.parts();
    let attribute = member(holder(resource, parts.schema)?, parts.attribute)?;
    let chosen = match parts.filter {
        Some((sub, literal)) => attribute.as_array()?.iter().find(|element| fits(element, sub, literal))?,
        None => attribute,
    };
    let value = match parts.sub {
        Some(sub) => part(chosen, sub)?,
        None => chosen,
    };
    Some(canonical(value)).filter(|value| !is_empty(value))
}

/// The form in which values are compared: see the rules above.
pub fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(object) => match object.get("value") {
            Some(inner) if !inner.is_object() && !inner.is_array() => inner.clone(),
            _ => value.clone(),
        },
        Value::Array(items) => {
            let mut items: Vec<Value> = items.iter().map(canonical).filter(|item| !is_empty(item)).collect();
            items.sort_by_cached_key(Value::to_string);
            items.dedup();
            Value::Array(items)
        }
        plain => plain.clone(),
    }
}

/// Null, or a text, list or object with nothing in it.
pub fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(object) => object.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Writes the value at `path` and leaves everything beside it as it is.
///
/// An element that `[sub eq "literal"]` does not find is added. A schema that the path names
/// joins `schemas`. What cannot hold the attribute (a text where an object must be) is replaced.
pub fn set(resource: &mut Value, path: &AttributePath, value: &Value) {
    let parts = path.parts();
    let Some(slot) = holder_mut(resource, parts.schema).and_then(|holder| slot(holder, parts.attribute)) else {
        return;
    };
    match (parts.filter, parts.sub) {
        (Some((key, literal)), sub) => {
            let Some(element) = element_mut(slot, key, literal) else { return };
            match sub {
                Some(sub) => put(element, sub, value.clone()),
                None => assign(element, value),
            }
        }
        (None, Some(sub)) => set_part(slot, &parts, sub, value),
        (None, None) => *slot = written(&parts, value, Some(slot)),
    }
}

/// Takes the value at `path` out and leaves everything beside it as it is.
pub fn clear(resource: &mut Value, path: &AttributePath) {
    let parts = path.parts();
    let Some(holder) = existing_holder(resource, parts.schema) else { return };
    let Some(name) = spelling(holder, parts.attribute) else { return };
    if parts.filter.is_none() && parts.sub.is_none() {
        holder.remove(&name);
        return;
    }
    let Some(attribute) = holder.get_mut(&name) else { return };
    match (attribute, parts.filter) {
        (Value::Array(items), Some((key, literal))) => match parts.sub {
            // An element without its value says nothing: it goes as a whole.
            None | Some("value") => items.retain(|item| !fits(item, key, literal)),
            Some(sub) => items.iter_mut().filter(|item| fits(item, key, literal)).for_each(|item| drop_part(item, sub)),
        },
        (Value::Array(items), None) => items.iter_mut().take(1).for_each(|item| {
            drop_part(item, parts.sub.unwrap_or_default());
        }),
        (single, None) => drop_part(single, parts.sub.unwrap_or_default()),
        (_, Some(_)) => {}
    }
    if holder.get(&name).is_some_and(is_empty) {
        holder.remove(&name);
    }
}

/// The JSON that stands for a value at the path's attribute: `["a"]` at `roles` is written
/// `[{"value": "a"}]`. An element that `before` holds with the same value keeps its other parts.
pub fn written(parts: &PathParts<'_>, value: &Value, before: Option<&Value>) -> Value {
    let old: &[Value] = before.and_then(Value::as_array).map_or(&[], Vec::as_slice);
    let plural =
        parts.schema.is_none_or(is_core) && PLURAL.iter().any(|name| name.eq_ignore_ascii_case(parts.attribute));
    let objects = plural || old.iter().any(|item| item.get("value").is_some());
    match value {
        Value::Array(items) if objects => Value::Array(items.iter().map(|item| as_element(item, old)).collect()),
        scalar if plural && !scalar.is_object() && !scalar.is_null() => Value::Array(vec![as_element(scalar, old)]),
        scalar if !scalar.is_object() && !scalar.is_array() && is_single_complex(parts, before) => {
            serde_json::json!({ "value": scalar })
        }
        other => other.clone(),
    }
}

/// A new user resource that holds `values` and states `active`.
pub fn user_resource(values: &BTreeMap<AttributePath, Value>, active: bool) -> Value {
    let mut resource = serde_json::json!({ "schemas": [USER_SCHEMA], "active": active });
    for (path, value) in values {
        set(&mut resource, path, value);
    }
    resource
}

/// A user resource as an [`Account`] of this shape.
///
/// Memberships are those that the resource itself tells (`roles`, `groups`) and the shape asks
/// for; whoever reads groups elsewhere adds to them. `version` is `meta.version` as it stands.
pub fn account(resource: &Value, shape: &Shape) -> Result<Account, NoId> {
    let id = id(resource).ok_or(NoId)?;
    let always = [AttributePath::user_name(), AttributePath::external_id()];
    let paths = always.iter().chain(&shape.paths);
    let values = paths.filter_map(|path| Some((path.clone(), get(resource, path)?))).collect();
    Ok(Account {
        id,
        state: state(resource),
        values,
        memberships: memberships(resource, &shape.memberships),
        version: member(resource, "meta").and_then(|meta| text(member(meta, "version")?)),
    })
}

/// The resource's `id`, a number included.
pub fn id(resource: &Value) -> Option<AccountId> {
    text(member(resource, "id")?).map(AccountId::from)
}

/// `active` as a state. Some targets leave it out or write it as text.
pub fn state(resource: &Value) -> AccountState {
    match member(resource, "active").and_then(truth) {
        Some(true) => AccountState::Active,
        Some(false) => AccountState::Disabled,
        None => AccountState::Unknown,
    }
}

/// A boolean, written as one or as text in any case (`"False"`).
pub fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(*truth),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// A whole number, written as one or as text.
pub fn whole(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
}

/// The member of an object whose name is `name`, ASCII letters folded.
pub fn member<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let object = value.as_object()?;
    object.get(name).or_else(|| object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

/// Takes the member of that name out.
pub fn take(value: &mut Value, name: &str) -> Option<Value> {
    let object = value.as_object_mut()?;
    object.remove(&spelling(object, name)?)
}

fn memberships(resource: &Value, asked: &BTreeSet<Membership>) -> BTreeSet<Membership> {
    let held = |name: &str| values_of(member(resource, name));
    let (roles, groups) = (held("roles"), held("groups"));
    let holds = |membership: &&Membership| match membership {
        Membership::Role(role) => roles.contains(role),
        Membership::Group(group) => groups.contains(group),
    };
    asked.iter().filter(holds).cloned().collect()
}

/// The values of a multi-valued attribute as texts.
pub fn values_of(attribute: Option<&Value>) -> BTreeSet<String> {
    match attribute.map(canonical) {
        Some(Value::Array(items)) => items.iter().filter_map(text).collect(),
        Some(single) => text(&single).into_iter().collect(),
        None => BTreeSet::new(),
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The object that holds attributes of a schema: the resource itself for the core one.
fn holder<'a>(resource: &'a Value, schema: Option<&str>) -> Option<&'a Value> {
    match schema {
        Some(urn) if !is_core(urn) => member(resource, urn),
        _ => Some(resource),
    }
}

fn existing_holder<'a>(resource: &'a mut Value, schema: Option<&str>) -> Option<&'a mut Map<String, Value>> {
    let root = resource.as_object_mut()?;
    match schema {
        Some(urn) if !is_core(urn) => {
            let name = spelling(root, urn)?;
            root.get_mut(&name)?.as_object_mut()
        }
        _ => Some(root),
    }
}

fn holder_mut<'a>(resource: &'a mut Value, schema: Option<&str>) -> Option<&'a mut Value> {
    let Some(urn) = schema.filter(|urn| !is_core(urn)) else { return Some(resource) };
    if let Some(schemas) = slot(resource, "schemas").and_then(list_mut)
        && !schemas.iter().any(|known| known.as_str().is_some_and(|known| known.eq_ignore_ascii_case(urn)))
    {
        schemas.push(Value::from(urn));
    }
    slot(resource, urn)
}

fn is_core(urn: &str) -> bool {
    urn.eq_ignore_ascii_case(USER_SCHEMA)
}

/// Where the member `name` stands, made if it is not there; what is no object becomes one.
fn slot<'a>(holder: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    if !holder.is_object() {
        *holder = Value::Object(Map::new());
    }
    let object = holder.as_object_mut()?;
    let key = spelling(object, name).unwrap_or_else(|| name.to_owned());
    Some(object.entry(key).or_insert(Value::Null))
}

/// How the object spells a name.
fn spelling(object: &Map<String, Value>, name: &str) -> Option<String> {
    if object.contains_key(name) {
        return Some(name.to_owned());
    }
    object.keys().find(|key| key.eq_ignore_ascii_case(name)).cloned()
}

/// `type` and the like are not case exact (RFC 7643 section 8.7.1); the literal may be a number or a boolean.
fn fits(element: &Value, sub: &str, literal: &str) -> bool {
    match member(element, sub) {
        Some(Value::String(text)) => text.eq_ignore_ascii_case(literal),
        Some(Value::Bool(truth)) => truth.to_string() == literal,
        Some(Value::Number(number)) => number.to_string() == literal,
        _ => false,
    }
}

/// A sub-attribute. Of a list: the primary element's, else the first one's. A plain value is its own `value`.
fn part<'a>(value: &'a Value, sub: &str) -> Option<&'a Value> {
    match value {
        Value::Array(items) => part(main_element(items)?, sub),
        Value::Object(_) => member(value, sub),
        plain => (sub == "value").then_some(plain),
    }
}

fn main_element(items: &[Value]) -> Option<&Value> {
    items.iter().find(|item| is_primary(item)).or_else(|| items.first())
}

fn is_primary(element: &Value) -> bool {
    member(element, "primary").and_then(truth) == Some(true)
}

/// The element that fits, added if none does.
fn element_mut<'a>(slot: &'a mut Value, key: &str, literal: &str) -> Option<&'a mut Value> {
    let items = list_mut(slot)?;
    let at = items.iter().position(|item| fits(item, key, literal)).unwrap_or_else(|| {
        items.push(serde_json::json!({ key: literal }));
        items.len() - 1
    });
    items.get_mut(at)
}

fn list_mut(slot: &mut Value) -> Option<&mut Vec<Value>> {
    if !slot.is_array() {
        *slot = Value::Array(Vec::new());
    }
    slot.as_array_mut()
}

fn set_part(slot: &mut Value, parts: &PathParts<'_>, sub: &str, value: &Value) {
    let plural = PLURAL.iter().any(|name| name.eq_ignore_ascii_case(parts.attribute));
    if !(slot.is_array() || (plural && !slot.is_object())) {
        put(slot, sub, value.clone());
        return;
    }
    let Some(items) = list_mut(slot) else { return };
    if items.is_empty() {
        items.push(Value::Null);
    }
    let at = items.iter().position(is_primary).unwrap_or(0);
    if let Some(element) = items.get_mut(at) {
        put(element, sub, value.clone());
    }
}

fn put(holder: &mut Value, name: &str, value: Value) {
    if let Some(slot) = slot(holder, name) {
        *slot = value;
    }
}

/// A whole element: an object's members are laid over it, a plain value is its `value`.
fn assign(element: &mut Value, value: &Value) {
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| put(element, name, value.clone())),
        plain => put(element, "value", plain.clone()),
    }
}

fn drop_part(holder: &mut Value, sub: &str) {
    if let Some(object) = holder.as_object_mut()
        && let Some(name) = spelling(object, sub)
    {
        object.remove(&name);
    }
}

fn as_element(item: &Value, old: &[Value]) -> Value {
    if item.is_object() {
        return item.clone();
    }
    let same = old.iter().find(|element| element.get("value") == Some(item));
    same.cloned().unwrap_or_else(|| serde_json::json!({ "value": item }))
}

fn is_single_complex(parts: &PathParts<'_>, before: Option<&Value>) -> bool {
    SINGLE_COMPLEX.iter().any(|name| name.eq_ignore_ascii_case(parts.attribute))
        && !before.is_some_and(Value::is_string)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const COST_CENTER: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:costCenter";

    fn path(text: &str) -> AttributePath {
        AttributePath::parse(text).unwrap()
    }

    /// Sets, shows the whole resource, and demands that reading gives the value back.
    #[track_caller]
    fn check(before: Value, at: &str, value: &Value, after: &Value) {
        let mut resource = before;
        set(&mut resource, &path(at), value);
        assert_eq!(resource, *after);
        assert_eq!(get(&resource, &path(at)), Some(canonical(value)), "read back");
    }

    #[test]
    fn every_form_of_path_is_written_beside_what_is_there() {
        check(json!({"a": 1}), "title", &json!("Boss"), &json!({"a": 1, "title": "Boss"}));
        check(
            json!({"name": {"x": 1}}),
            "name.givenName",
            &json!("Ada"),
            &json!({"name": {"x": 1, "givenName": "Ada"}}),
        );
        check(json!({"NAME": {}}), "name.givenName", &json!("Ada"), &json!({"NAME": {"givenName": "Ada"}}));
        check(
            json!({"emails": [{"type": "home", "value": "h"}, {"type": "Work", "value": "w", "primary": true}]}),
            "emails[type eq \"work\"].value",
            &json!("n"),
            &json!({"emails": [{"type": "home", "value": "h"}, {"type": "Work", "value": "n", "primary": true}]}),
        );
    }

    #[test]
    fn an_element_that_the_filter_does_not_find_is_added() {
        check(
            json!({"emails": [{"type": "home", "value": "h"}]}),
            "emails[type eq \"work\"].value",
            &json!("n"),
            &json!({"emails": [{"type": "home", "value": "h"}, {"type": "work", "value": "n"}]}),
        );
    }

    #[test]
    fn an_extension_attribute_stands_under_its_schema_and_the_schema_is_listed() {
        let urn = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
        check(
            json!({"schemas": [USER_SCHEMA]}),
            COST_CENTER,
            &json!("C-17"),
            &json!({"schemas": [USER_SCHEMA, urn], urn: {"costCenter": "C-17"}}),
        );
    }

    #[test]
    fn plain_values_of_plural_attributes_become_objects_and_keep_what_stood_beside_them() {
        check(
            json!({"roles": [{"value": "a", "display": "A"}, {"value": "b"}]}),
            "roles",
            &json!(["c", "a"]),
            &json!({"roles": [{"value": "c"}, {"value": "a", "display": "A"}]}),
        );
    }

    #[test]
    fn a_plain_manager_is_written_as_its_value() {
        let manager = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager";
        let mut resource = json!({"schemas": []});
        set(&mut resource, &path(manager), &json!("u-7"));
        assert_eq!(
            resource["urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"]["manager"],
            json!({"value": "u-7"})
        );
        assert_eq!(get(&resource, &path(manager)), Some(json!("u-7")));
    }

    #[test]
    fn lists_compare_as_sets_of_values() {
        let shown = json!([{"value": "b", "primary": true}, {"value": "a"}, {"value": "b"}]);
        assert_eq!(canonical(&shown), canonical(&json!(["a", "b"])));
    }

    #[test]
    fn null_and_empty_values_are_no_values() {
        let resource = json!({"title": null, "nickName": "", "roles": [], "name": {"givenName": ""}});
        for at in ["title", "nickName", "roles", "name.givenName", "missing", "missing.part"] {
            assert_eq!(get(&resource, &path(at)), None, "{at}");
        }
    }

    #[test]
    fn clearing_takes_out_one_value_and_the_husk_around_it() {
        let mut resource = json!({"title": "x", "name": {"givenName": "Ada"}, "emails": [
            {"type": "work", "value": "w"}, {"type": "home", "value": "h"}]});
        for at in ["Title", "name.givenName", "emails[type eq \"work\"].value", "missing", COST_CENTER] {
            clear(&mut resource, &path(at));
        }
        assert_eq!(resource, json!({"emails": [{"type": "home", "value": "h"}]}));
    }

    #[test]
    fn a_resource_becomes_an_account_cut_down_to_its_shape() {
        let shape = Shape {
            paths: [path("title"), path("locale")].into(),
            memberships: [Membership::Group("g1".into()), Membership::Group("g2".into()), Membership::Role("r".into())]
                .into(),
        };
        let resource = json!({
            "id": 7, "userName": "ada", "externalId": "u-1", "title": "Boss", "active": "False", "password": "hash",
            "groups": [{"value": "g1"}, {"value": "other"}], "roles": [{"value": "r"}], "meta": {"version": "W/\"1\""},
        });
        let seen = account(&resource, &shape).unwrap();
        assert_eq!(seen.id, AccountId::from("7"));
        assert_eq!(seen.state, AccountState::Disabled);
        assert_eq!(
            seen.values.keys().map(AttributePath::as_str).collect::<Vec<_>>(),
            ["externalId", "title", "userName"]
        );
        assert_eq!(seen.memberships, [Membership::Group("g1".into()), Membership::Role("r".into())].into());
        assert_eq!(seen.version.as_deref(), Some("W/\"1\""));
        assert_eq!(account(&json!({"userName": "x"}), &shape), Err(NoId));
    }

    #[test]
    fn a_new_resource_states_that_it_is_active() {
        let values = [(path("userName"), json!("ada")), (path("emails[type eq \"work\"].value"), json!("a@x"))].into();
        let expected = json!({"schemas": [USER_SCHEMA], "active": true, "userName": "ada",
            "emails": [{"type": "work", "value": "a@x"}]});
        assert_eq!(user_resource(&values, true), expected);
    }
}
