//! The point-in-time copy.

use super::Pass;
use super::validate::ValidSource;
use crate::quantity;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, Pod, TypedLocalObjectReference,
    VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use scribe_crds::conditions::Reason;
use scribe_crds::names;
use scribe_crds::v1alpha1::CurrentSync;
use std::collections::BTreeMap;

/// How far the cut of a sync is.
#[derive(Debug)]
pub enum CutState<'a> {
    /// Not made yet.
    Missing,
    /// There, and not recorded in the status.
    Unrecorded(&'a PersistentVolumeClaim),
    /// There and recorded, not bound.
    Pending(&'a PersistentVolumeClaim),
    /// There, recorded and bound.
    Bound(&'a PersistentVolumeClaim),
    /// Given up by us, and not gone yet.
    Discarding(&'a PersistentVolumeClaim),
    /// Given up by us, and gone.
    Discarded,
    /// Somebody else has taken it away. How, in words.
    Vanished(&'static str),
}

/// Finds out how far the cut of a sync is, `running` being whether a mover reads it.
pub fn state<'a>(pass: &Pass<'a>, sync: &CurrentSync, running: bool) -> CutState<'a> {
    let Some(claim) = pass.find_cut(&pass.cut_name(sync)) else {
        return match &sync.cut {
            None => CutState::Missing,
            Some(_) if is_given_up(sync) => CutState::Discarded,
            Some(_) => CutState::Vanished("was deleted by somebody else"),
        };
    };
    if sync.cut.is_some() && sync.cut != claim.metadata.uid {
        return CutState::Vanished("was replaced by somebody else");
    }
    if is_given_up(sync) {
        return CutState::Discarding(claim);
    }
    // A claim stays for as long as a running pod uses it, even if it was deleted.
    if claim.metadata.deletion_timestamp.is_some() && !running {
        return CutState::Vanished("is being deleted by somebody else");
    }
    match (&sync.cut, phase(claim)) {
        (None, _) => CutState::Unrecorded(claim),
        (Some(_), "Lost") => CutState::Vanished("has lost its volume"),
        (Some(_), "Bound") => CutState::Bound(claim),
        (Some(_), _) => CutState::Pending(claim),
    }
}

/// Whether the recorded cut is one that took too long: the record of that stays beside its uid until it is gone.
pub fn is_given_up(sync: &CurrentSync) -> bool {
    let timed_out = |failure: &scribe_crds::v1alpha1::Failure| failure.reason == Reason::CutTimeout.as_str();
    sync.cut.is_some() && sync.retry_at.is_none() && sync.last_failure.as_ref().is_some_and(timed_out)
}

/// The phase of a claim; empty if it has none yet.
pub fn phase(claim: &PersistentVolumeClaim) -> &str {
    claim.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// When an object was made, by the API server's clock.
pub fn created(claim: &PersistentVolumeClaim) -> Option<Timestamp> {
    claim.metadata.creation_timestamp.as_ref().map(|time| time.0)
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

/// Builds the clone of a claim.
pub fn build(
    pass: &Pass<'_>,
    valid: &ValidSource,
    sync: &CurrentSync,
    claim: &PersistentVolumeClaim,
) -> PersistentVolumeClaim {
    let mut metadata = pass.owner.child(pass.cut_name(sync), Some(&sync.id));
    // Which claim it was cut from: the name may belong to another one by the time that the mover asks.
    let uid = claim.metadata.uid.clone().unwrap_or_default();
    metadata.annotations = Some(BTreeMap::from([(names::SOURCE_UID.to_owned(), uid)]));
    let (capacity, storage_class_name, access_modes) = dimensions(valid, claim);
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
            data_source: Some(TypedLocalObjectReference {
                api_group: None,
                kind: "PersistentVolumeClaim".to_owned(),
                name: pass.seen.source.spec.source_pvc.clone(),
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

/// The uid of the claim that a cut was made from.
pub fn source_uid(cut: &PersistentVolumeClaim) -> Option<&str> {
    cut.metadata.annotations.as_ref()?.get(names::SOURCE_UID).map(String::as_str)
}

/// Why a cut is not bound yet, in the words of those who work on it.
pub fn words(pass: &Pass<'_>, cut: &PersistentVolumeClaim, pod: Option<&Pod>) -> String {
    let uids = [cut.metadata.uid.as_deref(), pod.and_then(|pod| pod.metadata.uid.as_deref())];
    let words: Vec<String> = uids.into_iter().flatten().filter_map(|uid| pass.last_warning(uid)).collect();
    words.join("; ")
}
