//! VolumeSnapshotContents: what stands for a snapshot in the storage system, and outlives it if it is told to.

use scribe_crds::snapshots::{VolumeSnapshot, VolumeSnapshotContent};

/// The name of a snapshot's content. While the snapshot is not bound it is found by its reference, and while there is none yet it is
/// the name that the snapshot controller is going to give it.
pub fn content_name(snapshot: &VolumeSnapshot, contents: &[VolumeSnapshotContent]) -> String {
    let uid = snapshot.metadata.uid.as_deref().unwrap_or_default();
    let bound = snapshot.status.as_ref().and_then(|status| status.bound_volume_snapshot_content_name.clone());
    let referring = || {
        let refers =
            |content: &&VolumeSnapshotContent| content.spec.volume_snapshot_ref.uid.as_deref() == Some(uid);
        contents.iter().find(refers)?.metadata.name.clone()
    };
    bound.or_else(referring).unwrap_or_else(|| format!("snapcontent-{uid}"))
}
