//! An application at rest: a hook brings it there before the cut, and lets it go on right after it.
//!
//! `status.quiesce` is written before the hook is called, and stays until its release has succeeded: whatever dies, somebody releases.
//!
//! | State | The call | The cut | Next |
//! |---|---|---|---|
//! | none | | none | write `Quiescing`, then call the hook |
//! | `Quiescing` | asks | none | write down what undoes the change, then let it be made |
//! | `Quiescing` | answered | none | write `Frozen`, then make the cut |
//! | `Quiescing`, `Frozen` | unknown: its process is gone | | release; discard the cut |
//! | `Quiescing`, `Frozen` | asks, answered | none, and the attempt is held up | release; the next attempt |
//! | `Frozen` | answered | complete, in time | have the host look; if all still is as it was set, the cut's consistency is what the hook achieved; release |
//! | `Frozen` | answered | complete, and something is not as it was set | release; discard the cut |
//! | `Frozen` | answered | not complete in time | release; discard the cut |
//! | `Releasing` | | | see [`release`]; the transfer goes on meanwhile |
//!
//! The release is called before the status is written: the application does not wait for a write. If that is lost, the next pass sees the same and
//! decides the same; after a restart it is released once more and the cut is discarded, since nothing says that it was complete in time.

mod judge;
mod release;

pub use judge::{AtRest, judge};
pub use release::{advance, is_over, waits};

use super::cut;
use super::validate::ValidSource;
use super::{CLOCK_TOLERANCE, Pass, after, hooks, report};
use crate::decision::Action;
use crate::hooks::{
    CallSeen, Entry, HookAnswer, HookCall, HookFailure, HookRequest, State, Trouble, id, millis,
};
use crate::text::{clean, sentences};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use scribe_crds::conditions::Reason;
use scribe_crds::v1alpha1::{
    Consistency, CurrentSync, Failure, OnError, Phase, Quiesce, QuiesceState, ReleaseReason, SourceHook,
    SourceHookPoint,
};
use scribe_hooks_contract::context::Context;
use scribe_hooks_contract::points::{self, Frozen, Point};
use scribe_hooks_contract::reason;
use scribe_hooks_contract::undo::{Change, Undo};

/// How long an application may be at rest, if nothing else is said, in seconds.
const WINDOW: i64 = 60;
/// How long a release may take, in milliseconds, if the module's limit allows it.
const RELEASE_TIME: u64 = 15 * 60 * 1000;
/// The longest note of a hook, in bytes.
const NOTE: usize = 400;

/// What becomes of an attempt that has no cut yet.
#[derive(Debug)]
pub enum BeforeCut {
    /// The cut may be made.
    Ready,
    /// Not yet, and that is said.
    Waits,
    /// The attempt has failed.
    Failed(Reason, String),
    /// It has failed, and the hook wants the next one at this time.
    TryAt(Timestamp, Reason, String),
    /// The sync is not to be.
    Refused(String),
}

/// Brings the application to rest, if a hook is to do so, before the cut of an attempt is made.
pub fn before_cut(pass: &mut Pass<'_>, valid: &ValidSource, sync: &mut CurrentSync) -> BeforeCut {
    if let Some(quiesce) = pass.status.quiesce.clone() {
        return match quiesce.state {
            QuiesceState::Releasing => waits_for_release(pass, &quiesce),
            _ if !belongs(&quiesce, sync) => waits_for_release(pass, &quiesce),
            QuiesceState::Quiescing => listen(pass, sync, quiesce),
            QuiesceState::Frozen => frozen(pass, quiesce),
        };
    }
    let Some(entry) = pass.roll.at(Point::Quiesce).cloned() else { return BeforeCut::Ready };
    if sync.unquiesced.is_some() {
        return BeforeCut::Ready;
    }
    match &entry.state {
        State::Ready { digest } => begin(pass, valid, sync, &entry, digest),
        State::Waits(trouble) => {
            report::set(pass, Phase::Waiting, false, trouble.reason, &trouble.told());
            BeforeCut::Waits
        }
        // One that matters holds the sync up before this.
        State::Broken(trouble) => {
            sync.unquiesced = Some(Failure::from(trouble));
            BeforeCut::Ready
        }
    }
}

