//! A change of an account as PATCH operations (RFC 7644 section 3.5.2) and as a whole resource.
//! Pure.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde_json::Value;
use serde_json::json;

use crate::connector::document;
use crate::connectors::scim::groups::patch_schema;
use crate::connectors::scim::profile::ActiveAs;
use crate::connectors::scim::profile::Clear;
use crate::connectors::scim::profile::OpsPerPatch;
use crate::connectors::scim::profile::Profile;
use crate::connectors::scim::profile::StateOp;
use crate::model::account::Account;
use crate::model::path::AttributePath;

/// What is to change in the account's own resource.
#[derive(Clone, Debug)]
pub(crate) struct Edit<'a> {
    pub(crate) seen: &'a Account,
    pub(crate) set: &'a BTreeMap<AttributePath, Value>,
    pub(crate) clear: &'a BTreeSet<AttributePath>,
    pub(crate) active: Option<bool>,
    pub(crate) add_roles: Vec<&'a str>,
    pub(crate) remove_roles: Vec<&'a str>,
}

impl Edit<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        let Self { seen: _, set, clear, active, add_roles, remove_roles } = self;
        set.is_empty() && clear.is_empty() && active.is_none() && add_roles.is_empty() && remove_roles.is_empty()
    }
}

/// The bodies of the PATCH calls that make the change.
///
/// What takes access away stands first in a body; an activation stands first of all, since some
/// targets refuse attributes of an inactive account (and a disabling last, for the same reason).
pub(crate) fn bodies(edit: &Edit<'_>, profile: &Profile) -> Vec<Value> {
    let mut operations = Vec::new();
    operations.extend(edit.active.filter(|active| *active).map(|active| state(active, profile)));
    operations.extend(edit.remove_roles.iter().map(|role| json!({"op": "remove", "path": one_role(role)})));
    operations.extend(edit.set.iter().map(|(path, value)| write(edit.seen, path, value)));
    operations.extend(edit.clear.iter().map(|path| wipe(path, profile.clear)));
    if !edit.add_roles.is_empty() {
        let roles: Vec<Value> = edit.add_roles.iter().map(|role| json!({ "value": role })).collect();
        operations.push(json!({"op": "add", "path": "roles", "value": roles}));
    }
    operations.extend(edit.active.filter(|active| !*active).map(|active| state(active, profile)));
    let body = |operations: Vec<Value>| json!({"schemas": [patch_schema()], "Operations": operations});
    match profile.ops_per_patch {
        OpsPerPatch::Many if operations.is_empty() => Vec::new(),
        OpsPerPatch::Many => vec![body(operations)],
        OpsPerPatch::One => operations.into_iter().map(|operation| body(vec![operation])).collect(),
    }
}

/// The change laid over the whole resource, for targets that take nothing less.
///
/// Everything that the target showed goes back to it, save what only it may write (`meta`,
/// `groups`) and secrets, which must not be written back as they are shown.
pub(crate) fn merged(mut resource: Value, edit: &Edit<'_>, profile: &Profile) -> Value {
    let as_text = document::member(&resource, "active").is_some_and(Value::is_string);
    for (path, value) in edit.set {
        document::set(&mut resource, path, value);
    }
    for path in edit.clear {
        match profile.clear {
            Clear::Remove => document::clear(&mut resource, path),
            Clear::Empty => document::set(&mut resource, path, &json!("")),
            Clear::Null => document::set(&mut resource, path, &Value::Null),
        }
    }
    merge_roles(&mut resource, &edit.add_roles, &edit.remove_roles);
    if let Some(active) = edit.active {
        let way = if as_text { ActiveAs::String } else { profile.active_as };
        document::set(&mut resource, &active_path(), &written_state(active, way));
    }
    if let Some(object) = resource.as_object_mut() {
        object.retain(|name, _| !["meta", "groups", "password"].iter().any(|gone| name.eq_ignore_ascii_case(gone)));
        object.entry("schemas").or_insert_with(|| json!([document::USER_SCHEMA]));
    }
    resource
}

