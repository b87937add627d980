//! What was seen of a ReplicationDestination, sorted out once.

use super::replica::Seen;
use super::validate::ValidDestination;
use crate::build::meta::{Owner, label};
use crate::observed::{DestinationObserved, Refusal};
use crate::settings::Settings;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use scribe_crds::names;
use scribe_crds::snapshots::VolumeSnapshot;
use scribe_crds::v1alpha1::DestinationCopyMethod;
use scribe_mover_contract::control::MoverState;

/// One look at a destination and what belongs to it.
pub(super) struct View<'a> {
    pub seen: &'a DestinationObserved,
    pub settings: &'a Settings,
    pub now: Timestamp,
    pub owner: Owner,
    /// The name of the claim, the Service, the mover pod and the own Secret.
    pub base: String,
    /// The published replicas, newest first.
    pub replicas: Vec<Seen<'a>>,
}

impl<'a> View<'a> {
    pub fn new(seen: &'a DestinationObserved, settings: &'a Settings, now: Timestamp) -> Self {
        let owner = Owner::destination(&seen.destination);
        let base = names::destination_base(&owner.name);
        let replicas = Seen::all(&seen.snapshots, &owner.uid);
        // Kubernetes keeps seconds: with finer times, what is read back would differ from what was written.
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
        Self { seen, settings, now, owner, base, replicas }
    }

    /// Whether the receiving claim itself is what is published.
    pub fn is_direct(&self) -> bool {
        let rsync = self.seen.destination.spec.rsync.as_ref();
        rsync.is_some_and(|rsync| rsync.copy_method == DestinationCopyMethod::Direct)
    }

    /// Why syncs are refused, if the destination is paused.
    pub fn pause(&self) -> Option<String> {
        self.seen.around.pause(self.seen.destination.spec.paused)
    }

    /// The receiving claim, unless it is on its way out.
    pub fn claim(&self) -> Option<&'a PersistentVolumeClaim> {
        self.seen.claim.as_ref().filter(|claim| !is_leaving(&claim.metadata))
    }

    /// The uid of the receiving claim.
    pub fn claim_uid(&self) -> Option<&'a str> {
        self.claim()?.metadata.uid.as_deref()
    }

    /// The uid of the receiving claim, even if it is on its way out: what was cut from it is still what was received.
    pub fn received_claim_uid(&self) -> Option<&'a str> {
        self.seen.claim.as_ref()?.metadata.uid.as_deref()
    }

    /// The pods that are ours.
    pub fn pods(&self) -> impl Iterator<Item = &'a Pod> + use<'a, '_> {
        self.seen.pods.iter().filter(|pod| self.owner.owns(&pod.metadata))
    }

    /// The mover pod, in whatever state.
    pub fn pod(&self) -> Option<&'a Pod> {
        self.pods().find(|pod| pod.metadata.name.as_deref() == Some(self.base.as_str()))
    }

    /// The mover that receives into the claim of today, if it answers. What another one asks is not heard: it is on its way out.
    pub fn mover(&self) -> Option<&'a MoverState> {
        let (name, state) = self.seen.mover.as_ref()?;
        let pod = self.pod().filter(|pod| !is_leaving(&pod.metadata))?;
        let receives_into = annotation(&pod.metadata, names::CLAIM_UID);
        (pod.metadata.name.as_deref() == Some(name) && receives_into == self.claim_uid()).then_some(state)
    }

    /// Whether a snapshot is ours.
    pub fn is_ours(&self, snapshot: &VolumeSnapshot) -> bool {
        label(&snapshot.metadata, names::OWNER_UID) == Some(&self.owner.uid)
    }

    /// Our snapshots that are not replicas (yet): those still name their owner.
    pub fn unpublished(&self) -> impl Iterator<Item = &'a VolumeSnapshot> {
        self.seen.snapshots.iter().filter(|snapshot| {
            self.owner.owns(&snapshot.metadata) && annotation(&snapshot.metadata, names::PUBLISHED).is_none()
        })
    }

    /// How long a snapshot may take, in seconds.
    pub fn publish_timeout(&self, valid: Option<&ValidDestination<'_>>) -> i64 {
        valid.and_then(|valid| valid.publish_timeout).unwrap_or(self.settings.publish_timeout)
    }

    /// Whether a write of this object is refused, as far as is known, and why.
    pub fn refusal(&self, kind: &str, name: &str) -> Option<&'a Refusal> {
        let object = format!("{kind} {name}");
        self.seen.around.refusals.iter().rev().find(|refusal| refusal.object == object)
    }

    /// The newest warning about any of these uids, for the end of a message.
    pub fn warning_about<'b>(&self, uids: impl IntoIterator<Item = Option<&'b str>>) -> Option<String> {
        let uids: Vec<&str> = uids.into_iter().flatten().collect();
        let warning =
            self.seen.around.warnings.iter().rev().find(|warning| uids.contains(&warning.about.as_str()))?;
        Some(format!("{}: {}", warning.reason, warning.message))
    }
}

/// Whether an object is being deleted.
pub(super) fn is_leaving(meta: &ObjectMeta) -> bool {
    meta.deletion_timestamp.is_some()
}

/// The value of an annotation, if it is there.
pub(super) fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

/// An object's name, for messages and for names of actions. Objects that were read always have one.
pub(super) fn name_of(meta: &ObjectMeta) -> String {
    meta.name.clone().unwrap_or_default()
}

/// The first characters of a text that somebody else wrote: statuses and Events are no place for pages.
pub(super) fn clipped(text: &str) -> String {
    const LIMIT: usize = 500;
    match text.char_indices().nth(LIMIT) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
