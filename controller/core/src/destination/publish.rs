//! Makes a replica of what was received: cut a snapshot of the sealed claim, wait until it can be used, publish it.

use super::claim::full_name;
use super::draft::{Draft, Hold, after};
use super::leftovers;
use super::replica;
use super::session;
use super::validate::ValidDestination;
use super::view::{View, clipped, is_leaving, name_of};
use crate::build::meta::label;
use crate::decision::{Action, Child, SyncResult};
use jiff::Timestamp;
use scribe_crds::conditions::Reason;
use scribe_crds::names;
use scribe_crds::snapshots::{VolumeSnapshot, VolumeSnapshotSource, VolumeSnapshotSpec};
use scribe_crds::v1alpha1::{DestinationStatus, Received};
use scribe_mover_contract::control::Order;

/// How far the publication of what was received last is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Publication<'a> {
    /// There is nothing to publish.
    Over,
    /// A snapshot is made, or is about to be.
    Pending(&'a Received),
    /// A snapshot that will not be published is not gone yet.
    Leaving(String),
}

/// How far the publication is. Until it is over, the claim stays sealed.
pub(super) fn standing<'a>(view: &View<'_>, status: &'a DestinationStatus) -> Publication<'a> {
    if let Some(message) = leftovers::waiting(view, status) {
        return Publication::Leaving(message);
    }
    pending(view, status).map_or(Publication::Over, Publication::Pending)
}

/// What was received and is to be published: into the claim of today, and nothing has been written since.
pub(super) fn pending<'a>(view: &View<'_>, status: &'a DestinationStatus) -> Option<&'a Received> {
    status.received.as_ref().filter(|received| {
        received.published_at.is_none()
            && received.gave_up.is_none()
            && view.received_claim_uid() == Some(&received.claim_uid)
            && status.dirty.is_none()
    })
}

/// The name of the snapshot of what was received.
pub(super) fn snapshot_name(view: &View<'_>, received: &Received) -> String {
    names::replica(&view.owner.name, received.data_time.0, received.publication)
}

/// Whether this is the snapshot of what was received.
pub(super) fn is_wanted(view: &View<'_>, received: &Received, snapshot: &VolumeSnapshot) -> bool {
    view.is_ours(snapshot)
        && snapshot.metadata.name.as_deref() == Some(&snapshot_name(view, received))
        && label(&snapshot.metadata, names::SYNC) == Some(&received.sync_id)
}

/// Records that what was received is published, once a published replica of it is seen.
pub(super) fn record(view: &View<'_>, draft: &mut Draft) {
    let Some(received) = draft.status.received.as_ref().filter(|received| received.published_at.is_none())
    else {
        return;
    };
    let Some(seen) = view.replicas.iter().find(|replica| replica.sync_id == received.sync_id) else { return };
    let message =
        format!("published {} with the data of {} (sync {})", seen.name, seen.data_time, seen.sync_id);
    session::succeed(draft, SyncResult::Success, view.now);
    draft.note(Reason::ReplicaAvailable, message);
}

/// Takes the next step of a publication.
pub(super) fn advance(view: &View<'_>, valid: &ValidDestination<'_>, draft: &mut Draft) {
    let Some(received) = pending(view, &draft.status).cloned() else { return };
    if !view.seen.snapshots_available {
        return;
    }
    if let Some((reason, message)) = refusal(view, &received) {
        let due = after(refused_since(view, &received), view.publish_timeout(Some(valid)));
        if view.now >= due {
            return give_up(draft, reason, message);
        }
        draft.wake_at(due);
    }
    let received = with_free_name(view, received, draft);
    match view.seen.snapshots.iter().find(|snapshot| is_wanted(view, &received, snapshot)) {
        // Somebody deletes it. The claim is still sealed, so another is made when it is gone.
        Some(snapshot) if is_leaving(&snapshot.metadata) => {}
        Some(snapshot) => follow(view, valid, draft, &received, snapshot),
        None => cut(view, valid, draft, &received),
    }
}

/// Why the API server refuses to have the snapshot made or published.
fn refusal(view: &View<'_>, received: &Received) -> Option<(Reason, String)> {
    let refusal = view.refusal("VolumeSnapshot", &snapshot_name(view, received))?;
    let reason = if refusal.quota { Reason::QuotaExceeded } else { Reason::ObjectRefused };
    Some((reason, format!("{}: {}", refusal.object, clipped(&refusal.message))))
}

/// From when on a refusal may have lasted: a snapshot that is there was not refused before.
fn refused_since(view: &View<'_>, received: &Received) -> Timestamp {
    let snapshot = view.seen.snapshots.iter().find(|snapshot| is_wanted(view, received, snapshot));
    let made = snapshot.and_then(|snapshot| snapshot.metadata.creation_timestamp.as_ref()).map(|time| time.0);
    made.map_or(received.received_at.0, |made| made.max(received.received_at.0))
}

/// Moves on to the next name while the name is taken by something else.
fn with_free_name(view: &View<'_>, mut received: Received, draft: &mut Draft) -> Received {
    let is_taken = |received: &Received| {
        let name = snapshot_name(view, received);
        let by_another = view.seen.snapshots.iter().any(|snapshot| {
            snapshot.metadata.name.as_deref() == Some(&name) && !is_wanted(view, received, snapshot)
        });
        let refused = view.seen.around.refusals.iter().any(|refusal| {
            refusal.object.ends_with(&format!(" {name}"))
                && !refusal.quota
                && refusal.message.contains("exists")
        });
        by_another || refused
    };
    let before = received.publication;
    while is_taken(&received) && received.publication < u32::MAX {
        received.publication += 1;
    }
    if received.publication != before
        && let Some(recorded) = &mut draft.status.received
    {
        recorded.publication = received.publication;
    }
    received
}

