//! What the controller saw, read from the API server itself (not from a cache) within one reconcile.

use crate::chance::Redacted;
use crate::hooks::HooksSeen;
use crate::slots::SlotsSeen;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use scribe_crds::names;
use scribe_crds::snapshots::{VolumeSnapshot, VolumeSnapshotContent};
use scribe_crds::v1alpha1::{ReplicationDestination, ReplicationSource};
use scribe_mover_contract::control::MoverState;

/// What surrounds an object of either kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Surroundings {
    /// The uid of the namespace kube-system: the identity of this cluster.
    pub cluster_id: String,
    /// Whether the object's namespace is annotated `scribe.dev/privileged-movers: "true"`.
    pub privileged_movers: bool,
    /// The controller's namespace, if it is annotated `scribe.dev/pause-all`.
    pub paused_by: Option<String>,
    /// The bearer token of this object's movers, derived from its uid.
    pub control_token: Redacted,
    /// Warnings that Kubernetes gave about our claims, pods, snapshots and Service, newest last: read only while one of them is
    /// not what it should be.
    pub warnings: Vec<Warning>,
    /// Writes that the API server refuses and that are worth telling the user (quota, admission, a name that is taken): those that are
    /// not due to be tried again, and the one that ended the last pass.
    pub refusals: Vec<Refusal>,
}

impl Surroundings {
    /// Why nothing is to be started, if so: because of the object's own spec, or of everything in the cluster.
    pub fn pause(&self, spec_paused: bool) -> Option<String> {
        match &self.paused_by {
            _ if spec_paused => Some("spec.paused is true".to_owned()),
            Some(namespace) => Some(format!(
                "everything in this cluster is paused: remove the annotation {} of namespace {namespace} to go on",
                names::PAUSE_ALL
            )),
            None => None,
        }
    }
}

/// A Kubernetes Event of type Warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The uid of the object that it is about.
    pub about: String,
    /// Its reason.
    pub reason: String,
    /// Its message.
    pub message: String,
}

/// A write that the API server refused for good (403, 409 with a foreign object, 422).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Kind and name of the object.
    pub object: String,
    /// Whether a quota is the cause.
    pub quota: bool,
    /// The API server's words.
    pub message: String,
}

/// What was seen of a ReplicationSource.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceObserved {
    /// The object.
    pub source: ReplicationSource,
    /// What surrounds it.
    pub around: Surroundings,
    /// The claim to replicate.
    pub claim: Option<PersistentVolumeClaim>,
    /// Every claim that bears this object's owner label: cuts, of this sync or left over, and what was copied from one.
    pub cuts: Vec<PersistentVolumeClaim>,
    /// Whether the VolumeSnapshot API is there.
    pub snapshots_available: bool,
    /// Every VolumeSnapshot that bears this object's owner label.
    pub snapshots: Vec<VolumeSnapshot>,
    /// The contents of those, and every content that `status.releasing` names.
    pub contents: Vec<VolumeSnapshotContent>,
    /// The pods that use the source claim, whosever they are: read while there is no cut yet, and where the claim itself is the cut.
    pub users: Vec<Pod>,
    /// Every pod that bears this object's owner label.
    pub pods: Vec<Pod>,
    /// The state of the mover pod of the current attempt, if it runs and has answered, with the pod's name.
    pub mover: Option<(String, MoverState)>,
    /// The limits on movers, and who runs and waits.
    pub slots: SlotsSeen,
    /// What its hooks depend on.
    pub hooks: HooksSeen,
}

/// What was seen of a Secret that holds keys, or is to hold them. Never what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSeen {
    /// There is none.
    Missing,
    /// The object's own.
    Ours {
        /// Its resource version.
        resource_version: String,
        /// The relationship that its keys belong to.
        relationship: Option<String>,
    },
    /// Somebody else's, or one that cannot be looked at.
    Foreign,
}

/// A claim that is being made from a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restore {
    /// The snapshot's name.
    pub snapshot: String,
    /// The claim's name.
    pub claim: String,
}

/// The class that replicas are made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotClass {
    /// Its name.
    pub name: String,
    /// Its deletion policy; `None`: there is no such class.
    pub deletion_policy: Option<String>,
}

/// The two Secrets that hold the keys which the controller makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySecrets {
    /// The destination's own, looked at before the source's.
    pub own: SecretSeen,
    /// The source's, which its user carries away.
    pub source: SecretSeen,
}

/// What was seen of a ReplicationDestination.
#[derive(Clone, Debug, PartialEq)]
pub struct DestinationObserved {
    /// The object.
    pub destination: ReplicationDestination,
    /// What surrounds it.
    pub around: Surroundings,
    /// The Secrets with the keys, while [`crate::destination::are_keys_open`] says so. The destination was still the same one after they
    /// were looked at: so whoever finds that they disagree with it knows that this is not because he looked late.
    pub key_secrets: Option<KeySecrets>,
    /// The receiving claim, whoever made it.
    pub claim: Option<PersistentVolumeClaim>,
    /// The Service that this object made.
    pub service: Option<Service>,
    /// Every pod that bears this object's owner label.
    pub pods: Vec<Pod>,
    /// Whether the VolumeSnapshot API is there.
    pub snapshots_available: bool,
    /// Their class, as far as it is known.
    pub snapshot_class: Option<SnapshotClass>,
    /// Every VolumeSnapshot in the namespace that bears this object's owner label, was taken of the receiving claim, or was published by a
    /// destination of this name.
    pub snapshots: Vec<VolumeSnapshot>,
    /// The snapshots of the namespace that a claim is being made from, with the claim: read while there is more than one replica.
    pub restores: Vec<Restore>,
    /// The contents of those of them that bear the owner label and are not published, and every content that `status.releasing`
    /// names.
    pub contents: Vec<VolumeSnapshotContent>,
    /// The state of the mover pod, if it has answered, with the pod's name.
    pub mover: Option<(String, MoverState)>,
    /// What its hooks depend on.
    pub hooks: HooksSeen,
}
