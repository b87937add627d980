//! What the class of the snapshots means for the replicas.

use super::draft::Draft;
use super::view::View;
use crate::observed::SnapshotClass;
use scribe_crds::conditions::Reason;

/// How often a class that does not exist is looked for, in seconds: nobody tells when it comes.
const LOOK_AGAIN: i64 = 300;

/// What is wrong with the class, if anything: in the words of a condition.
pub(super) fn trouble(view: &View<'_>, draft: &mut Draft) -> Option<(Reason, String)> {
    let SnapshotClass { name, deletion_policy } = view.seen.snapshot_class.as_ref()?;
    match deletion_policy.as_deref() {
        None => {
            draft.wake_in(view.now, LOOK_AGAIN);
            let message = format!("VolumeSnapshotClass {name} does not exist, so nothing can be published");
            Some((Reason::SnapshotClassMissing, message))
        }
        Some("Retain") => {
            let message = format!(
                "VolumeSnapshotClass {name} has the deletionPolicy Retain: of replicas that are pruned, the VolumeSnapshotContent and the \
                 snapshot on the storage stay, and nobody counts them"
            );
            Some((Reason::SnapshotClassRetains, message))
        }
        Some(_) => None,
    }
}