/// A resource for a creation.
pub(crate) fn new_resource(values: &BTreeMap<AttributePath, Value>, roles: &[&str], profile: &Profile) -> Value {
    let mut resource = document::user_resource(values, true);
    merge_roles(&mut resource, roles, &[]);
    document::set(&mut resource, &active_path(), &written_state(true, profile.active_as));
    resource
}

fn merge_roles(resource: &mut Value, add: &[&str], remove: &[&str]) {
    if add.is_empty() && remove.is_empty() {
        return;
    }
    let mut roles = match document::member(resource, "roles").cloned() {
        Some(Value::Array(roles)) => roles,
        _ => Vec::new(),
    };
    let named = |role: &Value, name: &str| document::canonical(role).as_str() == Some(name);
    roles.retain(|role| !remove.iter().any(|name| named(role, name)));
    for name in add {
        if !roles.iter().any(|role| named(role, name)) {
            roles.push(json!({ "value": name }));
        }
    }
    if let Some(object) = resource.as_object_mut() {
        object.retain(|name, _| !name.eq_ignore_ascii_case("roles"));
        object.insert("roles".to_owned(), Value::Array(roles));
    }
}

fn write(seen: &Account, path: &AttributePath, value: &Value) -> Value {
    let parts = path.parts();
    let known = seen.values.contains_key(path);
    match (parts.filter, parts.sub) {
        // A filter that finds no element is an error (RFC 7644 section 3.5.2.3), so the element
        // is added with what the filter looks for.
        (Some((key, literal)), Some("value") | None) if !known => {
            let mut element = if value.is_object() { value.clone() } else { json!({ "value": value }) };
            if let Some(object) = element.as_object_mut() {
                object.insert(key.to_owned(), Value::from(literal));
            }
            let schema = parts.schema.map(|urn| format!("{urn}:")).unwrap_or_default();
            json!({"op": "add", "path": format!("{schema}{}", parts.attribute), "value": [element]})
        }
        (Some(_), None) if !value.is_object() => {
            json!({"op": "replace", "path": format!("{path}.value"), "value": value})
        }
        (None, None) => {
            json!({"op": verb(known), "path": path.as_str(), "value": document::written(&parts, value, None)})
        }
        _ => json!({"op": verb(known || parts.filter.is_some()), "path": path.as_str(), "value": value}),
    }
}

/// `replace` of what is not there counts as `add` (RFC 7644 section 3.5.2.3), which not every target knows.
fn verb(known: bool) -> &'static str {
    if known { "replace" } else { "add" }
}

fn wipe(path: &AttributePath, clear: Clear) -> Value {
    match clear {
        Clear::Remove => json!({"op": "remove", "path": path.as_str()}),
        Clear::Empty => json!({"op": "replace", "path": path.as_str(), "value": ""}),
        Clear::Null => json!({"op": "replace", "path": path.as_str(), "value": null}),
    }
}

fn state(active: bool, profile: &Profile) -> Value {
    let value = written_state(active, profile.active_as);
    match profile.state_op {
        StateOp::Path => json!({"op": "replace", "path": "active", "value": value}),
        StateOp::Pathless => json!({"op": "replace", "value": {"active": value}}),
    }
}

fn written_state(active: bool, way: ActiveAs) -> Value {
    match (way, active) {
        (ActiveAs::Boolean, _) => Value::Bool(active),
        (ActiveAs::String, true) => Value::from("True"),
        (ActiveAs::String, false) => Value::from("False"),
    }
}

fn one_role(role: &str) -> String {
    format!("roles[value eq {}]", Value::from(role))
}

