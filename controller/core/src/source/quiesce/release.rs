//! Lets an application go on, until that has succeeded.
//!
//! One try is the hook's own `release`, then, by the host, what is left of the undo log, in reverse; also where the module is gone or breaks down, and
//! without waiting for the hook when the window is over.
//! It is over when the hook's release has succeeded and nothing is left in the log. Where there is no HookModule any more, or it has become one
//! without this point, it is over when the host has undone all of a log that was not empty. Nothing waits for it but the next quiesce, and the end of the object.

use super::{belongs, context};
use crate::backoff;
use crate::decision::Action;
use crate::hooks::{
    CallSeen, HookAnswer, HookCall, HookFailure, HookRequest, ModuleSeen, ReleaseRequest, Trouble, id,
};
use crate::source::{CLOCK_TOLERANCE, Pass, after};
use crate::text::{clean, sentences};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use scribe_crds::conditions::{self, Reason, Status};
use scribe_crds::names;
use scribe_crds::v1alpha1::{Failure, Quiesce, QuiesceState, Release, ReleaseReason};
use scribe_hooks_contract::points::{self, Point};

/// The first pause between two tries, in seconds.
const SOONEST: i64 = 1;
/// The longest one: an application stands still.
const LATEST: i64 = 60;

/// Bytes of why a release has failed. What an Event has no room for is cut off, and the way out comes last.
const WHY: usize = 500;

/// Has it released. What is to be called for that is called by [`advance`], in the same pass.
pub(super) fn start(pass: &mut Pass<'_>, reason: ReleaseReason) {
    if let Some(quiesce) = pass.status.quiesce.as_mut().filter(|it| it.state != QuiesceState::Releasing) {
        quiesce.state = QuiesceState::Releasing;
        quiesce.release = Some(first_try(reason));
    }
}

fn first_try(reason: ReleaseReason) -> Release {
    Release { reason, number: 1, hook_done: false, undone: false, retry_at: None, failure: None }
}

/// Whether a release was called for another reason than a complete cut: the status that said so was lost.
pub(super) fn has_begun(pass: &Pass<'_>, quiesce: &Quiesce) -> bool {
    [
        ReleaseReason::CutFailed,
        ReleaseReason::QuiesceFailed,
        ReleaseReason::WindowExpired,
        ReleaseReason::Cancelled,
        ReleaseReason::ControllerRestarted,
        ReleaseReason::ObjectDeleted,
    ]
    .into_iter()
    .any(|reason| pass.seen.hooks.calls.contains_key(&call_id(quiesce, &first_try(reason))))
}

/// Whether no application is at rest, as far as is known.
pub fn is_over(pass: &Pass<'_>) -> bool {
    pass.status.quiesce.is_none()
}

/// Takes a release one step further, and begins one where nothing goes on with what is at rest. Called once in every pass, when all else is
/// decided.
pub fn advance(pass: &mut Pass<'_>) {
    let Some(quiesce) = pass.status.quiesce.clone() else { return clear(pass) };
    if is_forgotten(pass, &quiesce) {
        return;
    }
    if quiesce.state != QuiesceState::Releasing {
        let sync = pass.status.current_sync.as_ref();
        let reason = match sync {
            _ if pass.seen.source.metadata.deletion_timestamp.is_some() => ReleaseReason::ObjectDeleted,
            Some(sync) if belongs(&quiesce, sync) => {
                if is_attended(pass, &quiesce) {
                    return clear(pass);
                }
                interrupt(pass, &quiesce)
            }
            Some(_) => ReleaseReason::CutFailed,
            None => ReleaseReason::Cancelled,
        };
        start(pass, reason);
    }
    step(pass);
    if pass.status.quiesce.is_none() {
        clear(pass);
    }
}

/// Whether this pass goes on with what is at rest, or with what is to bring it there.
fn is_attended(pass: &Pass<'_>, quiesce: &Quiesce) -> bool {
    let id = super::call_id(quiesce);
    pass.out.first.iter().chain(&pass.out.then).any(|action| match action {
        Action::CallHook(call) => call.id == id,
        Action::RememberHook { call } | Action::AnswerHook { call, .. } => *call == id,
        _ => false,
    })
}

