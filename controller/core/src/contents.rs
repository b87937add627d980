//! VolumeSnapshotContents: what stands for a snapshot in the storage system, and outlives it if it is told to.

use crate::decision::Action;
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

/// The contents that are waited for: those of before, and those of the snapshots that are to go now. They belong on record, for once a snapshot
/// is gone nothing else would tell.
pub fn awaited<'a>(
    before: Vec<String>,
    leaving: impl Iterator<Item = &'a VolumeSnapshot>,
    contents: &[VolumeSnapshotContent],
) -> Vec<String> {
    let mut awaited = before;
    for snapshot in leaving {
        let content = content_name(snapshot, contents);
        if !awaited.contains(&content) {
            awaited.push(content);
        }
    }
    awaited
}

/// Has those of these contents that would stay behind, and what they stand for with them, go when their snapshots do.
pub fn release(awaited: &[String], contents: &[VolumeSnapshotContent]) -> Vec<Action> {
    let retained = contents.iter().filter(|content| content.spec.deletion_policy != "Delete");
    let names = retained.filter_map(|content| content.metadata.name.clone());
    names.filter(|name| awaited.contains(name)).map(|name| Action::ReleaseContent { name }).collect()
}
