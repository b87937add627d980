//! The three kinds, as one generic reconcile sees them.

use crate::context::Context;
use crate::observe::{self, ObserveError};
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use kube::Resource;
use scribe_core::chance::Chance;
use scribe_core::decision::Decision;
use scribe_core::hook_module::{self, HookModuleObserved};
use scribe_core::observed::{DestinationObserved, SourceObserved};
use scribe_core::schedule::Schedule;
use scribe_core::settings::Settings;
use scribe_core::{destination, source};
use scribe_crds::v1alpha1::{
    DestinationStatus, HookModule, HookModuleStatus, Phase, ReplicationDestination, ReplicationSource,
    SourceStatus, Transfer,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// What an object is to a replication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// A ReplicationSource.
    Source,
    /// A ReplicationDestination.
    Destination,
    /// A HookModule, which the hooks of both are made from.
    Module,
}

impl Side {
    /// As it stands in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
            Self::Module => "module",
        }
    }
}

/// What metrics show of a status.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// What it is doing.
    pub phase: Option<Phase>,
    /// The time of the data in the newest published replica.
    pub recovery_point: Option<Timestamp>,
    /// The recovery point objective, in seconds.
    pub objective: Option<f64>,
    /// The longest time between two ticks of the schedule, in seconds.
    pub interval: Option<f64>,
    /// When the last sync started.
    pub last_attempt: Option<Timestamp>,
    /// How long the last successful sync took, in seconds.
    pub last_duration: Option<f64>,
    /// Failed syncs since the last successful one.
    pub consecutive_failures: u32,
    /// When a hook began to bring the application to rest, until it is known to go on.
    pub quiesce_started: Option<Timestamp>,
    /// What the last mover moved.
    pub transfer: Option<Transfer>,
}

/// A kind that is reconciled.
///
/// *Assumptions*: its objects live in namespaces, and have a status with a subresource of its own.
pub trait Reconciled:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + Sync
    + 'static
{
    /// Its status.
    type Status: Clone + Debug + Serialize + Send + Sync;
    /// Everything that a decision about it depends on.
    type Observed: Send;
    /// Which one it is.
    const SIDE: Side;

    /// Whether a storage vendor's operator takes care of it, and Scribe leaves it alone.
    fn is_external(&self) -> bool;
    /// The status as it was read.
    fn status(&self) -> Option<&Self::Status>;
    /// The same object with another status.
    fn with_status(&self, status: Self::Status) -> Self;
    /// Reads what surrounds it.
    fn observe(
        &self,
        ctx: &Context,
    ) -> impl Future<Output = Result<observe::Seen<Self::Observed>, ObserveError>> + Send;
    /// Asks the core.
    fn decide(
        seen: &Self::Observed,
        settings: &Settings,
        now: Timestamp,
        chance: &mut dyn Chance,
    ) -> Decision<Self::Status>;
    /// What metrics show of a status of this object, if it is a replication.
    fn facts(&self, status: &Self::Status) -> Option<Facts>;
}

/// The longest time between the next ticks of a schedule, in seconds. A schedule that cannot be read has none: its user is told
/// elsewhere.
fn longest_gap(schedule: &str, time_zone: Option<&str>, now: Timestamp) -> Option<f64> {
    // Seconds between ticks are far below 2^52.
    Some(Schedule::parse(schedule, time_zone).ok()?.longest_gap(now)? as f64)
}

impl Reconciled for ReplicationSource {
    type Status = SourceStatus;
    type Observed = SourceObserved;
    const SIDE: Side = Side::Source;

    fn is_external(&self) -> bool {
        self.spec.external.is_some()
    }

    fn status(&self) -> Option<&SourceStatus> {
        self.status.as_ref()
    }

    fn with_status(&self, status: SourceStatus) -> Self {
        Self { status: Some(status), ..self.clone() }
    }

    async fn observe(&self, ctx: &Context) -> Result<observe::Seen<SourceObserved>, ObserveError> {
        observe::source(ctx, self).await
    }

    fn decide(
        seen: &SourceObserved,
        settings: &Settings,
        now: Timestamp,
        chance: &mut dyn Chance,
    ) -> Decision<SourceStatus> {
        source::decide(seen, settings, now, chance)
    }

