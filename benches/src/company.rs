//! A made-up company of any size: its manifests, and its accounts as a target holds them.

use std::fmt::Write as _;
use std::fs;
use std::fs::File;
use std::io;
use std::io::BufWriter;
use std::io::Write as _;
use std::path::Path;

use serde_json::Value;
use serde_json::json;

/// A target's name, its port, and what its document sets beyond the usual.
pub struct Place<'a> {
    pub name: &'a str,
    pub port: u16,
    pub limits: Value,
}

/// The account of a user, as SCIM has it.
pub fn account(number: usize) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "externalId": record(number),
        "userName": mail(number), "active": true, "title": "Engineer",
        "name": { "givenName": format!("Given{number}"), "familyName": format!("Family{number}") },
        "emails": [{ "value": mail(number), "type": "work", "primary": true }],
    })
}

pub fn record(number: usize) -> String {
    format!("user{number:07}")
}

pub fn mail(number: usize) -> String {
    format!("user{number:07}@example.com")
}

/// One user's document, with or without access.
pub fn user(number: usize, active: bool, title: &str) -> String {
    let mut text = String::new();
    let _ = write!(
        text,
        "---\napiVersion: rosterd.dev/v1\nkind: User\nmetadata:\n  name: {}\nspec:\n  givenName: Given{number}\n  \
         familyName: Family{number}\n  email: {}\n  timeZone: Europe/Paris\n  active: {active}\n  roles:\n    - staff\n  \
         attributes:\n    title: {title}\n",
        record(number),
        mail(number),
    );
    text
}

/// Writes `rosterd.yaml`, the targets, and the role that grants an account in each.
pub fn found(folder: &Path, places: &[Place<'_>]) -> io::Result<()> {
    for part in ["m", "targets", "state"] {
        fs::create_dir_all(folder.join(part))?;
    }
    write(
        &folder.join("rosterd.yaml"),
        &json!({ "listen": "127.0.0.1:0", "store": { "sqlite": "state/rosterd.db" }, "manifests": [{ "folder": "m" }],
            "include": ["targets"] }),
    )?;
    for place in places {
        let spec = json!({
            "connector": { "scim": {} },
            "environment": "bench",
            "environments": { "bench": { "url": format!("http://127.0.0.1:{}/scim/v2", place.port) } },
            "mode": "enforce",
            "limits": place.limits,
            "account": {
                "match": ["externalId", "userName"],
                "userName": "{{ user.email }}",
                "attributes": {
                    "name.givenName": { "value": "{{ user.givenName }}" },
                    "name.familyName": { "value": "{{ user.familyName }}" },
                    "title": { "value": "{{ user.attributes.title }}" },
                    "emails[type eq \"work\"].value": { "value": "{{ user.email }}" },
                },
            },
        });
        write(&folder.join(format!("targets/{}.json", place.name)), &document("Target", place.name, &spec))?;
    }
    let grants: Vec<_> = places.iter().map(|place| json!({ "target": place.name, "level": "all" })).collect();
    write(&folder.join("m/role.json"), &document("Role", "staff", &json!({ "grants": grants })))
}

/// All users in one file.
pub fn hire(folder: &Path, users: usize) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(folder.join("m/users.yaml"))?);
    for number in 0..users {
        file.write_all(user(number, true, "Engineer").as_bytes())?;
    }
    file.flush()
}

/// A file for each user, a hundred to a folder.
pub fn hire_apart(folder: &Path, users: usize) -> io::Result<()> {
    for number in 0..users {
        let part = folder.join(format!("m/{:04}", number / 100));
        if number % 100 == 0 {
            fs::create_dir_all(&part)?;
        }
        fs::write(part.join(format!("{}.yaml", record(number))), user(number, true, "Engineer"))?;
    }
    Ok(())
}

/// Replaces a user's own file as an editor does: nobody sees half of it.
pub fn save(folder: &Path, number: usize, active: bool, title: &str) -> io::Result<()> {
    let draft = folder.join("draft");
    fs::write(&draft, user(number, active, title))?;
    fs::rename(&draft, folder.join(format!("m/{:04}/{}.yaml", number / 100, record(number))))
}

fn document(kind: &str, name: &str, spec: &Value) -> Value {
    json!({ "apiVersion": "rosterd.dev/v1", "kind": kind, "metadata": { "name": name }, "spec": spec })
}

fn write(path: &Path, value: &Value) -> io::Result<()> {
    fs::write(path, value.to_string())
}