/// Whether a quiesce is for the current attempt of this sync.
fn belongs(quiesce: &Quiesce, sync: &CurrentSync) -> bool {
    quiesce.sync_id == sync.id && quiesce.attempt == sync.attempt && sync.retry_at.is_none()
}

fn begin(
    pass: &mut Pass<'_>,
    valid: &ValidSource,
    sync: &CurrentSync,
    entry: &Entry,
    digest: &str,
) -> BeforeCut {
    let hook = spec(pass);
    let window = hook.and_then(|hook| hook.quiesce.as_ref()?.max_window).map_or(WINDOW, seconds);
    let quiesce = Quiesce {
        state: QuiesceState::Quiescing,
        module: entry.module().to_owned(),
        settings: entry.settings_json.clone(),
        service_account_name: hook.and_then(|hook| hook.service_account_name.clone()),
        sync_id: sync.id.clone(),
        attempt: sync.attempt,
        trigger: sync.trigger,
        copy_method: valid.copy_method,
        since: Time(pass.now),
        deadline: Time(after(pass.now, window)),
        node: pass.seen.claim.as_ref().and_then(|claim| cut::used_on(pass, claim)).map(str::to_owned),
        token: None,
        achieved: None,
        note: None,
        undo: Vec::new(),
        release: None,
    };
    let request =
        HookRequest::Quiesce(Box::new(context(pass, &quiesce)), quiesce.service_account_name.clone());
    pass.then(Action::CallHook(Box::new(HookCall {
        id: call_id(&quiesce),
        module: quiesce.module.clone(),
        digest: digest.to_owned(),
        request,
    })));
    quiescing(pass, &quiesce);
    pass.wake_at(quiesce.deadline.0);
    pass.status.quiesce = Some(quiesce);
    BeforeCut::Waits
}

/// What became of the call of the hook.
fn listen(pass: &mut Pass<'_>, sync: &mut CurrentSync, mut quiesce: Quiesce) -> BeforeCut {
    let call = call_id(&quiesce);
    let seen = pass.seen;
    let answer = seen.hooks.calls.get(&call);
    if matches!(answer, Some(CallSeen::Running | CallSeen::Asks(_))) {
        if is_over_time(pass, &quiesce) {
            release::start(pass, ReleaseReason::WindowExpired);
            let message = expired(&quiesce, "begun");
            return BeforeCut::Failed(Reason::QuiesceWindowExpired, message);
        }
        pass.wake_at(quiesce.deadline.0);
    }
    match answer {
        None => lost(pass, "the controller that had it brought to rest is gone"),
        Some(CallSeen::Running) => {
            remember(pass, call);
            quiescing(pass, &quiesce);
            BeforeCut::Waits
        }
        Some(CallSeen::Asks(undo)) => {
            let answer = write_down(&mut quiesce, undo);
            pass.then(Action::AnswerHook { call: call.clone(), entry: undo.id.clone(), answer });
            remember(pass, call);
            quiescing(pass, &quiesce);
            pass.status.quiesce = Some(quiesce);
            BeforeCut::Waits
        }
        Some(CallSeen::Done(Ok(HookAnswer::Frozen(answer)))) => at_rest(pass, quiesce, answer),
        Some(CallSeen::Done(Ok(_))) => failed(pass, sync, Trouble::misunderstood()),
        Some(CallSeen::Done(Err(failure))) => not_at_rest(pass, sync, &quiesce, failure),
    }
}

/// Puts it on record, unless it is there already: the answer may have been lost.
fn write_down(quiesce: &mut Quiesce, undo: &Undo) -> Result<(), String> {
    if quiesce.undo.iter().any(|entry| entry.id == undo.id) {
        return Ok(());
    }
    undo.check(&quiesce.undo).map_err(|error| error.to_string())?;
    quiesce.undo.push(undo.clone());
    Ok(())
}

