//! What becomes of the published replicas.

use super::replica::Seen;
use crate::observed::Restore;
use crate::retention::{Candidate, reasons};
use scribe_crds::v1alpha1::Retain;

/// What becomes of the replicas.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Retention<'a, 'b> {
    /// These stay, newest first, with the reason.
    pub keep: Vec<(&'b Seen<'a>, String)>,
    /// These go, oldest first.
    pub prune: Vec<&'b Seen<'a>>,
}

/// Decides by `retain`, with the guarantees of [`reasons`]. `replicas` are newest first, `received` is the sync that was received last.
pub(super) fn plan<'a, 'b>(
    replicas: &'b [Seen<'a>],
    restores: &[Restore],
    retain: &Retain,
    received: Option<&str>,
) -> Retention<'a, 'b> {
    let candidate = |replica: &Seen<'_>| Candidate {
        data_time: replica.data_time,
        ready: replica.ready,
        pinned: replica.pinned,
        restoring: restores
            .iter()
            .find(|restore| restore.snapshot == replica.name)
            .map(|restore| restore.claim.as_str()),
        received_last: received == Some(replica.sync_id),
    };
    let candidates: Vec<Candidate<'_>> = replicas.iter().map(candidate).collect();
    let mut retention = Retention::default();
    for (replica, why) in replicas.iter().zip(reasons(&candidates, retain)) {
        if why.is_empty() {
            retention.prune.push(replica);
        } else {
            retention.keep.push((replica, why.join(", ")));
        }
    }
    retention.prune.reverse();
    retention
}

/// Keeps all for now, and says of each whether it would stay.
pub(super) fn spared<'a, 'b>(
    replicas: &'b [Seen<'a>],
    restores: &[Restore],
    retain: &Retain,
) -> Retention<'a, 'b> {
    let mut retention = plan(replicas, restores, retain, None);
    let going = retention.prune.drain(..);
    let why = "until a replica of this destination's own is published";
    retention.keep.extend(going.map(|replica| (replica, why.to_owned())));
    retention.keep.sort_by_key(|(replica, _)| std::cmp::Reverse((replica.data_time, replica.name)));
    retention
}

/// Keeps all.
pub(super) fn everything<'a, 'b>(replicas: &'b [Seen<'a>], because: &str) -> Retention<'a, 'b> {
    Retention {
        keep: replicas.iter().map(|replica| (replica, because.to_owned())).collect(),
        prune: Vec::new(),
    }
}
