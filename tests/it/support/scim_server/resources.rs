//! What the stand-in does with users and groups.

use rosterd::connector::document;
use rosterd::model::path::AttributePath;
use serde_json::Value;
use serde_json::json;

use crate::support::scim_server::Active;
use crate::support::scim_server::CreateAnswer;
use crate::support::scim_server::Filters;
use crate::support::scim_server::Inside;
use crate::support::scim_server::Knobs;
use crate::support::scim_server::MembersShown;
use crate::support::scim_server::Paging;
use crate::support::scim_server::Patch;
use crate::support::scim_server::Reply;
use crate::support::scim_server::Seen;
use crate::support::scim_server::Strangers;
use crate::support::scim_server::Total;
use crate::support::scim_server::UnknownUser;
use crate::support::scim_server::error;
use crate::support::scim_server::reply;

pub(crate) fn list<'a>(resource: &'a Value, name: &str) -> &'a [Value] {
    resource[name].as_array().map_or(&[], Vec::as_slice)
}

/// Percent-decoding, as a path segment needs it.
pub(crate) fn decode(segment: &str) -> String {
    let query = format!("http://x/?v={}", segment.replace('+', "%2B"));
    reqwest::Url::parse(&query).unwrap().query_pairs().next().unwrap().1.into_owned()
}

