//! Names that documents say about one another.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::manifest::Problem;
use crate::manifest::combine;
use crate::manifest::combine::Rules;
use crate::manifest::file::FoundRole;
use crate::manifest::merge::Targets;
use crate::manifest::report;
use crate::manifest::report::Report;
use crate::manifest::role::GrantPlaces;
use crate::manifest::suggest;
use crate::manifest::text::Place;
use crate::model::ids::EntitlementName;
use crate::model::ids::RecordId;
use crate::model::ids::RoleName;
use crate::model::origin::Origin;
use crate::model::role::Grant;
use crate::model::role::TargetRef;
use crate::model::target::Target;
use crate::model::user::User;
use crate::model::users::Users;

/// Names of documents that are broken or do not count: that is told already.
pub(crate) struct Excused<'f>(BTreeSet<&'f str>);

impl<'f> Excused<'f> {
    pub(crate) fn new(mut broken: BTreeSet<&'f str>, hidden: impl Iterator<Item = &'f str>) -> Self {
        broken.extend(hidden);
        Self(broken)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }
}

/// Targets and entitlements that roles name.
pub(crate) fn of_roles<'r>(
    roles: impl Iterator<Item = &'r FoundRole>,
    targets: &Targets,
    excused: &Excused<'_>,
    problems: &mut Vec<Problem>,
) {
    for found in roles {
        let mut report = Report::new(vec![&found.source]);
        for (grant, places) in found.role.grants.iter().zip(&found.places.grants) {
            of_grant(grant, places, targets, excused, &mut report);
        }
        problems.extend(report.into_problems());
    }
}

fn of_grant(grant: &Grant, places: &GrantPlaces, targets: &Targets, excused: &Excused<'_>, report: &mut Report<'_>) {
    let meant: Vec<&Arc<Target>> = match &grant.target {
        TargetRef::Name(name) => {
            if !targets.declared.contains(name.as_str()) && !excused.has(name.as_str()) {
                report
                    .add(places.target, "unknown-target", format!("unknown target `{name}`"))
                    .hint(suggest::one_of(name.as_str(), targets.declared.iter().map(String::as_str)));
            }
            targets.targets.iter().filter(|target| target.name == *name).collect()
        }
        TargetRef::Selector(selector) => {
            let fits =
                |target: &&Arc<Target>| selector.iter().all(|(key, value)| target.labels.get(key) == Some(value));
            let meant: Vec<_> = targets.targets.iter().filter(fits).collect();
            if meant.is_empty() && targets.targets.len() == targets.declared.len() && excused.0.is_empty() {
                report
                    .add(places.target, "unknown-target", "no target has these labels")
                    .hint("compare them with `metadata.labels` of the targets");
            }
            meant
        }
    };
    if meant.is_empty() {
        return;
    }
    for (word, place) in &places.entitlements {
        if !meant.iter().any(|target| target.entitlements.contains_key(word)) {
            let known: BTreeSet<&str> =
                meant.iter().flat_map(|target| target.entitlements.keys()).map(EntitlementName::as_str).collect();
            report
                .add(*place, "unknown-entitlement", format!("unknown entitlement `{word}`"))
                .hint(suggest::one_of(word.as_str(), known));
        }
    }
    for target in meant {
        exclusive(target, places, report);
    }
}

/// One grant that gives two entitlements that exclude each other fits nobody.
fn exclusive(target: &Target, places: &GrantPlaces, report: &mut Report<'_>) {
    for (at, (word, place)) in places.entitlements.iter().enumerate() {
        let Some(entitlement) = target.entitlements.get(word) else { continue };
        let earlier = places.entitlements.iter().take(at).find(|(other, _)| entitlement.exclusive_with.contains(other));
        if let Some((other, _)) = earlier {
            report
                .add(
                    *place,
                    "exclusive-entitlements",
                    format!("`{word}` and `{other}` exclude each other in `{}`", target.name),
                )
                .hint("take one of them out of this grant");
        }
    }
}

