//! The one long-lived mover pod.

use super::draft::{Draft, Hold, after};
use super::keys::{apply_control_secret, keys_secret};
use super::service::plan_hash;
use super::validate::{ReceivingClaim, ValidDestination};
use super::view::{View, clipped, is_leaving, name_of};
use crate::backoff;
use crate::build::meta::label;
use crate::build::pod::{PodPlan, mover_pod};
use crate::decision::{Action, Child, ChildKind, ChildRef};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod};
use scribe_crds::conditions::Reason;
use scribe_crds::names;
use scribe_mover_contract::PROTOCOL;
use scribe_mover_contract::job::{DestinationJob, Job};

/// A mover that ran this long, in seconds, was not one of a row that fails.
const HEALTHY: i64 = 600;

/// Sees to the mover pod, on a claim that is ours.
///
/// There is never more than one: it always has the same name, so a new one is not made before the old one is gone.
pub(super) fn mover(view: &View<'_>, valid: &ValidDestination<'_>, draft: &mut Draft) {
    delete_strangers(view, draft);
    let Some(claim_uid) = view.claim_uid() else { return };
    let wanted = build(view, valid, draft, claim_uid);
    let Some(pod) = view.pod() else {
        return create(view, draft, wanted, 1);
    };
    if is_leaving(&pod.metadata) {
        return draft.hold(Hold::passing(Reason::Preparing, format!("mover pod {} ends", view.base)));
    }
    if has_ended(pod) {
        return restart(view, draft, pod, wanted);
    }
    if plan_hash(&pod.metadata) != plan_hash(&wanted.metadata) {
        // A session is worth more than a new image. The next look comes when the session ends.
        let busy =
            view.mover().and_then(|mover| mover.session.as_ref()).is_some_and(|session| session.connected);
        if !busy {
            draft.then.push(delete(pod));
            draft.hold(Hold::passing(Reason::Preparing, format!("replaces mover pod {}", view.base)));
        }
        return;
    }
    if view.mover().is_none() {
        let late = is_late(view, draft, pod);
        draft.hold(not_answering(view, late, pod));
    }
}

/// Whether the pod has had its time to start; if not, that time is something to wake up for.
fn is_late(view: &View<'_>, draft: &mut Draft, pod: &Pod) -> bool {
    let created = pod.metadata.creation_timestamp.as_ref().map_or(view.now, |time| time.0);
    let deadline = after(created, view.settings.mover_start_timeout);
    let late = view.now >= deadline;
    if !late {
        draft.wake_at(deadline);
    }
    late
}

fn not_answering(view: &View<'_>, late: bool, pod: &Pod) -> Hold {
    let claim = view.claim().map(|claim| &claim.metadata);
    let claim_is_pending = view
        .claim()
        .and_then(|claim| claim.status.as_ref()?.phase.as_deref())
        .is_none_or(|phase| phase != "Bound");
    let uids = [pod.metadata.uid.as_deref(), claim.and_then(|meta| meta.uid.as_deref())];
    let warning =
        view.warning_about(uids).map(|warning| format!(" ({})", clipped(&warning))).unwrap_or_default();
    let name = claim.map(name_of).unwrap_or_default();
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
    match (phase, claim_is_pending, late) {
        ("Pending", true, _) => {
            Hold::passing(Reason::ClaimPending, format!("claim {name} is not bound yet{warning}"))
        }
        ("Pending", false, true) => Hold::passing(
            Reason::MoverStartTimeout,
            format!("mover pod {} does not start{warning}", view.base),
        ),
        ("Pending", false, false) => {
            Hold::passing(Reason::Preparing, format!("mover pod {} starts{warning}", view.base))
        }
        _ => Hold::passing(Reason::Preparing, format!("mover pod {} does not answer{warning}", view.base)),
    }
}

/// Pods of ours under another name: nobody but an older version can have made them.
fn delete_strangers(view: &View<'_>, draft: &mut Draft) {
    let strangers = view.pods().filter(|pod| pod.metadata.name.as_deref() != Some(view.base.as_str()));
    draft.then.extend(strangers.filter(|pod| !is_leaving(&pod.metadata)).map(delete));
}

/// Deletes every mover pod that is not on its way out already.
pub(super) fn end(view: &View<'_>, draft: &mut Draft) {
    draft.then.extend(view.pods().filter(|pod| !is_leaving(&pod.metadata)).map(delete));
}

