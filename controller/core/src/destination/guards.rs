//! What was refused, by a guard of the source or because the source is another; and how a user admits the other one.

use super::draft::Draft;
use super::session;
use super::view::{View, annotation};
use crate::decision::{SyncEnded, SyncResult};
use crate::guards::named;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use scribe_crds::conditions::Reason;
use scribe_crds::names;
use scribe_crds::v1alpha1::{DestinationStatus, Guard, GuardedSync, PinnedSource, RefusedSource};
use scribe_mover_contract::control::MoverState;
use scribe_mover_contract::guards::Guarded;
use scribe_mover_contract::peer::Handshake;

/// Records that a guard keeps the source of the session from sending: its sync is over. What is said by others, or once more, changes
/// nothing.
///
/// A claim that equalled its newest replica when the session began, and was not written to in it, still does.
pub(super) fn record(
    view: &View<'_>,
    draft: &mut Draft,
    mover: &MoverState,
    guarded: &Guarded,
    untouched: bool,
) {
    let status = &draft.status;
    let is_last = status
        .sessions
        .last()
        .is_some_and(|last| (&last.sync_id, last.attempt) == (&guarded.sync_id, guarded.attempt));
    let runs = status.current_sync.as_ref().is_some_and(|sync| sync.id == guarded.sync_id);
    let Some(source) = status.source.as_ref().filter(|_| is_last && runs) else { return };
    if session::current(status, mover).is_none() {
        return;
    }
    let was_clean = status.sessions.last().is_some_and(|last| last.clean);
    let (source_uid, guard) = (source.claim_uid.clone(), named(guarded.guard));
    let message = guarded.words();
    session::fail(draft, Reason::SyncGuarded, &message);
    draft.status.current_sync = None;
    if was_clean && untouched {
        draft.status.dirty = None;
    }
    draft.ended = Some(SyncEnded { result: SyncResult::Failure, reason: Some(Reason::SyncGuarded) });
    draft.tripped = Some(guard);
    let sync_id = guarded.sync_id.clone();
    draft.status.guarded = Some(GuardedSync { sync_id, source_uid, guard, message, time: Time(view.now) });
}

fn pin(hello: &Handshake) -> PinnedSource {
    PinnedSource {
        cluster_id: hello.cluster_id.clone(),
        claim_uid: hello.claim_uid.clone(),
        name: hello.source_name.clone(),
    }
}

/// Of the same claim; by whatever name it is sent.
fn is_same(source: &PinnedSource, hello: &Handshake) -> bool {
    source.cluster_id == hello.cluster_id && source.claim_uid == hello.claim_uid
}

/// Why a source is refused, if the destination belongs to another and its user has not admitted this one.
pub(super) fn other_source(view: &View<'_>, status: &DestinationStatus, hello: &Handshake) -> Option<String> {
    let pinned = status.source.as_ref().filter(|pinned| !is_same(pinned, hello))?;
    let admitted = annotation(&view.seen.destination.metadata, names::ADMIT_SYNC);
    let refused = status.refused_source.as_ref().filter(|refused| is_same(&refused.source, hello));
    if refused.is_some_and(|refused| admitted == Some(&refused.sync_id)) {
        return None;
    }
    let (namespace, name) = (&view.owner.namespace, &view.owner.name);
    Some(format!(
        "ReplicationDestination {name} receives from claim {} of {}; make a new one for {}; or, if claim {} is to take that one's place, \
         `kubectl -n {namespace} annotate --overwrite rd/{name} {}={}` lets its next sync pass",
        pinned.claim_uid,
        pinned.name,
        hello.source_name,
        hello.claim_uid,
        names::ADMIT_SYNC,
        hello.sync_id
    ))
}

/// Remembers the source that was refused, for the annotation that admits it.
pub(super) fn refuse_source(view: &View<'_>, draft: &mut Draft, hello: &Handshake) {
    let before = draft.status.refused_source.as_ref();
    if before.is_some_and(|refused| refused.sync_id == hello.sync_id && is_same(&refused.source, hello)) {
        return;
    }
    let (sync_id, source) = (hello.sync_id.clone(), pin(hello));
    draft.status.refused_source = Some(RefusedSource { sync_id, source, time: Time(view.now) });
    draft.tripped = Some(Guard::OtherSource);
}

/// Makes the source of an admitted sync the one that the destination belongs to. What admitted it is used up.
pub(super) fn belong_to(status: &mut DestinationStatus, hello: &Handshake) {
    status.source = Some(pin(hello));
    status.refused_source.take_if(|refused| is_same(&refused.source, hello));
}

/// What was refused and has not been followed by a commit, with words for people. Until then old replicas may be all that is left of the
/// data.
pub(super) fn refusal(status: &DestinationStatus) -> Option<(Reason, String)> {
    if let Some(guarded) = &status.guarded {
        let GuardedSync { sync_id, message, .. } = guarded;
        let message = format!(
            "a guard refused sync {sync_id}: {message}; nothing is pruned until another sync is received"
        );
        return Some((Reason::SyncGuarded, message));
    }
    let refused = status.refused_source.as_ref()?;
    let is_followed =
        status.received.as_ref().is_some_and(|received| received.received_at.0 > refused.time.0);
    (!is_followed).then(|| {
        let RefusedSource { sync_id, source: PinnedSource { name, claim_uid, .. }, .. } = refused;
        let message = format!(
            "sync {sync_id} of claim {claim_uid} of {name} was refused, since this destination belongs to another source; nothing is \
             pruned until a sync is received"
        );
        (Reason::OtherSourcePinned, message)
    })
}
