//! When a sync starts.

use kube_core::Duration;
use kube_derive::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When a ReplicationSource starts a sync.
///
/// Without `schedule` and without `manual` the source replicates continuously: a new sync starts
/// `minInterval` after the start of the one before, or at once if that one took longer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(crates(kube_core = "::kube_core"))]
#[x_kube(validation = (
    "!has(self.timeZone) || has(self.schedule)",
    "timeZone says how to read schedule: set trigger.schedule as well, or remove trigger.timeZone"
))]
#[x_kube(validation = (
    "!has(self.jitter) || has(self.schedule)",
    "jitter spreads the ticks of schedule: set trigger.schedule as well, or remove trigger.jitter"
))]
#[x_kube(validation = (
    "!has(self.jitter) || (duration(self.jitter) >= duration('1s') && duration(self.jitter) <= duration('24h'))",
    "jitter must be between 1s and 24h, for example 5m"
))]
#[x_kube(validation = (
    "!has(self.minInterval) || (!has(self.schedule) && !has(self.manual))",
    "minInterval belongs to continuous replication: remove it, or remove trigger.schedule and trigger.manual"
))]
#[x_kube(validation = (
    "!has(self.minInterval) || duration(self.minInterval) >= duration('1s')",
    "minInterval must be at least 1s, for example 30s"
))]
pub struct SourceTrigger {
    /// A cron expression of five fields (minute, hour, day of month, month, day of week), or one of
    /// `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`. For example `*/15 * * * *`. Ticks that pass while
    /// a sync runs are made up for by one sync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = 256),
        regex(pattern = r"^(@(hourly|daily|midnight|weekly|monthly|yearly|annually)|\s*\S+(\s+\S+){4}\s*)$")
    )]
    pub schedule: Option<String>,
    /// The time zone of `schedule`, as in the IANA database, for example `Europe/Berlin`. Default: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,
    /// Start each scheduled sync up to this much after its tick, for example `5m`: by an amount that differs from source to source, so that
    /// many with the same schedule do not all start at once, and is always the same for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Duration>,
    /// A tag of your own. Each new value starts one sync; `status.lastManualSync` shows the tag when that sync is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub manual: Option<String>,
    /// Whether a scheduled source also syncs as soon as it is created. Default: true.
    #[serde(default = "yes")]
    #[schemars(default = "yes")]
    pub on_create: bool,
    /// The least time between the starts of two syncs of a continuous source. Default: 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_interval: Option<Duration>,
}

fn yes() -> bool {
    true
}

/// When a ReplicationDestination accepts a sync.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DestinationTrigger {
    /// A tag of your own: the destination accepts one sync per new value. Without it, it always listens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub manual: Option<String>,
}
