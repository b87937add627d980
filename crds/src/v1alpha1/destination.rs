//! ReplicationDestination: where a claim is replicated to, and how many replicas are kept.

use super::{DestinationHook, DestinationStatus, DestinationTrigger, External, MoverConfig};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube_core::Duration;
use kube_derive::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Receives a claim from a ReplicationSource and publishes snapshots of it.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "scribe.dev",
    version = "v1alpha1",
    kind = "ReplicationDestination",
    plural = "replicationdestinations",
    shortname = "rd",
    category = "scribe",
    namespaced,
    status = "DestinationStatus",
    derive = "PartialEq",
    doc = "Receives a persistent volume claim from a ReplicationSource and publishes snapshots of it.",
    crates(kube_core = "::kube_core"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Recovery point", type_ = "date", json_path = ".status.recoveryPoint.dataTime"),
    printcolumn(
        name = "RPO kept",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"WithinRPO\")].status"
    ),
    printcolumn(name = "Latest image", type_ = "string", json_path = ".status.latestImage.name"),
    printcolumn(name = "Progress", type_ = "string", json_path = ".status.progress.summary"),
    printcolumn(name = "Last duration", type_ = "string", json_path = ".status.lastSyncDuration"),
    printcolumn(
        name = "Address",
        type_ = "string",
        json_path = ".status.methodStatus.address",
        priority = "1"
    ),
    printcolumn(
        name = "Promotable",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Promotable\")].status"
    ),
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
    "has(self.rsync) == has(oldSelf.rsync)",
    "spec.rsync and spec.external cannot be exchanged: make a new ReplicationDestination"
))]
#[x_kube(validation = (
    "!has(self.retain) || !has(self.rsync) || self.rsync.copyMethod != 'Direct'",
    "retain says which snapshots are kept, and rsync.copyMethod Direct makes none: remove retain"
))]
#[x_kube(validation = (
    "!has(self.hooks) || !has(self.rsync) || self.rsync.copyMethod != 'Direct' || !self.hooks.exists(hook, 'Retention' in hook.points)",
    "a Retention hook says which snapshots are kept, and rsync.copyMethod Direct makes none: remove the hook"
))]
#[x_kube(validation = (
    "!has(self.retain) || !has(self.hooks) || !self.hooks.exists(hook, 'Retention' in hook.points)",
    "a Retention hook says which replicas are kept, in place of retain: remove one of the two"
))]
pub struct ReplicationDestinationSpec {
    /// Start and make nothing while true: syncs are refused until it is false again.
    #[serde(default)]
    pub paused: bool,
    /// When a sync is accepted. Default: always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<DestinationTrigger>,
    /// Receive with rsync over ssh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rsync: Option<DestinationRsync>,
    /// Leave the copy to a storage vendor's operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<External>,
    /// Which published replicas are kept. Default: the last three. Not with `rsync.copyMethod: Direct`, which has only the claim, nor with a Retention hook,
    /// which says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain: Option<Retain>,
    /// Modules that are asked, for now which replicas are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(validation = (
        "self.filter(hook, 'Retention' in hook.points).size() <= 1",
        "each point has one hook at most: remove the point from one of the hooks that name it"
    ))]
    pub hooks: Vec<DestinationHook>,
    /// What becomes of the published replicas when this object is deleted. `Retain`: they stay, with their annotations. `Delete`: they
    /// are deleted as well.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// Which published replicas are kept, as long as this object exists: all that any of these rules keeps. The newest one that is ready is always kept, and so are those that are
/// annotated `scribe.dev/pinned`, and those that a claim of this namespace is being made from. Time is counted from the newest replica's data
/// time, so that nothing runs out while replication stands still.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(crates(kube_core = "::kube_core"))]
pub struct Retain {
    /// Keep this many of the newest replicas.
    #[serde(default = "Retain::default_last")]
    #[schemars(range(min = 1, max = 128))]
    pub last: u32,
    /// Keep every replica whose data is at most this much older than that of the newest, for example `48h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("duration(self) >= duration('1s')", "retain.within must be at least 1s, for example 48h"))]
    pub within: Option<Duration>,
    /// Keep the newest replica of each of this many hours (in UTC, and of those that have one).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 128))]
    pub hourly: Option<u32>,
    /// Keep the newest replica of each of this many days (in UTC, and of those that have one).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 128))]
    pub daily: Option<u32>,
    /// Keep the newest replica of each of this many weeks (from Monday on in UTC, and of those that have one).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 128))]
    pub weekly: Option<u32>,
    /// Keep the newest replica of each of this many months (in UTC, and of those that have one).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 128))]
    pub monthly: Option<u32>,
    /// Keep the newest replica of each of this many years (in UTC, and of those that have one).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 128))]
    pub yearly: Option<u32>,
}