/// The attempt is held up before its cut, as by a pause or for want of a place for its mover. No application waits for that to end: this is
/// the end of the attempt, and the next one begins with another quiesce.
fn interrupt(pass: &mut Pass<'_>, quiesce: &Quiesce) -> ReleaseReason {
    let is_known = pass.seen.hooks.calls.contains_key(&super::call_id(quiesce));
    let message = format!(
        "Sync {}, attempt {}: the application goes on without a copy, since the attempt is held up.",
        quiesce.sync_id, quiesce.attempt
    );
    pass.note(Reason::QuiesceLost, message);
    if let Some(sync) = &mut pass.status.current_sync {
        sync.attempt += 1;
    }
    if is_known { ReleaseReason::Cancelled } else { ReleaseReason::ControllerRestarted }
}

fn step(pass: &mut Pass<'_>) {
    let Some(mut quiesce) = pass.status.quiesce.clone() else { return };
    let mut release = quiesce.release.clone().unwrap_or_else(|| first_try(ReleaseReason::Cancelled));
    if let Some(retry_at) = release.retry_at.as_ref().map(|time| time.0) {
        let limit = after(pass.now, LATEST + CLOCK_TOLERANCE);
        if retry_at > pass.now && retry_at <= limit {
            pass.wake_at(retry_at);
            return still_frozen(pass, &quiesce);
        }
        release.retry_at = None;
    }
    let (failure, is_running) = match by_hook(pass, &quiesce, &release) {
        Outcome::Runs if pass.now < quiesce.deadline.0 => return still_frozen(pass, &quiesce),
        // It may take for ever, as may the reading of its module and its turn among others; and what the host can do needs none of them.
        Outcome::Runs => (None, true),
        Outcome::Done => {
            release.hook_done = true;
            (None, false)
        }
        Outcome::Failed(trouble) => (Some(trouble), false),
    };
    let is_gone = !release.hook_done && is_gone(pass, &quiesce);
    let host = match by_host(pass, &mut quiesce, &mut release) {
        Outcome::Runs => {
            quiesce.release = Some(release);
            pass.status.quiesce = Some(quiesce.clone());
            return still_frozen(pass, &quiesce);
        }
        Outcome::Done => None,
        Outcome::Failed(trouble) => Some(trouble),
    };
    // A second try would end the first one, which may need its time.
    if is_running {
        release.failure = host.as_ref().map(Failure::from);
        quiesce.release = Some(release);
        pass.status.quiesce = Some(quiesce.clone());
        return still_frozen(pass, &quiesce);
    }
    let is_undone = quiesce.undo.is_empty() && (release.hook_done || (is_gone && release.undone));
    match host.or(failure) {
        trouble if is_undone => {
            pass.out.forced_release = is_forced(&release);
            over(pass, &quiesce, trouble);
        }
        trouble => try_again(pass, quiesce, release, trouble),
    }
}

/// What became of one part of a try.
enum Outcome {
    Runs,
    Done,
    Failed(Trouble),
}

/// Whether there is nobody any more who could release it: somebody has deleted the HookModule, or made another thing of it. One that cannot be
/// read may be there again at any time, and only it knows what it did without its host.
fn is_gone(pass: &Pass<'_>, quiesce: &Quiesce) -> bool {
    match pass.seen.hooks.modules.get(&quiesce.module) {
        None => true,
        Some(ModuleSeen::Ready { exports, .. }) => !exports.contains(&Point::Quiesce),
        Some(ModuleSeen::Loading | ModuleSeen::Broken(_)) => false,
    }
}

fn by_hook(pass: &mut Pass<'_>, quiesce: &Quiesce, release: &Release) -> Outcome {
    if release.hook_done {
        return Outcome::Done;
    }
    let module = &quiesce.module;
    let broken = |reason, words: String| Outcome::Failed(Trouble::new(reason, words));
    let digest = match pass.seen.hooks.modules.get(module) {
        Some(ModuleSeen::Ready { digest, exports }) if exports.contains(&Point::Quiesce) => digest.clone(),
        Some(ModuleSeen::Ready { .. }) => {
            return broken(
                Reason::HookPointMissing,
                format!("HookModule {module} cannot be asked at Quiesce any more"),
            );
        }
        Some(ModuleSeen::Loading) => return Outcome::Runs,
        Some(ModuleSeen::Broken(words)) => {
            return broken(
                Reason::HookModuleNotReady,
                format!("HookModule {module} cannot be used: {words}"),
            );
        }
        None => {
            return broken(Reason::HookModuleMissing, format!("HookModule {module} does not exist any more"));
        }
    };
    let request = ReleaseRequest {
        context: context(pass, quiesce),
        token: quiesce.token.clone(),
        reason: reason(release.reason),
        number: release.number,
    };
    let request = HookRequest::Release(Box::new(request), quiesce.service_account_name.clone());
    let call = HookCall { id: call_id(quiesce, release), module: module.clone(), digest, request };
    match call_for(pass, call, is_first(pass, release)) {
        None => Outcome::Runs,
        Some(Ok(HookAnswer::Released)) => Outcome::Done,
        Some(Ok(_)) => Outcome::Failed(Trouble::misunderstood()),
        Some(Err(failure)) => Outcome::Failed(Trouble::of(&failure)),
    }
}