/// Cuts the snapshot, if nobody can write.
fn cut(view: &View<'_>, valid: &ValidDestination<'_>, draft: &mut Draft, received: &Received) {
    if leftovers::waiting(view, &draft.status).is_some() {
        return;
    }
    if view.claim().is_none() {
        return;
    }
    match view.mover() {
        // A mover lifts its seal only by our order, and that is given only while nothing is pending; one that is not sealed now was
        // told so by somebody who had lost his memory. Nothing was admitted since the commit, so the data is still that of the commit.
        Some(mover) if mover.seal.is_none() => {
            let token = mover.session.as_ref().map_or(0, |session| session.token);
            draft.then.push(Action::Order { pod: view.base.clone(), order: Order::EndSession { token } });
            draft.wake_in(view.now, view.settings.retry_base);
        }
        // A mover that does not answer was sealed by the commit, and one that starts is sealed from its start.
        Some(_) | None => {
            draft.then.push(Action::Create(Child::Snapshot(Box::new(build(view, valid, received)))));
        }
    }
}

fn build(view: &View<'_>, valid: &ValidDestination<'_>, received: &Received) -> VolumeSnapshot {
    let metadata = view.owner.child(snapshot_name(view, received), Some(&received.sync_id));
    let claim = view.claim().map(|claim| name_of(&claim.metadata));
    VolumeSnapshot {
        metadata,
        spec: VolumeSnapshotSpec {
            source: VolumeSnapshotSource {
                persistent_volume_claim_name: claim,
                ..VolumeSnapshotSource::default()
            },
            volume_snapshot_class_name: valid.snapshot_class.map(str::to_owned),
        },
        status: None,
    }
}

/// Publishes the snapshot when it can be used, or gives it up when its time is over.
fn follow(
    view: &View<'_>,
    valid: &ValidDestination<'_>,
    draft: &mut Draft,
    received: &Received,
    snapshot: &VolumeSnapshot,
) {
    let status = snapshot.status.clone().unwrap_or_default();
    let is_cut = status.creation_time.is_some();
    let source = draft.status.source.as_ref().map(|source| source.claim_uid.clone()).unwrap_or_default();
    if is_cut && status.ready_to_use == Some(true) {
        let (Some(uid), Some(version)) = (&snapshot.metadata.uid, &snapshot.metadata.resource_version) else {
            return;
        };
        draft.then.push(Action::PublishSnapshot {
            name: name_of(&snapshot.metadata),
            uid: uid.clone(),
            resource_version: version.clone(),
            annotations: replica::annotations(received, &source, full_name(view), view.now),
        });
        return;
    }
    let made = snapshot.metadata.creation_timestamp.as_ref().map_or(view.now, |time| time.0);
    let due = after(made, view.publish_timeout(Some(valid)));
    if view.now < due {
        return draft.wake_at(due);
    }
    let name = name_of(&snapshot.metadata);
    let seconds = view.publish_timeout(Some(valid));
    match words(view, snapshot) {
        Some(words) => {
            give_up(draft, Reason::PublicationFailed, format!("VolumeSnapshot {name}: {words}"));
        }
        None => {
            let message = format!("VolumeSnapshot {name} was not ready after {seconds} s");
            give_up(draft, Reason::PublicationTimeout, message);
        }
    }
}

/// What the snapshotter says about a snapshot: its own error, or a warning that stands in an Event.
pub(super) fn words(view: &View<'_>, snapshot: &VolumeSnapshot) -> Option<String> {
    let own = snapshot.status.as_ref().and_then(|status| status.error.as_ref()?.message.clone());
    let content = || leftovers::content_of(view, snapshot)?.status.as_ref()?.error.as_ref()?.message.clone();
    let event = || view.warning_about([snapshot.metadata.uid.as_deref()]);
    own.or_else(content).or_else(event).map(|text| clipped(&text))
}

/// Records that the snapshot is given up; from then on it is a leftover, if it is there, and goes as those do.
fn give_up(draft: &mut Draft, reason: Reason, message: String) {
    session::fail(draft, reason, &message);
    if let Some(received) = &mut draft.status.received {
        received.gave_up = Some(message);
    }
}

/// How long a source should go on asking after its commit, in seconds: the snapshot's own time, and that to clean up after it.
pub(super) fn deadline(view: &View<'_>, valid: Option<&ValidDestination<'_>>) -> u64 {
    const MARGIN: u64 = 60;
    u64::try_from(view.publish_timeout(valid)).unwrap_or_default().saturating_add(MARGIN)
}

/// What a publication waits for, for the status and for the source that asks.
pub(super) fn progress(view: &View<'_>, received: &Received) -> Hold {
    if let Some((reason, message)) = refusal(view, received) {
        return Hold::passing(reason, message);
    }
    let name = snapshot_name(view, received);
    if !view.seen.snapshots_available {
        return Hold::passing(Reason::SnapshotsUnavailable, "the cluster has no VolumeSnapshot API");
    }
    let snapshot = view.seen.snapshots.iter().find(|snapshot| is_wanted(view, received, snapshot));
    let message = match snapshot.map(|snapshot| (snapshot, words(view, snapshot))) {
        None => format!("sync {} is received; makes VolumeSnapshot {name}", received.sync_id),
        Some((_, None)) => {
            format!("sync {} is received; VolumeSnapshot {name} is not ready yet", received.sync_id)
        }
        Some((_, Some(words))) => {
            format!("sync {} is received; VolumeSnapshot {name} is not ready yet: {words}", received.sync_id)
        }
    };
    Hold::passing(Reason::AwaitingPublication, message)
}
