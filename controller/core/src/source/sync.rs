//! A sync that runs.

use super::attempt;
use super::cut::{self, Cut, CutState, MoverPlace};
use super::ending::{end_aborted, end_failed, failure, learn_recovery_point, succeed};
use super::outcome::{self, Ending};
use super::quiesce::{self, AtRest, BeforeCut};
use super::retry::{fail_attempt, fail_attempt_until, waits_for_retry};
use super::slot::Admission;
use super::transfer_hook::{self, Tuned};
use super::validate::{Plan, ValidSource};
use super::{Pass, after, guards, lifecycle, report, slot};
use crate::decision::{Action, Child};
use crate::slots::Claim;
use crate::text::clean;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use scribe_crds::conditions::Reason;
use scribe_crds::names;
use scribe_crds::v1alpha1::{CurrentSync, Failure, MoverResult, SourceCopyMethod};

/// Takes the sync that runs one step further. It may end with that.
pub fn go_on(pass: &mut Pass<'_>, plan: &Plan) {
    let Some(mut sync) = pass.status.current_sync.clone() else {
        return;
    };
    let pod = pass.live_pod(&sync);
    // A pod that we deleted together with its cut has nothing to say any more.
    let heard = pod.filter(|_| !cut::is_given_up(&sync));
    let mover = pass.seen.mover.as_ref().filter(|(name, _)| *name == pass.pod_name(&sync));
    let told = || outcome::told(&mover?.1, &sync.id);
    if let Some(ending) = heard.and_then(|pod| outcome::of(pod, &sync.id).or_else(told)) {
        let ended_at =
            pod.and_then(finished_at).unwrap_or(pass.now).clamp(sync.started_at.0.min(pass.now), pass.now);
        return harvest(pass, plan, sync, ending, ended_at);
    }
    let running = pod.is_some_and(attempt::is_running);
    match cut::state(pass, &sync, running) {
        CutState::Vanished(how) => end_failed(pass, sync, Reason::CutVanished, &how),
        CutState::Abandoned => end_aborted(pass, sync),
        CutState::Discarding => report::discarding(pass, &sync),
        CutState::Discarded => discarded(pass, plan, sync, pod),
        CutState::Missing => make_cut(pass, plan, sync),
        CutState::Unrecorded(cut) => {
            sync.cut.clone_from(&cut.uid);
            sync.consistency = Some(cut.consistency);
            // A failure that stands beside a cut's uid says that this cut took too long; what is there was about the one before.
            sync.last_failure = sync.last_failure.filter(|failure| !cut::is_about_cut(failure));
            with_cut(pass, plan, sync, pod, &cut);
        }
        CutState::There(cut) => with_cut(pass, plan, sync, pod, &cut),
    }
}

