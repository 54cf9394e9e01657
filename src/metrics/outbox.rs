//! What waits to be told, and how new people get in.

use std::collections::BTreeMap;

use chrono::DateTime;
use chrono::Utc;
use prometheus::GaugeVec;
use prometheus::IntCounterVec;
use prometheus::IntGaugeVec;

use crate::metrics::family::Families;
use crate::model::ids::TargetName;
use crate::model::invite::InviteState;
use crate::model::message::Backlog;

/// The metrics of the outbox and of invites.
pub struct OutboxMetrics {
    depth: IntGaugeVec,
    oldest: GaugeVec,
    failures: IntCounterVec,
    invites: IntGaugeVec,
}

/// Why a message was not taken, as a label.
const REASONS: [&str; 3] = ["door", "later", "refused"];

impl OutboxMetrics {
    pub(crate) fn new(families: &Families<'_>) -> Self {
        Self {
            depth: families.int_gauges("rosterd_outbox_depth", "Messages that wait to be taken.", &["channel"]),
            oldest: families.gauges(
                "rosterd_outbox_oldest_seconds",
                "Age of what the oldest message that waits tells; 0 where none waits.",
                &["channel"],
            ),
            failures: families.counters(
                "rosterd_outbox_failures_total",
                "Messages that were tried and not taken.",
                &["channel", "reason"],
            ),
            invites: families.int_gauges("rosterd_invites", "Invites by how far they got.", &["target", "state"]),
        }
    }

    /// A channel is there; all of it shows zero.
    pub fn show(&self, channel: &str) {
        self.depth.with_label_values(&[channel]).set(0);
        self.oldest.with_label_values(&[channel]).set(0.0);
        for reason in REASONS {
            self.failures.with_label_values(&[channel, reason]).inc_by(0);
        }
    }

    /// What waits in a channel now.
    pub fn waits(&self, channel: &str, backlog: Option<&Backlog>, now: DateTime<Utc>) {
        let depth = backlog.map_or(0, |backlog| i64::try_from(backlog.depth).unwrap_or(i64::MAX));
        self.depth.with_label_values(&[channel]).set(depth);
        let age = backlog.map_or(0.0, |backlog| (now - backlog.oldest).to_std().unwrap_or_default().as_secs_f64());
        self.oldest.with_label_values(&[channel]).set(age);
    }

    /// A message was tried and not taken: `door`, `later`, `refused`.
    pub fn failed(&self, channel: &str, reason: &'static str) {
        self.failures.with_label_values(&[channel, reason]).inc();
    }

    /// The invites of each target, by state; what is not counted is zero.
    pub fn invites(&self, counts: &BTreeMap<(TargetName, InviteState), i64>, targets: &[TargetName]) {
        self.invites.reset();
        for target in targets {
            for state in InviteState::ALL {
                let count = counts.get(&(target.clone(), state)).copied().unwrap_or_default();
                self.invites.with_label_values(&[target.as_str(), state.as_str()]).set(count);
            }
        }
    }
}
