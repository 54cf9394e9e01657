//! The metrics of one target.

use std::time::Duration;

use chrono::DateTime;
use chrono::Utc;
use prometheus::Gauge;
use prometheus::GaugeVec;
use prometheus::Histogram;
use prometheus::HistogramVec;
use prometheus::IntCounter;
use prometheus::IntCounterVec;
use prometheus::IntGauge;
use prometheus::IntGaugeVec;

use crate::metrics::family::Families;
use crate::metrics::family::seconds_since_1970;
use crate::metrics::requests::RequestMetrics;
use crate::metrics::words::Answer;
use crate::metrics::words::ChangeResult;
use crate::metrics::words::OwedReason;
use crate::metrics::words::RETRY_REASONS;
use crate::metrics::words::Request;
use crate::model::account::AccountState;
use crate::model::change::Action;
use crate::model::change::Cause;
use crate::model::change::Effect;
use crate::model::history::CycleResult;
use crate::model::history::Trigger;
use crate::model::plan::HoldKind;
use crate::model::target::Drift;

/// From one look-up (milliseconds) to a first listing of a million accounts (an hour).
const CYCLE_BUCKETS: [f64; 13] = [0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0];
/// One call; nothing lasts much longer than a call limit.
const REQUEST_BUCKETS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0];
/// The objective is 15 minutes, the aim is seconds.
const REVOCATION_BUCKETS: [f64; 12] = [0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0];
/// The outer promise is a day (an hour for most, a week when somebody is away).
const PROVISION_BUCKETS: [f64; 11] = [0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0, 604_800.0];

/// Every combination of action, effect and cause that a plan can hold. A cause is stated exactly
/// for what narrows.
const CHANGES: [(Action, Effect, Option<Cause>); 14] = [
    (Action::Create, Effect::Widens, None),
    (Action::Adopt, Effect::Widens, None),
    (Action::Adopt, Effect::Neutral, None),
    (Action::Update, Effect::Widens, None),
    (Action::Update, Effect::Neutral, None),
    (Action::Reactivate, Effect::Widens, None),
    (Action::Restore, Effect::Widens, None),
    (Action::Restore, Effect::Neutral, None),
    (Action::Narrow, Effect::Narrows, Some(Cause::Explicit)),
    (Action::Narrow, Effect::Narrows, Some(Cause::Inferred)),
    (Action::Disable, Effect::Narrows, Some(Cause::Explicit)),
    (Action::Disable, Effect::Narrows, Some(Cause::Inferred)),
    (Action::Delete, Effect::Narrows, Some(Cause::Explicit)),
    (Action::Delete, Effect::Narrows, Some(Cause::Inferred)),
];

/// The metrics of one target. Writing to them after [`crate::metrics::Metrics::forget`] does no
/// harm and shows nowhere.
pub struct TargetMetrics {
    cycles: IntCounterVec,
    cycle_duration: HistogramVec,
    last_success: Gauge,
    changes: IntCounterVec,
    drift: IntGaugeVec,
    target_controlled: IntGauge,
    accounts: IntGaugeVec,
    unmanaged: IntGauge,
    conflicts: IntGauge,
    administrators: IntGaugeVec,
    queue_depth: IntGauge,
    queue_oldest: Gauge,
    retries: IntCounterVec,
    requests: IntCounterVec,
    request_duration: HistogramVec,
    owed: IntGaugeVec,
    owed_oldest: GaugeVec,
    revocation: Histogram,
    provision: Histogram,
    holds: IntGaugeVec,
    quarantined: IntGauge,
    missing: IntGauge,
    connector_panics: IntCounter,
    /// What is told of requests.
    pub asked: RequestMetrics,
}

