//! What Prometheus sees.

mod hooks;
mod movers;
#[cfg(test)]
mod tests;

use crate::kinds::{Facts, Side};
use crate::router::Owner;
pub use hooks::HookRuns;
use movers::Movers;
use prometheus::core::Collector;
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};
use scribe_core::decision::{SyncEnded, SyncResult};
use scribe_crds::v1alpha1::{Guard, Phase, Transfer};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The labels of a series about one object.
const OBJECT: [&str; 3] = ["namespace", "name", "side"];
/// 0.1 s to 6 h.
const PHASE_BUCKETS: [f64; 14] =
    [0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 1800.0, 3600.0, 21600.0];
const RECONCILE_BUCKETS: [f64; 10] = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// How a reconcile ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It wrote something.
    Applied,
    /// There was nothing to do.
    Settled,
    /// The object is gone, or another operator's.
    Skipped,
    /// A write was refused.
    Refused,
    /// The world had changed.
    Conflict,
    /// Something failed.
    Failed,
    /// It was dropped before it ended.
    Abandoned,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Settled => "settled",
            Self::Skipped => "skipped",
            Self::Refused => "refused",
            Self::Conflict => "conflict",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
        }
    }
}

/// Every metric of the controller.
pub struct Metrics {
    registry: Registry,
    recovery_point: GaugeVec,
    objective: GaugeVec,
    interval: GaugeVec,
    state: IntGaugeVec,
    last_attempt: GaugeVec,
    last_duration: GaugeVec,
    consecutive_failures: IntGaugeVec,
    syncs: IntCounterVec,
    guard_trips: IntCounterVec,
    phases: HistogramVec,
    transfer_bytes: IntCounterVec,
    transfer_files: IntCounterVec,
    reconciles: IntCounterVec,
    reconcile_duration: HistogramVec,
    is_leader: IntGauge,
    /// Movers and those that wait for one.
    pub movers: Movers,
    /// Calls of modules.
    pub hooks: HookRuns,
    memory: Mutex<HashMap<String, Memory>>,
}

/// What is needed to measure phases, and to remove series.
#[derive(Default)]
struct Memory {
    phase: Option<(Phase, Instant)>,
    results: BTreeSet<(&'static str, &'static str)>,
}

fn registered<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> prometheus::Result<C> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn build_info(registry: &Registry) -> prometheus::Result<()> {
    let options = Opts::new("scribe_build_info", "Always 1; the labels say what runs.");
    let build = registered(registry, IntGaugeVec::new(options, &["version"])?)?;
    build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    Ok(())
}

fn guard_trips(registry: &Registry) -> prometheus::Result<IntCounterVec> {
    let options = Opts::new("scribe_guard_trips_total", "Syncs that a guard refused.");
    registered(registry, IntCounterVec::new(options, &with(&OBJECT, &["guard"]))?)
}

