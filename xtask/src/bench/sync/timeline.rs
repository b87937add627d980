//! When which step of a sync was seen. Pure: what was observed goes in, times come out.
//!
//! Kubernetes' own times have no fraction of a second, so none of them is used: an object counts from the moment that a watch told of it, by
//! the clock of this process, and a mover's step from the moment that its log line was written, by the clock of the same machine.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use scribe_crds::names::SYNC;
use scribe_crds::snapshots::VolumeSnapshot;
use scribe_crds::v1alpha1::{ReplicationDestination, ReplicationSource};

use super::content::Case;

/// Something that was observed.
#[derive(Clone, Debug)]
pub enum Seen {
    Source(Box<ReplicationSource>),
    Destination(Box<ReplicationDestination>),
    Claim(Box<PersistentVolumeClaim>),
    Pod(Box<Pod>),
    Snapshot(Box<VolumeSnapshot>),
    /// A log line of the source's mover.
    Sends(String),
    /// A log line of the destination's mover.
    Receives(String),
}

/// And when.
#[derive(Clone, Debug)]
pub struct Moment {
    pub at: Timestamp,
    pub seen: Seen,
}

/// The sync that is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Sync<'a> {
    /// The value of the manual trigger.
    pub tag: &'a str,
    pub id: &'a str,
}

/// One step, and how it is recognised.
type Step = (&'static str, fn(Sync<'_>, &Seen) -> bool);

/// What is reached when the last step of interest is.
pub const READY: &str = "replica ready and published";
/// The end, as the source sees it.
pub const KNOWN: &str = "source knows";

const STEPS: [Step; 21] = [
    (
        "sync recorded",
        |sync, seen| matches!(seen, Seen::Source(rs) if current(rs).is_some_and(|id| id == sync.id)),
    ),
    ("clone made", |sync, seen| matches!(seen, Seen::Claim(claim) if is_of(&claim.metadata, sync))),
    (
        "clone bound",
        |sync, seen| matches!(seen, Seen::Claim(claim) if is_of(&claim.metadata, sync) && is_bound(claim)),
    ),
    ("pod made", |sync, seen| matches!(seen, Seen::Pod(pod) if is_of(&pod.metadata, sync))),
    (
        "pod scheduled",
        |sync, seen| matches!(seen, Seen::Pod(pod) if is_of(&pod.metadata, sync) && is_scheduled(pod)),
    ),
    ("mover starts", |_, seen| matches!(seen, Seen::Sends(line) if line.contains("starts"))),
    (
        "pod seen running",
        |sync, seen| matches!(seen, Seen::Pod(pod) if is_of(&pod.metadata, sync) && phase(pod) == Some("Running")),
    ),
    ("connected", |_, seen| matches!(seen, Seen::Sends(line) if line.contains("connected"))),
    ("surveyed", |_, seen| matches!(seen, Seen::Sends(line) if line.contains("surveyed"))),
    ("unsealed", |_, seen| matches!(seen, Seen::Receives(line) if line.contains("unsealed"))),
    ("session begins", |_, seen| matches!(seen, Seen::Receives(line) if line.contains("session begins"))),
    ("pruned", |_, seen| matches!(seen, Seen::Sends(line) if line.contains("pruned"))),
    ("sent", |_, seen| matches!(seen, Seen::Sends(line) if line.contains(" sent "))),
    (
        "flushed and sealed",
        |_, seen| matches!(seen, Seen::Receives(line) if line.contains("flushed and sealed")),
    ),
    ("received", |_, seen| matches!(seen, Seen::Sends(line) if line.contains(" received"))),
    (
        "snapshot made",
        |sync, seen| matches!(seen, Seen::Snapshot(snapshot) if is_of(&snapshot.metadata, sync)),
    ),
    (
        "snapshot ready",
        |sync, seen| matches!(seen, Seen::Snapshot(snapshot) if is_of(&snapshot.metadata, sync) && is_ready(snapshot)),
    ),
    (READY, |sync, seen| matches!(seen, Seen::Destination(rd) if newest(rd).is_some_and(|id| id == sync.id))),
    ("mover is told", |_, seen| matches!(seen, Seen::Sends(line) if line.contains(" published"))),
    (
        "pod seen ended",
        |sync, seen| matches!(seen, Seen::Pod(pod) if is_of(&pod.metadata, sync) && matches!(phase(pod), Some("Succeeded" | "Failed"))),
    ),
    (KNOWN, |sync, seen| matches!(seen, Seen::Source(rs) if is_done(rs, sync))),
];

