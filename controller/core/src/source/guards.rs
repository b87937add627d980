//! What the guards refuse, and how a user lets it pass.
//!
//! The mover judges, and leaves behind what it found. Here it is remembered, since the annotation that admits the next sync names the one
//! that was refused, and holds for the claim that it was of and no other.

use super::Pass;
use super::validate::ValidSource;
use crate::text::clean;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use scribe_crds::conditions::Reason;
use scribe_crds::names;
use scribe_crds::v1alpha1::{CurrentSync, GuardedSync};
use scribe_mover_contract::control::Activity;
use scribe_mover_contract::guards::Guards;
use scribe_mover_contract::job::Termination;

/// What the mover of a sync refuses: nothing, if its user has admitted it, or if an earlier attempt has passed.
pub fn of(valid: &ValidSource, sync: &CurrentSync) -> Option<Guards> {
    (sync.admits.is_none() && !sync.guards_passed).then_some(valid.guards)
}

/// Notes that the guards have let the sync pass, as soon as its mover does what comes after that: it may not live to say so.
pub fn watch(pass: &mut Pass<'_>, sync: &mut CurrentSync) {
    let name = pass.pod_name(sync);
    let state = pass.seen.mover.as_ref().filter(|(pod, _)| *pod == name).map(|(_, state)| state.activity);
    sync.guards_passed |=
        matches!(state, Some(Activity::Transferring | Activity::Committing | Activity::AwaitingPublication));
    pass.status.current_sync = Some(sync.clone());
}

/// Remembers that a guard refused the sync, if that is why it failed. The answer is what to say of the failure: after the numbers, the ways
/// out.
pub fn refused(
    pass: &mut Pass<'_>,
    valid: Option<&ValidSource>,
    sync: &CurrentSync,
    reason: Reason,
    message: String,
    left: Option<&Termination>,
) -> String {
    let guarded = left.and_then(|left| left.guarded.as_ref()).filter(|_| reason == Reason::SyncGuarded);
    let Some(guarded) = guarded else { return message };
    let guard = crate::guards::named(guarded.guard);
    pass.status.guarded = Some(GuardedSync {
        sync_id: sync.id.clone(),
        source_uid: clean(&guarded.claim_uid, 64),
        guard,
        message: message.clone(),
        time: Time(pass.now),
    });
    pass.out.tripped = Some(guard);
    format!("{message}; no replica has changed. {}", ways_out(pass, valid, sync))
}

fn ways_out(pass: &Pass<'_>, valid: Option<&ValidSource>, sync: &CurrentSync) -> String {
    let (namespace, name) = (&pass.owner.namespace, &pass.owner.name);
    // The annotation admits; it starts nothing.
    let trigger = valid.map(|valid| &valid.trigger);
    let by_hand = trigger.is_some_and(|trigger| trigger.schedule.is_none() && trigger.interval.is_none());
    let start = if by_hand { ", which a new value of spec.trigger.manual starts" } else { "" };
    format!(
        "Repair the source; or, if it is meant, `kubectl -n {namespace} annotate --overwrite rsrc/{name} {}={}` lets the next sync pass{start}",
        names::ADMIT_SYNC,
        sync.id
    )
}

/// The refused sync that the user's annotation names, if the next sync is one of the same claim.
pub fn admitted(pass: &Pass<'_>, claim: &PersistentVolumeClaim) -> Option<String> {
    let guarded = pass.status.guarded.as_ref()?;
    let annotations = pass.seen.source.metadata.annotations.as_ref()?;
    let named = annotations.get(names::ADMIT_SYNC)?;
    let same = claim.metadata.uid.as_ref() == Some(&guarded.source_uid);
    (same && *named == guarded.sync_id).then(|| guarded.sync_id.clone())
}

/// Said of the next sync, while it is not there yet.
pub fn announced(pass: &Pass<'_>, claim: &PersistentVolumeClaim) -> String {
    admitted(pass, claim)
        .map(|id| format!(" The guards let it pass, as the annotation {}={id} asks.", names::ADMIT_SYNC))
        .unwrap_or_default()
}
