//! What is shown beside a request, so that whoever decides sees what a look at one document does not.
//!
//! Nothing here decides: a finding is a question to a person.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde::Deserialize;
use serde::Serialize;

use crate::manifest::suggest;
use crate::model::approval::Approval;
use crate::model::approval::Check;
use crate::model::history::SeenAccount;
use crate::model::ids::RecordId;
use crate::model::user::User;

/// So many others are named.
const NAMED: usize = 3;
/// Edits between two names of one person, swapped neighbours counted once.
const NEAR: usize = 2;
/// Shorter names are near to far too many others.
const LONG_ENOUGH: usize = 8;

/// Something worth a look.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// Which check found it.
    pub check: Check,
    /// What it found, in a sentence that names record ids.
    pub words: String,
}

/// One user who is asked about, with what others are compared to.
struct Subject<'u> {
    user: &'u User,
    scope: Option<&'u str>,
    mail: Option<String>,
    names: BTreeSet<String>,
    near: BTreeSet<String>,
    same_mail: BTreeSet<String>,
}

/// What the checks of a target find about `asked`, among `everybody` and the accounts of the target that
/// nobody is linked to. Everybody is gone through once.
pub fn findings<'u, U: Borrow<User>>(
    approval: &Approval,
    asked: impl IntoIterator<Item = &'u User>,
    everybody: impl IntoIterator<Item = U>,
    strangers: &[SeenAccount],
) -> BTreeMap<RecordId, Vec<Finding>> {
    if approval.checks.is_empty() {
        return BTreeMap::new();
    }
    let label = approval.scope_label.as_deref();
    let mut subjects: Vec<Subject<'_>> = asked.into_iter().map(|user| Subject::of(user, label)).collect();
    let mut by_key: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (at, subject) in subjects.iter().enumerate() {
        for key in subject.keys() {
            by_key.entry(key).or_default().push(at);
        }
    }
    let mut domains: BTreeMap<Option<String>, BTreeMap<String, usize>> =
        subjects.iter().map(|subject| (subject.scope.map(str::to_owned), BTreeMap::new())).collect();
    for other in everybody {
        let other = Subject::of(other.borrow(), label);
        if let (Some(there), Some(domain)) = (domains.get_mut(&other.scope.map(str::to_owned)), other.domain()) {
            *there.entry(domain.to_owned()).or_default() += 1;
        }
        let fitting: BTreeSet<usize> =
            other.keys().iter().filter_map(|key| by_key.get(key)).flatten().copied().collect();
        for at in fitting {
            subjects.get_mut(at).into_iter().for_each(|subject| subject.compare(&other));
        }
    }
    for account in strangers {
        let Some(name) = account.user_name.as_deref() else { continue };
        for at in by_key.get(&local_key(&local_part(name))).into_iter().flatten() {
            let Some(subject) = subjects.get_mut(*at) else { continue };
            subject.near.insert(format!("account `{}`, which nobody declares", account.account));
        }
    }
    let told = |subject: &Subject<'_>| {
        let there = domains.get(&subject.scope.map(str::to_owned));
        let others = there.map_or(0, |there| there.values().sum::<usize>());
        let same = subject.domain().and_then(|domain| there?.get(domain)).copied().unwrap_or_default();
        // The user is one of everybody.
        subject.told(&approval.checks, label, others > 1 && same <= 1)
    };
    subjects.iter().map(|subject| (subject.user.id.clone(), told(subject))).collect()
}

impl<'u> Subject<'u> {
    fn of(user: &'u User, label: Option<&str>) -> Self {
        let mail = user.email.as_ref().map(|mail| mail.to_lowercase());
        let (given, family) = (user.given_name.as_deref(), user.family_name.as_deref());
        let name = |first: Option<&str>, last: Option<&str>| Some(folded(&format!("{} {}", first?, last?)));
        let names = [name(given, family), name(family, given)].into_iter().flatten().collect();
        Self {
            user,
            scope: label.and_then(|label| user.labels.get(label)).map(String::as_str),
            mail,
            names,
            near: BTreeSet::new(),
            same_mail: BTreeSet::new(),
        }
    }

    fn domain(&self) -> Option<&str> {
        self.mail.as_deref()?.rsplit_once('@').map(|(_, domain)| domain)
    }

    fn local(&self) -> Option<String> {
        self.mail.as_deref().map(local_part)
    }

    /// Two users are compared where they share one of these.
    fn keys(&self) -> BTreeSet<String> {
        let mut keys = BTreeSet::new();
        keys.extend(self.mail.as_ref().map(|mail| format!("mail {mail}")));
        keys.extend(self.local().map(|local| local_key(&local)));
        for name in &self.names {
            let words = name.split(' ');
            keys.extend(words.filter(|word| word.chars().count() > 2).map(|word| format!("word {word}")));
        }
        keys
    }

    fn compare(&mut self, other: &Subject<'_>) {
        if other.user.id == self.user.id {
            return;
        }
        let same_scope = other.scope == self.scope;
        let named = || format!("user `{}`", other.user.id);
        if self.mail.is_some() && other.mail == self.mail && !same_scope {
            let place = other.scope.map(|scope| format!(" of `{scope}`")).unwrap_or_default();
            self.same_mail.insert(format!("{}{place}", named()));
        }
        let near_name = self.names.iter().any(|name| other.names.iter().any(|theirs| is_near(name, theirs)));
        let near_mail = self.local().is_some() && other.local() == self.local() && other.mail != self.mail;
        if near_name || near_mail || (same_scope && self.mail.is_some() && other.mail == self.mail) {
            self.near.insert(named());
        }
    }

