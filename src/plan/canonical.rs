//! The one form of a plan that is hashed, signed and compared.

use ring::digest::SHA256;
use ring::digest::digest as hash;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::model::change::Change;
use crate::model::change::EntitlementChange;
use crate::model::change::FieldChange;
use crate::model::ids::AccountId;
use crate::model::ids::Digest;
use crate::model::ids::RecordId;
use crate::model::link::Space;
use crate::model::plan::Plan;

/// What stands for a value that nobody but the target may see.
pub const MASK: &str = "(sensitive)";

/// The plan as JSON with sorted keys and without white space; equal plans give equal bytes.
/// Sensitive values are masked.
pub fn json(plan: &Plan) -> String {
    let mut plan = plan.clone();
    for change in plan.changes.iter_mut().chain(plan.holds.iter_mut().flat_map(|hold| &mut hold.changes)) {
        if change.fields.iter().any(|field| field.sensitive) {
            change.fields.iter_mut().for_each(mask);
        }
    }
    // A plan is plain data with text keys: there is nothing in it that JSON cannot hold.
    sorted(serde_json::to_value(&plan).unwrap_or_default()).to_string()
}

/// Hex SHA-256 over where and what the changes do: what a person enforces or releases.
///
/// The place is part of it, so that a word about `test` lets nothing through in `production`, nor
/// one about a realm in another (L13). Reasons and lines are left out, so that a comment added to
/// a manifest voids nobody's word.
pub fn digest(space: &Space, changes: &[Change]) -> Digest {
    let essences = Value::Array(changes.iter().map(essence).collect());
    digest_of(json!({ "space": space, "changes": essences }))
}

/// Hex SHA-256 over a person's word that an account is a user's, in one place.
pub fn link_digest(space: &Space, record: &RecordId, account: &AccountId) -> Digest {
    digest_of(json!({ "space": space, "link": { "record": record, "account": account } }))
}

/// Hex SHA-256 over a value, whatever the order of its keys.
pub fn digest_of(value: Value) -> Digest {
    let bytes = hash(&SHA256, sorted(value).to_string().as_bytes());
    let mut hex = String::with_capacity(64);
    for byte in bytes.as_ref() {
        let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or_default();
        hex.extend([digit(byte >> 4), digit(byte & 15)]);
    }
    Digest::new(hex)
}

/// What a change does, without why: two changes with one essence are the same change.
pub fn essence(change: &Change) -> Value {
    let Change { record, account, action, effect, cause, fields, grant, revoke, active, reason: _, origins: _ } =
        change;
    let field = |field: &FieldChange| {
        let mut field = field.clone();
        mask(&mut field);
        json!({ "path": field.path, "before": field.before, "after": field.after })
    };
    let entitlement = |entry: &EntitlementChange| json!({ "name": entry.name, "membership": entry.membership });
    sorted(json!({
        "record": record,
        "account": account,
        "action": action,
        "effect": effect,
        "cause": cause,
        "fields": fields.iter().map(field).collect::<Vec<_>>(),
        "grant": grant.iter().map(entitlement).collect::<Vec<_>>(),
        "revoke": revoke.iter().map(entitlement).collect::<Vec<_>>(),
        "active": active,
    }))
}

fn mask(field: &mut FieldChange) {
    if field.sensitive {
        for value in [&mut field.before, &mut field.after] {
            *value = value.take().map(|_| MASK.into());
        }
    }
}

/// Keys in order, whatever map `serde_json` was built with.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<(String, Value)> = fields.into_iter().collect();
            fields.sort_by(|left, right| left.0.cmp(&right.0));
            Value::Object(fields.into_iter().map(|(key, value)| (key, sorted(value))).collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}
