//! A target that deletes what it ended, and somebody who left it.

use std::time::Duration;

use rosterd::manifest::Documents;
use rosterd::model::account::AccountState;
use rosterd::model::target::Deletion;
use rosterd::model::target::Target;

use crate::support::make::documents;
use crate::support::make::inactive;
use crate::support::make::target;
use crate::support::make::user;
use crate::support::rig::Rig;

/// How long the target waits.
pub(crate) const WAIT: Duration = Duration::from_hours(3 * 24);

/// A target that deletes what it ended three days ago, and has no schedule.
pub(crate) fn app(unattended: bool) -> Target {
    let mut app = target("app");
    app.account.deletion = Some(Deletion { after: WAIT, unattended });
    app
}

/// `u` and `v` are declared.
pub(crate) fn there(app: &Target) -> Documents {
    documents([user("u"), user("v")], [app.clone()])
}

/// `u` left.
pub(crate) fn left(app: &Target) -> Documents {
    documents([inactive("u"), user("v")], [app.clone()])
}

/// `u` had an account, and left.
pub(crate) async fn leaver(app: &Target) -> Rig {
    let rig = Rig::started(there(app)).await;
    rig.declare(left(app)).await;
    assert_eq!(state(&rig), Some(AccountState::Disabled), "access ends at once");
    rig
}

/// How the account of `u` stands.
pub(crate) fn state(rig: &Rig) -> Option<AccountState> {
    rig.target("app").by_name("u@acme.example").map(|account| account.state)
}

/// Calls that delete.
pub(crate) fn deletions(rig: &Rig) -> usize {
    rig.target("app").count("delete")
}