fn parameter(seen: &Seen, name: &str) -> Option<String> {
    let url = reqwest::Url::parse(&format!("http://x/?{}", seen.query)).unwrap();
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

impl Inside {
    pub(crate) fn insert_user(&mut self, mut user: Value) -> String {
        self.next_id += 1;
        let id = format!("id/{}", self.next_id);
        user["id"] = json!(id);
        user["meta"] = json!({"resourceType": "User", "version": "W/\"0\""});
        self.users.push(user);
        id
    }

    fn shown(&self, knobs: &Knobs, user: &Value) -> Value {
        let mut user = user.clone();
        match (knobs.active, user["active"].as_bool()) {
            (Active::Text, Some(active)) => user["active"] = json!(if active { "True" } else { "False" }),
            (Active::Absent, _) => drop(user.as_object_mut().unwrap().remove("active")),
            _ => {}
        }
        if knobs.members == MembersShown::OnTheUserOnly {
            let is_in = |group: &&Value| list(group, "members").iter().any(|member| member["value"] == user["id"]);
            let groups: Vec<Value> =
                self.groups.iter().filter(is_in).map(|group| json!({"value": group["id"]})).collect();
            user["groups"] = Value::Array(groups);
        }
        // What a careless server lets out; nothing of it may be kept or sent back.
        user["password"] = json!("$2b$hash");
        user
    }

    pub(crate) fn list_users(&mut self, knobs: &Knobs, seen: &Seen, known: bool) -> Reply {
        let mut users = self.users.clone();
        if let (false, Strangers::SeeFirst(some)) = (known, knobs.strangers) {
            users.truncate(some);
        }
        if let Some(filter) = parameter(seen, "filter") {
            match knobs.filters {
                Filters::Refused(status) => return error(status, "invalidFilter", "filters are not supported"),
                Filters::ShowEverybody => {}
                Filters::ShowNobody => users.clear(),
                Filters::Work => users.retain(|user| passes(user, &filter, true)),
                Filters::CompareLetters => users.retain(|user| passes(user, &filter, false)),
            }
        }
        let start = parameter(seen, "startIndex").and_then(|text| text.parse().ok()).unwrap_or(1usize).max(1);
        let count = parameter(seen, "count").and_then(|text| text.parse().ok()).unwrap_or(knobs.max_page);
        self.page(knobs, &users, start, count.min(knobs.max_page))
    }

    fn page(&mut self, knobs: &Knobs, users: &[Value], start: usize, count: usize) -> Reply {
        let mut order: Vec<&Value> = users.iter().collect();
        let mut from = (start - 1).min(order.len());
        match knobs.paging {
            Paging::IgnoresParameters => from = 0,
            Paging::RepeatsPastTheEnd if from >= order.len() => from = order.len().saturating_sub(count),
            Paging::RefusesPastTheEnd if from > 0 && from >= order.len() => {
                return error(400, "invalidValue", "past the end");
            }
            Paging::Turns(most) if start > 1 && self.turns < most && !order.is_empty() => {
                self.turns += 1;
                order.rotate_right(1);
            }
            Paging::Honest
            | Paging::RepeatsPastTheEnd
            | Paging::RefusesPastTheEnd
            | Paging::Turns(_)
            | Paging::SameRowTwice => {}
        }
        let mut rows: Vec<Value> = order.iter().skip(from).take(count).map(|user| self.shown(knobs, user)).collect();
        if knobs.paging == Paging::SameRowTwice
            && let Some(first) = rows.first().cloned()
        {
            rows.insert(0, first);
        }
        let mut body = json!({"Resources": rows, "startIndex": start, "itemsPerPage": count});
        match knobs.total {
            Total::Stated => body["totalResults"] = json!(users.len()),
            Total::Text => body["totalResults"] = json!(users.len().to_string()),
            Total::Absent => {}
            Total::CountsThePage => body["totalResults"] = json!(rows.len().max(1)),
            Total::Plus(more) => body["totalResults"] = json!(users.len() as u64 + more),
        }
        reply(200, &body)
    }

    fn at(&self, id: &str) -> Option<usize> {
        self.users.iter().position(|user| user["id"] == id)
    }

    pub(crate) fn show_user(&self, knobs: &Knobs, id: &str) -> Reply {
        match (self.at(id), knobs.unknown_user) {
            (Some(at), _) => self.show_at(knobs, at, 200),
            (None, UnknownUser::NotFound) => error(404, "", "no such user"),
            (None, UnknownUser::Forbidden) => error(403, "", "not yours"),
            (None, UnknownUser::EmptyList) => reply(200, &json!({"totalResults": 0, "Resources": []})),
        }
    }

    fn show_at(&self, knobs: &Knobs, at: usize, status: u16) -> Reply {
        let user = self.shown(knobs, &self.users[at]);
        let (status, mut headers, body) = reply(status, &user);
        if knobs.etags {
            headers.push(("etag", user["meta"]["version"].as_str().unwrap().to_owned()));
        }
        (status, headers, body)
    }

    fn taken(&self, user: &Value, but: Option<usize>) -> bool {
        let name = |user: &Value| user["userName"].as_str().unwrap_or_default().to_ascii_lowercase();
        self.users.iter().enumerate().any(|(at, other)| Some(at) != but && name(other) == name(user))
    }

    pub(crate) fn create_user(&mut self, knobs: &Knobs, seen: &Seen) -> Reply {
        let mut user = seen.body.clone();
        if self.taken(&user, None) {
            return error(
                knobs.duplicates.0,
                if knobs.duplicates.0 == 409 { "uniqueness" } else { "" },
                knobs.duplicates.1,
            );
        }
        if knobs.lower_cases_names {
            user["userName"] = json!(user["userName"].as_str().unwrap().to_lowercase());
        }
        user["active"] = json!(document::truth(&user["active"]).unwrap_or(true));
        let id = self.insert_user(user);
        match knobs.create_answer {
            CreateAnswer::Whole => self.show_at(knobs, self.users.len() - 1, 201),
            CreateAnswer::OnlyId => reply(201, &json!({ "id": id })),
            CreateAnswer::Empty => (201, Vec::new(), String::new()),
            CreateAnswer::Html => (200, Vec::new(), "<html>welcome</html>".to_owned()),
        }
    }

    pub(crate) fn patch_user(&mut self, knobs: &Knobs, id: &str, seen: &Seen) -> Reply {
        let Some(at) = self.at(id) else { return error(404, "", "no such user") };
        match knobs.patch {
            Patch::Refused(status) => return error(status, "", "PATCH is not supported"),
            Patch::IgnoredButPraised => return self.show_at(knobs, at, 200),
            Patch::Works | Patch::AnswersNothing | Patch::NoFilteredPaths => {}
        }
        let mut user = self.users[at].clone();
        for operation in list(&seen.body, "Operations") {
            let path = operation["path"].as_str();
            if knobs.patch == Patch::NoFilteredPaths && path.is_some_and(|path| path.contains('[')) {
                return error(400, "invalidPath", "no filters in paths here");
            }
            if let Err(kind) = operate(&mut user, operation) {
                return error(400, kind, "this operation cannot be done");
            }
        }
        if self.taken(&user, Some(at)) {
            return error(409, "uniqueness", "the user name is taken");
        }
        self.store(at, user);
        if knobs.patch == Patch::AnswersNothing {
            (204, Vec::new(), String::new())
        } else {
            self.show_at(knobs, at, 200)
        }
    }

    pub(crate) fn put_user(&mut self, knobs: &Knobs, id: &str, seen: &Seen) -> Reply {
        let Some(at) = self.at(id) else { return error(404, "", "no such user") };
        let version = &self.users[at]["meta"]["version"];
        if seen.if_match.as_ref().is_some_and(|tag| *version != json!(tag)) {
            return error(412, "", "the version is another one");
        }
        let mut user = seen.body.clone();
        user["id"] = json!(id);
        user["meta"] = self.users[at]["meta"].clone();
        user["active"] = json!(document::truth(&user["active"]).unwrap_or(true));
        self.store(at, user);
        self.show_at(knobs, at, 200)
    }

    fn store(&mut self, at: usize, mut user: Value) {
        self.next_id += 1;
        user["meta"]["version"] = json!(format!("W/\"{}\"", self.next_id));
        user["active"] = json!(document::truth(&user["active"]).unwrap_or(true));
        self.users[at] = user;
    }

    pub(crate) fn ask_group(&self, seen: &Seen) -> Reply {
        let filter = parameter(seen, "filter").unwrap_or_default();
        let quoted: Vec<&str> = filter.split('"').skip(1).step_by(2).collect();
        let fits = |group: &&Value| {
            group["id"] == quoted[0] && list(group, "members").iter().any(|member| member["value"] == quoted[1])
        };
        let rows: Vec<Value> = self.groups.iter().filter(fits).map(|group| json!({"id": group["id"]})).collect();
        reply(200, &json!({"totalResults": rows.len(), "Resources": rows}))
    }

    pub(crate) fn show_group(&self, knobs: &Knobs, id: &str) -> Reply {
        let Some(mut group) = self.groups.iter().find(|group| group["id"] == id).cloned() else {
            return error(404, "", "no such group");
        };
        if knobs.members != MembersShown::Always {
            group.as_object_mut().unwrap().remove("members");
        }
        reply(200, &group)
    }

    pub(crate) fn patch_group(&mut self, knobs: &Knobs, id: &str, seen: &Seen) -> Reply {
        match knobs.patch {
            Patch::Refused(status) => return error(status, "", "PATCH is not supported"),
            Patch::IgnoredButPraised => return (204, Vec::new(), String::new()),
            Patch::Works | Patch::AnswersNothing | Patch::NoFilteredPaths => {}
        }
        let users: Vec<Value> = self.users.iter().map(|user| user["id"].clone()).collect();
        let Some(group) = self.groups.iter_mut().find(|group| group["id"] == id) else {
            return error(404, "", "no such group");
        };
        for operation in list(&seen.body, "Operations") {
            let added = list(operation, "value").iter().filter(|_| operation["op"] == "add");
            if added.clone().any(|member| !users.contains(&member["value"])) {
                return error(400, "invalidValue", "no such member");
            }
            if operate(group, operation).is_err() {
                return error(400, "noTarget", "this operation cannot be done");
            }
        }
        (204, Vec::new(), String::new())
    }

    pub(crate) fn put_group(&mut self, knobs: &Knobs, id: &str, seen: &Seen) -> Reply {
        let Some(at) = self.groups.iter().position(|group| group["id"] == id) else {
            return error(404, "", "no such group");
        };
        self.groups[at] = seen.body.clone();
        self.show_group(knobs, id)
    }
}

/// `path eq "value"`, letters folded or not.
fn passes(user: &Value, filter: &str, folded: bool) -> bool {
    let Some((path, literal)) = filter.split_once(" eq ") else { return false };
    let Ok(literal) = serde_json::from_str::<Value>(literal) else { return false };
    let Ok(path) = AttributePath::parse(path) else { return false };
    let parts = path.parts();
    let values: Vec<Value> = match user[parts.attribute].as_array() {
        Some(items) => items.iter().map(|item| item[parts.sub.unwrap_or("value")].clone()).collect(),
        None => document::get(user, &path).into_iter().collect(),
    };
    values.iter().any(|value| match (value.as_str(), literal.as_str()) {
        (Some(own), Some(asked)) if folded && parts.attribute != "externalId" => own.eq_ignore_ascii_case(asked),
        _ => *value == literal,
    })
}

/// One PATCH operation, as RFC 7644 has it and no kinder: lower-case verbs, elements that exist.
fn operate(resource: &mut Value, operation: &Value) -> Result<(), &'static str> {
    let verb = operation["op"].as_str().unwrap_or_default();
    let value = &operation["value"];
    let Some(path) = operation["path"].as_str() else {
        let members = value.as_object().ok_or("invalidValue")?;
        members.iter().for_each(|(name, value)| resource[name.as_str()] = value.clone());
        return Ok(());
    };
    let path = AttributePath::parse(&path.replace("\\\"", "'")).map_err(|_| "invalidPath")?;
    let parts = path.parts();
    let fits = |item: &Value| parts.filter.is_some_and(|(sub, literal)| item[sub] == *literal);
    let has_element = list(resource, parts.attribute).iter().any(fits);
    if parts.filter.is_some() && !has_element {
        return Err("noTarget");
    }
    match (verb, parts.filter, parts.sub) {
        ("remove", Some(_), None) => {
            resource[parts.attribute].as_array_mut().unwrap().retain(|item| !fits(item));
        }
        ("remove", ..) => document::clear(resource, &path),
        ("add", None, None) if value.is_array() => {
            let mut items = list(resource, parts.attribute).to_vec();
            items.extend(
                list(operation, "value").iter().filter(|item| !items.contains(item)).cloned().collect::<Vec<_>>(),
            );
            resource[parts.attribute] = Value::Array(items);
        }
        ("add" | "replace", ..) => document::set(resource, &path, value),
        _ => return Err("invalidSyntax"),
    }
    Ok(())
}
