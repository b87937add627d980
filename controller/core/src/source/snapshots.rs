//! The end of a snapshot: under a class that retains, its content, and what that stands for, would stay behind for ever.

use super::{Pass, after};
use crate::contents;
use crate::decision::{Action, ChildKind};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// The contents on record that are still there.
pub fn still_there<'a>(pass: &'a Pass<'_>) -> impl Iterator<Item = &'a String> {
    let is_there = |name: &&String| {
        pass.seen.contents.iter().any(|content| content.metadata.name.as_ref() == Some(*name))
    };
    pass.status.releasing.iter().filter(is_there)
}

/// Has the contents of the snapshots among these go with them.
pub fn release(pass: &mut Pass<'_>, leftovers: &[(ChildKind, &ObjectMeta)]) -> Vec<Action> {
    let is_left = |meta: &ObjectMeta| {
        leftovers.iter().any(|(kind, left)| *kind == ChildKind::Snapshot && left.uid == meta.uid)
    };
    let leaving = pass.snapshots().filter(|snapshot| is_left(&snapshot.metadata));
    let before = still_there(pass).cloned().collect();
    pass.status.releasing = contents::awaited(before, leaving, &pass.seen.contents);
    if !pass.status.releasing.is_empty() {
        // Contents are not ours to watch.
        pass.wake_at(after(pass.now, pass.settings.retry_base));
    }
    contents::release(&pass.status.releasing, &pass.seen.contents)
}
