//! A snapshot of the claim, and a claim made from that.
//!
//! The snapshot is the cut: it is made once. The claim only makes it readable, and is made when the snapshot is ready to use.

use super::{Cut, CutState, Mount, build_claim, dimensions, metadata, phase, source_uid};
use crate::quantity;
use crate::source::Pass;
use crate::source::validate::ValidSource;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, TypedLocalObjectReference};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use scribe_crds::snapshots::{SNAPSHOT_GROUP, VolumeSnapshot, VolumeSnapshotSource, VolumeSnapshotSpec};
use scribe_crds::v1alpha1::{Consistency, CurrentSync};

pub fn state<'a>(pass: &Pass<'a>, sync: &CurrentSync, running: bool) -> CutState<'a> {
    let name = pass.cut_name(sync);
    let vanished =
        |kind: &str, how: &str| CutState::Vanished(format!("{kind} {name}, the point-in-time copy, {how}"));
    let Some(snapshot) = pass.find_snapshot(&name) else {
        return match &sync.cut {
            None => CutState::Missing,
            Some(_) => vanished("VolumeSnapshot", "was deleted by somebody else"),
        };
    };
    if sync.cut.is_some() && sync.cut != snapshot.metadata.uid {
        return vanished("VolumeSnapshot", "was replaced by somebody else");
    }
    // What a running mover reads is the claim, and that stays for as long as it does.
    if snapshot.metadata.deletion_timestamp.is_some() && !running {
        return vanished("VolumeSnapshot", "is being deleted by somebody else");
    }
    let claim = pass.find_cut(&name);
    if claim.is_some_and(|claim| claim.metadata.deletion_timestamp.is_some()) && !running {
        return vanished("claim", "is being deleted by somebody else");
    }
    if claim.is_some_and(|claim| phase(claim) == "Lost") {
        return vanished("claim", "has lost its volume");
    }
    let cut = seen(pass, snapshot, claim, name);
    if sync.cut.is_some() { CutState::There(cut) } else { CutState::Unrecorded(cut) }
}

fn seen<'a>(
    pass: &Pass<'a>,
    snapshot: &'a VolumeSnapshot,
    claim: Option<&'a PersistentVolumeClaim>,
    name: String,
) -> Cut<'a> {
    let status = snapshot.status.as_ref();
    let cut_at = status.and_then(|status| status.creation_time.as_ref());
    let is_ready = cut_at.is_some() && status.and_then(|status| status.ready_to_use) == Some(true);
    let created = super::created(&snapshot.metadata);
    // The storage system may know better, but its clock is not this cluster's: the earlier of the two is never later than the truth. Whole
    // seconds, downwards: what is stored has to equal what is read.
    let time = created.into_iter().chain(cut_at.map(|time| time.0)).min();
    let time = time.and_then(|time| jiff::Timestamp::from_second(time.as_second()).ok());
    let since = claim.map_or(created, |claim| super::created(&claim.metadata));
    Cut {
        uid: snapshot.metadata.uid.clone(),
        time: time.map(Time),
        consistency: Consistency::Crash,
        source_uid: source_uid(&snapshot.metadata).to_owned(),
        since: since.unwrap_or(pass.now),
        is_cut: cut_at.is_some(),
        mount: match claim {
            Some(claim) => Mount::of(claim),
            None if is_ready => Mount::Due,
            None => Mount::Later,
        },
        snapshot: Some(snapshot),
        what: if claim.is_some() { format!("claim {name}") } else { format!("VolumeSnapshot {name}") },
    }
}

pub fn build(
    pass: &Pass<'_>,
    valid: &ValidSource,
    sync: &CurrentSync,
    claim: &PersistentVolumeClaim,
) -> VolumeSnapshot {
    VolumeSnapshot {
        metadata: metadata(pass, sync, claim.metadata.uid.as_deref().unwrap_or_default()),
        spec: VolumeSnapshotSpec {
            source: VolumeSnapshotSource {
                persistent_volume_claim_name: Some(pass.seen.source.spec.source_pvc.clone()),
                ..VolumeSnapshotSource::default()
            },
            volume_snapshot_class_name: valid.snapshot_class.clone(),
        },
        status: None,
    }
}

/// The claim made from a snapshot: like the source claim, which may have gone meanwhile, and no smaller than the driver wants it.
pub fn build_restored(
    pass: &Pass<'_>,
    valid: &ValidSource,
    sync: &CurrentSync,
    snapshot: &VolumeSnapshot,
) -> PersistentVolumeClaim {
    let (capacity, class, modes) = match &pass.seen.claim {
        Some(claim) => dimensions(valid, claim),
        None => (valid.capacity.clone(), valid.storage_class.clone(), valid.access_modes.clone()),
    };
    let least = snapshot.status.as_ref().and_then(|status| status.restore_size.clone());
    let modes = modes.or_else(|| Some(vec!["ReadWriteOnce".to_owned()]));
    let source = TypedLocalObjectReference {
        api_group: Some(SNAPSHOT_GROUP.to_owned()),
        kind: "VolumeSnapshot".to_owned(),
        name: pass.cut_name(sync),
    };
    let meta = metadata(pass, sync, source_uid(&snapshot.metadata));
    build_claim(meta, (larger(capacity, least), class, modes), source)
}

fn larger(one: Option<Quantity>, other: Option<Quantity>) -> Option<Quantity> {
    let bytes = |given: &Option<Quantity>| given.as_ref().and_then(quantity::bytes);
    if bytes(&other) > bytes(&one) { other } else { one }
}
