//! What becomes of the published replicas.

use super::replica::Seen;
use crate::observed::Restore;
use crate::retention::{Candidate, reasons, reasons_given};
use scribe_crds::v1alpha1::{Replica, Retain};
use std::collections::BTreeMap;

/// Why replicas that were taken over stay.
pub(super) const SPARED: &str = "until a replica of this destination's own is published";

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
    let candidates = candidates(replicas, restores, received);
    split(replicas, reasons(&candidates, retain))
}

/// Decides by what a hook keeps, by name, with the guarantees of [`reasons`].
pub(super) fn chosen<'a, 'b>(
    replicas: &'b [Seen<'a>],
    restores: &[Restore],
    module: &str,
    kept: &BTreeMap<String, String>,
    received: Option<&str>,
) -> Retention<'a, 'b> {
    let given = |replica: &Seen<'_>| {
        kept.get(replica.name).map(|why| match why.as_str() {
            "" => format!("kept by {module}"),
            why => format!("{module}: {why}"),
        })
    };
    let candidates = candidates(replicas, restores, received);
    split(replicas, reasons_given(&candidates, replicas.iter().map(given).collect()))
}

fn candidates<'c>(
    replicas: &[Seen<'_>],
    restores: &'c [Restore],
    received: Option<&str>,
) -> Vec<Candidate<'c>> {
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
    replicas.iter().map(candidate).collect()
}

fn split<'a, 'b>(replicas: &'b [Seen<'a>], reasons: Vec<Vec<String>>) -> Retention<'a, 'b> {
    let mut retention = Retention::default();
    for (replica, why) in replicas.iter().zip(reasons) {
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
    retention.take_back(0, SPARED);
    retention
}

impl Retention<'_, '_> {
    /// Keeps those that were to go, from this one on.
    pub fn take_back(&mut self, from: usize, because: &str) {
        let kept = self.prune.drain(from.min(self.prune.len())..);
        self.keep.extend(kept.map(|replica| (replica, because.to_owned())));
        self.keep.sort_by_key(|(replica, _)| std::cmp::Reverse((replica.data_time, replica.name)));
    }
}

/// Decides by what a hook has chosen before: `going` go, if they still may; everything else stays, for the reasons that the status gave
/// `before`.
pub(super) fn standing<'a, 'b>(
    replicas: &'b [Seen<'a>],
    restores: &[Restore],
    before: &[Replica],
    going: &[String],
    received: Option<&str>,
) -> Retention<'a, 'b> {
    let goes = |replica: &Seen<'_>| going.iter().any(|name| name == replica.name);
    let mut retention = as_before(replicas, before, "kept when the hook was asked");
    let given = replicas.iter().map(|replica| (!goes(replica)).then(String::new)).collect();
    let why = reasons_given(&candidates(replicas, restores, received), given);
    retention.keep.retain(|(replica, _)| !goes(replica));
    for (replica, why) in replicas.iter().zip(why).filter(|(replica, _)| goes(replica)) {
        if why.is_empty() {
            retention.prune.push(replica);
        } else {
            retention.keep.push((replica, why.join(", ")));
        }
    }
    retention.prune.reverse();
    retention.keep.sort_by_key(|(replica, _)| std::cmp::Reverse((replica.data_time, replica.name)));
    retention
}

/// Keeps all, for the reasons that the status gave before, as far as it did.
pub(super) fn as_before<'a, 'b>(
    replicas: &'b [Seen<'a>],
    before: &[Replica],
    because: &str,
) -> Retention<'a, 'b> {
    let why = |replica: &Seen<'_>| {
        let known = before.iter().find(|known| known.name == replica.name);
        known.map_or(because, |known| known.kept_because.as_str()).to_owned()
    };
    Retention { keep: replicas.iter().map(|replica| (replica, why(replica))).collect(), prune: Vec::new() }
}

/// Keeps all.
pub(super) fn everything<'a, 'b>(replicas: &'b [Seen<'a>], because: &str) -> Retention<'a, 'b> {
    Retention {
        keep: replicas.iter().map(|replica| (replica, because.to_owned())).collect(),
        prune: Vec::new(),
    }
}
