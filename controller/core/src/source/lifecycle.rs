//! Hooks around a sync: one before anything of it is made, one after its replica was published.
//!
//! Both are called at least once: a call whose answer was not recorded is made again. What goes wrong before a sync is a failed attempt of it; what
//! goes wrong after it is tried again a few times, told, and holds nothing up.

use super::quiesce::BeforeCut;
use super::validate::ValidSource;
use super::{LONGEST_WAIT, Pass, after, hooks, report};
use crate::backoff;
use crate::hooks::{Entry, HookAnswer, HookCall, HookFailure, HookRequest, State, Trouble, id, last_sync};
use crate::text::sentences;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use scribe_crds::conditions::Reason;
use scribe_crds::v1alpha1::{CurrentSync, Failure, OnError, Phase, PostSync};
use scribe_hooks_contract::context::Trigger;
use scribe_hooks_contract::points::Point;
use scribe_hooks_contract::reason;

/// Calls after one sync.
const CALLS: u32 = 5;

/// Asks the hook before a sync, once it has begun. Called before the cut of each attempt, until the hook has let the sync pass.
pub fn before(pass: &mut Pass<'_>, valid: &ValidSource, sync: &mut CurrentSync) -> BeforeCut {
    let Some(entry) = pass.roll.at(Point::Lifecycle).cloned().filter(|_| !sync.pre_synced) else {
        return BeforeCut::Ready;
    };
    let digest = match &entry.state {
        State::Ready { digest } => digest.clone(),
        State::Waits(trouble) => {
            report::set(pass, Phase::Waiting, false, trouble.reason, &trouble.told());
            return BeforeCut::Waits;
        }
        // One that matters holds the sync up before this.
        State::Broken(_) => {
            sync.pre_synced = true;
            return BeforeCut::Ready;
        }
    };
    let attempt = format!("{}-{}", sync.id, sync.attempt);
    let trigger = hooks::trigger_of(sync);
    let context = hooks::told(pass, attempt, sync.attempt, trigger, valid.copy_method, &entry.settings_json);
    let request = HookRequest::PreSync(Box::new(context), entry.acts_as.clone());
    let call = call(&entry, digest, id(&("pre-sync", &sync.id, sync.attempt)), request);
    let seen = pass.seen;
    let failure = match pass.roll.ask(&seen.hooks, &call) {
        None => {
            let message = format!("Sync {}: HookModule {} is called before it.", sync.id, entry.module());
            report::set(pass, Phase::Waiting, true, Reason::HookRunning, &message);
            return BeforeCut::Waits;
        }
        Some(Ok(HookAnswer::Done)) => {
            sync.pre_synced = true;
            return BeforeCut::Ready;
        }
        Some(Ok(_)) => None,
        Some(Err(failure)) => Some(failure),
    };
    refused(pass, sync, &entry, failure.as_ref())
}

fn call(entry: &Entry, digest: String, id: String, request: HookRequest) -> HookCall {
    HookCall { id, module: entry.module().to_owned(), digest, request }
}

/// What a hook that did not let a sync pass means for it.
fn refused(
    pass: &mut Pass<'_>,
    sync: &mut CurrentSync,
    entry: &Entry,
    failure: Option<&HookFailure>,
) -> BeforeCut {
    let trouble = failure.map_or_else(Trouble::misunderstood, Trouble::of);
    let told = format!("HookModule {}, called before the sync: {}", entry.module(), trouble.message);
    match failure.map(|failure| (failure.reason, failure.retry_after)) {
        Some((reason::Reason::HookRejected, _)) => BeforeCut::Refused(told),
        Some((reason::Reason::HookRetryAfter, pause)) => {
            let pause = i64::from(pause.unwrap_or_default()).clamp(1, LONGEST_WAIT);
            BeforeCut::TryAt(after(pass.now, pause), trouble.reason, told)
        }
        _ if entry.on_error == OnError::Continue => {
            sync.pre_synced = true;
            let trouble = Trouble::new(trouble.reason, told);
            pass.note(trouble.reason, trouble.told());
            BeforeCut::Ready
        }
        _ => BeforeCut::Failed(trouble.reason, told),
    }
}

