//! `Exception` documents: accounts that no user explains.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::DateTime;
use chrono::NaiveDate;
use chrono::NaiveTime;
use chrono::Utc;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::manifest::Problem;
use crate::manifest::combine;
use crate::manifest::decode::decode;
use crate::manifest::document;
use crate::manifest::document::Kind;
use crate::manifest::document::Metadata;
use crate::manifest::file::OperatorDocument;
use crate::manifest::located::Located;
use crate::manifest::merge::Placed;
use crate::manifest::merge::Targets;
use crate::manifest::references::Excused;
use crate::manifest::report::Report;
use crate::manifest::role;
use crate::manifest::suggest;
use crate::manifest::text::Place;
use crate::manifest::words;
use crate::model::origin::Origin;
use crate::model::target::Exception;
use crate::model::users::Users;

/// Explains an account that no user does: a service account, a shared mailbox, a guest. It is
/// never written, and its name is nobody else's.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "Exception")]
pub(crate) struct ExceptionDocument {
    /// `rosterd.dev/v1`
    #[expect(dead_code, reason = "checked before the document is typed")]
    api_version: Option<String>,
    /// `Exception`
    #[expect(dead_code, reason = "checked before the document is typed")]
    kind: Option<String>,
    metadata: Metadata,
    spec: ExceptionSpec,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ExceptionSpec {
    /// The target that holds the account.
    target: Located<String>,
    /// Its user name, or the id that the target gave it.
    account: Located<String>,
    /// Record id of the user who answers for it.
    owner: Located<String>,
    /// Why it exists.
    reason: Located<String>,
    /// A day (from its beginning, UTC) or a second with its offset from which on the account is
    /// reported again.
    until: Option<Located<String>>,
}

/// Gives each target the exceptions that name it, and tells what is wrong with them.
pub(crate) fn attach(
    documents: &[Placed<'_>],
    users: &Users,
    targets: &mut Targets,
    excused: &Excused<'_>,
    problems: &mut Vec<Problem>,
) {
    let mut names: BTreeMap<String, Vec<Origin>> = BTreeMap::new();
    let mut found: Vec<(String, Exception)> = Vec::new();
    for (document, _) in documents.iter().filter(|(document, _)| document.kind == Kind::Exception) {
        let mut report = Report::new(vec![&document.source]);
        let read = read(document, &targets.declared, excused, &mut report);
        let sound = report.is_empty();
        problems.extend(report.into_problems());
        let Some(Read { target, exception, owner_at }) = read else { continue };
        let owner = &exception.owner;
        if !users.contains_key(owner) && !excused.has(owner.as_str()) {
            let mut report = Report::new(vec![&document.source]);
            report
                .add(owner_at, "unknown-owner", format!("no user `{owner}` is declared"))
                .hint("name the record id of the user who answers for the account");
            // Who leaves must not keep everybody else's changes out: the exception stands meanwhile.
            let told = report.into_problems().into_iter();
            problems.extend(told.map(|problem| Problem { conflict_of: Some(owner.clone()), ..problem }));
        }
        names.entry(exception.name.clone()).or_default().push(exception.origin.clone());
        found.extend(sound.then_some((target, exception)));
    }
    for (name, origins) in names.iter().filter(|(_, origins)| origins.len() > 1) {
        combine::repeated(Kind::Exception.as_str(), name, &origins.iter().collect::<Vec<_>>(), problems);
    }
    found.sort_by(|left, right| left.1.name.cmp(&right.1.name));
    for (target, exception) in found {
        let mut matching = targets.targets.iter_mut().filter(|found| found.name.as_str() == target);
        if let Some(target) = matching.next() {
            Arc::make_mut(target).exceptions.push(exception);
        }
    }
}

/// An exception with what is needed to check it against other documents.
struct Read {
    target: String,
    exception: Exception,
    owner_at: Place,
}

fn read(
    document: &OperatorDocument,
    targets: &BTreeSet<String>,
    excused: &Excused<'_>,
    report: &mut Report<'_>,
) -> Option<Read> {
    let ExceptionDocument { metadata, spec, .. } = decode(&document.tree, report)?;
    let name = role::name(&metadata, &document.tree, "an exception", report)?;
    let ExceptionSpec { target, account, owner, reason, until } = spec;
    if !targets.contains(&target.value) && !excused.has(&target.value) {
        report
            .add(target.place, "unknown-target", format!("unknown target `{}`", target.value))
            .hint(suggest::one_of(&target.value, targets.iter().map(String::as_str)));
    }
    words::line(&account.value, account.place, "an account", report);
    words::line(&reason.value, reason.place, "a reason", report);
    let until = match &until {
        Some(text) => Some(moment(text, report)?),
        None => None,
    };
    let origin = document::origin(Kind::Exception, name, &document.source.file);
    let exception = Exception {
        name: name.value.clone(),
        account: account.value,
        owner: owner.value.as_str().into(),
        reason: reason.value,
        until,
        origin,
    };
    Some(Read { target: target.value, exception, owner_at: owner.place })
}

fn moment(text: &Located<String>, report: &mut Report<'_>) -> Option<DateTime<Utc>> {
    let at = DateTime::parse_from_rfc3339(&text.value).map(|at| at.to_utc());
    let day = || text.value.parse::<NaiveDate>().map(|day| day.and_time(NaiveTime::MIN).and_utc());
    let found = at.ok().or_else(|| day().ok());
    if found.is_none() {
        report
            .add(text.place, "bad-time", "this is neither a day nor a second with its offset")
            .hint("write it like `2027-06-30` or `2027-06-30T18:00:00+02:00`");
    }
    found
}