fn active_path() -> AttributePath {
    // A constant of the form that `parse` takes.
    AttributePath::parse("active").unwrap_or_else(|_| AttributePath::user_name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::Shape;
    use crate::connectors::scim::profile;
    use crate::model::node::Node;

    fn path(text: &str) -> AttributePath {
        AttributePath::parse(text).unwrap()
    }

    fn profile_of(value: Value) -> Profile {
        profile::read(&Node { value, ..Node::default() }).unwrap().0
    }

    /// Operations of a change of `title`, a work mail and `active`, on an account that shows `seen`.
    fn operations(seen: &Value, set: &[(&str, Value)], active: Option<bool>, settings: Value) -> Value {
        let set: BTreeMap<_, _> = set.iter().map(|(at, value)| (path(at), value.clone())).collect();
        let shape = Shape { paths: set.keys().cloned().collect(), ..Shape::default() };
        let seen = document::account(seen, &shape).unwrap();
        let clear = BTreeSet::new();
        let edit =
            Edit { seen: &seen, set: &set, clear: &clear, active, add_roles: vec!["r\"1"], remove_roles: vec!["r\"2"] };
        Value::Array(bodies(&edit, &profile_of(settings)).iter().map(|body| body["Operations"].clone()).collect())
    }

    #[test]
    fn one_body_holds_every_operation_in_lower_case_and_ends_with_a_disabling() {
        let work = "emails[type eq \"work\"].value";
        let seen = json!({"id": "1", "title": "old"});
        let expected = json!([[
            {"op": "remove", "path": "roles[value eq \"r\\\"2\"]"},
            {"op": "add", "path": "emails", "value": [{"type": "work", "value": "a@x"}]},
            {"op": "replace", "path": "title", "value": "new"},
            {"op": "add", "path": "roles", "value": [{"value": "r\"1"}]},
            {"op": "replace", "path": "active", "value": false},
        ]]);
        let set = [("title", json!("new")), (work, json!("a@x"))];
        assert_eq!(operations(&seen, &set, Some(false), json!({})), expected);
    }

    #[test]
    fn a_value_that_is_there_is_replaced_where_it_stands() {
        let work = "emails[type eq \"work\"].value";
        let seen = json!({"id": "1", "emails": [{"type": "work", "value": "o@x"}]});
        let operations = operations(&seen, &[(work, json!("a@x"))], Some(true), json!({}));
        assert_eq!(operations[0][0], json!({"op": "replace", "path": "active", "value": true}));
        assert_eq!(operations[0][2], json!({"op": "replace", "path": work, "value": "a@x"}));
    }

    #[test]
    fn profiles_split_bodies_drop_paths_and_write_booleans_as_text() {
        let settings = json!({"opsPerPatch": "one", "stateOp": "pathless", "activeAs": "string"});
        let bodies = operations(&json!({"id": "1"}), &[], Some(false), settings);
        assert_eq!(bodies.as_array().unwrap().len(), 3);
        assert_eq!(bodies[2], json!([{"op": "replace", "value": {"active": "False"}}]));
    }

    #[test]
    fn a_whole_resource_keeps_what_is_not_ours_and_leaves_secrets_behind() {
        let resource = json!({"id": "1", "userName": "ada", "x": {"y": 1}, "active": "True", "password": "hash",
            "meta": {"version": "1"}, "groups": [{"value": "g"}], "roles": [{"value": "r2", "display": "R"}]});
        let set = [(path("title"), json!("new"))].into();
        let clear = [path("nickName")].into();
        let seen = document::account(&resource, &Shape::default()).unwrap();
        let edit = Edit {
            seen: &seen,
            set: &set,
            clear: &clear,
            active: Some(false),
            add_roles: vec!["r1"],
            remove_roles: Vec::new(),
        };
        let expected = json!({"id": "1", "userName": "ada", "x": {"y": 1}, "active": "False", "title": "new",
            "roles": [{"value": "r2", "display": "R"}, {"value": "r1"}], "schemas": [document::USER_SCHEMA]});
        assert_eq!(merged(resource, &edit, &profile_of(json!({}))), expected);
    }
}
