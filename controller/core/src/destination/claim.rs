//! The claim that is received into: our own, or one that the user named.

use super::draft::{Draft, Hold};
use super::validate::{ReceivingClaim, ValidDestination};
use super::view::{View, clipped, is_leaving, name_of};
use crate::build::meta::label;
use crate::decision::{Action, Child};
use crate::quantity;
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use scribe_crds::conditions::Reason;
use scribe_crds::names;
use scribe_crds::v1alpha1::{Effective, RefusedExpansion};
use std::collections::BTreeMap;

/// What the claim means for the mover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Footing {
    /// It is there, ours alone, and stays: a mover may be started.
    Firm,
    /// Something is wrong with what is asked of it. What runs may run.
    AsItIs,
    /// It is not there, not ours, or about to go: a mover that still holds it has to let go.
    Gone,
}

/// Sees to the claim.
pub(super) fn claim(view: &View<'_>, valid: &ValidDestination<'_>, draft: &mut Draft) -> Footing {
    if let Some(claim) = view.seen.claim.as_ref().filter(|claim| is_leaving(&claim.metadata)) {
        let name = name_of(&claim.metadata);
        let message =
            format!("claim {name} is being deleted; what it held is received anew into the next one");
        draft.hold(Hold::blocking(Reason::ClaimPending, message));
        return Footing::Gone;
    }
    match (&valid.claim, view.claim()) {
        (ReceivingClaim::Named(name), None) => {
            let message =
                format!("claim {name}, named in spec.rsync.destinationPVC, does not exist: make it");
            draft.hold(Hold::fatal(Reason::ClaimMissing, message));
            Footing::Gone
        }
        (ReceivingClaim::Named(_), Some(claim)) => named(view, claim, draft),
        (ReceivingClaim::Own { .. }, None) => {
            draft.then.push(Action::Create(Child::Claim(Box::new(build(view, valid)))));
            draft.hold(Hold::blocking(Reason::Preparing, format!("makes claim {}", view.base)));
            Footing::Gone
        }
        (ReceivingClaim::Own { .. }, Some(claim)) => own(view, valid, claim, draft),
    }
}

/// What is wrong with the claim, whoever made it.
fn unusable(view: &View<'_>, claim: &PersistentVolumeClaim) -> Option<Hold> {
    let name = name_of(&claim.metadata);
    let spec = claim.spec.as_ref();
    if spec.and_then(|spec| spec.volume_mode.as_deref()) == Some("Block") {
        let message = format!("claim {name} has volumeMode Block: only file systems are received");
        return Some(Hold::fatal(Reason::UnsupportedVolumeMode, message));
    }
    let owner = label(&claim.metadata, names::OWNER_UID)?;
    (owner != view.owner.uid).then(|| {
        let message = format!(
            "claim {name} belongs to the object with uid {owner}: delete that, or, if it is gone, remove the label {}",
            names::OWNER_UID
        );
        Hold::fatal(Reason::ClaimInUse, message)
    })
}

fn named(view: &View<'_>, claim: &PersistentVolumeClaim, draft: &mut Draft) -> Footing {
    if let Some(hold) = unusable(view, claim) {
        draft.hold(hold);
        return Footing::Gone;
    }
    if label(&claim.metadata, names::OWNER_UID).is_some() {
        return Footing::Firm;
    }
    // Two destinations may be here at the same time; the resource version lets one of them win.
    if let (Some(uid), Some(version)) = (&claim.metadata.uid, &claim.metadata.resource_version) {
        draft.then.push(Action::LabelClaim {
            name: name_of(&claim.metadata),
            uid: uid.clone(),
            resource_version: version.clone(),
        });
    }
    draft.hold(Hold::blocking(Reason::Preparing, format!("takes claim {}", name_of(&claim.metadata))));
    Footing::Gone
}

fn own(
    view: &View<'_>,
    valid: &ValidDestination<'_>,
    claim: &PersistentVolumeClaim,
    draft: &mut Draft,
) -> Footing {
    let name = name_of(&claim.metadata);
    if label(&claim.metadata, names::OWNER_UID).is_none() {
        let message = format!(
            "claim {name} exists and was not made by Scribe: rename it, or name it in destinationPVC of a new object"
        );
        draft.hold(Hold::fatal(Reason::ClaimInUse, message));
        return Footing::Gone;
    }
    if let Some(hold) = unusable(view, claim) {
        draft.hold(hold);
        return Footing::Gone;
    }
    if let Some(hold) = contradiction(valid, claim) {
        draft.hold(hold);
        return Footing::AsItIs;
    }
    expand(view, valid, claim, draft);
    Footing::Firm
}

/// Has the claim grow. A size that was refused is not asked for in every pass: each refusal would delay all else.
fn expand(view: &View<'_>, valid: &ValidDestination<'_>, claim: &PersistentVolumeClaim, draft: &mut Draft) {
    let ReceivingClaim::Own { capacity, bytes, .. } = valid.claim else { return };
    if requested(claim).is_none_or(|requested| requested >= bytes) {
        draft.status.refused_expansion = None;
        return;
    }
    if let Some(refusal) = view.refusal("PersistentVolumeClaim", &view.base) {
        let message = clipped(&refusal.message);
        draft.status.refused_expansion = Some(RefusedExpansion { capacity: capacity.0.clone(), message });
    }
    match draft.status.refused_expansion.as_ref().filter(|refused| refused.capacity == capacity.0) {
        Some(refused) => {
            let message = format!(
                "spec.rsync.capacity: claim {} could not be given {}: {}; set another size to have it tried again",
                view.base, capacity.0, refused.message
            );
            draft.hold(Hold::passing(Reason::ObjectRefused, message));
        }
        None => draft.then.push(Action::Apply(Child::Claim(Box::new(expansion(view, capacity))))),
    }
}

