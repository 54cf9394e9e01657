//! Every metric of rosterd, as fields of one struct over a registry of its own.
//!
//! # Guarantees
//! - Every label value that can occur is present from zero as soon as its target or source is
//!   known, so that `rate()` and `absent()` mean what they say.
//! - Labels are bounded: targets and sources by configuration, everything else by an enum. No
//!   label ever holds a user.
//! - Nothing is registered globally: two `Metrics` in one process do not meet.

mod family;
mod outbox;
mod requests;
mod target;
mod words;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use chrono::DateTime;
use chrono::Utc;
use prometheus::Gauge;
use prometheus::IntGauge;
use prometheus::IntGaugeVec;
use prometheus::Registry;
use prometheus::TextEncoder;
use prometheus::core::Collector;

use crate::metrics::family::Families;
pub use crate::metrics::outbox::OutboxMetrics;
pub use crate::metrics::requests::RequestMetrics;
pub use crate::metrics::target::TargetMetrics;
pub use crate::metrics::words::Answer;
pub use crate::metrics::words::ChangeResult;
pub use crate::metrics::words::OwedReason;
pub use crate::metrics::words::RETRY_REASONS;
pub use crate::metrics::words::Request;
use crate::model::ids::TargetName;

/// The media type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Everything that `/metrics` shows.
pub struct Metrics {
    registry: Registry,
    /// Users in the accepted snapshot.
    pub snapshot_users: IntGauge,
    /// Number of the accepted snapshot: grows by one with each accepted load.
    pub snapshot_generation: IntGauge,
    /// Problems of the newest load, conflicts of single users included.
    pub manifest_errors: IntGauge,
    /// 1 while the configuration in use is the newest one that was read, 0 after a failed reload.
    pub config_last_reload_success: IntGauge,
    /// 1 while the wall clock is believed, 0 while end dates and deletions wait for it.
    pub clock_trusted: IntGauge,
    /// How much is halted everywhere: 0 nothing, 1 all but narrowing, 2 every call.
    pub stopped: IntGauge,
    /// 1 from a commit that the store did not take to the next that it took: nothing widens meanwhile.
    pub store_away: IntGauge,
    /// Tasks of the runtime that have not ended, as of the last scrape: flat while nothing leaks.
    pub tasks: IntGauge,
    left_behind: IntGaugeVec,
    /// Targets that it shows.
    left_shown: Mutex<BTreeSet<TargetName>>,
    /// What waits to be told, and how new people get in.
    pub outbox: OutboxMetrics,
    sources: Mutex<BTreeMap<String, Arc<SourceMetrics>>>,
    targets: Mutex<BTreeMap<TargetName, Registered>>,
}

/// A target's metrics, and what the registry must let go of with them.
struct Registered {
    metrics: Arc<TargetMetrics>,
    collectors: Vec<Box<dyn Collector>>,
}

/// The metrics of one source.
pub struct SourceMetrics {
    last_success: Gauge,
    shrink_held: IntGauge,
}

impl Metrics {
    /// Registers what needs no target and no source.
    pub fn new() -> Self {
        let registry = Registry::new();
        let families = Families::of(&registry);
        let build =
            families.int_gauges("rosterd_build_info", "Version of the running program, always 1.", &["version"]);
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Self {
            snapshot_users: families.int_gauge("rosterd_snapshot_users", "Users in the accepted snapshot."),
            snapshot_generation: families
                .int_gauge("rosterd_snapshot_generation", "Number of the accepted snapshot, 0 before the first."),
            manifest_errors: families.int_gauge("rosterd_manifest_errors", "Problems found by the newest load."),
            config_last_reload_success: families
                .int_gauge("rosterd_config_last_reload_success", "1 if the newest configuration is in use, else 0."),
            clock_trusted: families.int_gauge(
                "rosterd_clock_trusted",
                "1 while the machine's clock is believed, 0 while end dates and deletions wait for it.",
            ),
            stopped: families.int_gauge(
                "rosterd_stopped",
                "How much `rosterd stop` halts: 0 nothing, 1 all but narrowing, 2 every call.",
            ),
            store_away: families
                .int_gauge("rosterd_store_away", "1 while the store takes nothing, and nothing widens."),
            tasks: families.int_gauge("rosterd_tasks", "Tasks of the runtime that have not ended."),
            left_behind: families.int_gauges(
                "rosterd_accounts_left_behind",
                "Linked accounts, never disabled here, in places that no target document leads to.",
                &["target"],
            ),
            outbox: OutboxMetrics::new(&families),
            left_shown: Mutex::default(),
            sources: Mutex::default(),
            targets: Mutex::default(),
            registry,
        }
    }