/// Roles, teams and earlier ids that users name.
pub(crate) fn of_users(
    people: impl Iterator<Item = User>,
    users: &Users,
    roles: &BTreeMap<RoleName, FoundRole>,
    (settings, excused): (&Rules, &Excused<'_>),
    problems: &mut Vec<Problem>,
) {
    let mut formers: BTreeMap<RecordId, (RecordId, Origin)> = BTreeMap::new();
    let mut near: BTreeMap<RoleName, String> = BTreeMap::new();
    for user in people {
        for held in user.roles.iter().filter(|held| !roles.contains_key(&held.name) && !excused.has(held.name.as_str()))
        {
            let origin = Origin { line: held.line, ..user.origin.clone() };
            let hint = role_hint(&mut near, &held.name, roles);
            problems.push(combine::at(&origin, "unknown-role", format!("unknown role `{}`", held.name), hint));
        }
        if let Some(teams) = &settings.teams {
            for team in user.teams.iter().filter(|team| !teams.contains(*team)) {
                let line = user.lines.get("teams").copied().unwrap_or(user.origin.line);
                let origin = Origin { line, ..user.origin.clone() };
                let hint = suggest::one_of(team, teams.iter().map(String::as_str));
                problems.push(combine::at(&origin, "unknown-team", format!("unknown team `{team}`"), hint));
            }
        }
        for former in &user.formerly {
            of_former(&user, former, users, &mut formers, problems);
        }
    }
}

/// Different unknown words that a near one is looked for: each is compared with all that are known.
const MOST_COMPARED: usize = 100;

/// A hint for an unknown role. One missing file leaves each of its roles unknown to thousands of
/// users, so a word is looked for once.
fn role_hint(near: &mut BTreeMap<RoleName, String>, name: &RoleName, roles: &BTreeMap<RoleName, FoundRole>) -> String {
    if near.len() >= MOST_COMPARED && !near.contains_key(name) {
        return "declare the role, or take it out".to_owned();
    }
    let hint =
        near.entry(name.clone()).or_insert_with(|| suggest::one_of(name.as_str(), roles.keys().map(RoleName::as_str)));
    hint.clone()
}

fn of_former(
    user: &User,
    former: &RecordId,
    users: &Users,
    formers: &mut BTreeMap<RecordId, (RecordId, Origin)>,
    problems: &mut Vec<Problem>,
) {
    if let Some(present) = users.get(former).filter(|present| present.id != user.id) {
        let hint =
            format!("{} line {} still declares it: take one of the two out", present.origin.file, present.origin.line);
        let message = format!("`{former}` is another user and cannot be an earlier id of `{}`", user.id);
        problems.push(combine::at(&user.origin, "duplicate-name", message, hint));
    }
    let says = (user.id.clone(), user.origin.clone());
    if let Some((_, other)) = formers.insert(former.clone(), says).filter(|(other, _)| *other != user.id) {
        let hint = format!("{} line {} says so as well: only one of the two can be right", other.file, other.line);
        let message = format!("`{former}` is named as the earlier id of two users");
        problems.push(combine::at(&user.origin, "duplicate-name", message, hint));
    }
}

/// How many lines below its line the word of a problem is looked for: lists have an entry a line.
const REACH: usize = 200;

/// Finds the word that a problem is about in its file, sets the column and shows the line.
pub(crate) fn locate(problem: &mut Problem, text: &str) {
    let Some(start) = line_start(text, problem.line) else { return };
    let found = problem
        .message
        .split('`')
        .nth(1)
        .and_then(|word| find_word(text, start, word).map(|place| (word.len(), place)));
    let (len, (line, at)) = found.unwrap_or((0, (0, start)));
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let place = Place {
        source: 0,
        line: problem.line.saturating_add(number(line)),
        column: if len == 0 { 0 } else { column(text, at) },
        start: number(at),
        len: number(len),
    };
    problem.snippet = report::excerpt(text, place);
    (problem.line, problem.column) = (place.line, place.column);
}

fn line_start(text: &str, line: u32) -> Option<usize> {
    let mut at = 0;
    for _ in 1..line {
        at += text.get(at..)?.find('\n')? + 1;
    }
    Some(at)
}

fn column(text: &str, at: usize) -> u32 {
    let line = text.get(..at).and_then(|head| head.rsplit('\n').next()).unwrap_or_default();
    u32::try_from(line.chars().count()).unwrap_or(u32::MAX).saturating_add(1)
}

/// Lines below `start`, and byte offset, of the first place where `word` stands as a whole word
/// in the same document.
fn find_word(text: &str, start: usize, word: &str) -> Option<(usize, usize)> {
    let inside = |c: char| c.is_alphanumeric() || "-_.@".contains(c);
    let mut at = start;
    for (below, line) in text.get(start..)?.split_inclusive('\n').take(REACH).enumerate() {
        if below > 0 && line.starts_with("---") {
            return None;
        }
        let whole = line.match_indices(word).find(|(offset, _)| {
            let before = line.get(..*offset).and_then(|head| head.chars().next_back());
            let after = line.get(offset + word.len()..).and_then(|tail| tail.chars().next());
            !before.is_some_and(inside) && !after.is_some_and(inside)
        });
        if let Some((offset, _)) = whole {
            return Some((below, at + offset));
        }
        at += line.len();
    }
    None
}