impl TargetMetrics {
    pub(crate) fn new(f: &Families<'_>) -> Self {
        let target = Self {
            cycles: f.counters("rosterd_cycles_total", "Cycles that ended.", &["trigger", "result"]),
            cycle_duration: f.histograms(
                "rosterd_cycle_duration_seconds",
                "How long cycles took: full ones list the target, keyed ones look users up.",
                &CYCLE_BUCKETS,
                &["kind"],
            ),
            last_success: f.gauge(
                "rosterd_last_success_timestamp_seconds",
                "When a full cycle last ended well, in seconds since 1970; 0 for never.",
            ),
            changes: f.counters(
                "rosterd_changes_total",
                "Changes by what became of them.",
                &["action", "effect", "cause", "result"],
            ),
            drift: f.int_gauges(
                "rosterd_drift",
                "Accounts whose owned attributes differed at the last full cycle, by what is done about it.",
                &["action"],
            ),
            target_controlled: f.int_gauge(
                "rosterd_target_controlled_attributes",
                "Attributes of accounts that the target keeps for itself: a written value was not kept twice.",
            ),
            accounts: f.int_gauges("rosterd_accounts", "Accounts seen by the last full cycle.", &["state"]),
            unmanaged: f.int_gauge("rosterd_unmanaged", "Accounts that were never managed here and are left alone."),
            conflicts: f.int_gauge("rosterd_conflicts", "Users for whom a person must settle something."),
            administrators: f.int_gauges("rosterd_administrators", "Active ones, missing ones, too many.", &["count"]),
            queue_depth: f.int_gauge("rosterd_queue_depth", "Users that wait for a keyed cycle."),
            queue_oldest: f.gauge("rosterd_queue_oldest_seconds", "How long the oldest of them has waited."),
            retries: f.counters("rosterd_retries_total", "Calls put off to another attempt.", &["reason"]),
            requests: f.counters("rosterd_connector_requests_total", "Requests to the target.", &["operation", "code"]),
            request_duration: f.histograms(
                "rosterd_connector_request_duration_seconds",
                "How long the target took to answer.",
                &REQUEST_BUCKETS,
                &["operation"],
            ),
            owed: f.int_gauges(
                "rosterd_revocations_owed",
                "Accounts and entitlements that are due to be taken away and not confirmed, by what holds them up.",
                &["reason"],
            ),
            owed_oldest: f.gauges(
                "rosterd_revocation_oldest_seconds",
                "Age of the oldest of them, from the moment access ended.",
                &["reason"],
            ),
            revocation: f.histogram(
                "rosterd_revocation_seconds",
                "From the moment access ended to the call that the target confirmed.",
                &REVOCATION_BUCKETS,
            ),
            provision: f.histogram(
                "rosterd_provision_seconds",
                "From the moment access was first wanted to the account that the target confirmed.",
                &PROVISION_BUCKETS,
            ),
            holds: f.int_gauges("rosterd_holds", "Changes that a guardrail holds.", &["limit"]),
            missing: f.int_gauge("rosterd_accounts_missing", "Linked accounts that the last full cycle did not find."),
            quarantined: f.int_gauge("rosterd_quarantined", "1 while the target keeps failing and is tried rarely."),
            connector_panics: f.counter(
                "rosterd_connector_panics_total",
                "Times that the code which talks to the target failed in itself.",
            ),
            asked: RequestMetrics::new(f),
        };
        target.with_zeros()
    }

    /// Makes every label value present.
    fn with_zeros(self) -> Self {
        for trigger in Trigger::ALL {
            for result in CycleResult::ALL {
                self.cycles.with_label_values(&[trigger.as_str(), result.as_str()]);
            }
        }
        for full in [true, false] {
            self.cycle_duration.with_label_values(&[kind(full)]);
        }
        for (action, effect, cause) in CHANGES {
            for result in ChangeResult::ALL {
                self.changes.with_label_values(&change_labels(action, effect, cause, result));
            }
        }
        for action in Drift::ALL {
            self.set_drift(action, 0);
        }
        for state in AccountState::ALL {
            self.set_accounts(state, 0);
        }
        for reason in RETRY_REASONS {
            self.retries.with_label_values(&[reason]);
        }
        for request in Request::ALL {
            self.request_duration.with_label_values(&[request.as_str()]);
            for code in Answer::CODES {
                self.requests.with_label_values(&[request.as_str(), code]);
            }
        }
        for reason in OwedReason::ALL {
            self.set_owed(reason, 0, Duration::ZERO);
        }
        for limit in HoldKind::ALL {
            self.set_held(limit, 0);
        }
        self.set_administrators([0; 3]);
        self
    }