/// A sync was published: the hook after it is due. One that is still due for an earlier sync is not called any more.
pub fn published(pass: &mut Pass<'_>, sync: &CurrentSync) {
    pass.status.post_sync = pass.roll.at(Point::Lifecycle).map(|_| PostSync {
        sync_id: sync.id.clone(),
        trigger: sync.trigger,
        copy_method: sync.copy_method.unwrap_or_default(),
        number: 1,
        retry_at: None,
        failure: None,
    });
}

/// Calls the hook after a sync, if that is due. Called once in every pass.
pub fn advance(pass: &mut Pass<'_>) {
    let Some(mut due) = pass.status.post_sync.clone() else { return };
    let Some(entry) = pass.roll.at(Point::Lifecycle).cloned() else {
        pass.status.post_sync = None;
        return;
    };
    if let Some(failure) = &due.failure {
        // Told until another sync was published.
        if let Some(entry) = pass.roll.at_mut(Point::Lifecycle) {
            entry.failed = Some(Trouble::from(failure));
        }
        let Some(retry_at) = due.retry_at.as_ref().map(|time| time.0) else { return };
        if retry_at > pass.now && retry_at <= after(pass.now, LONGEST_WAIT) {
            return pass.wake_at(retry_at);
        }
    }
    let State::Ready { digest } = entry.state.clone() else { return };
    let trigger = due.trigger.map_or(Trigger::Change, hooks::trigger);
    let context = hooks::told(pass, due.sync_id.clone(), 1, trigger, due.copy_method, &entry.settings_json);
    let status = &pass.status;
    let last = last_sync(
        status.last_sync_time.as_ref(),
        status.last_sync_duration,
        status.latest_mover_status.as_ref(),
        status.consecutive_failures,
    );
    let Some(stats) = last.succeeded else {
        pass.status.post_sync = None;
        return;
    };
    let request = HookRequest::PostSync(Box::new(context), stats, entry.acts_as.clone());
    let call = call(&entry, digest, id(&("post-sync", &due.sync_id, due.number)), request);
    let seen = pass.seen;
    let failure = match pass.roll.ask(&seen.hooks, &call) {
        None => return,
        Some(Ok(HookAnswer::Done)) => {
            pass.status.post_sync = None;
            if let Some(entry) = pass.roll.at_mut(Point::Lifecycle) {
                entry.failed = None;
            }
            return;
        }
        Some(Ok(_)) => None,
        Some(Err(failure)) => Some(failure),
    };
    try_again(pass, &entry, &mut due, failure.as_ref());
    pass.status.post_sync = Some(due);
}

fn try_again(pass: &mut Pass<'_>, entry: &Entry, due: &mut PostSync, failure: Option<&HookFailure>) {
    let trouble = failure.map_or_else(Trouble::misunderstood, Trouble::of);
    let message =
        format!("HookModule {}, called after sync {}: {}", entry.module(), due.sync_id, trouble.message);
    let is_final = due.number >= CALLS || failure.is_some_and(|it| it.reason == reason::Reason::HookRejected);
    let trouble = Trouble::new(trouble.reason, message);
    due.failure = Some(Failure::from(&trouble));
    due.retry_at = None;
    if is_final {
        pass.note(trouble.reason, sentences(&trouble.message, "It is not called again for this sync."));
    } else {
        let (base, max) = (pass.settings.retry_base, pass.settings.retry_max);
        let asked = failure.and_then(|failure| failure.retry_after).map(i64::from);
        let usual = backoff::pause(due.number, base, max, pass.chance.fraction());
        let retry_at = after(pass.now, asked.unwrap_or(usual).clamp(1, LONGEST_WAIT));
        due.number += 1;
        due.retry_at = Some(Time(retry_at));
        pass.wake_at(retry_at);
    }
    if let Some(entry) = pass.roll.at_mut(Point::Lifecycle) {
        entry.failed = Some(trouble);
    }
}
