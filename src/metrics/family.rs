//! Makes and registers metrics that may share one constant label.

use std::sync::Mutex;
use std::sync::PoisonError;

use chrono::DateTime;
use chrono::Utc;
use prometheus::Gauge;
use prometheus::GaugeVec;
use prometheus::Histogram;
use prometheus::HistogramOpts;
use prometheus::HistogramVec;
use prometheus::IntCounter;
use prometheus::IntCounterVec;
use prometheus::IntGauge;
use prometheus::IntGaugeVec;
use prometheus::Opts;
use prometheus::Registry;
use prometheus::core::Collector;

/// Registers metrics under one registry and remembers them, so that they can leave together.
pub(crate) struct Families<'a> {
    registry: &'a Registry,
    label: Option<(&'static str, &'a str)>,
    made: Mutex<Vec<Box<dyn Collector>>>,
}

impl<'a> Families<'a> {
    /// Metrics without a common label.
    pub(crate) fn of(registry: &'a Registry) -> Self {
        Self { registry, label: None, made: Mutex::default() }
    }

    /// Metrics that all carry this label.
    pub(crate) fn labelled(registry: &'a Registry, label: &'static str, value: &'a str) -> Self {
        Self { registry, label: Some((label, value)), made: Mutex::default() }
    }

    pub(crate) fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.registered(Gauge::with_opts(self.opts(name, help)))
    }

    pub(crate) fn int_gauge(&self, name: &str, help: &str) -> IntGauge {
        self.registered(IntGauge::with_opts(self.opts(name, help)))
    }

    pub(crate) fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.registered(GaugeVec::new(self.opts(name, help), labels))
    }

    pub(crate) fn int_gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.registered(IntGaugeVec::new(self.opts(name, help), labels))
    }

    pub(crate) fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.registered(IntCounterVec::new(self.opts(name, help), labels))
    }

    pub(crate) fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.registered(IntCounter::with_opts(self.opts(name, help)))
    }

    pub(crate) fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        self.registered(Histogram::with_opts(self.histogram_opts(name, help, buckets)))
    }

    pub(crate) fn histograms(&self, name: &str, help: &str, buckets: &[f64], labels: &[&str]) -> HistogramVec {
        self.registered(HistogramVec::new(self.histogram_opts(name, help, buckets), labels))
    }

    /// Everything that was registered through this value.
    pub(crate) fn into_collectors(self) -> Vec<Box<dyn Collector>> {
        self.made.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn opts(&self, name: &str, help: &str) -> Opts {
        let opts = Opts::new(name, help);
        match self.label {
            Some((label, value)) => opts.const_label(label, value),
            None => opts,
        }
    }

    fn histogram_opts(&self, name: &str, help: &str, buckets: &[f64]) -> HistogramOpts {
        HistogramOpts { common_opts: self.opts(name, help), buckets: buckets.to_vec() }
    }

    #[expect(clippy::expect_used, reason = "names and labels are constants; the test that encodes them meets each one")]
    fn registered<C: Collector + Clone + 'static>(&self, metric: prometheus::Result<C>) -> C {
        let metric = metric.expect("a metric has a well-formed name and well-formed labels");
        self.registry.register(Box::new(metric.clone())).expect("a metric is registered once");
        self.made.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(metric.clone()));
        metric
    }
}

/// Prometheus wants times as seconds since 1970, fractions included.
#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds since 1970 fit the 52 bits of a double until the year 144683"
)]
pub(crate) fn seconds_since_1970(at: DateTime<Utc>) -> f64 {
    at.timestamp_millis() as f64 / 1000.0
}