    /// The metrics of a source; the first call shows all of them at zero.
    pub fn source(&self, name: &str) -> Arc<SourceMetrics> {
        let mut sources = locked(&self.sources);
        let made = || Arc::new(SourceMetrics::new(&Families::labelled(&self.registry, "source", name)));
        Arc::clone(sources.entry(name.to_owned()).or_insert_with(made))
    }

    /// The metrics of a target; the first call shows all of them at zero.
    pub fn target(&self, name: &TargetName) -> Arc<TargetMetrics> {
        let mut targets = locked(&self.targets);
        let made = || {
            let families = Families::labelled(&self.registry, "target", name.as_str());
            let metrics = Arc::new(TargetMetrics::new(&families));
            let _new = locked(&self.left_shown).insert(name.clone());
            self.left_behind.with_label_values(&[name.as_str()]);
            Registered { metrics, collectors: families.into_collectors() }
        };
        Arc::clone(&targets.entry(name.clone()).or_insert_with(made).metrics)
    }

    /// Accounts that are left behind where no target works: a target may be gone and its accounts not.
    pub fn set_left_behind<'a>(&self, counts: impl IntoIterator<Item = (&'a TargetName, u64)>) {
        let mut counts: BTreeMap<_, _> = counts.into_iter().map(|(target, count)| (target.clone(), count)).collect();
        for target in locked(&self.targets).keys() {
            counts.entry(target.clone()).or_default();
        }
        let mut shown = locked(&self.left_shown);
        for gone in shown.iter().filter(|target| !counts.contains_key(*target)) {
            // What was never shown needs no taking away.
            drop(self.left_behind.remove_label_values(&[gone.as_str()]));
        }
        for (target, count) in &counts {
            self.left_behind.with_label_values(&[target.as_str()]).set(i64::try_from(*count).unwrap_or(i64::MAX));
        }
        *shown = counts.into_keys().collect();
    }

    /// Shows a target no longer: its document is gone.
    pub fn forget(&self, name: &TargetName) {
        let collectors = locked(&self.targets).remove(name).map(|target| target.collectors);
        if self.left_behind.with_label_values(&[name.as_str()]).get() == 0 {
            drop(self.left_behind.remove_label_values(&[name.as_str()]));
        }
        for collector in collectors.into_iter().flatten() {
            if let Err(error) = self.registry.unregister(collector) {
                tracing::error!(target_name = %name, error = %error, "a metric of a removed target stays");
            }
        }
    }

    /// The Prometheus text format, families by name, so equal states give equal bytes.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text) {
            tracing::error!(error = %error, "metrics cannot be written");
        }
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("targets", &locked(&self.targets).keys()).finish_non_exhaustive()
    }
}

impl SourceMetrics {
    fn new(families: &Families<'_>) -> Self {
        Self {
            last_success: families.gauge(
                "rosterd_source_last_success_timestamp_seconds",
                "When the source was last read whole, in seconds since 1970; 0 for never.",
            ),
            shrink_held: families
                .int_gauge("rosterd_shrink_held", "1 while a load waits for a person because it takes too much away."),
        }
    }

    /// The source was read whole.
    pub fn succeeded(&self, at: DateTime<Utc>) {
        self.last_success.set(family::seconds_since_1970(at));
    }

    /// Whether a shrunken load waits for a person.
    pub fn hold_shrink(&self, held: bool) {
        self.shrink_held.set(i64::from(held));
    }
}

/// A panic elsewhere leaves maps of counters as good as they were.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
