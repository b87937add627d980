//! A clone of the claim.

use super::direct::used_on;
use super::{Cut, CutState, Mount, build_claim, dimensions, metadata, phase, source_uid};
use crate::source::validate::ValidSource;
use crate::source::{Pass, quiesce};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, TypedLocalObjectReference};
use scribe_crds::names;
use scribe_crds::v1alpha1::{Consistency, CurrentSync};

pub fn state<'a>(pass: &Pass<'a>, sync: &CurrentSync, running: bool) -> CutState<'a> {
    let name = pass.cut_name(sync);
    let vanished = |how: &str| CutState::Vanished(format!("claim {name}, the point-in-time copy, {how}"));
    let Some(claim) = pass.find_cut(&name) else {
        return match &sync.cut {
            None => CutState::Missing,
            Some(_) => vanished("was deleted by somebody else"),
        };
    };
    if sync.cut.is_some() && sync.cut != claim.metadata.uid {
        return vanished("was replaced by somebody else");
    }
    // A claim stays for as long as a running pod uses it, even if it was deleted.
    if claim.metadata.deletion_timestamp.is_some() && !running {
        return vanished("is being deleted by somebody else");
    }
    let cut = Cut {
        uid: claim.metadata.uid.clone(),
        time: claim.metadata.creation_timestamp.clone(),
        // Without a hook: a clone is what a power failure would have left.
        consistency: Consistency::Crash,
        source_uid: source_uid(&claim.metadata).to_owned(),
        since: super::created(&claim.metadata).unwrap_or(pass.now),
        is_cut: phase(claim) == "Bound",
        mount: Mount::of(claim),
        snapshot: None,
        what: format!("claim {name}"),
    };
    match (&sync.cut, phase(claim)) {
        (None, _) => CutState::Unrecorded(cut),
        (Some(_), "Lost") => vanished("has lost its volume"),
        (Some(_), _) => CutState::There(cut),
    }
}

/// Builds the clone of a claim.
///
/// Where the class waits for a first consumer, the clone is made for the node on which the claim is in use: the driver serves that node, and a
/// clone has to be where its original is. Scheduled first, the mover would wait for it: the scheduler looks only once a second whether a claim
/// is bound. If the first cut was not made in time, whatever the cause, the scheduler has its say; but not while an application is at rest for it.
pub fn build(
    pass: &Pass<'_>,
    valid: &ValidSource,
    sync: &CurrentSync,
    claim: &PersistentVolumeClaim,
) -> PersistentVolumeClaim {
    let source = TypedLocalObjectReference {
        api_group: None,
        kind: "PersistentVolumeClaim".to_owned(),
        name: pass.seen.source.spec.source_pvc.clone(),
    };
    let uid = claim.metadata.uid.as_deref().unwrap_or_default();
    let mut metadata = metadata(pass, sync, uid);
    let usual = || used_on(pass, claim).filter(|_| sync.attempt == 1);
    if let Some(node) = quiesce::node(pass, sync).or_else(usual) {
        metadata.annotations.get_or_insert_default().insert(names::SELECTED_NODE.to_owned(), node.to_owned());
    }
    build_claim(metadata, dimensions(valid, claim), source)
}
