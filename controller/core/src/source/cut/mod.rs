//! The point-in-time copy: what it is, by the copy method of the sync, and how far it is.

mod clone;
mod direct;
mod snapshot;

pub use direct::{MoverPlace, is_for_one_pod, used_on, uses_claim};

use super::Pass;
use super::validate::ValidSource;
use crate::decision::{Action, Child};
use crate::quantity;
use crate::text::clean;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, Pod, TypedLocalObjectReference,
    VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use scribe_crds::conditions::Reason;
use scribe_crds::names;
use scribe_crds::snapshots::VolumeSnapshot;
use scribe_crds::v1alpha1::{Consistency, CurrentSync, Failure, MoverConfig, SourceCopyMethod};
use std::collections::BTreeMap;

/// What a sync reads, or is about to read.
#[derive(Debug)]
pub struct Cut<'a> {
    /// Kind and name, for people.
    pub what: String,
    /// The uid of the clone, of the snapshot, or of the source claim itself.
    pub uid: Option<String>,
    /// The time of its data, as far as that is known: never later than in truth.
    pub time: Option<Time>,
    /// What it can be relied upon to be.
    pub consistency: Consistency,
    /// The uid of the source claim that it is of.
    pub source_uid: String,
    /// Since when what is not there yet is being made.
    pub since: Timestamp,
    /// Whether it holds the data: from then on nothing depends on the source claim any more.
    pub is_cut: bool,
    /// The claim that the mover mounts.
    pub mount: Mount<'a>,
    /// The snapshot, if it is one.
    pub snapshot: Option<&'a VolumeSnapshot>,
}

/// The claim that the mover mounts.
#[derive(Debug)]
pub enum Mount<'a> {
    /// It cannot be made yet.
    Later,
    /// It is to be made now, together with the mover's pod.
    Due,
    /// It is there, and not bound. Its class may wait for a pod.
    Pending(&'a PersistentVolumeClaim),
    /// It is there and bound.
    Bound(&'a PersistentVolumeClaim),
}

impl<'a> Mount<'a> {
    fn of(claim: &'a PersistentVolumeClaim) -> Self {
        if phase(claim) == "Bound" { Self::Bound(claim) } else { Self::Pending(claim) }
    }

    /// The claim, if it is there.
    pub fn claim(&self) -> Option<&'a PersistentVolumeClaim> {
        match self {
            Self::Later | Self::Due => None,
            Self::Pending(claim) | Self::Bound(claim) => Some(claim),
        }
    }

    /// Whether it comes to be without a pod that waits for it. The provisioner takes the node away from a claim that cannot be made for it.
    pub fn is_made_without_pod(&self) -> bool {
        let has_node = |claim: &PersistentVolumeClaim| {
            let annotations = claim.metadata.annotations.as_ref();
            annotations.is_some_and(|all| all.contains_key(names::SELECTED_NODE))
        };
        match self {
            Self::Later => true,
            Self::Pending(claim) => has_node(claim),
            Self::Due | Self::Bound(_) => false,
        }
    }

    /// Whether a pod can read it.
    pub fn is_bound(&self) -> bool {
        matches!(self, Self::Bound(_))
    }
}

/// How far the cut of a sync is.
#[derive(Debug)]
pub enum CutState<'a> {
    /// Not made yet.
    Missing,
    /// There, and not recorded in the status.
    Unrecorded(Cut<'a>),
    /// There and recorded.
    There(Cut<'a>),
    /// Given up by us, and not gone yet.
    Discarding,
    /// Given up by us, and gone.
    Discarded,
    /// Somebody else has taken it away. What, and how, in words.
    Vanished(String),
    /// The source claim, which is read itself, is going or gone.
    Abandoned,
}

/// How the cut of a sync is made.
pub fn method(sync: &CurrentSync) -> SourceCopyMethod {
    sync.copy_method.unwrap_or_default()
}

/// Finds out how far the cut of a sync is, `running` being whether a mover reads it.
pub fn state<'a>(pass: &Pass<'a>, sync: &CurrentSync, running: bool) -> CutState<'a> {
    if is_given_up(sync) {
        return if pass.discards(sync) { CutState::Discarding } else { CutState::Discarded };
    }
    match method(sync) {
        SourceCopyMethod::Clone => clone::state(pass, sync, running),
        SourceCopyMethod::Snapshot => snapshot::state(pass, sync, running),
        SourceCopyMethod::Direct => direct::state(pass, sync),
    }
}

/// Makes the cut of a sync that stands in the status.
pub fn make(
    pass: &Pass<'_>,
    valid: &ValidSource,
    sync: &CurrentSync,
    claim: &PersistentVolumeClaim,
) -> Option<Action> {
    match method(sync) {
        SourceCopyMethod::Clone => {
            Some(Action::Create(Child::Claim(Box::new(clone::build(pass, valid, sync, claim)))))
        }
        SourceCopyMethod::Snapshot => {
            Some(Action::Create(Child::Snapshot(Box::new(snapshot::build(pass, valid, sync, claim)))))
        }
        SourceCopyMethod::Direct => None,
    }
}

/// Puts on record, before anything is made, what a sync without a copy reads: there will be no object to learn it from. The data is at least
/// as new as the beginning of the sync, and all of its attempts say the same.
pub fn record_at_start(sync: &mut CurrentSync, claim: &PersistentVolumeClaim) {
    if method(sync) == SourceCopyMethod::Direct {
        sync.cut.clone_from(&claim.metadata.uid);
        sync.cut_time = Some(sync.started_at.clone());
        sync.consistency = Some(Consistency::None);
    }
}

