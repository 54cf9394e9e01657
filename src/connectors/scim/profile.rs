//! Profiles: what is known of a product, as data. `profiles.yaml` is the table.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::connector::settings::Block;
use crate::connector::settings::Fields;
use crate::connector::settings::SettingsError;
use crate::model::node::Node;
use crate::model::path::AttributePath;

const TABLE: &str = include_str!("profiles.yaml");

/// The profile of a target that names none.
const GENERIC: &str = "generic";

/// Every key of a profile, each of which a target's settings may override.
const KEYS: [&str; 20] = [
    "pageSize",
    "update",
    "opsPerPatch",
    "stateOp",
    "activeAs",
    "membersRemove",
    "membersRead",
    "filter",
    "inactive",
    "etag",
    "clear",
    "delete",
    "userNameCase",
    "mediaType",
    "required",
    "tenantNeeded",
    "reactivates",
    "visibleWithin",
    "callLimit",
    "mustChange",
];

/// How one target wants to be spoken to. The keys are explained in `profiles.yaml`.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "profiles.yaml says what each key means, where its values are")]
pub struct Profile {
    pub page_size: Option<NonZeroU32>,
    pub update: UpdateVerb,
    pub ops_per_patch: OpsPerPatch,
    pub state_op: StateOp,
    pub active_as: ActiveAs,
    pub members_remove: MembersRemove,
    pub members_read: MembersRead,
    pub filter: FilterUse,
    pub inactive: Inactive,
    pub etag: EtagUse,
    pub clear: Clear,
    pub delete: Delete,
    pub user_name_case: UserNameCase,
    pub media_type: MediaType,
    pub required: Vec<AttributePath>,
    pub tenant_needed: bool,
    pub reactivates: bool,
    pub visible_within: Duration,
    pub call_limit: Duration,
    pub must_change: Option<AttributePath>,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$attr:meta])* $word:ident),+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
        #[serde(rename_all = "lowercase")]
        #[expect(missing_docs, reason = "profiles.yaml says what each word means")]
        pub enum $name { $($(#[$attr])* $word),+ }
    };
}

words!(
    /// `update`
    UpdateVerb { Patch, Put }
);
words!(
    /// `opsPerPatch`
    OpsPerPatch { Many, One }
);
words!(
    /// `stateOp`
    StateOp { Path, Pathless }
);
words!(
    /// `activeAs`
    ActiveAs { Boolean, String }
);
words!(
    /// `membersRemove`
    MembersRemove { Filter, Value }
);
words!(
    /// `membersRead`
    MembersRead { Group, Query }
);
words!(
    /// `filter`
    FilterUse { Eq, None }
);
words!(
    /// `inactive`
    Inactive { Listed, Hidden }
);
words!(
    /// `etag`
    EtagUse { Auto, Never }
);
words!(
    /// `clear`
    Clear { Remove, Empty, Null }
);
words!(
    /// `delete`
    Delete { Removes, Disables }
);
words!(
    /// `userNameCase`
    UserNameCase { Kept, Lower }
);
words!(
    /// `mediaType`
    MediaType {
        #[serde(rename = "application/scim+json")]
        Scim,
        #[serde(rename = "application/json")]
        Json
    }
);

impl MediaType {
    /// As it stands in `Content-Type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scim => "application/scim+json",
            Self::Json => "application/json",
        }
    }
}

/// The settings of a target: its profile with its own keys laid over, and its tenant.
pub fn read(settings: &Node) -> Result<(Profile, Option<String>), SettingsError> {
    let mut known = vec!["profile", "tenant"];
    known.extend(KEYS);
    let own = Fields::of(settings, Block::Settings, &known)?;
    let name: String = own.or("profile", GENERIC.to_owned())?;
    let tenant: Option<String> = own.get("tenant")?;
    let profile = profile(&merged(&name, &settings.value)?)?;
    if profile.tenant_needed && tenant.is_none() {
        let message = format!("profile `{name}` needs `tenant`: several tenants answer at one address");
        return Err(SettingsError::at(Block::Settings, "tenant", message));
    }
    Ok((profile, tenant))
}

/// Names of the table, in its order of letters.
pub fn names() -> Vec<String> {
    table().unwrap_or_default().into_keys().collect()
}

