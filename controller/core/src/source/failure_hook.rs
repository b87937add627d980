//! Tells a hook of attempts that failed, and does what it says of them.
//!
//! What failed is recorded with the failure itself, so that the hook hears of it whatever dies; it may hear of it twice. It is told of the newest
//! failure only, and nothing waits for its answer but what the answer changes.

use super::{LONGEST_WAIT, Pass, after, hooks};
use crate::decision::Action;
use crate::hooks::{CallSeen, HookAnswer, HookCall, HookFailure, HookRequest, State, Trouble, id};
use crate::text::{clean, sentences};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use scribe_crds::conditions::Reason;
use scribe_crds::v1alpha1::{
    CurrentSync, FailedAttempt, FailedPhase, Failure, FailureReaction, Phase, ReactionRecord, ReleaseReason,
    Suspended,
};
use scribe_hooks_contract::context::Trigger;
use scribe_hooks_contract::points::{self, FailureReport, Point, Reaction};

use super::validate::{Hold, Plan};

/// The longest words of a hook that are recorded, in bytes.
const WORDS: usize = 400;

/// An attempt of a sync has failed.
pub fn due(pass: &mut Pass<'_>, sync: &CurrentSync, reason: Reason, message: &str, retryable: bool) {
    if pass.roll.at(Point::Failure).is_none() {
        return;
    }
    let phase = phase(pass, sync, reason);
    pass.status.failed_attempt = Some(FailedAttempt {
        phase,
        sync_id: sync.id.clone(),
        attempt: sync.attempt,
        trigger: sync.trigger,
        copy_method: sync.copy_method.unwrap_or_default(),
        since: Time(pass.now),
        failure: Failure { reason: reason.as_str().to_owned(), message: clean(message, 1024) },
        retryable,
    });
}

/// Does what the hook said of an attempt that failed before this pass. It comes first: the rest of the pass follows it.
pub fn advance(pass: &mut Pass<'_>) {
    if pass.roll.at(Point::Failure).is_none() {
        pass.status.failed_attempt = None;
    }
    let Some(failed) = pass.status.failed_attempt.clone() else { return };
    let Some(call) = call(pass, &failed) else { return };
    let Some(answer) = answer(pass, &call) else { return };
    let (reaction, failure) = match answer {
        Ok(HookAnswer::Reaction(reaction)) => (Some(reaction), None),
        Ok(_) => (None, Some(Trouble::misunderstood())),
        Err(failure) => (None, Some(told(&call.module, &failure))),
    };
    let message = reaction.as_ref().map(|reaction| react(pass, &failed, &call.module, reaction));
    pass.status.failed_attempt = None;
    if let Some(entry) = pass.roll.at_mut(Point::Failure) {
        entry.record.reaction = Some(ReactionRecord {
            sync_id: failed.sync_id,
            attempt: failed.attempt,
            reaction: reaction.as_ref().map(kind),
            message: message.unwrap_or_default(),
            failure: failure.as_ref().map(Failure::from),
            digest: call.digest,
            time: Time(pass.now),
        });
    }
}

/// A sync was published: that the hook broke when it was told of a failure before is over too.
pub fn published(pass: &mut Pass<'_>) {
    if let Some(entry) = pass.roll.at_mut(Point::Failure) {
        entry.record.reaction = entry.record.reaction.take().filter(|record| record.failure.is_none());
    }
}

fn answer(pass: &Pass<'_>, call: &HookCall) -> Option<Result<HookAnswer, HookFailure>> {
    match pass.seen.hooks.calls.get(&call.id) {
        Some(CallSeen::Done(answer)) => Some(answer.clone()),
        Some(CallSeen::Running | CallSeen::Asks(_)) | None => None,
    }
}

/// Calls the hook, if it is to hear of something. Called when all else is decided.
pub fn tell(pass: &mut Pass<'_>) {
    let Some(failed) = pass.status.failed_attempt.clone() else { return };
    if let Some(call) = call(pass, &failed) {
        pass.then(Action::CallHook(Box::new(call)));
    }
}

fn call(pass: &Pass<'_>, failed: &FailedAttempt) -> Option<HookCall> {
    let entry = pass.roll.at(Point::Failure)?;
    let State::Ready { digest } = &entry.state else { return None };
    let attempt = format!("{}-{}", failed.sync_id, failed.attempt);
    let trigger = match failed.trigger {
        _ if failed.attempt > 1 => Trigger::Retry,
        Some(trigger) => hooks::trigger(trigger),
        None => Trigger::Change,
    };
    let method = failed.copy_method;
    let context = hooks::told(pass, attempt, failed.attempt, trigger, method, &entry.settings_json);
    Some(HookCall {
        id: id(&("on-failure", &failed.sync_id, failed.attempt, &failed.since)),
        module: entry.module().to_owned(),
        digest: digest.clone(),
        request: HookRequest::OnFailure(Box::new(context), report(failed), entry.acts_as.clone()),
    })
}