fn by_host(pass: &mut Pass<'_>, quiesce: &mut Quiesce, release: &mut Release) -> Outcome {
    if quiesce.undo.is_empty() {
        return Outcome::Done;
    }
    let mut log = quiesce.undo.clone();
    log.reverse();
    let ids: Vec<&String> = log.iter().map(|entry| &entry.id).collect();
    let id = id(&("undo", &quiesce.sync_id, quiesce.attempt, release.number, ids));
    let (module, acts_as) = (quiesce.module.clone(), quiesce.service_account_name.clone());
    let call = HookCall { id, module, digest: String::new(), request: HookRequest::Undo(log, acts_as) };
    match call_for(pass, call, is_first(pass, release)) {
        None => Outcome::Runs,
        Some(Ok(HookAnswer::Undone { left, words })) => {
            release.undone |= left.len() < quiesce.undo.len();
            quiesce.undo.retain(|entry| left.iter().any(|left| left.id == entry.id));
            if quiesce.undo.is_empty() {
                Outcome::Done
            } else {
                Outcome::Failed(Trouble::new(Reason::HookFailed, clean(&words, 600)))
            }
        }
        Some(Ok(_)) => Outcome::Failed(Trouble::misunderstood()),
        Some(Err(failure)) => Outcome::Failed(Trouble::of(&failure)),
    }
}

/// Whether the status does not say yet that it is released: then that is not waited for.
fn is_first(pass: &Pass<'_>, release: &Release) -> bool {
    let before = pass.seen.source.status.as_ref().and_then(|status| status.quiesce.as_ref());
    release.number == 1 && before.is_none_or(|before| before.state != QuiesceState::Releasing)
}

/// The answer to a call. It is called for if it is not known, and remembered until the try is over.
fn call_for(pass: &mut Pass<'_>, call: HookCall, at_once: bool) -> Option<Result<HookAnswer, HookFailure>> {
    let answer = match pass.seen.hooks.calls.get(&call.id) {
        Some(CallSeen::Done(answer)) => Some(answer.clone()),
        Some(CallSeen::Running | CallSeen::Asks(_)) | None => None,
    };
    match &answer {
        Some(_) => pass.then(Action::RememberHook { call: call.id }),
        None if at_once => pass.out.first.push(Action::CallHook(Box::new(call))),
        None => pass.then(Action::CallHook(Box::new(call))),
    }
    answer
}

/// Whether it was not the course of things: the window was over, the process that held it was gone, or its hook had no part in it.
fn is_forced(release: &Release) -> bool {
    let is_late = matches!(release.reason, ReleaseReason::WindowExpired | ReleaseReason::ControllerRestarted);
    is_late || !release.hook_done
}

fn over(pass: &mut Pass<'_>, quiesce: &Quiesce, trouble: Option<Trouble>) {
    let took = pass.now.as_second() - quiesce.since.0.as_second();
    let forced =
        trouble.map(|trouble| format!(" by what was written down, without the hook: {}", trouble.message));
    let message = format!(
        "The application goes on, {took}s after HookModule {} was called for sync {}{}",
        quiesce.module,
        quiesce.sync_id,
        forced.as_deref().unwrap_or_default()
    );
    pass.note(Reason::Released, sentences(&message, ""));
    pass.status.quiesce = None;
}

fn try_again(pass: &mut Pass<'_>, mut quiesce: Quiesce, mut release: Release, trouble: Option<Trouble>) {
    let trouble = trouble.unwrap_or_else(Trouble::misunderstood);
    let pause = backoff::pause(release.number, SOONEST, LATEST, pass.chance.fraction());
    let retry_at = after(pass.now, pause);
    release.number = release.number.saturating_add(1);
    release.retry_at = Some(Time(retry_at));
    release.failure = Some(Failure::from(&trouble));
    quiesce.release = Some(release);
    pass.status.quiesce = Some(quiesce.clone());
    pass.wake_at(retry_at);
    still_frozen(pass, &quiesce);
}

