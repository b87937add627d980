//! Asks a hook whether to start a sync that is due.

use super::validate::ValidSource;
use super::{CLOCK_TOLERANCE, Pass, after, hooks, report};
use crate::backoff;
use crate::hooks::{Entry, HookAnswer, HookCall, HookFailure, HookRequest, State, Trouble, id};
use crate::text::{clean, sentences};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use scribe_crds::conditions::Reason;
use scribe_crds::v1alpha1::{
    DecisionRecord, DecisionVerdict, Failure, OnError, Phase, SkippedSync, TriggerKind,
};
use scribe_hooks_contract::points::{Point, Verdict};

/// A leave that is older, in seconds, has to be asked for again: the sync waited for a mover meanwhile, and the window may be over.
const LEAVE_HOLDS: i64 = 60;
/// The longest that a hook can put a sync off before it is asked again, in seconds.
const LONGEST_DEFER: i64 = 24 * 3600;
/// The longest words of a hook, in bytes.
const WORDS: usize = 400;

/// A sync that is due.
pub struct Occasion {
    /// Because of this.
    pub trigger: TriggerKind,
    /// The tag, if it is a manual one.
    pub tag: Option<String>,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// It may start.
    Open,
    /// It waits, and that is said.
    Shut,
    /// It is not to be: its trigger has had its due.
    Skipped,
}

/// Whether the sync was put off, and its time has not come. That is asked before it stands in any line.
pub fn is_put_off(pass: &mut Pass<'_>, occasion: &Occasion) -> bool {
    let Some(entry) = pass.roll.at(Point::Decision) else { return false };
    let (module, on_error) = (entry.module().to_owned(), entry.on_error);
    let about = about(pass, entry, occasion);
    let Some(record) = entry.record.decision.clone().filter(|record| record.about == about) else {
        return false;
    };
    let limit = after(pass.now, LONGEST_DEFER + CLOCK_TOLERANCE);
    let until = record.until.as_ref().map(|until| until.0);
    let Some(until) = until.filter(|until| *until > pass.now && *until <= limit) else { return false };
    let message = match (&record.verdict, &record.failure) {
        (Some(DecisionVerdict::Defer), _) => deferred(&module, &record.message, until),
        (_, Some(failure)) if on_error == OnError::Fail => {
            let trouble = Trouble::from(failure);
            let message = sentences(&trouble.message, &hooks::asked_again(until));
            waits(pass, trouble.reason, &message, until);
            return true;
        }
        _ => return false,
    };
    waits(pass, Reason::HookDeferred, &message, until);
    true
}

/// Whether the sync may start now.
pub fn gate(pass: &mut Pass<'_>, valid: &ValidSource, occasion: &Occasion) -> Gate {
    let Some(entry) = pass.roll.at(Point::Decision) else { return Gate::Open };
    // One that is broken and matters has shut the source before; without this one it goes on.
    let State::Ready { digest } = entry.state.clone() else { return Gate::Open };
    let about = about(pass, entry, occasion);
    let record = entry.record.decision.clone().filter(|record| record.about == about);
    if record.as_ref().is_some_and(|record| is_leave(pass, record, entry.on_error)) {
        return Gate::Open;
    }
    let asked = record.map_or(0, |record| record.asked).saturating_add(1);
    let trigger = hooks::trigger(occasion.trigger);
    let settings = entry.settings_json.clone();
    let context = hooks::told(pass, about.clone(), asked, trigger, valid.copy_method, &settings);
    let call = HookCall {
        id: id(&("decide", &about, asked)),
        module: entry.module().to_owned(),
        digest: digest.clone(),
        request: HookRequest::Decide(Box::new(context)),
    };
    let seen = pass.seen;
    match pass.roll.ask(&seen.hooks, &call) {
        None => {
            let message =
                format!("A sync is due, and HookModule {} is asked whether to start it.", call.module);
            report::set(pass, Phase::Waiting, false, Reason::HookRunning, &message);
            Gate::Shut
        }
        Some(answer) => {
            let record = DecisionRecord {
                about,
                trigger: occasion.trigger,
                tag: occasion.tag.clone(),
                verdict: None,
                failure: None,
                message: String::new(),
                until: None,
                digest,
                generation: pass.seen.source.metadata.generation.unwrap_or_default(),
                time: Time(pass.now),
                asked,
            };
            answered(pass, occasion, &call.module, answer, record)
        }
    }
}

/// Stands for a sync that is due, and for whom is asked about it. What is due stays the same until a sync or a skip.
fn about(pass: &Pass<'_>, entry: &Entry, occasion: &Occasion) -> String {
    let status = &pass.status;
    let last = status.last_attempt.as_ref().map(|last| &last.id);
    let skipped = status.last_skip.as_ref().and_then(|skip| skip.counts_from.as_ref()).map(|time| time.0);
    let generation = pass.seen.source.metadata.generation;
    id(&(occasion.trigger, &occasion.tag, last, skipped, entry.judged(), generation))
}