fn at_rest(pass: &mut Pass<'_>, mut quiesce: Quiesce, answer: &Frozen) -> BeforeCut {
    let achieved = match answer.achieved {
        points::Consistency::Application => Consistency::Application,
        points::Consistency::Filesystem => Consistency::Filesystem,
        points::Consistency::Crash => Consistency::Crash,
    };
    let note = answer.note.as_deref().map(|note| clean(note, NOTE));
    quiesce.state = QuiesceState::Frozen;
    quiesce.token = Some(answer.token.clone());
    quiesce.achieved = Some(achieved);
    quiesce.note.clone_from(&note);
    let module = quiesce.module.clone();
    pass.status.quiesce = Some(quiesce.clone());
    let wanted = spec(pass).and_then(|hook| hook.quiesce.as_ref()?.require_consistency);
    if let Some(wanted) = wanted.filter(|wanted| !wanted.is_met_by(achieved)) {
        release::start(pass, ReleaseReason::QuiesceFailed);
        let words = note.map(|note| format!(": {note}")).unwrap_or_default();
        let message = format!(
            "HookModule {module} achieved {achieved:?}, and requireConsistency wants {wanted:?}{words}"
        );
        return BeforeCut::Failed(Reason::QuiesceTooWeak, message);
    }
    let words = note.map(|note| format!(": {note}")).unwrap_or_default();
    let message = format!("HookModule {module} has brought the application to rest ({achieved:?}){words}");
    pass.note(Reason::Quiesced, sentences(&message, ""));
    frozen(pass, quiesce)
}

/// It is at rest, and the cut is not made yet.
fn frozen(pass: &mut Pass<'_>, quiesce: Quiesce) -> BeforeCut {
    if let Some(why) = let_go(pass, &quiesce) {
        return lost(pass, why);
    }
    if is_over_time(pass, &quiesce) {
        release::start(pass, ReleaseReason::WindowExpired);
        return BeforeCut::Failed(Reason::QuiesceWindowExpired, expired(&quiesce, "begun"));
    }
    remember(pass, call_id(&quiesce));
    pass.wake_at(quiesce.deadline.0);
    BeforeCut::Ready
}

fn not_at_rest(
    pass: &mut Pass<'_>,
    sync: &mut CurrentSync,
    quiesce: &Quiesce,
    failure: &HookFailure,
) -> BeforeCut {
    let said = |trouble: Trouble| {
        format!("HookModule {} could not bring the application to rest: {}", quiesce.module, trouble.message)
    };
    let trouble = Trouble::of(failure);
    match failure.reason {
        reason::Reason::HookRejected => {
            release::start(pass, ReleaseReason::QuiesceFailed);
            BeforeCut::Refused(format!("HookModule {}: {}", quiesce.module, trouble.message))
        }
        reason::Reason::HookRetryAfter => {
            release::start(pass, ReleaseReason::QuiesceFailed);
            let pause = i64::from(failure.retry_after.unwrap_or_default()).clamp(1, super::LONGEST_WAIT);
            BeforeCut::TryAt(after(pass.now, pause), trouble.reason, said(trouble))
        }
        _ => {
            let reason = trouble.reason;
            failed(pass, sync, Trouble::new(reason, said(trouble)))
        }
    }
}

/// The hook broke: the attempt fails, or goes on without it when it is released.
fn failed(pass: &mut Pass<'_>, sync: &mut CurrentSync, trouble: Trouble) -> BeforeCut {
    release::start(pass, ReleaseReason::QuiesceFailed);
    let on_error = pass.roll.at(Point::Quiesce).map_or(OnError::Fail, |entry| entry.on_error);
    if let Some(entry) = pass.roll.at_mut(Point::Quiesce) {
        entry.failed = Some(trouble.clone());
    }
    if on_error == OnError::Continue {
        sync.unquiesced = Some(Failure::from(&trouble));
        let Some(quiesce) = pass.status.quiesce.clone() else { return BeforeCut::Ready };
        return waits_for_release(pass, &quiesce);
    }
    BeforeCut::Failed(trouble.reason, trouble.message)
}

/// What holds it is gone, or may be: nothing says that it still is at rest.
fn lost(pass: &mut Pass<'_>, why: &str) -> BeforeCut {
    release::start(pass, ReleaseReason::ControllerRestarted);
    BeforeCut::Failed(Reason::QuiesceLost, format!("the application is not known to be at rest: {why}"))
}

