//! What to do with a ReplicationDestination.
//!
//! One pass goes through [`set_up`] (keys, claim, Service, mover, address), hears what has become of a session and of a publication,
//! answers the mover's questions, takes the next step of a publication, prunes, and reports. Each part looks at what was seen and at
//! the draft of the status, and nothing waits inside: what is missing is a [`draft::Hold`].

mod adopt;
mod claim;
mod class;
mod commit;
mod convert;
mod deletion;
mod direct;
mod draft;
mod guards;
mod handshake;
mod hooks;
mod keys;
mod leftovers;
mod mover;
mod publish;
mod questions;
mod replica;
mod report;
mod retain;
mod service;
mod session;
mod validate;
mod view;

pub use keys::are_keys_open;
pub use validate::{ReceivingClaim, ValidDestination};

use crate::chance::Chance;
use crate::decision::{Action, Decision};
use crate::hooks::Entry;
use crate::observed::DestinationObserved;
use crate::settings::Settings;
use claim::Footing;
use draft::{Draft, Hold, Weight};
use hooks::Choice;
use jiff::Timestamp;
use retain::Retention;
use scribe_crds::conditions::Reason;
use scribe_crds::names;
use scribe_crds::v1alpha1::DestinationStatus;
use scribe_hooks_contract::points::Point;
use view::View;

/// Decides what to do next with a ReplicationDestination.
///
/// *Guarantees*: what `then` does is decided again, and the same, if it is lost; an answer to a mover never comes before its record in
/// the status; a snapshot counts as published only after it was seen published; the newest ready replica is never deleted, except with
/// the object under `deletionPolicy: Delete`. A destination of an external provider is left alone.
pub fn decide(
    seen: &DestinationObserved,
    settings: &Settings,
    now: Timestamp,
    chance: &mut dyn Chance,
) -> Decision<DestinationStatus> {
    if seen.destination.spec.external.is_some() {
        return Decision::default();
    }
    let view = View::new(seen, settings, now);
    if seen.destination.metadata.deletion_timestamp.is_some() {
        return deletion::decide(&view);
    }
    let mut draft = Draft::new(&view);
    hooks::look(&view, &mut draft);
    let valid = match validate::validate(seen) {
        Ok(valid) => Some(valid),
        Err(hold) => {
            if hold.reason == Reason::PrivilegedMoversNotAllowed {
                // Whoever took the permission back wants no privilege in the namespace, also not until the session is over.
                mover::end(&view, &mut draft);
            }
            draft.hold(hold);
            None
        }
    };
    if let Some(valid) = &valid
        && view.pause().is_none()
    {
        if !has_finalizer(seen) {
            return add_finalizer(&view, valid, draft);
        }
        set_up(&view, valid, &mut draft, chance);
    }
    publish::record(&view, &mut draft);
    session::watch(&view, &mut draft);
    questions::answer_all(&view, valid.as_ref(), &mut draft);
    if let Some(valid) = &valid {
        publish::advance(&view, valid, &mut draft);
        adopt::adopt(&view, valid, &mut draft);
    }
    leftovers::remove(&view, &mut draft);
    refusals(&view, &mut draft);
    let retention = prune(&view, valid.as_ref(), &mut draft);
    report::report(&view, valid.as_ref(), &retention, &mut draft);
    hooks::finish(&mut draft);
    draft.finish()
}

fn has_finalizer(seen: &DestinationObserved) -> bool {
    seen.destination.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == names::FINALIZER)
}

/// Before anything is made, the object must be one that cannot vanish without us. The change brings the next pass.
fn add_finalizer(
    view: &View<'_>,
    valid: &ValidDestination<'_>,
    mut draft: Draft,
) -> Decision<DestinationStatus> {
    draft.first.push(Action::AddFinalizer);
    draft.hold(Hold::blocking(Reason::Preparing, "begins"));
    let retention = retain::everything(&view.replicas, "just found");
    report::report(view, Some(valid), &retention, &mut draft);
    hooks::finish(&mut draft);
    draft.finish()
}