fn table() -> Result<BTreeMap<String, BTreeMap<String, Value>>, SettingsError> {
    serde_saphyr::from_str(TABLE).map_err(|error| {
        SettingsError::at(Block::Settings, "profile", format!("the table of profiles is broken: {error}"))
    })
}

fn merged(name: &str, own: &Value) -> Result<Node, SettingsError> {
    let table = table()?;
    let Some(named) = table.get(name) else {
        let known = table.keys().cloned().collect::<Vec<_>>().join(", ");
        let message = format!("unknown profile `{name}`; known: {known}");
        return Err(SettingsError::at(Block::Settings, "profile", message));
    };
    let own = own.as_object().into_iter().flatten();
    let layers = table.get(GENERIC).into_iter().flatten().chain(named).chain(own);
    let value = layers.map(|(key, value)| (key.clone(), value.clone())).collect();
    Ok(Node { value: Value::Object(value), lines: BTreeMap::new() })
}

fn profile(node: &Node) -> Result<Profile, SettingsError> {
    let mut known = vec!["profile", "tenant"];
    known.extend(KEYS);
    let fields = Fields::of(node, Block::Settings, &known)?;
    Ok(Profile {
        page_size: fields.get("pageSize")?,
        update: need(&fields, "update")?,
        ops_per_patch: need(&fields, "opsPerPatch")?,
        state_op: need(&fields, "stateOp")?,
        active_as: need(&fields, "activeAs")?,
        members_remove: need(&fields, "membersRemove")?,
        members_read: need(&fields, "membersRead")?,
        filter: need(&fields, "filter")?,
        inactive: need(&fields, "inactive")?,
        etag: need(&fields, "etag")?,
        clear: need(&fields, "clear")?,
        delete: need(&fields, "delete")?,
        user_name_case: need(&fields, "userNameCase")?,
        media_type: need(&fields, "mediaType")?,
        required: need(&fields, "required")?,
        tenant_needed: need(&fields, "tenantNeeded")?,
        reactivates: need(&fields, "reactivates")?,
        visible_within: fields.duration_or("visibleWithin", Duration::ZERO)?,
        call_limit: fields.duration_or("callLimit", Duration::from_secs(10))?,
        must_change: fields.get("mustChange")?,
    })
}

fn need<T: serde::de::DeserializeOwned>(fields: &Fields<'_>, key: &str) -> Result<T, SettingsError> {
    fields
        .get(key)?
        .ok_or_else(|| SettingsError::at(Block::Settings, key, format!("`{key}` must have a value; leave the key out")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(value: Value) -> Result<(Profile, Option<String>), SettingsError> {
        read(&Node { value, ..Node::default() })
    }

    #[test]
    fn every_profile_of_the_table_can_be_used() {
        for name in names() {
            of(json!({"profile": name, "tenant": "t"})).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }

    #[test]
    fn no_settings_at_all_mean_the_generic_profile() {
        assert_eq!(of(json!(null)).unwrap(), of(json!({"profile": "generic"})).unwrap());
    }

    #[test]
    fn a_targets_own_key_wins_over_its_profile() {
        let (profile, _) = of(json!({"profile": "okta-style", "update": "patch", "callLimit": "3s"})).unwrap();
        assert_eq!((profile.update, profile.state_op), (UpdateVerb::Patch, StateOp::Pathless));
        assert_eq!(profile.call_limit, Duration::from_secs(3));
    }

    #[test]
    fn wrong_settings_are_pointed_at() {
        for (value, pointer) in [
            (json!({"profile": "slak"}), "/profile"),
            (json!({"pageSize": 0}), "/pageSize"),
            (json!({"update": "post"}), "/update"),
            (json!({"required": ["a b"]}), "/required"),
            (json!({"clear": null}), "/clear"),
            (json!({"colour": "red"}), "/colour"),
            (json!({"profile": "slack"}), "/tenant"),
        ] {
            let own = value.clone();
            match of(value) {
                // A blank key means the profile's own value.
                Ok(_) => assert_eq!(own, json!({"clear": null})),
                Err(error) => assert_eq!(error.pointer, pointer, "{own}"),
            }
        }
    }
}
