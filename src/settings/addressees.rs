//! `tell` of groups under `approvers`: who is told of their turns, and how often.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::manifest::locate::Located;
use crate::manifest::report::Report;
use crate::manifest::suggest;
use crate::model::addressee::Addressee;
use crate::model::addressee::LabelScope;
use crate::model::addressee::Whom;
use crate::model::target::Schedule;
use crate::schedule::Timetable;
use crate::schedule::parse_duration;

/// One entry of `tell`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TellFile {
    /// The subject of a person's tokens.
    person: Option<Located<String>>,
    /// Where to.
    mail: Option<Located<String>>,
    /// In which language.
    locale: Option<Located<String>>,
    /// Every user whose document names this team.
    team: Option<Located<String>>,
    /// When everything that waits is told in one mail.
    digest: Option<Located<DigestFile>>,
}

/// `digest`
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DigestFile {
    cron: Option<Located<String>>,
    time_zone: Option<String>,
    every: Option<Located<String>>,
}

/// From what is written to what holds. `teams` are the words that users may name.
pub(crate) fn addressees(
    (group, scope): (&str, &LabelScope),
    entries: Vec<Located<TellFile>>,
    teams: Option<&BTreeSet<String>>,
    report: &mut Report<'_>,
) -> Vec<Addressee> {
    let mut told = Vec::new();
    for Located { value: TellFile { person, mail, locale, team, digest }, place } in entries {
        let digest = match digest.map(|digest| schedule(digest, report)) {
            None => None,
            Some(Some(digest)) => Some(digest),
            Some(None) => continue,
        };
        let whom = match (person, mail, team) {
            (Some(subject), Some(mail), None) => {
                if mail.value.parse::<lettre::Address>().is_err() {
                    report
                        .add(mail.place, "wrong-value", format!("`{}` is no address", mail.value))
                        .hint("write `rose@acme.example`");
                }
                if subject.value.trim().is_empty() {
                    report
                        .add(subject.place, "blank-value", "a person has a name")
                        .hint("write the subject of their tokens");
                }
                let locale = locale.map(|locale| locale.value);
                Whom::Person { subject: subject.value, mail: mail.value, locale }
            }
            (None, None, Some(team)) if locale.is_none() => {
                if let Some(teams) = teams.filter(|teams| !teams.contains(&team.value)) {
                    report
                        .add(team.place, "unknown-team", format!("unknown team `{}`", team.value))
                        .hint(suggest::one_of(&team.value, teams.iter().map(String::as_str)));
                }
                Whom::Team(team.value)
            }
            _ => {
                report.add(place, "wrong-value", "this names nobody, or more than one").hint(
                    "write `{ person: SUBJECT, mail: name@host }` or `{ team: NAME }`; a team's mails are its users'",
                );
                continue;
            }
        };
        told.push(Addressee { group: group.to_owned(), scope: scope.clone(), whom, digest });
    }
    told
}

fn schedule(written: Located<DigestFile>, report: &mut Report<'_>) -> Option<Schedule> {
    let Located { value: DigestFile { cron, time_zone, every }, place } = written;
    let (schedule, place) = match (cron, every) {
        (Some(cron), None) => {
            let time_zone = time_zone.unwrap_or_else(|| "UTC".to_owned());
            (Schedule::Cron { cron: cron.value, time_zone }, cron.place)
        }
        (None, Some(every)) if time_zone.is_none() => match parse_duration(&every.value) {
            Ok(length) => (Schedule::Every(length), every.place),
            Err(error) => {
                report.add(every.place, "bad-duration", error.to_string()).hint("write `24h`");
                return None;
            }
        },
        _ => {
            report
                .add(place, "wrong-value", "a digest has either `cron`, perhaps with `timeZone`, or `every`")
                .hint("write `{ cron: \"0 8 * * MON-FRI\", timeZone: Europe/Paris }` or `{ every: 24h }`");
            return None;
        }
    };
    if let Err(error) = Timetable::new(&schedule) {
        report.add(place, "bad-schedule", error.to_string()).hint("write `{ cron: \"0 8 * * MON-FRI\" }`");
        return None;
    }
    Some(schedule)
}