fn set_up(view: &View<'_>, valid: &ValidDestination<'_>, draft: &mut Draft, chance: &mut dyn Chance) {
    let has_keys = keys::keys(view, valid, draft, chance);
    if !view.seen.snapshots_available && !view.is_direct() {
        let message =
            "the cluster has no VolumeSnapshot API: install the snapshot CRDs and the snapshot controller";
        draft.hold(Hold::blocking(Reason::SnapshotsUnavailable, message));
    }
    match claim::claim(view, valid, draft) {
        Footing::Firm if has_keys => mover::mover(view, valid, draft),
        Footing::Firm | Footing::AsItIs => {}
        Footing::Gone => mover::end(view, draft),
    }
    service::service(view, valid, draft);
    if has_keys {
        service::address(view, valid, draft);
    }
}

/// Writes that the API server refuses are tried again, at a pace that is not the core's concern; that they stay in view until then
/// keeps the status, and with it everything, still.
fn refusals(view: &View<'_>, draft: &mut Draft) {
    let all = &view.seen.around.refusals;
    let Some(first) = all.first() else { return };
    let reason = if first.quota { Reason::QuotaExceeded } else { Reason::ObjectRefused };
    let words: Vec<String> = all
        .iter()
        .map(|refusal| format!("{}: {}", refusal.object, view::clipped(&refusal.message)))
        .collect();
    let message = words.join("; ");
    match &mut draft.hold {
        // That something is about to be made is no news once it is refused.
        Some(hold) if hold.reason == Reason::Preparing => {
            *hold = Hold { reason, message, weight: hold.weight }
        }
        Some(hold) if hold.weight != Weight::Passing => {}
        _ => draft.hold = Some(Hold::passing(reason, message)),
    }
}

/// Prunes, while nothing is wrong and nobody has said stop: old replicas are what one wants then.
fn prune<'a, 'b>(
    view: &'b View<'a>,
    valid: Option<&ValidDestination<'_>>,
    draft: &mut Draft,
) -> Retention<'a, 'b> {
    if view.pause().is_some() {
        return retain::everything(&view.replicas, "nothing is pruned while it is paused");
    }
    if guards::refusal(&draft.status).is_some() {
        return retain::everything(&view.replicas, "nothing is pruned after a sync that was refused");
    }
    let failing = draft.status.received.as_ref().is_some_and(|received| received.gave_up.is_some());
    let stops = draft.hold.as_ref().is_some_and(|hold| hold.weight != Weight::Passing);
    let Some(valid) = valid.filter(|_| !failing && !stops) else {
        return retain::everything(&view.replicas, "nothing is pruned while something is wrong");
    };
    let received = draft.status.received.as_ref().map(|received| received.sync_id.clone());
    let received = received.as_deref();
    let is_own = |replica: &replica::Seen<'_>| !replica.adopted && replica.ready;
    if view.replicas.iter().any(|replica| replica.adopted) && !view.replicas.iter().any(is_own) {
        // Whoever made this object has not seen yet what it found.
        return match draft.roll.at(Point::Retention) {
            None => retain::spared(&view.replicas, &view.seen.restores, &valid.retain),
            Some(_) => retain::everything(&view.replicas, retain::SPARED),
        };
    }
    let retention = match hooks::choose(view, draft) {
        Choice::NoHook => retain::plan(&view.replicas, &view.seen.restores, &valid.retain, received),
        Choice::Waits => {
            return retain::as_before(
                &view.replicas,
                &draft.status.replicas,
                "the hook has not answered yet",
            );
        }
        Choice::Broken => return retain::everything(&view.replicas, "the hook cannot say what to keep"),
        Choice::Stands(going) => {
            let before = &draft.status.replicas;
            retain::standing(&view.replicas, &view.seen.restores, before, &going, received)
        }
        Choice::Keeps(reasons) => {
            let module = draft.roll.at(Point::Retention).map(Entry::module).unwrap_or_default();
            let chosen = retain::chosen(&view.replicas, &view.seen.restores, module, &reasons, received);
            hooks::carry_out(view, draft, chosen)
        }
    };
    for replica in &retention.prune {
        let snapshot = crate::decision::ChildRef {
            kind: crate::decision::ChildKind::Snapshot,
            name: replica.name.to_owned(),
            uid: Some(replica.uid.to_owned()),
            // Its user may pin it at this very moment.
            resource_version: replica.resource_version.map(str::to_owned),
        };
        draft.then.push(Action::Delete(snapshot));
    }
    retention
}