/// The claim that the mover mounts, to be made now.
pub fn build_mount(
    pass: &Pass<'_>,
    valid: &ValidSource,
    sync: &CurrentSync,
    cut: &Cut<'_>,
) -> Option<PersistentVolumeClaim> {
    let snapshot = cut.snapshot.filter(|_| matches!(cut.mount, Mount::Due))?;
    Some(snapshot::build_restored(pass, valid, sync, snapshot))
}

/// How the mover runs: as the user wants it, and where it has to.
pub fn mover(pass: &Pass<'_>, valid: &ValidSource, method: SourceCopyMethod) -> MoverConfig {
    match method {
        SourceCopyMethod::Clone | SourceCopyMethod::Snapshot => valid.mover.clone(),
        SourceCopyMethod::Direct => MoverPlace::find(pass).apply(&valid.mover),
    }
}

/// Whether the recorded cut is one that took too long: the record of that stays beside its uid until it is gone.
pub fn is_given_up(sync: &CurrentSync) -> bool {
    sync.cut.is_some() && sync.retry_at.is_none() && sync.last_failure.as_ref().is_some_and(is_about_cut)
}

/// Whether a failure, beside the uid of a cut, says that this one is not to be used.
pub fn is_about_cut(failure: &Failure) -> bool {
    let reasons = [Reason::CutTimeout, Reason::QuiesceWindowExpired, Reason::QuiesceLost];
    reasons.into_iter().any(|reason| failure.reason == reason.as_str())
}

/// The phase of a claim; empty if it has none yet.
pub fn phase(claim: &PersistentVolumeClaim) -> &str {
    claim.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// When an object was made, by the API server's clock.
pub fn created(meta: &ObjectMeta) -> Option<Timestamp> {
    meta.creation_timestamp.as_ref().map(|time| time.0)
}

/// Size, class and access modes of the cut of a claim.
pub fn dimensions(
    valid: &ValidSource,
    claim: &PersistentVolumeClaim,
) -> (Option<Quantity>, Option<String>, Option<Vec<String>>) {
    let spec = claim.spec.as_ref();
    let class = valid.storage_class.clone().or_else(|| spec?.storage_class_name.clone());
    let modes = valid.access_modes.clone().or_else(|| spec?.access_modes.clone());
    (valid.capacity.clone().or_else(|| size(claim).cloned()), class, modes)
}

/// The size of a claim: what it has, or what it asks for if that is more. A clone may not be smaller than either.
pub fn size(claim: &PersistentVolumeClaim) -> Option<&Quantity> {
    let has = claim.status.as_ref().and_then(|status| status.capacity.as_ref()?.get("storage"));
    let wants =
        claim.spec.as_ref().and_then(|spec| spec.resources.as_ref()?.requests.as_ref()?.get("storage"));
    match (has, wants) {
        (Some(has), Some(wants)) if quantity::bytes(wants) > quantity::bytes(has) => Some(wants),
        (Some(has), _) => Some(has),
        (None, wants) => wants,
    }
}

/// A claim with the data of something else.
fn build_claim(
    metadata: ObjectMeta,
    (capacity, storage_class_name, access_modes): (Option<Quantity>, Option<String>, Option<Vec<String>>),
    source: TypedLocalObjectReference,
) -> PersistentVolumeClaim {
    PersistentVolumeClaim {
        metadata,
        spec: Some(PersistentVolumeClaimSpec {
            access_modes,
            storage_class_name,
            volume_mode: Some("Filesystem".to_owned()),
            resources: Some(VolumeResourceRequirements {
                requests: capacity.map(|capacity| BTreeMap::from([("storage".to_owned(), capacity)])),
                limits: None,
            }),
            data_source: Some(source),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

/// The metadata of a cut, which says of which claim it was made: the name may belong to another one by the time that the mover asks.
fn metadata(pass: &Pass<'_>, sync: &CurrentSync, source_uid: &str) -> ObjectMeta {
    let mut metadata = pass.owner.child(pass.cut_name(sync), Some(&sync.id));
    metadata.annotations = Some(BTreeMap::from([(names::SOURCE_UID.to_owned(), source_uid.to_owned())]));
    metadata
}

/// The uid of the claim that a cut was made from.
fn source_uid(cut: &ObjectMeta) -> &str {
    let annotation = cut.annotations.as_ref().and_then(|all| all.get(names::SOURCE_UID));
    annotation.map(String::as_str).unwrap_or_default()
}

/// Why a cut is not ready yet, in the words of those who work on it.
pub fn words(pass: &Pass<'_>, cut: &Cut<'_>, pod: Option<&Pod>) -> String {
    let error =
        cut.snapshot.and_then(|snapshot| snapshot.status.as_ref()?.error.as_ref()?.message.as_deref());
    let error = error.map(|text| clean(text, 400));
    let uids = [
        cut.snapshot.filter(|_| error.is_none()).and_then(|snapshot| snapshot.metadata.uid.as_deref()),
        cut.mount.claim().and_then(|claim| claim.metadata.uid.as_deref()),
        pod.and_then(|pod| pod.metadata.uid.as_deref()),
    ];
    let warnings = uids.into_iter().flatten().filter_map(|uid| pass.last_warning(uid));
    let words: Vec<String> = error.into_iter().chain(warnings).collect();
    words.join("; ")
}
