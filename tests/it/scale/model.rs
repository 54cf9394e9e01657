//! How much of what a size takes: in one place, for the check at small sizes and for the table of
//! `docs/scale.md`.

use serde::Deserialize;
use serde::Serialize;

/// Accounts that one page of a listing holds.
pub(super) const PAGE: usize = 100;

/// A company: everybody has an account in each target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Load {
    pub(super) users: usize,
    pub(super) targets: usize,
}

/// What is done with it, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Phase {
    /// Every account is made.
    Create,
    /// Nothing changed.
    Same,
    /// Every hundredth user got another name.
    Hundredth,
    /// Everybody left.
    Gone,
}

impl Phase {
    pub(super) const ALL: [Self; 4] = [Self::Create, Self::Same, Self::Hundredth, Self::Gone];
}

/// From so many changed users on, a daemon lists the target and does not look each of them up.
const LIST_INSTEAD: usize = 1_000;

impl Load {
    fn accounts(self) -> u64 {
        (self.users * self.targets) as u64
    }

    /// Users whom a phase changes.
    fn users_changed(self, phase: Phase) -> usize {
        match phase {
            Phase::Create | Phase::Gone => self.users,
            Phase::Same => 0,
            Phase::Hundredth => self.users.div_ceil(100),
        }
    }

    /// Accounts that a phase changes, in all targets.
    pub(super) fn changed(self, phase: Phase) -> u64 {
        (self.users_changed(phase) * self.targets) as u64
    }

    /// Whether a phase lists the targets.
    fn lists(self, phase: Phase) -> bool {
        match phase {
            Phase::Create | Phase::Same => true,
            Phase::Hundredth | Phase::Gone => self.users_changed(phase) > LIST_INSTEAD,
        }
    }
}

/// Calls of all targets: a probe and pages where there is a listing, else a look-up for each changed
/// user; and a write for each. Exact.
pub(super) fn calls(load: Load, phase: Phase) -> u64 {
    let listed = if phase == Phase::Create { 0 } else { load.users };
    // The last page is the one that is not full. A daemon knocks once before its first listing.
    let pages = listed / PAGE + 1;
    let looks = match (load.lists(phase), phase) {
        (true, Phase::Create) => pages + 2,
        (true, _) => pages + 1,
        (false, _) => load.users_changed(phase),
    };
    (looks * load.targets) as u64 + load.changed(phase)
}

/// Rows about users that a phase hands to the store. Exact.
///
/// Of a change: intent, outcome, link, the account as last seen, and two audit events; of a creation the
/// identity, too; of a removal its cause, and since when it is owed, both of which are forgotten at its
/// end. Of a listing every account as last seen, of which `PostgreSQL` writes those that differ.
pub(super) fn rows(load: Load, phase: Phase) -> u64 {
    let each = match phase {
        Phase::Create => 7,
        Phase::Same | Phase::Hundredth => 6,
        Phase::Gone => 10,
    };
    let listed = if load.lists(phase) && phase != Phase::Create { load.accounts() } else { 0 };
    // An event for the accepted load, and one for each target that was not known.
    let events = match phase {
        Phase::Create => 1 + load.targets as u64,
        Phase::Same => 0,
        Phase::Hundredth | Phase::Gone => 1,
    };
    each * load.changed(phase) + listed + events
}

/// Commits: those of whole cycles and loads, and one for each time that calls end together, as they do
/// where a target answers all alike. What takes access has a slot of its own, and so two turns.
pub(super) fn commits(load: Load, phase: Phase) -> f64 {
    let together = if phase == Phase::Gone { 4.5 } else { 8.0 };
    4.0 * load.targets as f64 + load.changed(phase) as f64 / together
}

/// Time on the CPU, in µs: what each user, account in a listing and change takes.
pub(super) fn cpu(load: Load, phase: Phase) -> f64 {
    let listed = if load.lists(phase) { load.accounts() } else { 0 };
    500.0 * load.targets as f64 + 2.0 * load.users as f64 + 5.0 * listed as f64 + 150.0 * load.changed(phase) as f64
}

/// All that is allocated, in KiB: what each target, user of a new load, account in a listing and change
/// takes.
pub(super) fn allocated(load: Load, phase: Phase) -> f64 {
    let listed = if load.lists(phase) { load.accounts() } else { 0 };
    let loaded = if phase == Phase::Same { 0.0 } else { 3.0 };
    50.0 * load.targets as f64 + loaded * load.users as f64 + 4.0 * listed as f64 + 60.0 * load.changed(phase) as f64
}

/// The most that is held at once beyond what was held before, in KiB.
pub(super) fn held(load: Load, phase: Phase) -> f64 {
    let user = if phase == Phase::Same { 0.22 } else { 0.6 };
    10.0 * load.targets as f64 + user * load.users as f64 + 4.5 * load.changed(phase) as f64
}

/// Most memory of a creation, in KiB: what is there at any size, and what each user, account and
/// waiting change takes.
pub(super) fn memory(load: Load, _: Phase) -> f64 {
    12_000.0 + 0.3 * load.users as f64 + 4.0 * load.accounts() as f64
}

