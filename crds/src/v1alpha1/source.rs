//! ReplicationSource: what is replicated, when, and where to.

use super::{Comparison, External, Fidelity, Guards, MoverConfig, SourceHook, SourceStatus, SourceTrigger};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube_core::Duration;
use kube_derive::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Replicates a claim to a ReplicationDestination, in this cluster or another.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "scribe.dev",
    version = "v1alpha1",
    kind = "ReplicationSource",
    plural = "replicationsources",
    shortname = "rsrc",
    category = "scribe",
    namespaced,
    status = "SourceStatus",
    derive = "PartialEq",
    doc = "Replicates a persistent volume claim to a ReplicationDestination, in this cluster or another.",
    crates(kube_core = "::kube_core"),
    printcolumn(name = "Source", type_ = "string", json_path = ".spec.sourcePVC"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Recovery point", type_ = "date", json_path = ".status.recoveryPoint.dataTime"),
    printcolumn(
        name = "RPO kept",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"WithinRPO\")].status"
    ),
    printcolumn(name = "Progress", type_ = "string", json_path = ".status.progress.summary"),
    printcolumn(name = "Last duration", type_ = "string", json_path = ".status.lastSyncDuration"),
    printcolumn(name = "Next", type_ = "string", json_path = ".status.nextSyncTime"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Synchronizing\")].reason",
        priority = "1"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(crates(kube_core = "::kube_core"))]
#[x_kube(validation = (
    "has(self.rsync) != has(self.external)",
    "set exactly one of spec.rsync (Scribe copies the data) and spec.external (a storage vendor's operator does)"
))]
#[x_kube(validation = (
    "!has(self.rsync) || self.rsync.copyMethod != 'Direct' || !has(self.hooks) || !self.hooks.exists(hook, 'Quiesce' in hook.points)",
    "a Quiesce hook needs a point-in-time copy, and copyMethod Direct makes none: choose Clone or Snapshot, or remove the point"
))]
#[x_kube(validation = (
    "has(self.rsync) == has(oldSelf.rsync)",
    "spec.rsync and spec.external cannot be exchanged: make a new ReplicationSource"
))]
pub struct ReplicationSourceSpec {
    /// The claim to replicate, in the namespace of this object. Immutable. While it does not exist, the source is idle.
    #[serde(rename = "sourcePVC")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = (
        "self == oldSelf",
        "sourcePVC cannot be changed: make a new ReplicationSource for the other claim"
    ))]
    pub source_pvc: String,
    /// Start and make nothing while true. What runs already is finished.
    #[serde(default)]
    pub paused: bool,
    /// The recovery point objective: how old the data of the newest published replica may become, for example `30m`. The condition
    /// `WithinRPO` and a metric tell of it on both sides. Default: for a schedule, twice the longest time between the next ticks; else none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("duration(self) >= duration('1s')", "rpo must be at least 1s, for example 30m"))]
    pub rpo: Option<Duration>,
    /// When a sync starts. Default: continuously, 30 s apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<SourceTrigger>,
    /// What is refused before a sync deletes or writes anything, unless the annotation `scribe.dev/admit-sync` names the sync that was
    /// refused.
    #[serde(default)]
    pub guards: Guards,
    /// Modules that are asked in every sync.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(validation = (
        "['Decision', 'Transfer', 'Quiesce', 'Lifecycle', 'Failure'].all(point, self.filter(hook, point in hook.points).size() <= 1)",
        "each point has one hook at most: remove the point from one of the hooks that name it"
    ))]
    pub hooks: Vec<SourceHook>,
    /// Copy with rsync over ssh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rsync: Option<SourceRsync>,
    /// Leave the copy to a storage vendor's operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<External>,
}

/// How a point-in-time copy of the source claim is made.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum SourceCopyMethod {
    /// Clone the claim; the driver must support volume cloning.
    #[default]
    Clone,
    /// Take a snapshot, and make a claim from it; the driver must support snapshots.
    Snapshot,
    /// No copy: read the claim itself, beside whoever uses it.
    Direct,
}

