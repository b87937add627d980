//! What the status says: phase, condition, progress.

use super::validate::{Hold, ValidSource};
use super::{Pass, cut, outcome};
use crate::quantity;
use crate::text::clean;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use scribe_crds::Duration;
use scribe_crds::conditions::{self, Reason, Severity};
use scribe_crds::v1alpha1::{CurrentSync, Effective, Phase, Progress};
use scribe_mover_contract::control::{self, Activity};
use scribe_mover_contract::job::Termination;

/// Sets phase and condition.
pub fn set(pass: &mut Pass<'_>, phase: Phase, runs: bool, reason: Reason, message: &str) {
    pass.status.phase = Some(phase);
    let generation = pass.seen.source.metadata.generation;
    conditions::set(
        &mut pass.status.conditions,
        conditions::SYNCHRONIZING,
        runs,
        reason,
        message,
        generation,
        pass.now,
    );
}

/// Nothing is started or made; said in an Event once, if somebody has to act.
pub fn held(pass: &mut Pass<'_>, hold: &Hold) {
    if hold.reason.severity() == Severity::Warning && is_news(pass, hold.reason, &hold.message) {
        pass.note(hold.reason, hold.message.clone());
    }
    set(pass, hold.phase, false, hold.reason, &hold.message);
}

/// Whether the status that was observed did not say this yet.
fn is_news(pass: &Pass<'_>, reason: Reason, message: &str) -> bool {
    let conditions = pass.seen.source.status.iter().flat_map(|status| &status.conditions);
    !conditions.into_iter().any(|condition| {
        condition.type_ == conditions::SYNCHRONIZING
            && condition.reason == reason.as_str()
            && condition.message == message
    })
}

fn progressing(pass: &mut Pass<'_>, phase: Phase, sync: &CurrentSync, message: &str, words: &str) {
    let words = if words.is_empty() { String::new() } else { format!(" ({words})") };
    set(pass, phase, true, Reason::SyncInProgress, &format!("Sync {}: {message}{words}.", sync.id));
}

/// The cut is being made.
pub fn cutting(pass: &mut Pass<'_>, sync: &CurrentSync, words: &str) {
    let message =
        format!("the point-in-time copy of claim {} is being made", pass.seen.source.spec.source_pvc);
    progressing(pass, Phase::Cutting, sync, &message, words);
}

/// The pod is being started.
pub fn starting(pass: &mut Pass<'_>, sync: &CurrentSync, words: &str) {
    progressing(pass, Phase::Starting, sync, "the mover is being started", words);
}

/// The pod waits for the Secret that the user has to carry over.
pub fn keys_missing(pass: &mut Pass<'_>, sync: &CurrentSync, words: &str) {
    let reason = Reason::KeysMissing;
    let message = format!("Sync {}: {words}. {}", sync.id, reason.action());
    if is_news(pass, reason, &message) {
        pass.note(reason, message.clone());
    }
    set(pass, Phase::Starting, false, reason, &message);
}

/// A cut that took too long is being deleted.
pub fn discarding(pass: &mut Pass<'_>, sync: &CurrentSync) {
    let why = sync.last_failure.as_ref().map(|failure| failure.message.as_str()).unwrap_or_default();
    let reason = sync.last_failure.as_ref().and_then(|failure| failure.reason.parse().ok());
    let message =
        format!("Sync {}: {why}. It is being deleted; another attempt follows when it is gone.", sync.id);
    set(pass, Phase::Cutting, false, reason.unwrap_or(Reason::CutTimeout), &message);
}

/// The last attempt failed; the next one comes at `retry_at`, unless `hold` forbids it.
pub fn retrying(pass: &mut Pass<'_>, hold: Option<&Hold>, sync: &CurrentSync, retry_at: Timestamp) {
    if let Some(hold) = hold {
        return held(pass, hold);
    }
    let Some(failure) = &sync.last_failure else {
        return;
    };
    let reason = match failure.reason.parse() {
        // Their causes pass by themselves.
        Ok(Reason::ConnectionLost | Reason::TransferFailed | Reason::MoverFailed | Reason::QuiesceLost)
        | Err(_) => Reason::WaitingForRetry,
        Ok(reason) => reason,
    };
    let most = pass.settings.max_attempts;
    let why = if reason == Reason::WaitingForRetry { format!("{}: ", failure.reason) } else { String::new() };
    let message = format!(
        "Sync {}: {why}{} Attempt {} of {most} starts at {retry_at}.",
        sync.id, failure.message, sync.attempt
    );
    set(pass, Phase::Waiting, false, reason, &message);
}