fn told(module: &str, failure: &HookFailure) -> Trouble {
    let Trouble { reason, message } = Trouble::of(failure);
    Trouble::new(reason, format!("HookModule {module}, told of an attempt that failed: {message}"))
}

fn report(failed: &FailedAttempt) -> FailureReport {
    FailureReport {
        phase: told_phase(failed.phase),
        code: failed.failure.reason.clone(),
        message: failed.failure.message.clone(),
        mover_exit: None,
        retryable: failed.retryable,
    }
}

/// What was being done when that happened: by how far the attempt had come, where the reason does not say it.
fn phase(pass: &Pass<'_>, sync: &CurrentSync, reason: Reason) -> FailedPhase {
    let quiesce = pass.status.quiesce.as_ref();
    let release = quiesce.filter(|quiesce| quiesce.sync_id == sync.id).and_then(|it| it.release.as_ref());
    match reason {
        Reason::QuiesceLost | Reason::QuiesceWindowExpired | Reason::QuiesceTooWeak => FailedPhase::Quiesce,
        Reason::CutTimeout | Reason::CutFailed | Reason::CutVanished => FailedPhase::Cut,
        Reason::AwaitingPublication | Reason::PublicationFailed | Reason::PublicationTimeout => {
            FailedPhase::Publish
        }
        _ if !sync.pre_synced && pass.roll.at(Point::Lifecycle).is_some() => FailedPhase::PreSync,
        _ if release.is_some_and(|it| it.reason == ReleaseReason::QuiesceFailed) => FailedPhase::Quiesce,
        _ if sync.cut.is_none() => FailedPhase::Cut,
        _ => FailedPhase::Transfer,
    }
}

fn told_phase(phase: FailedPhase) -> points::Phase {
    match phase {
        FailedPhase::PreSync => points::Phase::PreSync,
        FailedPhase::Quiesce => points::Phase::Quiesce,
        FailedPhase::Cut => points::Phase::Cut,
        FailedPhase::Transfer => points::Phase::Transfer,
        FailedPhase::Publish => points::Phase::Publish,
    }
}

fn kind(reaction: &Reaction) -> FailureReaction {
    match reaction {
        Reaction::Default => FailureReaction::Default,
        Reaction::RetryAfter(_) => FailureReaction::RetryAfter,
        Reaction::FullResync => FailureReaction::FullResync,
        Reaction::Suspend(_) => FailureReaction::Suspend,
    }
}

/// Does what the hook said. The answer is for the record: its words, or what was not honoured.
fn react(pass: &mut Pass<'_>, failed: &FailedAttempt, module: &str, reaction: &Reaction) -> String {
    let now = pass.now;
    match reaction {
        Reaction::Default => String::new(),
        Reaction::RetryAfter(seconds) => {
            let waiting = pass.status.current_sync.as_mut();
            let waiting = waiting.filter(|sync| sync.id == failed.sync_id && sync.retry_at.is_some());
            let Some(sync) = waiting else {
                return "not honoured: the sync is over, or goes on already".to_owned();
            };
            let at = after(now, i64::from(*seconds).clamp(1, LONGEST_WAIT));
            sync.retry_at = Some(Time(at));
            sync.put_off = true;
            pass.wake_at(at);
            format!("the next attempt starts at {at}")
        }
        Reaction::FullResync => {
            pass.status.full_resync = true;
            "the next attempt compares everything by content".to_owned()
        }
        Reaction::Suspend(words) => {
            let words = clean(words, WORDS);
            let generation = pass.seen.source.metadata.generation.unwrap_or_default();
            let suspended =
                Suspended { module: module.to_owned(), message: words.clone(), since: Time(now), generation };
            pass.note(Reason::HookSuspended, suspension(&suspended));
            pass.status.suspended = Some(suspended);
            words
        }
    }
}

fn suspension(suspended: &Suspended) -> String {
    let Suspended { module, message, since, .. } = suspended;
    let words = format!("HookModule {module} has suspended this source at {}: {message}", since.0);
    sentences(&words, Reason::HookSuspended.action())
}

/// Holds a source up that its hook has suspended, until its spec changes.
pub fn hold(pass: &mut Pass<'_>, plan: &mut Plan) {
    let Some(suspended) = pass.status.suspended.clone() else { return };
    if pass.seen.source.metadata.generation != Some(suspended.generation) {
        pass.status.suspended = None;
    } else if plan.hold.is_none() {
        let message = suspension(&suspended);
        plan.hold = Some(Hold { phase: Phase::Paused, reason: Reason::HookSuspended, message });
    }
}
