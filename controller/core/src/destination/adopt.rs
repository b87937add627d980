//! The replicas of the destination that had this name before, and was deleted while they stayed.
//!
//! They are found by the annotations that they got at their publication, and taken over by a change of their label, under the version that
//! was seen. No other destination can claim them: names are unique, so whoever bore this one before is gone. Who may send is not taken over:
//! that is settled anew by the keys, which are new, and by the first source that uses them.

use super::claim::full_name;
use super::draft::{Draft, after};
use super::replica::Seen;
use super::retain;
use super::validate::ValidDestination;
use super::view::{View, annotation};
use crate::build::meta::label;
use crate::decision::Action;
use jiff::Timestamp;
use scribe_crds::conditions::Reason;
use scribe_crds::names;
use scribe_crds::snapshots::VolumeSnapshot;

/// Data of a time further ahead than this, in seconds, was not published by anybody whose clock was right.
const CLOCK_TOLERANCE: i64 = 300;

/// Takes them over, as long as this destination has published nothing itself: what appears later, its user has put there for himself.
pub(super) fn adopt(view: &View<'_>, valid: &ValidDestination<'_>, draft: &mut Draft) {
    // One whose claim is the replica has nothing to prune them by.
    if view.is_direct() || view.replicas.iter().any(|replica| !replica.adopted) {
        return;
    }
    let found: Vec<(&str, Seen<'_>)> =
        view.seen.snapshots.iter().filter_map(|snapshot| heirloom(view, snapshot)).collect();
    for (from, replica) in &found {
        let Some(version) = replica.resource_version else { continue };
        draft.then.push(Action::AdoptSnapshot {
            name: replica.name.to_owned(),
            uid: replica.uid.to_owned(),
            resource_version: version.to_owned(),
            from: (*from).to_owned(),
        });
    }
    if !found.is_empty() {
        let mut all: Vec<Seen<'_>> = found.into_iter().map(|(_, replica)| replica).collect();
        all.extend(view.replicas.iter().cloned());
        all.sort_by_key(|replica| std::cmp::Reverse((replica.data_time, replica.name)));
        let going = retain::plan(&all, &view.seen.restores, &valid.retain, None).prune.len();
        let count = all.len();
        let message = format!(
            "of the ReplicationDestination that had this name before, this one takes over what it has left (replicas: {count}); once a replica \
             of its own is published, spec.retain lets go of {going}: raise it, or pin those that are to stay ({}=)",
            names::PINNED
        );
        draft.note(Reason::ReplicasAdopted, message);
    }
}

/// A published replica of a destination of this name that is not this one, and the uid of that one.
///
/// One by another name is a copy that somebody made, annotations and all.
fn heirloom<'a>(view: &View<'_>, snapshot: &'a VolumeSnapshot) -> Option<(&'a str, Seen<'a>)> {
    let meta = &snapshot.metadata;
    let from = label(meta, names::OWNER_UID)?;
    let is_marked = label(meta, names::MANAGED_BY) == Some(names::MANAGED_BY_VALUE)
        && label(meta, names::SIDE) == Some(view.owner.side)
        && annotation(meta, names::DESTINATION) == Some(&full_name(view));
    let replica = Seen::read(snapshot)?;
    let is_possible = replica.data_time <= after(view.now, CLOCK_TOLERANCE);
    let is_ours_by_name = is_name_of(view, replica.name, replica.data_time);
    (from != view.owner.uid && is_marked && is_possible && is_ours_by_name).then_some((from, replica))
}

/// Whether a replica of that time would be called that, at the first or at a later try.
fn is_name_of(view: &View<'_>, name: &str, data_time: Timestamp) -> bool {
    let publication = name.rsplit('-').next().and_then(|last| last.parse().ok()).unwrap_or(1);
    [1, publication]
        .iter()
        .any(|publication| names::replica(&view.owner.name, data_time, *publication) == name)
}
