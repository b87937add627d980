//! The end of a snapshot: under a class that retains, its content, and what that stands for, would stay behind for ever.

use super::{Pass, after};
use crate::contents::content_name;
use crate::decision::{Action, ChildKind};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// The contents on record that are still there.
pub fn still_there<'a>(pass: &'a Pass<'_>) -> impl Iterator<Item = &'a String> {
    let is_there = |name: &&String| {
        pass.seen.contents.iter().any(|content| content.metadata.name.as_ref() == Some(*name))
    };
    pass.status.releasing.iter().filter(is_there)
}

/// Has the contents of the snapshots among these go with them. With the status goes the record of what is waited for: once a snapshot is
/// gone, nothing else would tell.
pub fn release(pass: &mut Pass<'_>, leftovers: &[(ChildKind, &ObjectMeta)]) -> Vec<Action> {
    let mut releasing: Vec<String> = still_there(pass).cloned().collect();
    let is_left = |meta: &ObjectMeta| {
        leftovers.iter().any(|(kind, left)| *kind == ChildKind::Snapshot && left.uid == meta.uid)
    };
    for snapshot in pass.snapshots().filter(|snapshot| is_left(&snapshot.metadata)) {
        let content = content_name(snapshot, &pass.seen.contents);
        if !releasing.contains(&content) {
            releasing.push(content);
        }
    }
    pass.status.releasing = releasing;
    if !pass.status.releasing.is_empty() {
        // Contents are not ours to watch.
        pass.wake_at(after(pass.now, pass.settings.retry_base));
    }
    let contents = pass.seen.contents.iter().filter(|content| content.spec.deletion_policy != "Delete");
    let names = contents.filter_map(|content| content.metadata.name.clone());
    names
        .filter(|name| pass.status.releasing.contains(name))
        .map(|name| Action::ReleaseContent { name })
        .collect()
}