fn with<'a>(labels: &[&'a str; 3], more: &[&'a str]) -> Vec<&'a str> {
    labels.iter().chain(more).copied().collect()
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// Fails if a metric is malformed, or there twice: a fault of this module.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let gauge =
            |name: &str, help: &str| registered(&registry, GaugeVec::new(Opts::new(name, help), &OBJECT)?);
        let int_gauge = |name: &str, help: &str, more: &[&str]| {
            registered(&registry, IntGaugeVec::new(Opts::new(name, help), &with(&OBJECT, more))?)
        };
        let counter = |name: &str, help: &str, labels: &[&str]| {
            registered(&registry, IntCounterVec::new(Opts::new(name, help), labels)?)
        };
        let histogram = |name: &str, help: &str, labels: &[&str], buckets: &[f64]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            registered(&registry, HistogramVec::new(options, labels)?)
        };
        build_info(&registry)?;
        Ok(Self {
            recovery_point: gauge(
                "scribe_replication_recovery_point_timestamp_seconds",
                "Time of the data in the newest published replica, as this side knows it.",
            )?,
            objective: gauge(
                "scribe_replication_rpo_objective_seconds",
                "How old the newest replica may become.",
            )?,
            interval: gauge(
                "scribe_replication_schedule_interval_seconds",
                "The longest time between two ticks of the schedule.",
            )?,
            state: int_gauge(
                "scribe_replication_state",
                "1 for the state that the replication is in.",
                &["state"],
            )?,
            last_attempt: gauge(
                "scribe_replication_last_attempt_timestamp_seconds",
                "When the last sync started.",
            )?,
            last_duration: gauge(
                "scribe_replication_last_sync_duration_seconds",
                "How long the last successful sync took.",
            )?,
            consecutive_failures: int_gauge(
                "scribe_replication_consecutive_failures",
                "Failed syncs since the last successful one.",
                &[],
            )?,
            syncs: counter("scribe_syncs_total", "Syncs that ended.", &with(&OBJECT, &["result", "reason"]))?,
            guard_trips: guard_trips(&registry)?,
            phases: histogram(
                "scribe_sync_phase_duration_seconds",
                "How long a phase of a sync lasted.",
                &["side", "phase"],
                &PHASE_BUCKETS,
            )?,
            transfer_bytes: counter(
                "scribe_transfer_bytes_total",
                "Bytes of syncs that ended: over the wire, sent because they differed (literal), and of the volume (total).",
                &with(&OBJECT, &["kind"]),
            )?,
            transfer_files: counter(
                "scribe_transfer_files_total",
                "Files of syncs that ended: looked at (scanned), sent (changed), and deleted.",
                &with(&OBJECT, &["kind"]),
            )?,
            reconciles: counter("scribe_reconciles_total", "Passes over an object.", &["side", "result"])?,
            reconcile_duration: histogram(
                "scribe_reconcile_duration_seconds",
                "How long a pass over an object took.",
                &["side"],
                &RECONCILE_BUCKETS,
            )?,
            is_leader: registered(
                &registry,
                IntGauge::new("scribe_is_leader", "Whether this controller is the one that works.")?,
            )?,
            movers: Movers::new(&registry)?,
            hooks: HookRuns::new(&registry)?,
            memory: Mutex::default(),
            registry,
        })
    }

    /// Whether this controller is the one that works.
    pub fn lead(&self, is_leader: bool) {
        self.is_leader.set(i64::from(is_leader));
    }

    /// Everything, in Prometheus' text format.
    ///
    /// # Errors
    /// Fails if a metric cannot be written: a fault of this module.
    pub fn text(&self) -> prometheus::Result<String> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    /// Shows what a status says.
    pub fn show(&self, uid: &str, owner: &Owner, facts: &Facts) {
        let labels = labels(owner);
        let set = |gauge: &GaugeVec, value: Option<f64>| match value {
            Some(value) => gauge.with_label_values(&labels).set(value),
            // Absent is not zero. That there was none is no error.
            None => drop(gauge.remove_label_values(&labels)),
        };
        let seconds = |time: jiff::Timestamp| time.as_duration().as_secs_f64();
        set(&self.recovery_point, facts.recovery_point.map(seconds));
        set(&self.objective, facts.objective);
        set(&self.interval, facts.interval);
        set(&self.last_attempt, facts.last_attempt.map(seconds));
        set(&self.last_duration, facts.last_duration);
        self.hooks.show_quiesce(&labels, facts.quiesce_started.map(seconds));
        self.consecutive_failures.with_label_values(&labels).set(facts.consecutive_failures.into());
        for phase in Phase::ALL {
            let is_now = i64::from(facts.phase == Some(phase));
            self.state.with_label_values(&with(&labels, &[name(phase)])).set(is_now);
        }
        self.measure(uid, owner.side, facts.phase);
    }

    fn measure(&self, uid: &str, side: Side, phase: Option<Phase>) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let known = &mut memory.entry(uid.to_owned()).or_default().phase;
        if let Some((last, since)) = *known
            && phase != Some(last)
            && is_measured(last)
        {
            let took = since.elapsed().as_secs_f64();
            self.phases.with_label_values(&[side.as_str(), name(last)]).observe(took);
        }
        if known.map(|(last, _)| last) != phase {
            *known = phase.map(|phase| (phase, Instant::now()));
        }
    }

    /// Counts a sync that ended.
    pub fn ended(&self, uid: &str, owner: &Owner, ended: &SyncEnded, transfer: Option<&Transfer>) {
        let labels = labels(owner);
        let result = match ended.result {
            SyncResult::Success => "success",
            SyncResult::Unchanged => "unchanged",
            SyncResult::Failure => "failure",
            SyncResult::Aborted => "aborted",
        };
        let reason = ended.reason.map_or("", |reason| reason.as_str());
        self.syncs.with_label_values(&with(&labels, &[result, reason])).inc();
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.entry(uid.to_owned()).or_default().results.insert((result, reason));
        drop(memory);
        let Some(transfer) = transfer else { return };
        for (kind, bytes) in byte_kinds(transfer) {
            self.transfer_bytes.with_label_values(&with(&labels, &[kind])).inc_by(positive(bytes));
        }
        for (kind, files) in file_kinds(transfer) {
            self.transfer_files.with_label_values(&with(&labels, &[kind])).inc_by(positive(files));
        }
    }

    /// Counts a sync that a guard refused.
    pub fn tripped(&self, owner: &Owner, guard: Guard) {
        self.guard_trips.with_label_values(&with(&labels(owner), &[guard.as_str()])).inc();
    }

    /// Counts an application that was let go on by force.
    pub fn forced_release(&self, owner: &Owner) {
        self.hooks.forced_release(&labels(owner));
    }

    /// Removes the series of an object that is gone. That some were never there is no error.
    pub fn forget(&self, uid: &str, owner: &Owner) {
        let labels = labels(owner);
        let gauges =
            [&self.recovery_point, &self.objective, &self.interval, &self.last_attempt, &self.last_duration];
        for gauge in gauges {
            let _ = gauge.remove_label_values(&labels);
        }
        let _ = self.consecutive_failures.remove_label_values(&labels);
        self.hooks.forget(&labels);
        for phase in Phase::ALL {
            let _ = self.state.remove_label_values(&with(&labels, &[name(phase)]));
        }
        for guard in Guard::ALL {
            let _ = self.guard_trips.remove_label_values(&with(&labels, &[guard.as_str()]));
        }
        let none = Transfer::default();
        for (kind, _) in byte_kinds(&none) {
            let _ = self.transfer_bytes.remove_label_values(&with(&labels, &[kind]));
        }
        for (kind, _) in file_kinds(&none) {
            let _ = self.transfer_files.remove_label_values(&with(&labels, &[kind]));
        }
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
        for (result, reason) in memory.into_iter().flat_map(|memory| memory.results) {
            let _ = self.syncs.remove_label_values(&with(&labels, &[result, reason]));
        }
    }

    /// Measures a reconcile from here on.
    pub fn reconcile(&self, side: Side) -> ReconcileStep<'_> {
        ReconcileStep { metrics: self, side, since: Instant::now(), outcome: Outcome::Abandoned }
    }
}

