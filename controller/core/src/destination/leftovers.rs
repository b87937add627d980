//! Snapshots of ours that will not be published: they go, and until they are gone the claim stays sealed.
//!
//! The snapshotter retries a failed cut for as long as the object exists, and would else cut in the middle of the next transfer. Under
//! a class that retains, the VolumeSnapshot goes at once and the cutting goes on from its content: so the content is told to go first,
//! and waited for as well.

use super::draft::Draft;
use super::publish;
use super::view::{View, is_leaving, name_of};
use crate::contents::{self, content_name};
use crate::decision::{Action, ChildKind, ChildRef};
use scribe_crds::snapshots::{VolumeSnapshot, VolumeSnapshotContent};
use scribe_crds::v1alpha1::DestinationStatus;

/// The snapshots that are to go.
fn leftovers<'a>(view: &'a View<'a>, status: &DestinationStatus) -> Vec<&'a VolumeSnapshot> {
    let wanted = publish::pending(view, status);
    view.unpublished()
        .filter(|snapshot| wanted.is_none_or(|received| !publish::is_wanted(view, received, snapshot)))
        .collect()
}

/// What the claim stays sealed for, if anything.
pub(super) fn waiting(view: &View<'_>, status: &DestinationStatus) -> Option<String> {
    let all = remaining(view, status);
    (!all.is_empty()).then(|| format!("waits until {} is gone", all.join(", ")))
}

/// What is still there and has to go.
pub(super) fn remaining(view: &View<'_>, status: &DestinationStatus) -> Vec<String> {
    let snapshots = leftovers(view, status)
        .into_iter()
        .map(|snapshot| format!("VolumeSnapshot {}", name_of(&snapshot.metadata)));
    let contents = still_there(view, status).map(|name| format!("VolumeSnapshotContent {name}"));
    snapshots.chain(contents).collect()
}

fn still_there<'a>(view: &'a View<'_>, status: &'a DestinationStatus) -> impl Iterator<Item = &'a String> {
    status.releasing.iter().filter(|name| {
        view.seen.contents.iter().any(|content| {
            content.metadata.name.as_deref() == Some(name.as_str()) && !is_of_replica(view, content)
        })
    })
}

/// Whether a content is that of a replica after all: another controller published it when this one had just given it up. It stays, and
/// nothing waits for its end.
fn is_of_replica(view: &View<'_>, content: &VolumeSnapshotContent) -> bool {
    let uid = content.spec.volume_snapshot_ref.uid.as_deref();
    view.replicas.iter().any(|replica| Some(replica.uid) == uid)
}

/// Has every leftover deleted, its content first.
pub(super) fn remove(view: &View<'_>, draft: &mut Draft) {
    let snapshots = leftovers(view, &draft.status);
    let before = still_there(view, &draft.status).cloned().collect();
    draft.status.releasing = contents::awaited(before, snapshots.iter().copied(), &view.seen.contents);
    draft.then.extend(contents::release(&draft.status.releasing, &view.seen.contents));
    if !draft.status.releasing.is_empty() {
        // Contents are not ours to watch.
        draft.wake_in(view.now, view.settings.retry_base);
    }
    for snapshot in snapshots.iter().filter(|snapshot| !is_leaving(&snapshot.metadata)) {
        draft.then.push(Action::Delete(reference(snapshot)));
    }
}

/// Names a snapshot for deletion, as it was seen: another controller may be publishing it at this very moment, and what is published is
/// no leftover.
fn reference(snapshot: &VolumeSnapshot) -> ChildRef {
    ChildRef {
        kind: ChildKind::Snapshot,
        name: name_of(&snapshot.metadata),
        uid: snapshot.metadata.uid.clone(),
        resource_version: snapshot.metadata.resource_version.clone(),
    }
}

/// The content of a snapshot, if it is seen.
pub(super) fn content_of<'a>(
    view: &View<'a>,
    snapshot: &VolumeSnapshot,
) -> Option<&'a VolumeSnapshotContent> {
    let name = content_name(snapshot, &view.seen.contents);
    view.seen.contents.iter().find(|content| content.metadata.name.as_deref() == Some(&name))
}