/// Seconds from `since` to each step that was seen, in the order in which they happened.
pub fn steps(since: Timestamp, sync: Sync<'_>, moments: &[Moment]) -> Vec<(&'static str, f64)> {
    let seconds = |at: Timestamp| at.duration_since(since).as_secs_f64();
    let first = |is_it: fn(Sync<'_>, &Seen) -> bool| {
        // The log of the mover before this one may be there still.
        let ours = moments.iter().filter(|moment| moment.at >= since && is_it(sync, &moment.seen));
        ours.map(|moment| moment.at).min()
    };
    let mut steps: Vec<_> =
        STEPS.iter().filter_map(|(name, is_it)| Some((*name, seconds(first(*is_it)?)))).collect();
    steps.sort_by(|a, b| a.1.total_cmp(&b.1));
    steps
}

/// The step with which a case has reached what is measured.
pub fn end(case: Case) -> &'static str {
    match case {
        Case::Nothing => KNOWN,
        Case::OneFile | Case::Large => READY,
    }
}

/// The id of the sync that runs with a tag.
pub fn sync_id(seen: &Seen, tag: &str) -> Option<String> {
    let Seen::Source(rs) = seen else { return None };
    let sync = rs.status.as_ref()?.current_sync.as_ref()?;
    (sync.tag.as_deref() == Some(tag)).then(|| sync.id.clone())
}

/// Whether a source is through with a sync, published.
pub fn is_done(rs: &ReplicationSource, sync: Sync<'_>) -> bool {
    let Some(status) = &rs.status else { return false };
    status.last_manual_sync.as_deref() == Some(sync.tag)
        && status.recovery_point.as_ref().is_some_and(|point| point.sync_id == sync.id)
}

fn current(rs: &ReplicationSource) -> Option<&str> {
    rs.status.as_ref()?.current_sync.as_ref().map(|sync| sync.id.as_str())
}

/// The sync of the replica that `latestImage` names.
fn newest(rd: &ReplicationDestination) -> Option<&str> {
    let status = rd.status.as_ref()?;
    let image = status.latest_image.as_ref()?;
    status.replicas.iter().find(|replica| replica.name == image.name).map(|replica| replica.sync_id.as_str())
}

fn is_of(meta: &kube::core::ObjectMeta, sync: Sync<'_>) -> bool {
    meta.labels.as_ref().and_then(|labels| labels.get(SYNC)).is_some_and(|id| id == sync.id)
}

fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound")
}

fn is_scheduled(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())
}

fn phase(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.phase.as_deref()
}

fn is_ready(snapshot: &VolumeSnapshot) -> bool {
    snapshot.status.as_ref().and_then(|status| status.ready_to_use) == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(phase: &str, sync: &str) -> Seen {
        let pod = json!({ "metadata": { "labels": { SYNC: sync } }, "status": { "phase": phase } });
        Seen::Pod(serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn a_step_counts_from_when_it_was_first_seen_and_only_of_this_sync() {
        let since = Timestamp::UNIX_EPOCH;
        let moment =
            |millisecond, seen| Moment { at: Timestamp::from_millisecond(millisecond).unwrap(), seen };
        let moments = [
            moment(1000, pod("Running", "before")),
            moment(2000, pod("Pending", "this")),
            moment(2700, pod("Running", "this")),
            moment(2900, pod("Running", "this")),
            // Read after the pod was seen, and written before.
            moment(2500, Seen::Sends("INFO mover starts sync=\"this\"".to_owned())),
        ];
        let steps = steps(since, Sync { tag: "tag", id: "this" }, &moments);
        assert_eq!(steps, [("pod made", 2.0), ("mover starts", 2.5), ("pod seen running", 2.7)]);
    }
}