/// A reconcile that is being measured: recorded when it is dropped, as abandoned if nobody said otherwise.
pub struct ReconcileStep<'a> {
    metrics: &'a Metrics,
    side: Side,
    since: Instant,
    outcome: Outcome,
}

impl ReconcileStep<'_> {
    /// It ended. The answer is how long it took.
    pub fn finish(mut self, outcome: Outcome) -> Duration {
        self.outcome = outcome;
        self.since.elapsed()
    }
}

impl Drop for ReconcileStep<'_> {
    fn drop(&mut self) {
        let side = self.side.as_str();
        self.metrics.reconciles.with_label_values(&[side, self.outcome.as_str()]).inc();
        self.metrics
            .reconcile_duration
            .with_label_values(&[side])
            .observe(self.since.elapsed().as_secs_f64());
    }
}

fn labels(owner: &Owner) -> [&str; 3] {
    [&owner.namespace, &owner.name, owner.side.as_str()]
}

fn byte_kinds(transfer: &Transfer) -> [(&'static str, i64); 3] {
    [("wire", transfer.bytes_sent), ("literal", transfer.bytes_literal), ("total", transfer.bytes_total)]
}

fn file_kinds(transfer: &Transfer) -> [(&'static str, i64); 3] {
    [("scanned", transfer.files_total), ("changed", transfer.files_sent), ("deleted", transfer.files_deleted)]
}

fn positive(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

/// Phases that are a part of a sync, and not a wait for one.
fn is_measured(phase: Phase) -> bool {
    match phase {
        Phase::Quiescing | Phase::Cutting | Phase::Starting | Phase::Transferring | Phase::Publishing => true,
        Phase::Idle | Phase::Listening | Phase::Waiting | Phase::Paused | Phase::Failed => false,
    }
}

fn name(phase: Phase) -> &'static str {
    match phase {
        Phase::Idle => "Idle",
        Phase::Quiescing => "Quiescing",
        Phase::Cutting => "Cutting",
        Phase::Starting => "Starting",
        Phase::Transferring => "Transferring",
        Phase::Publishing => "Publishing",
        Phase::Listening => "Listening",
        Phase::Waiting => "Waiting",
        Phase::Paused => "Paused",
        Phase::Failed => "Failed",
    }
}