fn delete(pod: &Pod) -> Action {
    Action::Delete(ChildRef {
        kind: ChildKind::Pod,
        name: name_of(&pod.metadata),
        uid: pod.metadata.uid.clone(),
        resource_version: None,
    })
}

fn create(view: &View<'_>, draft: &mut Draft, mut pod: Pod, attempt: u32) {
    // The number stays out of the hash: it says nothing about what the pod is made from.
    pod.metadata.labels.get_or_insert_default().insert(names::ATTEMPT.to_owned(), attempt.to_string());
    draft.then.push(apply_control_secret(view));
    draft.then.push(Action::Create(Child::Pod(Box::new(pod))));
    draft.hold(Hold::passing(Reason::Preparing, format!("starts mover pod {}", view.base)));
}

/// A mover that ended is made anew after a pause that grows while they end young. What there is to know about that stands on the
/// dead pod: when it ended, and the how-manyth it was.
fn restart(view: &View<'_>, draft: &mut Draft, pod: &Pod, wanted: Pod) {
    let death = terminated(pod);
    let ended = death.and_then(|state| state.finished_at.as_ref()).map(|time| time.0);
    let created = pod.metadata.creation_timestamp.as_ref().map_or(view.now, |time| time.0);
    let ended = ended.unwrap_or(created);
    let number: u32 = label(&pod.metadata, names::ATTEMPT).and_then(|text| text.parse().ok()).unwrap_or(1);
    let failures = if ended.duration_since(created).as_secs() >= HEALTHY { 1 } else { number };
    let pause = backoff::pause(failures, view.settings.retry_base, view.settings.retry_max, 0.0);
    let due: Timestamp = after(ended, pause);
    if view.now >= due {
        // A pod that has ended goes at once, so that its name is free; if it does not, the next look makes the new one.
        draft.then.push(delete(pod));
        create(view, draft, wanted, failures.saturating_add(1));
    } else {
        draft.wake_at(due);
    }
    let words = clipped(&last_words(pod, death));
    draft.hold(Hold::passing(
        Reason::MoverFailed,
        format!("mover pod {} ended ({words}); the next one starts by itself", view.base),
    ));
}

fn last_words(pod: &Pod, death: Option<&ContainerStateTerminated>) -> String {
    let status = pod.status.as_ref();
    let said = death.and_then(|state| state.message.as_deref()).filter(|text| !text.is_empty());
    let exit = death.map(|state| {
        let reason = state.reason.as_deref().unwrap_or("exit");
        format!("{reason}, code {}", state.exit_code)
    });
    let evicted = status.and_then(|status| status.message.clone().or_else(|| status.reason.clone()));
    said.map(|text| text.trim().to_owned())
        .or(evicted)
        .or(exit)
        .unwrap_or_else(|| "without a word".to_owned())
}

fn terminated(pod: &Pod) -> Option<&ContainerStateTerminated> {
    let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
    containers.first()?.state.as_ref()?.terminated.as_ref()
}

/// Whether the pod has ended for good.
pub(super) fn has_ended(pod: &Pod) -> bool {
    matches!(pod.status.as_ref().and_then(|status| status.phase.as_deref()), Some("Failed" | "Succeeded"))
}

fn build(view: &View<'_>, valid: &ValidDestination<'_>, draft: &Draft, claim_uid: &str) -> Pod {
    let job = Job::Destination(DestinationJob {
        protocol: PROTOCOL,
        claim_uid: claim_uid.to_owned(),
        timeouts: view.settings.mover_timeouts.clone(),
    });
    let control = names::destination_control(&view.owner.name);
    let mut pod = mover_pod(&PodPlan {
        owner: &view.owner,
        name: &view.base,
        sync: None,
        job: &job,
        claim: match valid.claim {
            ReceivingClaim::Own { .. } => &view.base,
            ReceivingClaim::Named(name) => name,
        },
        keys: keys_secret(view, valid),
        control: &control,
        mover: valid.mover,
        settings: view.settings,
    });
    // New keys, or a new token, under the same name are new all the same: the mover has read the old ones.
    let keys = draft.status.key_fingerprints.as_ref();
    let keys = keys.map(|keys| (&keys.source, &keys.destination));
    // Numbers, strings and maps with string keys: writing them cannot fail.
    let plan = serde_json::to_string(&(&pod, keys, &view.seen.around.control_token.0)).unwrap_or_default();
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(names::PLAN_HASH.to_owned(), names::digest(&plan));
    annotations.insert(names::CLAIM_UID.to_owned(), claim_uid.to_owned());
    pod
}
