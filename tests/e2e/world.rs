//! A folder with a configuration, manifests and a store, a target that is a real server, and the
//! program itself in between.

use std::fs;
use std::process::Stdio;

use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;

use crate::servers::Knobs;
use crate::servers::Scim2Features;
use crate::servers::Server;

pub(crate) const DONE: i32 = 0;
pub(crate) const ERROR: i32 = 1;
pub(crate) const HELD: i32 = 3;

/// The name of the target.
pub(crate) const TARGET: &str = "crm";

/// The extension of RFC 7643 section 4.3.
pub(crate) const ENTERPRISE: &str = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";

/// Which server, and what it can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Scimmy,
    /// Three accounts a page.
    ScimmySmallPages,
    Scim2,
    Scim2PutOnly,
    Scim2NoFilter,
    Scim2NoEtag,
    /// Neither PATCH nor filters, versions or sorting, and pages of two.
    Scim2Bare,
}

impl Kind {
    async fn start(self) -> Option<Server> {
        let all = Scim2Features::default();
        match self {
            Self::Scimmy => Server::scimmy(&Knobs::default()).await,
            Self::ScimmySmallPages => Server::scimmy(&Knobs { max_results: 3, ..Knobs::default() }).await,
            Self::Scim2 => Server::scim2(&all).await,
            Self::Scim2PutOnly => Server::scim2(&Scim2Features { patch: false, ..all }).await,
            Self::Scim2NoFilter => Server::scim2(&Scim2Features { filter: false, ..all }).await,
            Self::Scim2NoEtag => Server::scim2(&Scim2Features { etag: false, ..all }).await,
            Self::Scim2Bare => {
                let bare = Scim2Features { patch: false, etag: false, filter: false, sort: false, max_results: 2 };
                Server::scim2(&bare).await
            }
        }
    }

    /// Whether the server tells afterwards what it was asked.
    pub(crate) fn tells_requests(self) -> bool {
        matches!(self, Self::Scimmy | Self::ScimmySmallPages)
    }
}

/// What a command answered.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    #[track_caller]
    pub(crate) fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// One declared user. The default one is employed and has role `agent`.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) record: String,
    pub(crate) given: String,
    pub(crate) family: String,
    pub(crate) email: String,
    pub(crate) active: bool,
    pub(crate) roles: Vec<String>,
}

impl Person {
    pub(crate) fn named(name: &str) -> Self {
        Self {
            record: format!("u-{name}"),
            given: name.to_owned(),
            family: "Ames".to_owned(),
            email: format!("{name}@x.example"),
            active: true,
            roles: vec!["agent".to_owned()],
        }
    }

    pub(crate) fn document(&self) -> Value {
        let Self { record, given, family, email, active, roles } = self;
        let spec = json!({
            "givenName": given, "familyName": family, "email": email, "timeZone": "Europe/Paris",
            "active": active, "roles": roles,
        });
        document("User", record, &spec)
    }
}

pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) kind: Kind,
    pub(crate) folder: TempDir,
}

impl World {
    /// A server without accounts, one target that manages it, and no users yet; `None` where the
    /// server is not installed.
    pub(crate) async fn of(kind: Kind) -> Option<Self> {
        Some(Self::around(kind.start().await?, kind))
    }

    /// The same around SCIMMY with these faults.
    pub(crate) async fn with(knobs: &Knobs) -> Option<Self> {
        Some(Self::around(Server::scimmy(knobs).await?, Kind::Scimmy))
    }

    pub(crate) fn around(server: Server, kind: Kind) -> Self {
        let world = Self { server, kind, folder: TempDir::new().expect("a folder") };
        for folder in ["m", "targets", "state"] {
            fs::create_dir(world.folder.path().join(folder)).expect("a folder");
        }
        world.write("crm.token", &world.server.token);
        world.configure(&[&world.server]);
        world.target(|_| {});
        world.role("agent", &[]);
        world
    }

    fn configure(&self, servers: &[&Server]) {
        let origins = servers.iter().map(|server| server.url.split('/').take(3).collect::<Vec<_>>().join("/"));
        self.write_json(
            "rosterd.yaml",
            &json!({
                "listen": "127.0.0.1:0", "store": { "sqlite": "state/rosterd.db" }, "manifests": [{ "folder": "m" }],
                "include": ["targets"],
                "secrets": { "crm": { "file": "crm.token", "origins": origins.collect::<Vec<_>>() } },
            }),
        );
    }

    /// Changes what stands in `rosterd.yaml`.
    pub(crate) fn settings(&self, change: impl FnOnce(&mut Value)) {
        let text = fs::read_to_string(self.folder.path().join("rosterd.yaml")).expect("settings");
        let mut settings = serde_json::from_str(&text).expect("JSON");
        change(&mut settings);
        self.write_json("rosterd.yaml", &settings);
    }

