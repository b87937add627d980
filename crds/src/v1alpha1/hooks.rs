//! Hooks: where in a replication a module is asked, and what became of it.

use super::{Comparison, Failure, QuiesceOptions, ReactionRecord, TriggerKind};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube_derive::KubeSchema;
use schemars::JsonSchema;
use scribe_hooks_contract::points::Point;
use serde::{Deserialize, Serialize};

/// What a module is to know of its task: any JSON object.
pub type HookSettings = serde_json::Map<String, serde_json::Value>;

fn settings_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

/// A list that holds nothing twice.
fn set_of<T: JsonSchema>(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let mut schema = <Vec<T>>::json_schema(generator);
    schema.insert("x-kubernetes-list-type".into(), "set".into());
    schema.insert("minItems".into(), 1.into());
    schema.insert("maxItems".into(), 8.into());
    schema
}

/// Asks a module at some points of every sync.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(crates(kube_core = "::kube_core"))]
#[x_kube(validation = (
    "!has(self.quiesce) || 'Quiesce' in self.points",
    "quiesce is of no use without the point Quiesce: remove it, or add the point"
))]
pub struct SourceHook {
    /// The HookModule, in the namespace of this object.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub module: String,
    /// Where it is asked. `Decision`: whether to start a sync that is due. `Transfer`: how to transfer. `Quiesce`:
    /// bring the application to rest before the cut, and let it go on right after it. `Lifecycle`: before a sync, which it can refuse, and after its replica
    /// was published. `Failure`: told of attempts that failed, and asked what to do. Each point has one hook at most.
    #[schemars(schema_with = "set_of::<SourceHookPoint>")]
    pub points: Vec<SourceHookPoint>,
    /// The ServiceAccount, in this namespace, that the hook acts as towards Kubernetes. It bounds what the HookModule grants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub service_account_name: Option<String>,
    /// What the point Quiesce has to keep to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiesce: Option<QuiesceOptions>,
    /// What the module is to know, as its author says. The module judges it whenever it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "settings_schema")]
    pub settings: Option<HookSettings>,
    /// What to do while the hook cannot run or breaks. `Fail`: start no sync. `Continue`: sync without it.
    #[serde(default)]
    pub on_error: OnError,
}

/// A point of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum SourceHookPoint {
    /// Whether to start a sync that is due.
    Decision,
    /// How to transfer.
    Transfer,
    /// The application is at rest while the cut is made.
    Quiesce,
    /// Before a sync, and after its replica was published.
    Lifecycle,
    /// After an attempt that failed.
    Failure,
}

impl SourceHookPoint {
    /// Whether the module may touch anything there.
    pub fn has_effects(self) -> bool {
        match self {
            Self::Decision | Self::Transfer => false,
            Self::Quiesce | Self::Lifecycle | Self::Failure => true,
        }
    }
}

impl From<SourceHookPoint> for Point {
    fn from(point: SourceHookPoint) -> Self {
        match point {
            SourceHookPoint::Decision => Self::Decision,
            SourceHookPoint::Transfer => Self::Transfer,
            SourceHookPoint::Quiesce => Self::Quiesce,
            SourceHookPoint::Lifecycle => Self::Lifecycle,
            SourceHookPoint::Failure => Self::Failure,
        }
    }
}

/// Asks a module which replicas to keep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(crates(kube_core = "::kube_core"))]
pub struct DestinationHook {
    /// The HookModule, in the namespace of this object.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub module: String,
    /// Where it is asked. `Retention`: which replicas are kept, in place of `spec.retain`. The newest one that is ready, those that are pinned and
    /// those that a claim is being made from stay whatever it says; and while it cannot run, or breaks, all stay.
    #[schemars(schema_with = "set_of::<DestinationHookPoint>")]
    pub points: Vec<DestinationHookPoint>,
    /// What the module is to know, as its author says. The module judges it whenever it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "settings_schema")]
    pub settings: Option<HookSettings>,
    /// Only show, in `status.replicas` and in an Event, what would be kept and why; delete nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// The most replicas that are deleted each time that the hook is asked, the oldest first. It is asked once for each replica that is
    /// published. Default: 128.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 128))]
    pub max_delete_per_run: Option<u32>,
}

/// A point of a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum DestinationHookPoint {
    /// Which replicas are kept.
    Retention,
}

impl From<DestinationHookPoint> for Point {
    fn from(point: DestinationHookPoint) -> Self {
        match point {
            DestinationHookPoint::Retention => Self::Retention,
        }
    }
}

/// What to do while a hook cannot run or breaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnError {
    /// Start no sync.
    #[default]
    Fail,
    /// Sync without the hook.
    Continue,
}

/// What became of one hook of the spec.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HookStatus {
    /// The HookModule.
    pub module: String,
    /// The points of the hook.
    pub points: Vec<Point>,
    /// The SHA-256 of the module that is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Stands for the module and the settings that it has judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged: Option<String>,
    /// What the module has against the settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// What keeps the hook from being asked, or what went wrong when it was asked last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Failure>,
    /// What it said to the last sync that was due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionRecord>,
    /// What it said to the last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<TransferRecord>,
    /// What it said of the last attempt that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reaction: Option<ReactionRecord>,
    /// What it said of the replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<RetentionRecord>,
}

/// What a Decision hook said to a sync that was due.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DecisionRecord {
    /// Stands for what was due.
    pub about: String,
    /// Why it was due.
    pub trigger: TriggerKind,
    /// The tag of a manual trigger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// What the hook said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<DecisionVerdict>,
    /// Why it said nothing: it broke.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Why, in the hook's words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// It is asked again at this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    /// The SHA-256 of the module that said it.
    pub digest: String,
    /// The generation of the object that it was asked about.
    pub generation: i64,
    /// When it was recorded.
    pub time: Time,
    /// How many times it was asked about this.
    pub asked: u32,
}

/// What a Decision hook can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DecisionVerdict {
    /// Sync now.
    Proceed,
    /// Not this time.
    Skip,
    /// Ask again later.
    Defer,
}

/// How an attempt transfers, as a Transfer hook said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TransferRecord {
    /// The sync.
    pub sync_id: String,
    /// The attempt.
    pub attempt: u32,
    /// The SHA-256 of the module that said it.
    pub digest: String,
    /// The most bytes per second to send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth_limit: Option<u64>,
    /// Patterns that are left out in addition to those of the spec.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub excludes: Vec<String>,
    /// How changed files are found, if it is not as the spec says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
    /// How long the destination may be silent, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
    /// Why the attempt goes as it would without the hook: it broke.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// What was not done as the hook said, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What a Retention hook said. It is asked once for each replica that is published, and when the module, its settings, a pin or a label
/// changes. Why each replica is kept stands in `status.replicas`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetentionRecord {
    /// Stands for the module, its settings and the replicas that stay.
    pub about: String,
    /// How many replicas it keeps, or has to leave alone.
    pub keeps: u32,
    /// How many replicas it does not keep.
    pub drops: u32,
    /// Those of them that go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub deletes: Vec<String>,
}

/// The last sync that a Decision hook skipped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SkippedSync {
    /// Why it was due.
    pub trigger: TriggerKind,
    /// The last tag of a manual trigger that was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// When it was skipped.
    pub time: Time,
    /// When a sync was skipped last that no tag had asked for: schedule and interval count from here on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts_from: Option<Time>,
    /// The HookModule that skipped it.
    pub module: String,
    /// Why, in the hook's words.
    pub message: String,
}
