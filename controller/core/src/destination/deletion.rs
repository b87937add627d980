//! The end of a ReplicationDestination: first the session, then what is unpublished, then the rest.

use super::claim;
use super::direct;
use super::draft::Draft;
use super::leftovers;
use super::mover;
use super::replica;
use super::service;
use super::view::{View, annotation, is_leaving, name_of};
use crate::build::meta::label;
use crate::decision::{Action, ChildKind, ChildRef, Decision, SyncEnded, SyncResult};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use scribe_crds::conditions::{self, Reason};
use scribe_crds::names;
use scribe_crds::snapshots::VolumeSnapshot;
use scribe_crds::v1alpha1::{DeletionPolicy, DestinationStatus, Phase};
use scribe_mover_contract::control::{Answer, CommitVerdict, QuestionKind};
use scribe_mover_contract::peer::{HandshakeAnswer, Verdict};

/// Decides the next step of the end. It needs no valid spec, and nothing of what it removes has to be there.
pub(super) fn decide(view: &View<'_>) -> Decision<DestinationStatus> {
    let meta = &view.seen.destination.metadata;
    if !meta.finalizers.iter().flatten().any(|finalizer| finalizer == names::FINALIZER) {
        return Decision::default();
    }
    let mut draft = Draft::new(view);
    refuse_questions(view, &mut draft);
    abort_sync(&mut draft);
    mover::end(view, &mut draft);
    // Not even what is about to be published is any more: void what was received, and its snapshot is a leftover.
    if let Some(received) = draft.status.received.as_mut().filter(|received| received.published_at.is_none())
    {
        received.gave_up.get_or_insert_with(|| "the ReplicationDestination is being deleted".to_owned());
    }
    leftovers::remove(view, &mut draft);
    let pods = view.pods().map(|pod| format!("pod {}", name_of(&pod.metadata)));
    let mut waiting: Vec<String> = pods.collect();
    waiting.extend(leftovers::remaining(view, &draft.status));
    if waiting.is_empty() {
        waiting = remove_the_rest(view, &mut draft);
    }
    if waiting.is_empty() {
        remove_secrets(view, &mut draft);
        draft.then.push(Action::RemoveFinalizer);
    }
    report(view, &mut draft, &waiting);
    draft.finish()
}

fn refuse_questions(view: &View<'_>, draft: &mut Draft) {
    let Some(mover) = view.mover() else { return };
    let reason = Reason::Deleting.to_string();
    let message = format!("ReplicationDestination {} is being deleted", view.owner.name);
    for question in &mover.questions {
        let answer = match &question.about {
            QuestionKind::Handshake(hello) => Answer::Handshake(Box::new(HandshakeAnswer {
                protocol: hello.protocol.min(scribe_mover_contract::PROTOCOL),
                verdict: Verdict::Refused {
                    reason: reason.clone(),
                    message: message.clone(),
                    permanent: true,
                },
                published: None,
                received_bytes: None,
                is_empty: None,
                abilities: None,
                free_bytes: None,
                free_files: None,
                answered_at: None,
            })),
            QuestionKind::Commit { .. } => {
                Answer::Commit(CommitVerdict::Refused { reason: reason.clone(), message: message.clone() })
            }
            // It has nothing to prune any more, and the session ends with it.
            QuestionKind::Guarded { .. } => Answer::Guarded,
            // Changes nothing, and a source that learns of its last replica is a source that knows the truth.
            QuestionKind::Published(asked) => {
                Answer::Published(super::questions::published(view, &draft.status, &asked.sync_id))
            }
        };
        draft.answer(view, mover, question, answer);
    }
}

fn abort_sync(draft: &mut Draft) {
    if draft.status.current_sync.take().is_some() {
        draft.ended = Some(SyncEnded { result: SyncResult::Aborted, reason: Some(Reason::Deleting) });
    }
    draft.status.progress = None;
}

