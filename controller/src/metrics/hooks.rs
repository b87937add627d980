//! What calls of modules came to.

use super::{OBJECT, registered};
use prometheus::{GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};
use std::time::Duration;

/// From what a small module takes to what an effectful call may.
const BUCKETS: [f64; 12] = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 10.0, 60.0];

/// Calls of modules. Cheap to clone.
#[derive(Clone)]
pub struct HookRuns {
    runs: IntCounterVec,
    duration: HistogramVec,
    quiesce_started: GaugeVec,
    forced_releases: IntCounterVec,
}

impl HookRuns {
    /// Registers them.
    ///
    /// # Errors
    /// Fails if they are there already.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let runs = Opts::new("scribe_hook_runs_total", "Calls of hooks that ended, by what came of them.");
        let duration = HistogramOpts::new(
            "scribe_hook_duration_seconds",
            "How long a call of a hook took, without the wait for its turn.",
        );
        let started = Opts::new(
            "scribe_quiesce_started_timestamp_seconds",
            "When a hook was called to bring the application to rest; there is none when it is known to go on.",
        );
        let forced = Opts::new(
            "scribe_quiesce_forced_releases_total",
            "Applications that were let go on because their window was over or what held them was lost, or without their hook.",
        );
        Ok(Self {
            quiesce_started: registered(registry, GaugeVec::new(started, &OBJECT)?)?,
            forced_releases: registered(registry, IntCounterVec::new(forced, &OBJECT)?)?,
            runs: registered(registry, IntCounterVec::new(runs, &["point", "result"])?)?,
            duration: registered(
                registry,
                HistogramVec::new(duration.buckets(BUCKETS.to_vec()), &["point"])?,
            )?,
        })
    }

    /// Shows whether an application is at rest, and since when, in seconds since 1970.
    pub(super) fn show_quiesce(&self, object: &[&str; 3], started: Option<f64>) {
        match started {
            Some(started) => self.quiesce_started.with_label_values(object).set(started),
            // That it was not there is no error.
            None => drop(self.quiesce_started.remove_label_values(object)),
        }
    }

    /// Counts an application that was let go on by force.
    pub(super) fn forced_release(&self, object: &[&str; 3]) {
        self.forced_releases.with_label_values(object).inc();
    }

    /// Removes the series of an object that is gone.
    pub(super) fn forget(&self, object: &[&str; 3]) {
        let _ = self.quiesce_started.remove_label_values(object);
        let _ = self.forced_releases.remove_label_values(object);
    }

    /// Counts a call that ended.
    pub fn ended(&self, point: &str, result: &str, took: Duration) {
        self.runs.with_label_values(&[point, result]).inc();
        self.duration.with_label_values(&[point]).observe(took.as_secs_f64());
    }
}