    /// Gives everybody an account in another target as well.
    pub(crate) fn second_target(&self, name: &str, server: &Server) {
        self.configure(&[&self.server, server]);
        let spec = json!({
            "connector": { "scim": {} },
            "environment": "test",
            "environments": { "test": { "url": server.url, "auth": { "bearer": { "secret": "crm" } } } },
            "mode": "enforce",
            "account": { "match": ["externalId", "userName"], "userName": "{{ user.email }}" },
        });
        self.write_json(&format!("targets/{name}.json"), &document("Target", name, &spec));
        let grant = |target: &str| json!({ "target": target, "level": "all" });
        let spec = json!({ "grants": [grant(TARGET), grant(name)] });
        self.write_json("m/role-agent.json", &document("Role", "agent", &spec));
    }

    /// Writes the target, changed as told. Ours are both names and the time zone; the mail is
    /// written once.
    pub(crate) fn target(&self, change: impl FnOnce(&mut Value)) {
        let mut spec = json!({
            "connector": { "scim": {} },
            "environment": "test",
            "environments": { "test": { "url": self.server.url, "auth": { "bearer": { "secret": "crm" } } } },
            "mode": "enforce",
            "account": {
                "match": ["externalId", "userName"],
                "userName": "{{ user.email }}",
                "attributes": {
                    "name.givenName": { "value": "{{ user.givenName }}" },
                    "name.familyName": { "value": "{{ user.familyName }}" },
                    "timezone": { "value": "{{ user.timeZone }}" },
                    "emails[type eq \"work\"].value": { "value": "{{ user.email }}", "own": "create" },
                },
            },
        });
        change(&mut spec);
        self.write_json("targets/crm.json", &document("Target", TARGET, &spec));
    }

    /// A role that grants an account and these entitlements.
    pub(crate) fn role(&self, name: &str, entitlements: &[&str]) {
        let grant = json!({ "target": TARGET, "level": "all", "entitlements": entitlements });
        self.write_json(&format!("m/role-{name}.json"), &document("Role", name, &json!({ "grants": [grant] })));
    }

    /// Declares a user, or declares them anew.
    pub(crate) fn user(&self, person: &Person) {
        self.write_json(&format!("m/{}.json", person.record), &person.document());
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        // As editors save: nobody ever sees half a file.
        let path = self.folder.path().join(name);
        let draft = self.folder.path().join("draft");
        fs::write(&draft, text).and_then(|()| fs::rename(&draft, &path)).expect("written");
    }

