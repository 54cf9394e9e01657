//! What is told of requests: how many wait, how long, and how late what was accepted is done.

use std::time::Duration;

use prometheus::Gauge;
use prometheus::Histogram;
use prometheus::IntCounter;
use prometheus::IntGauge;

use crate::metrics::family::Families;

/// An acceptance is done in seconds; the outer promise is a day.
const BUCKETS: [f64; 10] = [0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0];

/// The metrics of one target's requests.
pub struct RequestMetrics {
    pending: IntGauge,
    oldest: Gauge,
    reminders: IntCounter,
    acceptance: Histogram,
    acceptance_oldest: Gauge,
    late: IntGauge,
}

impl RequestMetrics {
    pub(crate) fn new(f: &Families<'_>) -> Self {
        Self {
            pending: f.int_gauge("rosterd_requests_pending", "Requests that wait for a person's decision."),
            oldest: f.gauge("rosterd_request_oldest_seconds", "How long the oldest of them has waited."),
            reminders: f.counter(
                "rosterd_request_reminders_total",
                "Times that those whose turn it was at a request were due to be reminded.",
            ),
            acceptance: f.histogram(
                "rosterd_acceptance_seconds",
                "From the acceptance of a request to what it let through, confirmed by the target.",
                &BUCKETS,
            ),
            acceptance_oldest: f.gauge(
                "rosterd_acceptance_oldest_seconds",
                "Age of the oldest acceptance that is not confirmed by the target.",
            ),
            late: f.int_gauge(
                "rosterd_acceptances_late",
                "Acceptances that are not confirmed by the target and older than `approval.within`.",
            ),
        }
    }

    /// Requests that wait, and how long the oldest has.
    pub fn set_pending(&self, pending: usize, oldest: Duration) {
        self.pending.set(i64::try_from(pending).unwrap_or(i64::MAX));
        self.oldest.set(oldest.as_secs_f64());
    }

    /// Those whose turn it is at a request are reminded.
    pub fn reminded(&self) {
        self.reminders.inc();
    }

    /// What a request let through was confirmed so long after its acceptance.
    pub fn done(&self, after: Duration) {
        self.acceptance.observe(after.as_secs_f64());
    }

    /// Acceptances that are not confirmed: the age of the oldest, and how many took too long.
    pub fn set_accepted(&self, oldest: Duration, late: usize) {
        self.acceptance_oldest.set(oldest.as_secs_f64());
        self.late.set(i64::try_from(late).unwrap_or(i64::MAX));
    }
}