/// The mover runs. What it says of itself decides nothing but this.
pub fn running(pass: &mut Pass<'_>, sync: &CurrentSync) {
    let name = pass.pod_name(sync);
    let seen = pass.seen;
    let state = seen.mover.as_ref().filter(|(pod, _)| *pod == name).map(|(_, state)| state);
    if let Some(progress) = state.and_then(|state| state.progress.as_ref()) {
        pass.status.progress = Some(self::progress(progress));
    }
    match state.map(|state| state.activity) {
        // Its controller has heard it before.
        None if pass.status.phase == Some(Phase::Transferring) => {
            let words = "the mover does not answer its controller; what it does goes on";
            progressing(pass, Phase::Transferring, sync, words, "");
        }
        None | Some(Activity::Starting | Activity::Listening) => {
            progressing(pass, Phase::Starting, sync, "the mover is being started", "");
        }
        Some(Activity::Connecting) => {
            progressing(pass, Phase::Starting, sync, "the mover connects to the destination", "");
        }
        Some(Activity::Surveying) => {
            progressing(pass, Phase::Starting, sync, "the mover looks at what there is to send", "");
        }
        Some(Activity::Waiting) => {
            let words = state.and_then(|state| state.waiting.as_deref()).unwrap_or_default();
            let words = clean(words, 400);
            let message = "the destination asked to come back a little later";
            progressing(pass, Phase::Waiting, sync, message, &words);
        }
        Some(Activity::Transferring | Activity::Committing) => {
            progressing(pass, Phase::Transferring, sync, "data is being sent", "");
        }
        // Its pod is about to say how it ended; until then what was said last holds.
        Some(Activity::Finished) => {}
        Some(Activity::AwaitingPublication) => {
            let reason = Reason::AwaitingPublication;
            let message = format!("Sync {}: {}", sync.id, reason.meaning());
            set(pass, Phase::Publishing, true, reason, &message);
        }
    }
}

fn progress(seen: &control::Progress) -> Progress {
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let total = seen.bytes_total.max(seen.bytes_done);
    // Hundredths of what may be 2^64 bytes; an empty volume is all done.
    let percent = (u128::from(seen.bytes_done) * 100).checked_div(u128::from(total)).unwrap_or(100);
    Progress {
        summary: format!("{percent}% {} of {}", quantity::display(seen.bytes_done), quantity::display(total)),
        bytes_done: number(seen.bytes_done),
        bytes_total: number(total),
        files_done: number(seen.files_done),
        files_total: number(seen.files_total.max(seen.files_done)),
        rate: number(seen.rate),
        eta_seconds: (total - seen.bytes_done).checked_div(seen.rate).map(number),
    }
}

/// What a user can do about a failure, as a sentence after what happened; empty where there is nothing to do. Whether the sync is tried
/// again is said apart from it, with the time.
pub fn advice(reason: Reason) -> String {
    let action = match reason {
        // The message of a guard says more.
        Reason::ConnectionLost | Reason::TransferFailed | Reason::SyncGuarded => "",
        Reason::MoverFailed => "Read status.latestMoverStatus.logs.",
        other => other.action(),
    };
    let action = action.strip_prefix("Nothing; ").unwrap_or(action);
    let mut letters = action.chars();
    letters.next().map(|first| format!(" {}{}", first.to_uppercase(), letters.as_str())).unwrap_or_default()
}

/// What a successful sync amounted to, in a sentence.
pub fn published(sync: &CurrentSync, left: &Termination, seconds: u64) -> String {
    let counts = &left.counts;
    let data_time = sync.cut_time.as_ref().map(|time| time.0.to_string()).unwrap_or_default();
    let how = if left.unchanged {
        "finds that nothing had changed: the newest replica holds the data"
    } else {
        "is published, with the data"
    };
    let mut message = format!(
        "Sync {} {how} of {data_time}: {} sent of {}, in {seconds}s.",
        sync.id,
        quantity::display(counts.bytes_sent),
        quantity::display(counts.bytes_total),
    );
    for warning in &left.warnings {
        if message.len() + warning.len() < 900 {
            message.push(' ');
            message.push_str(warning);
        }
    }
    message
}

/// Values that were not given, and what they came out as.
pub fn effective(valid: &ValidSource, rpo: Option<i64>, claim: Option<&PersistentVolumeClaim>) -> Effective {
    let seconds = |seconds: i64| {
        u64::try_from(seconds).ok().map(|seconds| Duration::from(std::time::Duration::from_secs(seconds)))
    };
    let (capacity, storage_class_name, access_modes) = match claim {
        Some(claim) => cut::dimensions(valid, claim),
        None => (valid.capacity.clone(), valid.storage_class.clone(), valid.access_modes.clone()),
    };
    Effective {
        time_zone: valid.trigger.schedule.as_ref().map(|schedule| schedule.zone_name().to_owned()),
        rpo: rpo.and_then(seconds),
        min_interval: valid.trigger.interval.and_then(seconds),
        capacity: capacity.map(|capacity| capacity.0),
        storage_class_name,
        access_modes,
        timeout: seconds(valid.cut_timeout),
    }
}

impl Pass<'_> {
    /// The newest warning about an object, as one bounded line.
    pub(super) fn last_warning(&self, uid: &str) -> Option<String> {
        let warning = self.seen.around.warnings.iter().rev().find(|warning| warning.about == uid)?;
        Some(outcome::warned(warning))
    }
}