    fn told(&self, checks: &BTreeSet<Check>, label: Option<&str>, alone: bool) -> Vec<Finding> {
        let found = |check: &Check| match check {
            Check::EmailDomain => {
                let domain = self.domain().filter(|_| alone)?;
                let place = label.zip(self.scope).map(|(label, scope)| format!(" of {label} `{scope}`"));
                Some(format!("nobody else{} has a mail of `{domain}`", place.unwrap_or_default()))
            }
            Check::NearDuplicate => listed("nearly the same name or mail as", &self.near),
            Check::SameEmail => listed("the same mail as", &self.same_mail),
        };
        checks.iter().filter_map(|check| Some(Finding { check: *check, words: found(check)? })).collect()
    }
}

/// The key of a name before the `@`.
fn local_key(local: &str) -> String {
    format!("local {local}")
}

fn listed(what: &str, others: &BTreeSet<String>) -> Option<String> {
    let named: Vec<_> = others.iter().take(NAMED).cloned().collect();
    let more = others.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!named.is_empty()).then(|| format!("{what} {}{more}", named.join(", ")))
}

fn is_near(left: &str, right: &str) -> bool {
    let short = left.chars().count().min(right.chars().count()) < LONG_ENOUGH;
    left == right || (!short && suggest::distance(left, right, NEAR + 1) <= NEAR)
}

/// Letters and digits in lower case, one space between words.
fn folded(text: &str) -> String {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect::<Vec<_>>().join(" ")
}

/// What stands before the `@`, without dots and what follows a plus: many services take these for one.
fn local_part(mail: &str) -> String {
    let local = mail.split_once('@').map_or(mail, |(local, _)| local);
    let plain = local.split_once('+').map_or(local, |(plain, _)| plain);
    plain.chars().filter(|c| *c != '.').flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: &str, (given, family): (&str, &str), mail: &str, folder: &str) -> User {
        User {
            given_name: Some(given.to_owned()),
            family_name: Some(family.to_owned()),
            email: Some(mail.to_owned()),
            labels: BTreeMap::from([("folder".to_owned(), folder.to_owned())]),
            ..User::plain(id)
        }
    }

    #[track_caller]
    fn check(one: &User, others: &[User], strangers: &[&str], expected: &[&str]) {
        let approval = Approval {
            checks: Check::ALL.into(),
            scope_label: Some("folder".to_owned()),
            author_label: None,
            ..Approval::ungated()
        };
        let stranger = |name: &&str| SeenAccount {
            account: "a-1".into(),
            user_name: Some((*name).to_owned()),
            state: crate::model::account::AccountState::Active,
            record: None,
        };
        let strangers: Vec<_> = strangers.iter().map(stranger).collect();
        let found = findings(&approval, [one], others.iter().chain([one]), &strangers);
        let words: Vec<_> = found[&one.id].iter().map(|finding| finding.words.as_str()).collect();
        assert_eq!(words, expected);
    }

    #[test]
    fn a_mail_of_a_domain_that_nobody_of_the_folder_has_is_told() {
        let one = user("u-1", ("Gaelle", "Renaud"), "gaelle@freemail.example", "A");
        let there = user("u-2", ("Elise", "Morel"), "elise@renaud.example", "A");
        let elsewhere = user("u-3", ("Farid", "Benali"), "farid@freemail.example", "B");
        check(&one, &[there, elsewhere], &[], &["nobody else of folder `A` has a mail of `freemail.example`"]);
        check(&one, &[], &[], &[]);
    }

    #[test]
    fn a_name_with_a_slip_and_a_mail_of_another_spelling_are_told_as_near() {
        let one = user("u-1", ("Gaelle", "Renaud"), "g.renaud@renaud.example", "A");
        let slip = user("u-2", ("Gaele", "Renaud"), "gr@renaud.example", "A");
        let turned = user("u-3", ("Renaud", "Gaelle"), "x@renaud.example", "A");
        let spelt = user("u-4", ("Nobody", "Else"), "grenaud@renaud.example", "A");
        let far = user("u-5", ("Elise", "Renaud"), "elise@renaud.example", "A");
        let near = "nearly the same name or mail as user `u-2`, user `u-3`, user `u-4`";
        check(&one, &[slip, turned, spelt, far], &[], &[near]);
    }

    #[test]
    fn nobody_shares_a_mail_that_neither_has() {
        let without = |id, names, folder| User { email: None, ..user(id, names, "", folder) };
        let one = without("u-1", ("Gaelle", "Renaud"), "A");
        let others = [without("u-2", ("Elise", "Morel"), "B"), without("u-3", ("Farid", "Benali"), "A")];
        check(&one, &others, &[], &[]);
    }

    #[test]
    fn short_names_are_near_only_where_they_are_the_same() {
        assert!(is_near("ann li", "ann li") && is_near("gaelle renaud", "gaele renaud"));
        for (left, right) in [("ann li", "ann lo"), ("ann", "anne marie louise"), ("anne marie louise", "ann")] {
            assert!(!is_near(left, right), "{left} {right}");
        }
        assert!(!is_near("gaelle renaud", "gale renou"));
    }

    #[test]
    fn an_account_that_nobody_declares_is_near_by_its_name() {
        let one = user("u-1", ("Gaelle", "Renaud"), "g.renaud@renaud.example", "A");
        check(
            &one,
            &[],
            &["GRenaud@old.example"],
            &["nearly the same name or mail as account `a-1`, which nobody declares"],
        );
    }

    #[test]
    fn the_same_mail_in_another_folder_is_told() {
        let one = user("u-1", ("Gaelle", "Renaud"), "g@renaud.example", "A");
        let other = user("u-2", ("Elise", "Morel"), "G@Renaud.example", "B");
        check(&one, &[other], &[], &["the same mail as user `u-2` of `B`"]);
    }
}
