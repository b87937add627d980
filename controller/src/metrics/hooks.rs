//! What calls of modules came to.

use super::registered;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};
use std::time::Duration;

/// From what a small module takes to what an effectful call may.
const BUCKETS: [f64; 12] = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 10.0, 60.0];

/// Calls of modules. Cheap to clone.
#[derive(Clone)]
pub struct HookRuns {
    runs: IntCounterVec,
    duration: HistogramVec,
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
        Ok(Self {
            runs: registered(registry, IntCounterVec::new(runs, &["point", "result"])?)?,
            duration: registered(
                registry,
                HistogramVec::new(duration.buckets(BUCKETS.to_vec()), &["point"])?,
            )?,
        })
    }

    /// Counts a call that ended.
    pub fn ended(&self, point: &str, result: &str, took: Duration) {
        self.runs.with_label_values(&[point, result]).inc();
        self.duration.with_label_values(&[point]).observe(took.as_secs_f64());
    }
}