    /// A cycle ended.
    pub fn cycle(&self, trigger: Trigger, full: bool, result: CycleResult, took: Duration) {
        self.cycles.with_label_values(&[trigger.as_str(), result.as_str()]).inc();
        self.cycle_duration.with_label_values(&[kind(full)]).observe(took.as_secs_f64());
    }

    /// A full cycle ended well.
    pub fn succeeded(&self, at: DateTime<Utc>) {
        self.last_success.set(seconds_since_1970(at));
    }

    /// A change came to an end.
    pub fn change(&self, action: Action, effect: Effect, cause: Option<Cause>, result: ChangeResult) {
        self.changes.with_label_values(&change_labels(action, effect, cause, result)).inc();
    }

    /// Accounts found drifted, by what is done about it.
    pub fn set_drift(&self, action: Drift, accounts: u64) {
        self.drift.with_label_values(&[action.as_str()]).set(whole(accounts));
    }

    /// Attributes that the target keeps for itself.
    pub fn set_target_controlled(&self, attributes: u64) {
        self.target_controlled.set(whole(attributes));
    }

    /// Accounts seen in this state.
    pub fn set_accounts(&self, state: AccountState, count: u64) {
        self.accounts.with_label_values(&[state.as_str()]).set(whole(count));
    }

    /// Accounts that were never rosterd's.
    pub fn set_unmanaged(&self, count: u64) {
        self.unmanaged.set(whole(count));
    }

    /// Active administrators, how many are missing, and how many are too many.
    pub fn set_administrators(&self, [active, missing, over]: [u64; 3]) {
        for (count, number) in [("active", active), ("missing", missing), ("over", over)] {
            self.administrators.with_label_values(&[count]).set(whole(number));
        }
    }

    /// Users in conflict.
    pub fn set_conflicts(&self, count: u64) {
        self.conflicts.set(whole(count));
    }

    /// Users that wait, and how long the oldest has.
    pub fn set_queue(&self, depth: u64, oldest: Duration) {
        self.queue_depth.set(whole(depth));
        self.queue_oldest.set(oldest.as_secs_f64());
    }

    /// A call is put off; `reason` is the word of its error class (one of [`RETRY_REASONS`]).
    pub fn retry(&self, reason: &'static str) {
        self.retries.with_label_values(&[reason]).inc();
    }

    /// One request and what came back.
    pub fn request(&self, request: Request, answer: Answer, took: Duration) {
        self.requests.with_label_values(&[request.as_str(), answer.code()]).inc();
        self.request_duration.with_label_values(&[request.as_str()]).observe(took.as_secs_f64());
    }

    /// Narrowings that are due and not confirmed; `oldest` counts from the moment access ended.
    pub fn set_owed(&self, reason: OwedReason, count: u64, oldest: Duration) {
        self.owed.with_label_values(&[reason.as_str()]).set(whole(count));
        self.owed_oldest.with_label_values(&[reason.as_str()]).set(oldest.as_secs_f64());
    }

    /// A narrowing was confirmed so long after access ended.
    pub fn revoked(&self, after: Duration) {
        self.revocation.observe(after.as_secs_f64());
    }

    /// An account was confirmed so long after it was first wanted.
    pub fn provisioned(&self, after: Duration) {
        self.provision.observe(after.as_secs_f64());
    }

    /// How many linked accounts a complete listing did not show.
    pub fn set_missing(&self, missing: u64) {
        self.missing.set(i64::try_from(missing).unwrap_or(i64::MAX));
    }

    /// Whether the target is tried ever more rarely, because it keeps failing.
    pub fn set_quarantined(&self, quarantined: bool) {
        self.quarantined.set(i64::from(quarantined));
    }

    /// The connector failed in itself.
    pub fn connector_panicked(&self) {
        self.connector_panics.inc();
    }

    /// Changes that this guardrail holds now.
    pub fn set_held(&self, limit: HoldKind, count: u64) {
        self.holds.with_label_values(&[limit.as_str()]).set(whole(count));
    }
}

fn kind(full: bool) -> &'static str {
    if full { "full" } else { "keyed" }
}

fn change_labels(action: Action, effect: Effect, cause: Option<Cause>, result: ChangeResult) -> [&'static str; 4] {
    [action.as_str(), effect.as_str(), cause.map_or("none", Cause::as_str), result.as_str()]
}

/// No count of ours comes near the end of a signed number.
fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