/// What the spec asks of a claim that exists, and that no claim can do.
fn contradiction(valid: &ValidDestination<'_>, claim: &PersistentVolumeClaim) -> Option<Hold> {
    let ReceivingClaim::Own { capacity, bytes, access_modes, storage_class } = &valid.claim else {
        return None;
    };
    let name = name_of(&claim.metadata);
    let spec = claim.spec.as_ref()?;
    let invalid = |message: String| Some(Hold::fatal(Reason::InvalidSpec, message));
    if let Some(has) = requested(claim).filter(|has| has > bytes) {
        let (asked, has) = (&capacity.0, quantity::display(has));
        return invalid(format!(
            "spec.rsync.capacity: claim {name} cannot shrink from {has} to {asked}: set at least {has}"
        ));
    }
    if let (Some(asked), Some(has)) = (storage_class, &spec.storage_class_name)
        && asked != has
    {
        return invalid(format!(
            "spec.rsync.storageClassName: claim {name} is of class {has}: set that, or make a new ReplicationDestination"
        ));
    }
    let has = spec.access_modes.as_deref().unwrap_or_default();
    let equal = has.len() == access_modes.len() && access_modes.iter().all(|mode| has.contains(mode));
    if !equal {
        return invalid(format!(
            "spec.rsync.accessModes: claim {name} has {}: set that, or make a new ReplicationDestination",
            has.join(", ")
        ));
    }
    None
}

fn requested(claim: &PersistentVolumeClaim) -> Option<u64> {
    let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    quantity::bytes(requests.get("storage")?)
}

/// The bytes that the volume has, or is about to have.
pub(super) fn capacity_bytes(claim: &PersistentVolumeClaim) -> Option<u64> {
    let bound =
        claim.status.as_ref().and_then(|status| status.capacity.as_ref()).and_then(|all| all.get("storage"));
    bound.and_then(quantity::bytes).or_else(|| requested(claim))
}

fn requests(capacity: &Quantity) -> Option<VolumeResourceRequirements> {
    Some(VolumeResourceRequirements {
        requests: Some(BTreeMap::from([("storage".to_owned(), capacity.clone())])),
        ..VolumeResourceRequirements::default()
    })
}

/// A claim that may have to outlive its owner names none: under foreground deletion the collector would take it first.
fn metadata(view: &View<'_>) -> ObjectMeta {
    let mut metadata = view.owner.child(view.base.clone(), None);
    if view.is_direct() {
        metadata.owner_references = None;
    }
    metadata
}

fn build(view: &View<'_>, valid: &ValidDestination<'_>) -> PersistentVolumeClaim {
    let mut metadata = metadata(view);
    metadata.annotations = Some(BTreeMap::from([(names::DESTINATION.to_owned(), full_name(view))]));
    let spec = match &valid.claim {
        ReceivingClaim::Own { capacity, access_modes, storage_class, .. } => {
            Some(PersistentVolumeClaimSpec {
                access_modes: Some(access_modes.to_vec()),
                storage_class_name: storage_class.map(str::to_owned),
                volume_mode: Some("Filesystem".to_owned()),
                resources: requests(capacity),
                ..PersistentVolumeClaimSpec::default()
            })
        }
        ReceivingClaim::Named(_) => None,
    };
    PersistentVolumeClaim { metadata, spec, status: None }
}

/// Only the size: everything else of a claim cannot be changed, and to repeat it would be to risk a difference.
fn expansion(view: &View<'_>, capacity: &Quantity) -> PersistentVolumeClaim {
    PersistentVolumeClaim {
        metadata: metadata(view),
        spec: Some(PersistentVolumeClaimSpec {
            resources: requests(capacity),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

/// Namespace and name of the destination, as replicas and kept claims bear them.
pub(super) fn full_name(view: &View<'_>) -> String {
    format!("{}/{}", view.owner.namespace, view.owner.name)
}

/// What the unset fields came out as.
pub(super) fn effective(view: &View<'_>, valid: &ValidDestination<'_>) -> Effective {
    let timeout = (!view.is_direct()).then(|| view.publish_timeout(Some(valid)));
    let timeout = timeout.and_then(|seconds| u64::try_from(seconds).ok());
    let claim = view.claim();
    let spec = claim.and_then(|claim| claim.spec.as_ref());
    Effective {
        capacity: claim.and_then(capacity_bytes).map(quantity::display),
        storage_class_name: spec.and_then(|spec| spec.storage_class_name.clone()),
        access_modes: spec.and_then(|spec| spec.access_modes.clone()),
        timeout: timeout.map(|seconds| std::time::Duration::from_secs(seconds).into()),
        ..Effective::default()
    }
}