fn created(pod: &Pod) -> Option<Timestamp> {
    pod.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

fn finished_at(pod: &Pod) -> Option<Timestamp> {
    attempt::container(pod)?.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref().map(|time| time.0)
}

/// Either nothing holds this up, or it is said what does.
fn allowed<'p>(pass: &mut Pass<'_>, plan: &'p Plan) -> Option<&'p ValidSource> {
    match (&plan.hold, &plan.valid) {
        (None, Some(valid)) => Some(valid),
        (Some(hold), _) => {
            report::held(pass, hold);
            None
        }
        (None, None) => None,
    }
}

/// A write of one of these objects that the API server refuses, as far as is known. What was refused of others fails nothing.
fn refused(pass: &Pass<'_>, names: &[String]) -> Option<(Reason, String)> {
    let concerns = |object: &str| {
        let in_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        object.split(|c| !in_name(c)).any(|word| names.iter().any(|name| name == word))
    };
    let refusal = pass.seen.around.refusals.iter().rfind(|refusal| concerns(&refusal.object))?;
    let reason = if refusal.quota { Reason::QuotaExceeded } else { Reason::ObjectRefused };
    Some((reason, format!("{} was refused: {}", refusal.object, clean(&refusal.message, 600))))
}

fn make_cut(pass: &mut Pass<'_>, plan: &Plan, mut sync: CurrentSync) {
    let Some(claim) = usable_claim(pass) else {
        return end_aborted(pass, sync);
    };
    if waits_for_retry(pass, plan, &mut sync) {
        return;
    }
    let Some(valid) = allowed(pass, plan) else {
        return;
    };
    if let Some((reason, message)) = refused(pass, &[pass.cut_name(&sync)]) {
        return fail_attempt(pass, plan, sync, reason, &message);
    }
    let Some(admission) = slot::ask(pass, &valid.mover, Some(&sync)) else {
        return;
    };
    begin_cut(pass, plan, (valid, admission), sync, claim);
}

/// Makes the cut of an attempt, when the application is at rest, if it is to be.
pub fn begin_cut(
    pass: &mut Pass<'_>,
    plan: &Plan,
    (valid, admission): (&ValidSource, Admission),
    mut sync: CurrentSync,
    claim: &PersistentVolumeClaim,
) {
    let before = match lifecycle::before(pass, valid, &mut sync) {
        BeforeCut::Ready => quiesce::before_cut(pass, valid, &mut sync),
        before => before,
    };
    pass.status.current_sync = Some(sync.clone());
    if matches!(before, BeforeCut::Ready | BeforeCut::Waits) {
        slot::take(pass, admission, &sync);
    }
    match before {
        BeforeCut::Ready => create_cut(pass, valid, &sync, claim),
        before => not_yet(pass, plan, sync, before),
    }
}

/// A hook does not let the attempt go on.
fn not_yet(pass: &mut Pass<'_>, plan: &Plan, sync: CurrentSync, before: BeforeCut) {
    match before {
        BeforeCut::Ready | BeforeCut::Waits => {}
        BeforeCut::Failed(reason, message) => fail_attempt(pass, plan, sync, reason, &message),
        BeforeCut::TryAt(at, reason, message) => {
            fail_attempt_until(pass, plan, sync, (reason, &message), Some(at));
        }
        BeforeCut::Refused(message) => end_failed(pass, sync, Reason::HookRejected, &message),
    }
}

/// The claim to replicate, if it is there to stay.
pub fn usable_claim<'a>(pass: &Pass<'a>) -> Option<&'a PersistentVolumeClaim> {
    pass.seen.claim.as_ref().filter(|claim| claim.metadata.deletion_timestamp.is_none())
}

/// Makes the cut of a sync that stands in the status.
fn create_cut(pass: &mut Pass<'_>, valid: &ValidSource, sync: &CurrentSync, claim: &PersistentVolumeClaim) {
    match cut::make(pass, valid, sync, claim) {
        Some(creation) => {
            pass.then(creation);
            // While the copy is made there is time for it.
            pass.then(attempt::apply_token(pass));
            report::cutting(pass, sync, "");
        }
        None => report::starting(pass, sync, ""),
    }
}

fn with_cut(pass: &mut Pass<'_>, plan: &Plan, mut sync: CurrentSync, pod: Option<&Pod>, cut: &Cut<'_>) {
    if pod.is_none() {
        // A snapshot's own time is known later than its uid, and before any mover is told.
        sync.cut_time.clone_from(&cut.time);
    }
    pass.status.current_sync = Some(sync.clone());
    if let Some(pod) = pod.filter(|pod| pod.metadata.deletion_timestamp.is_some()) {
        let message = format!("pod {} is being deleted by somebody else", name(pod));
        return fail_attempt(pass, plan, sync, Reason::MoverFailed, &message);
    }
    match quiesce::judge(pass, &sync, cut) {
        AtRest::Over => {}
        AtRest::Taken(consistency) => {
            sync.consistency = Some(consistency);
            pass.status.current_sync = Some(sync.clone());
        }
        AtRest::Waits => {
            pass.out.slot = Claim::Keeps;
            let words = cut::words(pass, cut, None);
            return report::cutting(pass, &sync, &words);
        }
        AtRest::Discard(reason, message) => return give_up(pass, sync, reason, message),
    }
    if cut::method(&sync) == SourceCopyMethod::Direct {
        pass.wake_at(after(pass.now, MoverPlace::LOOK));
        if let Some(message) = pod.and_then(|pod| makes_way(pass, pod)) {
            return fail_attempt(pass, plan, sync, Reason::ClaimMoved, &message);
        }
    }
    if pod.is_some_and(attempt::is_running) {
        guards::watch(pass, &mut sync);
        return report::running(pass, &sync);
    }
    if pod.is_none() && waits_for_retry(pass, plan, &mut sync) {
        return;
    }
    // By now a copy by that name may be one of another claim, or of none.
    let source_uid = pass.seen.claim.as_ref().and_then(|claim| claim.metadata.uid.as_deref());
    if !cut.is_cut && source_uid != Some(&cut.source_uid) {
        return end_aborted(pass, sync);
    }
    let limit = plan.valid.as_ref().map_or(pass.settings.cut_timeout, |valid| valid.cut_timeout);
    let deadline = cut_deadline(cut, pod, limit);
    let is_late = pass.now >= deadline && !(pod.is_none() && slot::is_waiting(pass));
    if !cut.mount.is_bound() && is_late {
        return give_up_cut(pass, sync, pod, cut, limit);
    }
    match pod {
        None if cut.mount.is_made_without_pod() => {
            // The mover comes next, and its place is not given away meanwhile.
            pass.out.slot = Claim::Keeps;
            pass.wake_at(deadline);
            let words = cut::words(pass, cut, None);
            report::cutting(pass, &sync, &words);
        }
        None => make_pod(pass, plan, sync, cut),
        Some(pod) => await_start(pass, plan, sync, pod, cut, limit),
    }
}