/// Removes what is left, all at once: nothing of it needs another. Answers what is still there.
fn remove_the_rest(view: &View<'_>, draft: &mut Draft) -> Vec<String> {
    let mut waiting = Vec::new();
    if let Some(service) = service::to_delete(view) {
        waiting.push(format!("Service {}", name_of(&service.metadata)));
        if !is_leaving(&service.metadata) {
            draft.then.push(delete(ChildKind::Service, view.base.clone(), service.metadata.uid.clone()));
        }
    }
    if let Some(claim) = view.seen.claim.as_ref()
        && label(&claim.metadata, names::OWNER_UID) == Some(&view.owner.uid)
    {
        waiting.push(format!("claim {}", name_of(&claim.metadata)));
        remove_claim(view, claim, draft);
    }
    if view.seen.destination.spec.deletion_policy == DeletionPolicy::Delete {
        // The record is ahead of the deed: nobody should promote what is about to go.
        draft.status.replicas.clear();
        draft.status.latest_image = None;
        draft.status.recovery_point = None;
        let replicas = view.seen.snapshots.iter().filter(|snapshot| {
            view.is_ours(snapshot) && annotation(&snapshot.metadata, names::PUBLISHED).is_some()
        });
        for snapshot in replicas {
            waiting.push(format!("VolumeSnapshot {}", name_of(&snapshot.metadata)));
            remove_replica(snapshot, draft);
        }
    }
    waiting
}

/// A claim that the user named, or made, always stays; one that is itself the replica does so by the policy. What it holds is written on
/// it, if it holds something whole.
fn remove_claim(view: &View<'_>, claim: &PersistentVolumeClaim, draft: &mut Draft) {
    let name = name_of(&claim.metadata);
    let spec = &view.seen.destination.spec;
    let is_named = spec.rsync.as_ref().and_then(|rsync| rsync.destination_pvc.as_ref()).is_some();
    let stays = if view.is_direct() && !is_named && name == view.base {
        spec.deletion_policy == DeletionPolicy::Retain
    } else {
        is_named || !view.owner.owns(&claim.metadata)
    };
    match (&claim.metadata.uid, stays) {
        (Some(uid), true) => {
            let source = draft.status.source.as_ref().map(|source| source.claim_uid.as_str());
            let whole = direct::published(view, &draft.status).filter(|_| view.is_direct());
            let annotations = whole.map(|received| {
                replica::annotations(received, source.unwrap_or_default(), claim::full_name(view), view.now)
            });
            let mut labels = vec![names::OWNER_UID, names::SIDE];
            // The claim of a user may be managed by something else.
            if label(&claim.metadata, names::MANAGED_BY) == Some(names::MANAGED_BY_VALUE) {
                labels.push(names::MANAGED_BY);
            }
            draft.then.push(Action::UnlabelClaim {
                name,
                uid: uid.clone(),
                labels,
                annotations: annotations.unwrap_or_default(),
            });
        }
        _ if is_leaving(&claim.metadata) => {}
        (uid, _) => draft.then.push(delete(ChildKind::Claim, name, uid.clone())),
    }
}

fn remove_replica(snapshot: &VolumeSnapshot, draft: &mut Draft) {
    if !is_leaving(&snapshot.metadata) {
        let name = name_of(&snapshot.metadata);
        draft.then.push(delete(ChildKind::Snapshot, name, snapshot.metadata.uid.clone()));
    }
}

/// Secrets are never read, so they are deleted once, at the end: already gone is success. One that the user named is the user's, even
/// under a name of ours; and where no keys were ever made, none of ours hold any.
fn remove_secrets(view: &View<'_>, draft: &mut Draft) {
    let name = &view.owner.name;
    let named = view.seen.destination.spec.rsync.as_ref().and_then(|rsync| rsync.ssh_keys.as_ref());
    let keys = if draft.status.key_fingerprints.is_some() {
        vec![view.base.clone(), names::source_secret(name)]
    } else {
        Vec::new()
    };
    for secret in keys.into_iter().chain([names::destination_control(name)]) {
        if Some(&secret) != named {
            draft.then.push(delete(ChildKind::Secret, secret, None));
        }
    }
}

fn delete(kind: ChildKind, name: String, uid: Option<String>) -> Action {
    Action::Delete(ChildRef { kind, name, uid, resource_version: None })
}

fn report(view: &View<'_>, draft: &mut Draft, waiting: &[String]) {
    let message = match waiting {
        [] => "everything is removed".to_owned(),
        _ => format!("waits for the end of {}", waiting.join(", ")),
    };
    draft.status.phase = Some(Phase::Waiting);
    conditions::set(
        &mut draft.status.conditions,
        conditions::SYNCHRONIZING,
        false,
        Reason::Deleting,
        &message,
        draft.status.observed_generation,
        view.now,
    );
}