/// Whether what was said lets the sync start.
fn is_leave(pass: &Pass<'_>, record: &DecisionRecord, on_error: OnError) -> bool {
    let time = record.time.0;
    let is_fresh = time <= after(pass.now, CLOCK_TOLERANCE) && after(time, LEAVE_HOLDS) > pass.now;
    match (&record.verdict, &record.failure) {
        (Some(DecisionVerdict::Proceed), _) => is_fresh,
        (None, Some(_)) => is_fresh && on_error == OnError::Continue,
        (Some(DecisionVerdict::Skip | DecisionVerdict::Defer), _) | (None, None) => false,
    }
}

fn answered(
    pass: &mut Pass<'_>,
    occasion: &Occasion,
    module: &str,
    answer: Result<HookAnswer, HookFailure>,
    mut record: DecisionRecord,
) -> Gate {
    match answer {
        Ok(HookAnswer::Verdict(Verdict::Proceed)) => {
            record.verdict = Some(DecisionVerdict::Proceed);
            write_down(pass, record);
            Gate::Open
        }
        Ok(HookAnswer::Verdict(Verdict::Skip(words))) => {
            record.verdict = Some(DecisionVerdict::Skip);
            record.message = clean(&words, WORDS);
            skip(pass, occasion, module, &record.message);
            write_down(pass, record);
            Gate::Skipped
        }
        Ok(HookAnswer::Verdict(Verdict::Defer { seconds, message })) => {
            let until = after(pass.now, i64::from(seconds).clamp(1, LONGEST_DEFER));
            record.verdict = Some(DecisionVerdict::Defer);
            record.message = clean(&message, WORDS);
            record.until = Some(Time(until));
            let message = deferred(module, &record.message, until);
            pass.note(Reason::HookDeferred, message.clone());
            write_down(pass, record);
            waits(pass, Reason::HookDeferred, &message, until);
            Gate::Shut
        }
        Ok(_) => failed(pass, module, Trouble::misunderstood(), record),
        Err(failure) => failed(pass, module, Trouble::of(&failure), record),
    }
}

fn failed(pass: &mut Pass<'_>, module: &str, trouble: Trouble, mut record: DecisionRecord) -> Gate {
    let message = format!("HookModule {module} could not say whether to sync: {}", trouble.message);
    let trouble = Trouble::new(trouble.reason, message);
    record.failure = Some(Failure::from(&trouble));
    let on_error = pass.roll.at(Point::Decision).map_or(OnError::Fail, |entry| entry.on_error);
    if on_error == OnError::Continue {
        write_down(pass, record);
        return Gate::Open;
    }
    let (base, max) = (pass.settings.retry_base, pass.settings.retry_max);
    let until = after(pass.now, backoff::pause(record.asked, base, max, pass.chance.fraction()));
    record.until = Some(Time(until));
    write_down(pass, record);
    let message = sentences(&trouble.message, &hooks::asked_again(until));
    waits(pass, trouble.reason, &message, until);
    Gate::Shut
}

fn write_down(pass: &mut Pass<'_>, record: DecisionRecord) {
    if let Some(entry) = pass.roll.at_mut(Point::Decision) {
        entry.record.decision = Some(record);
    }
}

/// The trigger has had its due, without a sync.
fn skip(pass: &mut Pass<'_>, occasion: &Occasion, module: &str, message: &str) {
    let what = match (&occasion.tag, occasion.trigger) {
        (Some(tag), _) => format!("that spec.trigger.manual {tag} asked for"),
        (None, _) => "that was due".to_owned(),
    };
    pass.note(
        Reason::HookSkipped,
        sentences(&format!("HookModule {module} skipped the sync {what}: {message}"), ""),
    );
    let before = pass.status.last_skip.take();
    let counts_from = before.as_ref().and_then(|before| before.counts_from.clone());
    pass.status.last_skip = Some(SkippedSync {
        trigger: occasion.trigger,
        // A tag that was skipped is remembered past the skips of others, or it would be asked about after each.
        tag: occasion.tag.clone().or_else(|| before.and_then(|before| before.tag)),
        time: Time(pass.now),
        counts_from: if occasion.tag.is_none() { Some(Time(pass.now)) } else { counts_from },
        module: module.to_owned(),
        message: message.to_owned(),
    });
}

fn deferred(module: &str, words: &str, until: Timestamp) -> String {
    sentences(
        &format!("A sync is due, and HookModule {module} puts it off: {words}"),
        &hooks::asked_again(until),
    )
}

/// The sync waits for that time.
fn waits(pass: &mut Pass<'_>, reason: Reason, message: &str, until: Timestamp) {
    pass.status.next_sync_time = Some(Time(until));
    pass.wake_at(until);
    report::set(pass, Phase::Waiting, false, reason, message);
}