    fn write_json(&self, name: &str, value: &Value) {
        self.write(name, &value.to_string());
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rosterd"));
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null()).kill_on_drop(true);
        for variable in ["ROSTERD_SERVER", "ROSTERD_TOKEN", "ROSTERD_LOG"] {
            command.env_remove(variable);
        }
        command.env("ROSTERD_CONFIG", "rosterd.yaml");
        command
    }

    /// Runs one command to its end.
    pub(crate) async fn rosterd(&self, arguments: &[&str]) -> Said {
        let output = self.command(arguments).output().await.expect("it runs");
        Said {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).expect("text"),
            err: String::from_utf8(output.stderr).expect("text"),
        }
    }

    /// One cycle that ends with this exit code; the report.
    pub(crate) async fn applied(&self, code: i32) -> Value {
        self.rosterd(&["apply", "--yes", "--output", "json"]).await.ends(code).json()[0].clone()
    }

    /// One cycle in which everything that was due is done: how many changes, by action.
    pub(crate) async fn apply(&self) -> Value {
        self.applied(DONE).await["cycle"]["done"].clone()
    }

    /// The plan, with the exit code of the command.
    pub(crate) async fn plan(&self) -> (i32, Value) {
        let mut said = self.rosterd(&["plan", "--output", "json"]).await;
        // Where a test wants lost calls given up soon, a server that is slow just now is asked again.
        for _ in 0..5 {
            if !said.out.contains("no answer in time") {
                break;
            }
            said = self.rosterd(&["plan", "--output", "json"]).await;
        }
        let reply = said.json();
        assert_eq!(reply["errors"], json!({}), "{said:?}");
        (said.code, reply["plans"][0].clone())
    }

    /// A second plan is empty: what was to be done is done, and stays so.
    pub(crate) async fn is_settled(&self) {
        let (code, plan) = self.plan().await;
        assert_eq!((&plan["changes"], &plan["holds"]), (&json!([]), &json!([])), "{plan:#}");
        assert_eq!((code, &plan["coverage"]), (DONE, &json!("complete")));
    }

    /// Why nothing is done for a user, by the plan.
    pub(crate) async fn skip_of(&self, record: &str) -> Value {
        let (_, plan) = self.plan().await;
        let skips = plan["skips"].as_array().expect("skips");
        let skip = skips.iter().find(|skip| skip["record"] == record);
        skip.unwrap_or_else(|| panic!("{record} is not skipped: {plan:#}"))["reason"].clone()
    }

    /// Every account of the target, as SCIM shows it, in its order.
    pub(crate) async fn accounts(&self) -> Vec<Value> {
        let mut rows: Vec<Value> = Vec::new();
        loop {
            let path = format!("/Users?startIndex={}&count=200", rows.len() + 1);
            let (status, page) = self.server.call("GET", &path, None).await;
            assert_eq!(status, 200, "{page}");
            let total = page["totalResults"].as_u64().expect("a total");
            rows.extend(page["Resources"].as_array().cloned().unwrap_or_default());
            if rows.len() as u64 >= total {
                return rows;
            }
        }
    }

    /// The one account of this user name.
    pub(crate) async fn account(&self, user_name: &str) -> Value {
        let rows = self.accounts().await;
        let mut found = rows.iter().filter(|row| row["userName"] == user_name);
        match (found.next(), found.next()) {
            (Some(row), None) => row.clone(),
            _ => panic!("{user_name} is not there once: {rows:?}"),
        }
    }

    /// An account that somebody else makes; its id.
    pub(crate) async fn stranger(&self, attributes: &Value) -> String {
        let mut user = json!({ "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "active": true });
        merge(&mut user, attributes);
        let (status, made) = self.server.call("POST", "/Users", Some(&user)).await;
        assert_eq!(status, 201, "{made}");
        id(&made)
    }

    /// Somebody else writes into an account.
    pub(crate) async fn other_hand(&self, id: &str, attributes: &Value) {
        let path = format!("/Users/{id}");
        let (_, mut user) = self.server.call("GET", &path, None).await;
        merge(&mut user, attributes);
        if let Some(user) = user.as_object_mut() {
            user.retain(|key, _| key != "meta" && key != "groups");
        }
        let (status, put) = self.server.call("PUT", &path, Some(&user)).await;
        assert_eq!(status, 200, "{put}");
    }

    /// A group that somebody made, with these members; its id.
    pub(crate) async fn group(&self, name: &str, members: &[&str]) -> String {
        let members: Vec<_> = members.iter().map(|id| json!({ "value": id })).collect();
        let group = json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": name, "members": members,
        });
        let (status, made) = self.server.call("POST", "/Groups", Some(&group)).await;
        assert_eq!(status, 201, "{made}");
        id(&made)
    }

    /// The ids of the members of a group, in order.
    pub(crate) async fn members(&self, group: &str) -> Vec<String> {
        let (status, group) = self.server.call("GET", &format!("/Groups/{group}"), None).await;
        assert_eq!(status, 200, "{group}");
        let members = group["members"].as_array().cloned().unwrap_or_default();
        let mut ids: Vec<_> =
            members.iter().map(|member| member["value"].as_str().expect("an id").to_owned()).collect();
        ids.sort();
        ids
    }

    /// Somebody makes these, and nobody else, the members of a group.
    pub(crate) async fn with_members(&self, group: &str, ids: &[&str]) -> (u16, Value) {
        let path = format!("/Groups/{group}");
        let (_, mut group) = self.server.call("GET", &path, None).await;
        group["members"] = ids.iter().map(|id| json!({ "value": id })).collect();
        if let Some(group) = group.as_object_mut() {
            group.remove("meta");
        }
        self.server.call("PUT", &path, Some(&group)).await
    }

    /// Somebody takes these out of a group.
    pub(crate) async fn without_members(&self, group: &str, ids: &[&str]) -> (u16, Value) {
        let mut left = self.members(group).await;
        left.retain(|id| !ids.contains(&id.as_str()));
        let left: Vec<_> = left.iter().map(String::as_str).collect();
        self.with_members(group, &left).await
    }

    /// What was written to the target since the log was last emptied, in order; `None` where the
    /// server keeps no log.
    pub(crate) async fn writes(&self) -> Option<Vec<Value>> {
        if !self.kind.tells_requests() {
            return None;
        }
        let requests = self.server.admin("GET", "/requests", None).await;
        let requests = requests.as_array().expect("requests");
        Some(requests.iter().filter(|request| request["method"] != "GET").cloned().collect())
    }

    /// Empties the log of requests, where there is one.
    pub(crate) async fn forget_requests(&self) {
        if self.kind.tells_requests() {
            self.server.admin("DELETE", "/requests", None).await;
        }
    }
}

pub(crate) fn id(resource: &Value) -> String {
    resource["id"].as_str().unwrap_or_else(|| panic!("no id: {resource}")).to_owned()
}

fn document(kind: &str, name: &str, spec: &Value) -> Value {
    json!({ "apiVersion": "rosterd.dev/v1", "kind": kind, "metadata": { "name": name }, "spec": spec })
}

/// Lays attributes over a resource; objects are merged, everything else is replaced.
fn merge(resource: &mut Value, attributes: &Value) {
    match (resource, attributes) {
        (Value::Object(resource), Value::Object(attributes)) => {
            for (key, value) in attributes {
                merge(resource.entry(key).or_insert(Value::Null), value);
            }
        }
        (resource, attributes) => *resource = attributes.clone(),
    }
}