/// It may take a pod to bind the cut, and the pod may have had to wait.
fn cut_deadline(cut: &Cut<'_>, pod: Option<&Pod>, limit: i64) -> Timestamp {
    after(pod.and_then(created).map_or(cut.since, |made| made.max(cut.since)), limit)
}

/// Why a mover that reads the source claim itself has to end, if it has to: whoever uses that claim goes first.
fn makes_way(pass: &Pass<'_>, pod: &Pod) -> Option<String> {
    let place = MoverPlace::find(pass);
    let node = place.conflict(pod)?;
    let claim = &pass.seen.source.spec.source_pvc;
    Some(format!("claim {claim} is used on node {node}, and pod {} is to read it elsewhere", name(pod)))
}

/// Makes the mover's pod, and the claim that it mounts, if that is still to be made.
fn make_pod(pass: &mut Pass<'_>, plan: &Plan, mut sync: CurrentSync, cut: &Cut<'_>) {
    let Some(valid) = allowed(pass, plan) else {
        return;
    };
    // Nothing was asked before the cut where there is none.
    if cut::method(&sync) == SourceCopyMethod::Direct {
        let before = lifecycle::before(pass, valid, &mut sync);
        pass.status.current_sync = Some(sync.clone());
        if !matches!(before, BeforeCut::Ready) {
            return not_yet(pass, plan, sync, before);
        }
    }
    let made = [pass.cut_name(&sync), pass.pod_name(&sync), names::source_base(&pass.owner.name)];
    if let Some((reason, message)) = refused(pass, &made) {
        return fail_attempt(pass, plan, sync, reason, &message);
    }
    let tuned = match transfer_hook::tune(pass, valid, &sync) {
        Tuned::As(record) => record,
        Tuned::Waits => {
            // The mover comes next, and its place is not given away meanwhile.
            pass.out.slot = Claim::Keeps;
            return report::starting(pass, &sync, "a hook is asked how to transfer");
        }
        Tuned::Failed(trouble) => return fail_attempt(pass, plan, sync, trouble.reason, &trouble.message),
    };
    let mover = cut::mover(pass, valid, cut::method(&sync));
    let Some(admission) = slot::ask(pass, &mover, Some(&sync)) else {
        return;
    };
    if let Some(claim) = cut::build_mount(pass, valid, &sync, cut) {
        pass.then(Action::Create(Child::Claim(Box::new(claim))));
    }
    for action in
        attempt::make(pass, valid, &sync, &cut.source_uid, (&mover, tuned.as_ref()), &admission.full)
    {
        pass.then(action);
    }
    slot::take(pass, admission, &sync);
    if cut.mount.is_bound() {
        report::starting(pass, &sync, "");
    } else {
        report::cutting(pass, &sync, "");
    }
}