impl Retain {
    fn default_last() -> u32 {
        3
    }
}

impl Default for Retain {
    fn default() -> Self {
        Self {
            last: Self::default_last(),
            within: None,
            hourly: None,
            daily: None,
            weekly: None,
            monthly: None,
            yearly: None,
        }
    }
}

/// What becomes of the published replicas when the ReplicationDestination is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// They stay, with the annotations that say what they are.
    #[default]
    Retain,
    /// They are deleted as well.
    Delete,
}

/// What a destination publishes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DestinationCopyMethod {
    /// A VolumeSnapshot of the receiving claim after every sync.
    #[default]
    Snapshot,
    /// The receiving claim itself, overwritten in place.
    Direct,
}

/// How the destination can be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceType {
    /// From within the cluster only.
    #[default]
    ClusterIP,
    /// At the address of the mover pod's node, on a node port.
    NodePort,
    /// At a load balancer's address.
    LoadBalancer,
}

/// Replication with rsync over ssh, seen from the destination.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(crates(kube_core = "::kube_core"))]
#[x_kube(validation = (
    "has(self.destinationPVC) || (has(self.capacity) && has(self.accessModes))",
    "set capacity and accessModes for the receiving claim, or name an existing claim in destinationPVC"
))]
#[x_kube(validation = (
    "!has(self.destinationPVC) || (!has(self.capacity) && !has(self.accessModes) && !has(self.storageClassName))",
    "destinationPVC names an existing claim: remove capacity, accessModes and storageClassName"
))]
#[x_kube(validation = (
    "has(self.destinationPVC) == has(oldSelf.destinationPVC) && (!has(self.destinationPVC) || self.destinationPVC == oldSelf.destinationPVC)",
    "destinationPVC cannot be changed: make a new ReplicationDestination for the other claim"
))]
#[x_kube(validation = (
    "self.copyMethod == oldSelf.copyMethod",
    "copyMethod cannot be changed: make a new ReplicationDestination"
))]
#[x_kube(validation = (
    "self.copyMethod != 'Direct' || !(has(self.volumeSnapshotClassName) || has(self.publishTimeout))",
    "copyMethod Direct makes no snapshots: remove volumeSnapshotClassName and publishTimeout"
))]
pub struct DestinationRsync {
    /// What is published. `Snapshot`: a VolumeSnapshot of the receiving claim after every sync. `Direct`: the receiving claim itself, which is
    /// overwritten in place: from the first write of a sync to its end it is no replica of anything, and there is no older one. Immutable.
    #[serde(default)]
    pub copy_method: DestinationCopyMethod,
    /// The size of the receiving claim. May be raised later, where the storage class allows expansion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Quantity>,
    /// The access modes of the receiving claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4))]
    pub access_modes: Option<Vec<String>>,
    /// The storage class of the receiving claim. Default: the cluster's default class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
    /// The class of the published snapshots. Default: the default class of the claim's driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub volume_snapshot_class_name: Option<String>,
    /// An existing claim to receive into. It is never deleted by Scribe. Immutable.
    #[serde(default, rename = "destinationPVC", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub destination_pvc: Option<String>,
    /// How the destination can be reached from the source. `ClusterIP`: from within the cluster only. `NodePort`: at the address of the mover
    /// pod's node, on a node port. `LoadBalancer`: at a load balancer's address.
    #[serde(default)]
    pub service_type: ServiceType,
    /// Annotations of the Service, for a load balancer's own settings.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub service_annotations: BTreeMap<String, String>,
    /// The port of the Service. Default: 22. With `serviceType: NodePort` the port that sources use is the node port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// A Secret with the keys `destination`, `destination.pub` and `source.pub` (OpenSSH, ed25519) to use in place of generated
    /// ones. You then make the source's Secret yourself, with the keys `source`, `destination.pub`, `relationship` (any text), `address` and
    /// `port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub ssh_keys: Option<String>,
    /// How long a snapshot may take to become ready before it is given up. Default: 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("duration(self) >= duration('1s')", "publishTimeout must be at least 1s, for example 10m"))]
    pub publish_timeout: Option<Duration>,
    /// How the mover pod runs.
    #[serde(flatten)]
    pub mover: MoverConfig,
}