/// Replication with rsync over ssh, seen from the source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(crates(kube_core = "::kube_core"))]
#[x_kube(validation = (
    "!has(self.moverSecurityContext) || !has(self.moverSecurityContext.fsGroup)",
    "moverSecurityContext.fsGroup on a source would make the kubelet rewrite the data: remove it, and set runAsUser or supplementalGroups"
))]
#[x_kube(validation = (
    "!has(self.bandwidthLimit) || (isQuantity(string(self.bandwidthLimit)) && quantity(string(self.bandwidthLimit)).compareTo(quantity('1Ki')) >= 0)",
    "bandwidthLimit is a quantity of bytes per second, at least 1Ki, for example 10Mi"
))]
#[x_kube(validation = (
    "!has(self.volumeSnapshotClassName) || self.copyMethod == 'Snapshot'",
    "volumeSnapshotClassName is of no use without a snapshot: remove it, or set copyMethod: Snapshot"
))]
#[x_kube(validation = (
    "self.copyMethod != 'Direct' || !(has(self.capacity) || has(self.storageClassName) || has(self.accessModes) || has(self.cutTimeout))",
    "copyMethod Direct makes no copy: remove capacity, storageClassName, accessModes and cutTimeout"
))]
pub struct SourceRsync {
    /// How the point-in-time copy is made. `Clone` clones the claim; the driver must support volume cloning. `Snapshot` takes a VolumeSnapshot
    /// and makes a claim from it. `Direct` makes no copy: the claim itself is mounted read-only, for `ReadWriteOnce` beside the pod that uses it, and
    /// files are read while they are written: the replica is not of one point in time (consistency `none`).
    #[serde(default)]
    pub copy_method: SourceCopyMethod,
    /// The size of the point-in-time copy. Default: that of the source claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Quantity>,
    /// The storage class of the point-in-time copy. Default: that of the source claim. Most drivers clone only within one class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
    /// The access modes of the point-in-time copy. Default: those of the source claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4))]
    pub access_modes: Option<Vec<String>>,
    /// The class of the snapshot, with `copyMethod: Snapshot`. Default: the default class of the claim's driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub volume_snapshot_class_name: Option<String>,
    /// The Secret that the ReplicationDestination made for its source (`status.methodStatus.sshKeys` there), carried to this
    /// namespace under this name. Its keys: `source` (private key), `destination.pub` (host key), `relationship`, and `address` and `port` where
    /// the fields of that name are not set.
    #[schemars(length(min = 1, max = 253))]
    pub ssh_keys: String,
    /// Where the destination listens: a host name, an IPv4 or an IPv6 address. Default: the address in the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9:][A-Za-z0-9:._%-]*$"))]
    pub address: Option<String>,
    /// The port where the destination listens. Default: the port in the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// How long the point-in-time copy may take to be made before it is deleted and tried again. Default: 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("duration(self) >= duration('1s')", "cutTimeout must be at least 1s, for example 10m"))]
    pub cut_timeout: Option<Duration>,
    /// How changed files are found. `Content` compares every file by its content, and is safe for every copy. `Metadata` compares by size and
    /// modification time, and is safe only where the application was stopped or frozen at the cut: data written shortly before a cut can
    /// reach the disk seconds before its time stamp does, and a replica made so can be torn.
    #[serde(default)]
    pub comparison: Comparison,
    /// What to do about attributes that the destination cannot keep. `BestEffort` drops them and lists them in `status.fidelity`;
    /// `Strict` refuses the sync.
    #[serde(default)]
    pub fidelity: Fidelity,
    /// The most bytes per second to send, for example `10Mi`. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth_limit: Option<Quantity>,
    /// Patterns of files to leave out, as rsync's `--exclude` takes them. A pattern that starts with `/` is anchored at the root of
    /// the volume. What is left out here is deleted from the replica.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128), inner(length(min = 1, max = 1024)))]
    pub excludes: Vec<String>,
    /// How the mover pod runs.
    #[serde(flatten)]
    pub mover: MoverConfig,
}