/// Says that an application still stands, if it does for longer than it may.
fn still_frozen(pass: &mut Pass<'_>, quiesce: &Quiesce) {
    let failure = quiesce.release.as_ref().and_then(|release| release.failure.as_ref());
    let is_late = pass.now >= quiesce.deadline.0;
    if failure.is_none() && !is_late {
        pass.wake_at(quiesce.deadline.0);
        return clear(pass);
    }
    let why = failure
        .map_or_else(|| "its release runs.".to_owned(), |failure| clean(&Trouble::from(failure).told(), WHY));
    let reason = Reason::StillFrozen;
    let message = format!(
        "HookModule {} has brought the application to rest for sync {} at {}, and it is not known to go on: {why} {}",
        quiesce.module,
        quiesce.sync_id,
        quiesce.since.0,
        way_out(pass, quiesce),
    );
    let told = |condition: &_| is_told(condition, &message);
    if !pass.status.conditions.iter().any(told) {
        pass.note(reason, message.clone());
    }
    let generation = pass.seen.source.metadata.generation;
    let kind = conditions::STILL_FROZEN;
    conditions::set(&mut pass.status.conditions, kind, Status::True, reason, &message, generation, pass.now);
}

/// What a source waits for that is to go while its application is at rest.
pub fn waits(pass: &Pass<'_>) -> String {
    let Some(quiesce) = &pass.status.quiesce else { return String::new() };
    format!(
        "Waits until HookModule {} has let the application go on. {}",
        quiesce.module,
        way_out(pass, quiesce)
    )
}

/// What somebody can do who looks at it in the night.
fn way_out(pass: &Pass<'_>, quiesce: &Quiesce) -> String {
    let left = match quiesce.undo.len() {
        0 => String::new(),
        count => format!(" status.quiesce.undo has what is left to be undone ({count})."),
    };
    format!(
        "It is tried again.{left} If the application does go on: kubectl annotate --overwrite -n {} rsrc/{} {}={}",
        pass.owner.namespace,
        pass.owner.name,
        names::FORGET_FREEZE,
        quiesce.sync_id
    )
}

fn is_told(condition: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition, message: &str) -> bool {
    condition.type_ == conditions::STILL_FROZEN && condition.message == message
}

fn clear(pass: &mut Pass<'_>) {
    pass.status.conditions.retain(|condition| condition.type_ != conditions::STILL_FROZEN);
}

/// Somebody who knows has said that it goes on. Heard once a release has failed, or is late: nobody can know it before.
fn is_forgotten(pass: &mut Pass<'_>, quiesce: &Quiesce) -> bool {
    let annotations = pass.seen.source.metadata.annotations.as_ref();
    let named = annotations.and_then(|all| all.get(names::FORGET_FREEZE));
    if named != Some(&quiesce.sync_id) || quiesce.state != QuiesceState::Releasing {
        return false;
    }
    let has_failed = quiesce.release.as_ref().is_some_and(|release| release.failure.is_some());
    if !has_failed && pass.now < quiesce.deadline.0 {
        return false;
    }
    pass.out.first.push(Action::EndSessions);
    let message = format!("The annotation {} says that the application goes on.", names::FORGET_FREEZE);
    pass.note(Reason::Released, message);
    pass.status.quiesce = None;
    clear(pass);
    true
}

fn call_id(quiesce: &Quiesce, release: &Release) -> String {
    id(&("release", &quiesce.sync_id, quiesce.attempt, release.number, release.reason))
}

fn reason(reason: ReleaseReason) -> points::ReleaseReason {
    match reason {
        ReleaseReason::CutTaken => points::ReleaseReason::CutTaken,
        ReleaseReason::CutFailed => points::ReleaseReason::CutFailed,
        ReleaseReason::QuiesceFailed => points::ReleaseReason::QuiesceFailed,
        ReleaseReason::WindowExpired => points::ReleaseReason::WindowExpired,
        ReleaseReason::Cancelled => points::ReleaseReason::Cancelled,
        ReleaseReason::ControllerRestarted => points::ReleaseReason::ControllerRestarted,
        ReleaseReason::ObjectDeleted => points::ReleaseReason::ObjectDeleted,
    }
}
