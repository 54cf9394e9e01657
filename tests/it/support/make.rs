//! Short ways to the nouns that most tests need.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rosterd::manifest::Documents;
use rosterd::manifest::Problem;
use rosterd::model::account::Membership;
use rosterd::model::node::Node;
use rosterd::model::origin::Origin;
use rosterd::model::path::AttributePath;
use rosterd::model::role::Grant;
use rosterd::model::role::Level;
use rosterd::model::role::Role;
use rosterd::model::role::TargetRef;
use rosterd::model::target::AccountPolicy;
use rosterd::model::target::Drift;
use rosterd::model::target::Ending;
use rosterd::model::target::Entitlement;
use rosterd::model::target::Existing;
use rosterd::model::target::ForeignDelete;
use rosterd::model::target::ForeignDisable;
use rosterd::model::target::Limits;
use rosterd::model::target::Mapping;
use rosterd::model::target::MappingValue;
use rosterd::model::target::Mark;
use rosterd::model::target::MatchKey;
use rosterd::model::target::Members;
use rosterd::model::target::Mode;
use rosterd::model::target::Own;
use rosterd::model::target::Regain;
use rosterd::model::target::Scope;
use rosterd::model::target::Target;
use rosterd::model::target::Window;
use rosterd::model::user::Login;
use rosterd::model::user::RoleHeld;
use rosterd::model::user::User;
use rosterd::model::user::Validity;
use rosterd::model::users::Users;
use rosterd::plan::verdict::rights::Approver;

pub(crate) fn origin(what: &str) -> Origin {
    Origin { file: "test.yaml".into(), line: 1, what: what.into() }
}

fn fleet() -> BTreeMap<String, String> {
    BTreeMap::from([("fleet".to_owned(), "test".to_owned())])
}

pub(crate) fn path(text: &str) -> AttributePath {
    AttributePath::parse(text).unwrap()
}

/// A user who holds `staff` (an account in `app`).
pub(crate) fn user(id: &str) -> User {
    User {
        id: id.into(),
        formerly: Vec::new(),
        labels: BTreeMap::new(),
        given_name: Some(format!("Given {id}")),
        family_name: Some("Family".to_owned()),
        email: Some(format!("{id}@acme.example")),
        time_zone: None,
        locale: None,
        user_type: Some("employee".to_owned()),
        active: true,
        valid: Validity::default(),
        login: Login::Sso,
        roles: vec![held("staff")],
        teams: BTreeSet::new(),
        manager: None,
        attributes: BTreeMap::new(),
        origin: origin(&format!("User {id}")),
        lines: BTreeMap::new(),
    }
}

pub(crate) fn held(role: &str) -> RoleHeld {
    RoleHeld { name: role.into(), valid: Validity::default(), line: 1 }
}

/// `staff` gives an account in every target, `admin` the entitlement `admin` as well.
pub(crate) fn roles() -> Vec<Role> {
    let grant = |entitlements: &[&str]| Grant {
        target: TargetRef::Selector(fleet()),
        level: Level::RoleBased,
        entitlements: entitlements.iter().map(|name| (*name).into()).collect(),
        attributes: BTreeMap::new(),
        origin: origin("grant"),
    };
    let role = |name: &str, grant| Role {
        name: name.into(),
        labels: BTreeMap::new(),
        grants: vec![grant],
        origin: origin(&format!("Role {name}")),
    };
    vec![role("staff", grant(&[])), role("admin", grant(&["admin"]))]
}

fn mapping(template: &str) -> Mapping {
    Mapping {
        value: MappingValue::Template(template.to_owned()),
        own: Own::Always,
        translate: None,
        clear: false,
        personal: true,
        sensitive: false,
        drift: Drift::Revert,
        origin: origin("mapping"),
    }
}

/// A target that enforces, marks by `externalId` and has wide limits.
pub(crate) fn target(name: &str) -> Target {
    let day = Duration::from_hours(24);
    Target {
        name: name.into(),
        labels: fleet(),
        connector: "memory".to_owned(),
        settings: Node::default(),
        environment: "default".into(),
        endpoint: Node::default(),
        mode: Mode::Enforce,
        scope: Scope::default(),
        partition: None,
        entitlements: BTreeMap::from([(
            "admin".into(),
            Entitlement {
                membership: Membership::Group("g-admin".to_owned()),
                privileged: true,
                exclusive_with: BTreeSet::new(),
            },
        )]),
        account: AccountPolicy {
            match_keys: vec![MatchKey(vec![path("externalId")]), MatchKey(vec![path("userName")])],
            mark: Mark::At(path("externalId")),
            existing: Existing::Refuse,
            trusted_keys: Vec::new(),
            fold_user_name: true,
            user_name: mapping("{{ user.email }}"),
            attributes: BTreeMap::from([(path("name.givenName"), mapping("{{ user.givenName }}"))]),
            protected: Vec::new(),
            on_out_of_scope: Ending::Disable,
            on_gone: Ending::Disable,
            updates: true,
            regain: Regain::Same,
            cardinality: None,
            members: Members::Additive,
            foreign_disable: ForeignDisable::Report,
            foreign_delete: ForeignDelete::Report,
            deletion: None,
            notifications: BTreeSet::new(),
            blockers: BTreeMap::new(),
        },
        schedule: None,
        limits: Limits {
            narrow_inferred: vec![Window { count: Some(1_000), percent: None, window: day }],
            narrow_explicit: vec![Window { count: Some(1_000), percent: None, window: day }],
            ..Limits::none()
        },
        exceptions: Vec::new(),
        welcome: None,
        freeze: Vec::new(),
        approval: None,
        origin: origin("Target"),
    }
}

pub(crate) fn documents(users: impl IntoIterator<Item = User>, targets: impl IntoIterator<Item = Target>) -> Documents {
    let users: Users = users.into_iter().map(Arc::new).collect();
    let digest = format!("{:?}", users.values().map(|user| (user.id, user.active, user.roles)).collect::<Vec<_>>());
    Documents {
        users,
        roles: roles().into_iter().map(|role| (role.name.clone(), Arc::new(role))).collect(),
        targets: targets.into_iter().map(Arc::new).collect(),
        signed: BTreeMap::new(),
        problems: Vec::new(),
        digest: digest.into(),
    }
}

/// Users `u-0000`, `u-0001`, ...
pub(crate) fn users(count: usize) -> Vec<User> {
    (0..count).map(|number| user(&format!("u-{number:04}"))).collect()
}

/// A user who may not be anywhere any more.
pub(crate) fn inactive(id: &str) -> User {
    User { active: false, ..user(id) }
}

/// The same documents beside half a file.
pub(crate) fn broken(mut documents: Documents) -> Documents {
    documents.problems.push(Problem {
        file: "other.yaml".to_owned(),
        line: 1,
        column: 1,
        code: "syntax",
        message: "half a file".to_owned(),
        hint: None,
        snippet: None,
        conflict_of: None,
        drops_document: false,
    });
    documents
}

/// Somebody who decides, in these groups, each of which has its say about everybody.
pub(crate) fn approver(person: &str, groups: &[&str]) -> Approver {
    let everywhere = || vec![BTreeMap::new()];
    Approver {
        by: format!("token:{person}"),
        person: person.to_owned(),
        groups: groups.iter().map(|name| ((*name).to_owned(), everywhere())).collect(),
        ..Approver::default()
    }
}