    fn facts(&self, status: &SourceStatus) -> Option<Facts> {
        let started = status.current_sync.as_ref().map(|sync| sync.started_at.0);
        Some(Facts {
            phase: status.phase,
            recovery_point: status.recovery_point.as_ref().map(|point| point.data_time.0),
            objective: status
                .effective
                .as_ref()
                .and_then(|effective| effective.rpo)
                .map(|rpo| std::time::Duration::from(rpo).as_secs_f64()),
            interval: self.spec.trigger.as_ref().and_then(|trigger| {
                longest_gap(trigger.schedule.as_deref()?, trigger.time_zone.as_deref(), Timestamp::now())
            }),
            last_attempt: started.or(status.last_attempt.as_ref().map(|attempt| attempt.started_at.0)),
            last_duration: status
                .last_sync_duration
                .map(|took| std::time::Duration::from(took).as_secs_f64()),
            consecutive_failures: status.consecutive_failures,
            quiesce_started: status.quiesce.as_ref().map(|quiesce| quiesce.since.0),
            transfer: status.latest_mover_status.as_ref().and_then(|mover| mover.transfer.clone()),
        })
    }
}

impl Reconciled for ReplicationDestination {
    type Status = DestinationStatus;
    type Observed = DestinationObserved;
    const SIDE: Side = Side::Destination;

    fn is_external(&self) -> bool {
        self.spec.external.is_some()
    }

    fn status(&self) -> Option<&DestinationStatus> {
        self.status.as_ref()
    }

    fn with_status(&self, status: DestinationStatus) -> Self {
        Self { status: Some(status), ..self.clone() }
    }

    async fn observe(&self, ctx: &Context) -> Result<observe::Seen<DestinationObserved>, ObserveError> {
        observe::destination(ctx, self).await
    }

    fn decide(
        seen: &DestinationObserved,
        settings: &Settings,
        now: Timestamp,
        chance: &mut dyn Chance,
    ) -> Decision<DestinationStatus> {
        destination::decide(seen, settings, now, chance)
    }

    fn facts(&self, status: &DestinationStatus) -> Option<Facts> {
        let seconds = status.objective.as_ref().and_then(|objective| objective.rpo_seconds);
        let started = status.current_sync.as_ref().map(|sync| sync.started_at.0);
        Some(Facts {
            phase: status.phase,
            recovery_point: status.recovery_point.as_ref().map(|point| point.data_time.0),
            // Seconds of an objective are far below 2^52.
            objective: seconds.map(|seconds| seconds as f64),
            interval: status.objective.as_ref().and_then(|objective| {
                longest_gap(objective.schedule.as_deref()?, objective.time_zone.as_deref(), Timestamp::now())
            }),
            last_attempt: started.or(status.received.as_ref().map(|received| received.received_at.0)),
            last_duration: status
                .last_sync_duration
                .map(|took| std::time::Duration::from(took).as_secs_f64()),
            consecutive_failures: status.consecutive_failures,
            quiesce_started: None,
            transfer: status.received.as_ref().map(|received| received.transfer.clone()),
        })
    }
}

impl Reconciled for HookModule {
    type Status = HookModuleStatus;
    type Observed = HookModuleObserved;
    const SIDE: Side = Side::Module;

    fn is_external(&self) -> bool {
        false
    }

    fn status(&self) -> Option<&HookModuleStatus> {
        self.status.as_ref()
    }

    fn with_status(&self, status: HookModuleStatus) -> Self {
        Self { status: Some(status), ..self.clone() }
    }

    async fn observe(&self, ctx: &Context) -> Result<observe::Seen<HookModuleObserved>, ObserveError> {
        observe::hook_module(ctx, self).await
    }

    fn decide(
        seen: &HookModuleObserved,
        _: &Settings,
        now: Timestamp,
        _: &mut dyn Chance,
    ) -> Decision<HookModuleStatus> {
        hook_module::decide(seen, now)
    }

    fn facts(&self, _: &HookModuleStatus) -> Option<Facts> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_of_a_schedule_is_its_interval() {
        let friday: Timestamp = "2026-01-02T12:00:00Z".parse().unwrap();
        assert_eq!(longest_gap("*/15 * * * *", None, friday), Some(900.0));
        assert_eq!(longest_gap("0 9 * * 1-5", None, friday), Some(3.0 * 86400.0));
        assert_eq!(longest_gap("every now and then", None, friday), None);
    }
}