/// Rows that the tables of users hold after a phase. Exact.
pub(super) fn tables(load: Load, phase: Phase) -> Vec<(&'static str, u64)> {
    let done: u64 =
        Phase::ALL.into_iter().filter(|earlier| *earlier <= phase).map(|earlier| load.changed(earlier)).sum();
    let accounts = load.accounts();
    vec![("link", accounts), ("seen", accounts), ("identity", accounts), ("intent", done), ("owed", 0)]
}

/// An installation of any size, and the targets that it has.
pub(super) struct Installation {
    pub(super) users: f64,
    pub(super) targets: f64,
    /// Targets in which a user has an account, on average.
    pub(super) accounts_each: f64,
    pub(super) replicas: f64,
    /// Calls a second that a target takes.
    pub(super) rate: f64,
}

/// Accounts of a page, as most SCIM services have it.
const USUAL_PAGE: f64 = 100.0;

impl Installation {
    /// 100 million users, 10,000 targets.
    pub(super) const LARGE: Self = Self { users: 1e8, targets: 1e4, accounts_each: 10.0, replicas: 100.0, rate: 10.0 };

    fn accounts(&self) -> f64 {
        self.users * self.accounts_each
    }

    /// What follows of it: what, how much, its unit.
    pub(super) fn table(&self, costs: &Costs) -> Vec<(&'static str, f64, &'static str)> {
        let (accounts, changes_a_second) = (self.accounts(), self.targets * self.rate);
        let of_replica = accounts / self.replicas;
        let per_change = |each: f64, other: f64| each + other / costs.grouped;
        let busy = changes_a_second / self.replicas * per_change(costs.statements_each, costs.statements_of_commit);
        let seconds_of_calls = |calls: f64| calls / changes_a_second / 3_600.0;
        vec![
            ("accounts", accounts, ""),
            ("accounts of one target", accounts / self.targets, ""),
            ("tables, after the creation", accounts * (costs.account_bytes + costs.change_bytes) / 1e12, "TB"),
            ("  of it, with each further change of everybody", accounts * costs.change_bytes / 1e12, "TB"),
            ("snapshots of all replicas", self.replicas * self.users * costs.snapshot_bytes / 1e12, "TB"),
            ("log written ahead by the creation", accounts * costs.change_log / 1e12, "TB"),
            ("memory of a replica: users", self.users * costs.user_memory / 1e9, "GB"),
            ("memory of a replica: accounts", of_replica * costs.account_memory / 1e9, "GB"),
            ("writes a second at the targets' rates: changes", changes_a_second, ""),
            ("  rows", changes_a_second * costs.change_rows, ""),
            ("  statements of a replica", busy, ""),
            (
                "  the same with one change a commit",
                changes_a_second / self.replicas * (costs.statements_each + costs.statements_of_commit),
                "",
            ),
            ("  commits of a replica", changes_a_second / self.replicas / costs.grouped, ""),
            ("  log written ahead, a second", changes_a_second * costs.change_log / 1e6, "MB"),
            ("  cores of database servers", changes_a_second * costs.change_cpu_of_server, ""),
            ("creation of everybody: by the targets' rates", seconds_of_calls(accounts), "h"),
            ("  by CPU of a replica with 4 cores", of_replica * costs.change_cpu / 4.0 / 3_600.0, "h"),
            ("a cycle that finds nothing: by the targets' rates", seconds_of_calls(accounts / USUAL_PAGE), "h"),
            ("  by CPU of a replica with 4 cores", of_replica * costs.account_cpu / 4.0 / 3_600.0, "h"),
            (
                "1 % of users changed: by the targets' rates",
                seconds_of_calls(accounts * 0.01 + accounts / USUAL_PAGE),
                "h",
            ),
            (
                "bytes of the snapshot that one changed user writes",
                self.users / 1_024.0 * costs.snapshot_bytes / 1e6,
                "MB",
            ),
        ]
    }
}

/// What one of each costs; `docs/scale.md` says how each figure was measured.
pub(super) struct Costs {
    /// Bytes that an account has in the tables: link, last seen, identity.
    account_bytes: f64,
    /// Bytes that each change leaves there: intent, two audit events, what limits count.
    change_bytes: f64,
    /// Bytes that a change writes ahead.
    change_log: f64,
    /// Bytes of a user in the stored snapshot.
    snapshot_bytes: f64,
    /// Rows that a change writes.
    change_rows: f64,
    /// Statements of each change, and of each commit beside.
    statements_each: f64,
    statements_of_commit: f64,
    /// Changes of a commit.
    grouped: f64,
    /// Bytes of memory of a user, and of an account.
    user_memory: f64,
    account_memory: f64,
    /// Seconds on the CPU of an account in a cycle that finds nothing, and of a change.
    account_cpu: f64,
    change_cpu: f64,
    /// The same, of the database server.
    change_cpu_of_server: f64,
}

pub(super) const MEASURED: Costs = Costs {
    account_bytes: 519.0,
    change_bytes: 2_462.0,
    change_log: 5_328.0,
    snapshot_bytes: 528.0,
    change_rows: 7.0,
    statements_each: 5.0,
    statements_of_commit: 16.0,
    grouped: 8.0,
    user_memory: 300.0,
    account_memory: 565.0,
    account_cpu: 80e-6,
    change_cpu: 250e-6,
    change_cpu_of_server: 1.1e-3,
};