/// The pod is there, and does not run yet.
fn await_start(pass: &mut Pass<'_>, plan: &Plan, sync: CurrentSync, pod: &Pod, cut: &Cut<'_>, limit: i64) {
    let bound = cut.mount.is_bound();
    let deadline = cut_deadline(cut, Some(pod), limit);
    let start_deadline = attempt::start_deadline(pass, pod, after(cut.since, limit));
    if bound && pass.now >= start_deadline {
        return start_timed_out(pass, plan, sync, pod);
    }
    pass.wake_at(if bound { start_deadline } else { deadline });
    if !bound {
        let words = cut::words(pass, cut, Some(pod));
        return report::cutting(pass, &sync, &words);
    }
    match attempt::keys_missing(pass, plan.valid.as_ref(), pod) {
        Some(words) => report::keys_missing(pass, &sync, &words),
        None => {
            let words = attempt::words(pass, pod);
            report::starting(pass, &sync, &words);
        }
    }
}

fn start_timed_out(pass: &mut Pass<'_>, plan: &Plan, sync: CurrentSync, pod: &Pod) {
    let (reason, words) = match attempt::keys_missing(pass, plan.valid.as_ref(), pod) {
        Some(words) => (Reason::KeysMissing, words),
        None => (Reason::MoverStartTimeout, attempt::words(pass, pod)),
    };
    let limit = pass.settings.mover_start_timeout;
    let message = format!("pod {} did not start within {limit}s: {}", name(pod), or_silence(&words));
    fail_attempt(pass, plan, sync, reason, &message);
}

fn or_silence(words: &str) -> &str {
    if words.is_empty() { "nobody said why" } else { words }
}

fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// Records that the cut is given up, with the words of whoever was to make it: Events do not last. It is deleted after that, and a second
/// one is not asked for while the storage system may still be making the first.
fn give_up_cut(pass: &mut Pass<'_>, sync: CurrentSync, pod: Option<&Pod>, cut: &Cut<'_>, limit: i64) {
    let words = cut::words(pass, cut, pod);
    let done = if cut.mount.claim().is_some() { "bound" } else { "ready to use" };
    let message = format!("{} was not {done} within {limit}s: {}", cut.what, or_silence(&words));
    give_up(pass, sync, Reason::CutTimeout, message);
}

fn give_up(pass: &mut Pass<'_>, mut sync: CurrentSync, reason: Reason, message: String) {
    sync.retry_at = None;
    sync.last_failure = Some(Failure { reason: reason.as_str().to_owned(), message });
    pass.status.current_sync = Some(sync.clone());
    report::discarding(pass, &sync);
}

fn discarded(pass: &mut Pass<'_>, plan: &Plan, mut sync: CurrentSync, pod: Option<&Pod>) {
    if pod.is_some() {
        return report::discarding(pass, &sync);
    }
    if usable_claim(pass).is_none() {
        return end_aborted(pass, sync);
    }
    sync.cut = None;
    sync.cut_time = None;
    sync.consistency = None;
    let Failure { reason, message } =
        sync.last_failure.take().unwrap_or_else(|| failure(Reason::CutTimeout, ""));
    fail_attempt(pass, plan, sync, reason.parse().unwrap_or(Reason::CutTimeout), &message);
}

/// Takes over what the mover of the current attempt left behind.
fn harvest(pass: &mut Pass<'_>, plan: &Plan, mut sync: CurrentSync, ending: Ending, ended_at: Timestamp) {
    match ending {
        Ending::Published(left) => succeed(pass, sync, &left, ended_at),
        Ending::Failed { transient, reason, message, left } => {
            let status = outcome::mover_status(MoverResult::Failed, Some(reason), left.as_ref(), &message);
            pass.status.latest_mover_status = Some(status);
            if let Some((data_time, id)) = left.as_ref().and_then(|left| left.recovery_point.as_ref()) {
                learn_recovery_point(pass, *data_time, id);
            }
            if transient {
                sync.guards_passed |= left.is_some_and(|left| left.guards_passed);
                fail_attempt(pass, plan, sync, reason, &message);
            } else {
                let valid = plan.valid.as_ref();
                let message = guards::refused(pass, valid, &sync, reason, message, left.as_ref());
                end_failed(pass, sync, reason, &message);
            }
        }
    }
}
