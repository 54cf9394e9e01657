//! Why nothing is done for a user, in the words that plans, `status` and `explain` share.

use crate::model::account::AccountState;
use crate::model::ids::AccountId;
use crate::model::ids::RecordId;
use crate::model::ids::RequestId;
use crate::model::ids::TargetName;
use crate::model::plan::Skip;
use crate::model::plan::SkipReason;
use crate::model::request::RequestState;
use crate::model::request::Subject;
use crate::plan::blockers;

/// A reason in words, with what a person can do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// The code of a conflict.
    pub code: Option<String>,
    /// What keeps rosterd from doing anything.
    pub what: String,
    /// What to do next.
    pub hint: Option<String>,
}

impl Why {
    /// On one line, hint included.
    pub fn line(&self) -> String {
        match &self.hint {
            Some(hint) => format!("{}; {hint}", self.what),
            None => self.what.clone(),
        }
    }
}

/// Whom and what a reason is about.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The target.
    pub target: &'a TargetName,
    /// The user.
    pub record: &'a RecordId,
    /// The account concerned, where there is one.
    pub account: Option<&'a AccountId>,
    /// Whether user names may be shown.
    pub show_personal: bool,
}

impl<'a> About<'a> {
    /// What a skip of a plan for `target` is about.
    pub fn skip(target: &'a TargetName, skip: &'a Skip, show_personal: bool) -> Self {
        Self { target, record: &skip.record, account: skip.account.as_ref(), show_personal }
    }
}

/// The words for one reason.
pub fn why_not(about: About<'_>, reason: &SkipReason) -> Why {
    let About { target, record, .. } = about;
    let plain = |what: String| Why { code: None, what, hint: None };
    let hinted = |what: String, hint: String| Why { code: None, what, hint: Some(hint) };
    match reason {
        SkipReason::InSync => plain("the account is as it should be".to_owned()),
        SkipReason::NotEntitled(why) => plain(format!("no account is wanted: {why}")),
        SkipReason::Kept(why) => plain(why.clone()),
        SkipReason::Conflict(conflict) => {
            Why { code: Some(conflict.code.clone()), ..hinted(conflict.message.clone(), conflict.hint.clone()) }
        }
        SkipReason::Proposal { user_name, key } => proposal(about, user_name.as_deref(), key),
        SkipReason::LookUpFirst => plain("the listing proves nothing about this user: looked up first".to_owned()),
        SkipReason::OtherHand(AccountState::Locked) => {
            hinted("the target locked the account".to_owned(), "unlock it there; until then it stays so".to_owned())
        }
        SkipReason::OtherHand(state) => hinted(
            format!("another hand made the account {}, and rosterd does not undo that", state.as_str()),
            format!(
                "it stays so until a person opens it in the target; a linked one is given back by `rosterd regain \
                 {record} --target {target}`"
            ),
        ),
        SkipReason::Vanished => hinted(
            "the linked account is no longer there".to_owned(),
            format!(
                "it stays so until `rosterd regain {record} --target {target}` or `foreignDelete: recreate` lets it be \
                 made anew"
            ),
        ),
        SkipReason::Blocked(what) => hinted(what.clone(), blockers::hint(record)),
        SkipReason::Protected => plain("the account's name is protected and is never written".to_owned()),
        SkipReason::Drift(paths) => {
            let paths: Vec<_> = paths.iter().map(|path| format!("`{path}`")).collect();
            plain(format!("{} differs and is left so (`drift: report`)", paths.join(", ")))
        }
        SkipReason::Request { subject, state, id } => request(about, subject, *state, id.as_ref()),
    }
}

fn proposal(about: About<'_>, user_name: Option<&str>, key: &str) -> Why {
    let About { target, record, account, show_personal } = about;
    let named = user_name.filter(|_| show_personal).map(|name| format!(" ({name})"));
    let account = account.map(ToString::to_string).unwrap_or_default();
    Why {
        code: None,
        what: format!("account{} matches by `{key}` and waits for a person", named.unwrap_or_default()),
        hint: Some(format!("`rosterd link {record} {account} --target {target}` accepts it")),
    }
}

fn request(about: About<'_>, subject: &Subject, state: Option<RequestState>, id: Option<&RequestId>) -> Why {
    let what = match subject {
        Subject::Account => "the account".to_owned(),
        Subject::Grant(name) => format!("`{name}`"),
    };
    let id = id.map(ToString::to_string).unwrap_or_default();
    let target = about.target;
    let (what, hint) = match state {
        None => (format!("{what} will wait for a person's word"), None),
        Some(RequestState::Pending) => (
            format!("{what} waits for a person's word (request `{id}`)"),
            Some(format!("`rosterd requests list --target {target}` shows whose turn it is")),
        ),
        Some(RequestState::Refused) => (
            format!("{what} was refused (request `{id}`)"),
            Some(format!("it stays so until `rosterd requests reopen {id}`")),
        ),
        Some(RequestState::Expired) => (
            format!("nobody decided about {what} in time (request `{id}`)"),
            Some(format!("it stays so until `rosterd requests reopen {id}`")),
        ),
        Some(RequestState::Accepted) => (format!("{what} was accepted for less than is asked for now"), None),
    };
    Why { code: None, what, hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(reason: &SkipReason) -> String {
        let (target, record, account) = ("crm".into(), "u-1".into(), AccountId::from("a-1"));
        let about = About { target: &target, record: &record, account: Some(&account), show_personal: false };
        why_not(about, reason).line()
    }

    #[test]
    fn every_command_that_a_reason_names_can_be_copied_as_it_stands() {
        let proposal = SkipReason::Proposal { user_name: Some("ada".to_owned()), key: "userName".to_owned() };
        assert!(line(&proposal).contains("`rosterd link u-1 a-1 --target crm`"));
        for reason in [SkipReason::OtherHand(AccountState::Disabled), SkipReason::Vanished] {
            assert!(line(&reason).contains("`rosterd regain u-1 --target crm`"), "{}", line(&reason));
        }
    }

    #[test]
    fn what_the_target_locked_names_no_command_that_would_be_refused() {
        let told = line(&SkipReason::OtherHand(AccountState::Locked));
        assert!(!told.contains("regain") && told.contains("unlock it there"), "{told}");
    }

    #[test]
    fn a_name_is_shown_where_it_may_be_alone() {
        let proposal = SkipReason::Proposal { user_name: Some("ada".to_owned()), key: "userName".to_owned() };
        assert!(!line(&proposal).contains("ada"));
    }
}
