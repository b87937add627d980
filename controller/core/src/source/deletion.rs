//! The object is being deleted.

use super::{Pass, delete, has_finalizer, quiesce, report, slot, snapshots};
use crate::decision::{Action, ChildKind, ChildRef, Decision, SyncEnded, SyncResult};
use crate::text::clean;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use scribe_crds::conditions::Reason;
use scribe_crds::names;
use scribe_crds::v1alpha1::{Phase, SourceStatus};

/// Lets an application go on that was brought to rest, deletes pods, then cuts, then the Secret, and lets the object go. It works from what is
/// there, whatever the status says.
pub fn decide(mut pass: Pass<'_>) -> Decision<SourceStatus> {
    let meta = &pass.seen.source.metadata;
    if !has_finalizer(meta) {
        // Nothing was made yet, or all is gone, and somebody else's finalizer keeps the object.
        return Decision::default();
    }
    quiesce::advance(&mut pass);
    // A claim stays until no running pod uses it, so the order saves nothing but confusion in the events.
    let pods: Vec<&ObjectMeta> = pass.pods().map(|pod| &pod.metadata).collect();
    let cuts: Vec<&ObjectMeta> = pass.cuts().map(|cut| &cut.metadata).collect();
    let snapshots: Vec<&ObjectMeta> = pass.snapshots().map(|snapshot| &snapshot.metadata).collect();
    let contents: Vec<String> = snapshots::still_there(&pass).cloned().collect();
    let (kind, left, what) = match (pods.as_slice(), cuts.as_slice(), snapshots.as_slice()) {
        ([], [], []) if contents.is_empty() && !quiesce::is_over(&pass) => {
            let message = quiesce::waits(&pass);
            return finish(pass, &message);
        }
        ([], [], []) if contents.is_empty() => {
            let name = names::source_base(&pass.owner.name);
            let secret =
                Action::Delete(ChildRef { kind: ChildKind::Secret, name, uid: None, resource_version: None });
            return Decision { first: vec![secret, Action::RemoveFinalizer], ..Decision::default() };
        }
        ([], [], snapshots) if !snapshots.is_empty() => (ChildKind::Snapshot, snapshots, "VolumeSnapshot"),
        ([], [], _) => (ChildKind::Snapshot, [].as_slice(), "VolumeSnapshotContent"),
        ([], cuts, _) => (ChildKind::Claim, cuts, "claim"),
        (pods, ..) => (ChildKind::Pod, pods, "pod"),
    };
    let marked: Vec<(ChildKind, &ObjectMeta)> = left.iter().map(|meta| (kind, *meta)).collect();
    let release = snapshots::release(&mut pass, &marked);
    pass.out.then.extend(release);
    pass.out.then.extend(left.iter().filter_map(|meta| delete(kind, meta)));
    let names: Vec<&str> = match left {
        [] => contents.iter().map(String::as_str).collect(),
        left => left.iter().filter_map(|meta| meta.name.as_deref()).take(3).collect(),
    };
    let refused = pass.seen.around.refusals.last();
    let refused = refused.map(|refusal| format!(" {}: {}", refusal.object, clean(&refusal.message, 600)));
    let message = format!("Waits until {what} {} is gone.{}", names.join(", "), refused.unwrap_or_default());
    finish(pass, &message)
}

fn finish(mut pass: Pass<'_>, message: &str) -> Decision<SourceStatus> {
    if pass.status.current_sync.take().is_some() {
        pass.out.ended = Some(SyncEnded { result: SyncResult::Aborted, reason: Some(Reason::Deleting) });
    }
    pass.status.progress = None;
    pass.status.next_sync_time = None;
    report::set(&mut pass, Phase::Waiting, false, Reason::Deleting, message);
    slot::keep(&mut pass);
    pass.status.observed_generation = pass.seen.source.metadata.generation;
    pass.out.status = Some(pass.status);
    pass.out
}