/// The node for which the cut of this sync is made while the application is at rest. The cut cannot wait for its mover there: the window ends
/// with it.
pub fn node<'p>(pass: &'p Pass<'_>, sync: &CurrentSync) -> Option<&'p str> {
    pass.status.quiesce.as_ref().filter(|quiesce| belongs(quiesce, sync))?.node.as_deref()
}

/// Why the application may not be at rest any more.
fn let_go(pass: &Pass<'_>, quiesce: &Quiesce) -> Option<&'static str> {
    let hooks = &pass.seen.hooks;
    if !matches!(hooks.calls.get(&call_id(quiesce)), Some(CallSeen::Done(Ok(HookAnswer::Frozen(_))))) {
        return Some("the controller that had it brought to rest is gone");
    }
    if release::has_begun(pass, quiesce) {
        return Some("its release had begun");
    }
    let is_session = |entry: &&Undo| matches!(entry.change, Change::Session { .. });
    let mut sessions = quiesce.undo.iter().filter(is_session);
    sessions
        .any(|entry| hooks.ended_sessions.contains(&entry.id))
        .then_some("what held it has ended by itself")
}

/// Whether its window is over; also if it begins in the future: a clock was wrong when it was written.
fn is_over_time(pass: &Pass<'_>, quiesce: &Quiesce) -> bool {
    pass.now >= quiesce.deadline.0 || after(pass.now, CLOCK_TOLERANCE) < quiesce.since.0
}

fn expired(quiesce: &Quiesce, how: &str) -> String {
    let window = quiesce.deadline.0.as_second() - quiesce.since.0.as_second();
    format!(
        "the point-in-time copy was not {how} within {window}s, the time that the application may be at rest"
    )
}

fn waits_for_release(pass: &mut Pass<'_>, quiesce: &Quiesce) -> BeforeCut {
    let message = format!(
        "The application has to go on before the next copy is made: HookModule {} is to release what it did for sync {}.",
        quiesce.module, quiesce.sync_id
    );
    report::set(pass, Phase::Waiting, false, Reason::Quiescing, &message);
    BeforeCut::Waits
}

fn quiescing(pass: &mut Pass<'_>, quiesce: &Quiesce) {
    let message = format!(
        "Sync {}: HookModule {} brings the application to rest, until {} at the latest.",
        quiesce.sync_id, quiesce.module, quiesce.deadline.0
    );
    report::set(pass, Phase::Quiescing, true, Reason::Quiescing, &message);
}

/// The hook of the point as it stands in the spec.
fn spec<'a>(pass: &Pass<'a>) -> Option<&'a SourceHook> {
    pass.seen.source.spec.hooks.iter().find(|hook| hook.points.contains(&SourceHookPoint::Quiesce))
}

fn seconds(duration: scribe_crds::Duration) -> i64 {
    i64::try_from(std::time::Duration::from(duration).as_secs()).unwrap_or(WINDOW)
}

fn remember(pass: &mut Pass<'_>, call: String) {
    pass.then(Action::RememberHook { call });
}

fn call_id(quiesce: &Quiesce) -> String {
    id(&("quiesce", &quiesce.sync_id, quiesce.attempt))
}

/// What the hook is told, in every call about the same attempt.
fn context(pass: &Pass<'_>, quiesce: &Quiesce) -> Context {
    let attempt = format!("{}-{}", quiesce.sync_id, quiesce.attempt);
    let trigger = match quiesce.trigger {
        _ if quiesce.attempt > 1 => scribe_hooks_contract::context::Trigger::Retry,
        Some(trigger) => hooks::trigger(trigger),
        None => scribe_hooks_contract::context::Trigger::Change,
    };
    let method = quiesce.copy_method;
    let mut context = hooks::told(pass, attempt, quiesce.attempt, trigger, method, &quiesce.settings);
    context.attempt.deadline = match quiesce.state {
        // It has as long as the window, and whoever is late cannot be waited for.
        QuiesceState::Quiescing | QuiesceState::Frozen => millis(quiesce.deadline.0),
        // Nobody gives up: the module's own limit holds.
        QuiesceState::Releasing => context.attempt.now + RELEASE_TIME,
    };
    context
}
