//! When the next sync starts.

use super::validate::Trigger;
use super::{CLOCK_TOLERANCE, after};
use crate::backoff;
use crate::settings::Settings;
use jiff::Timestamp;
use scribe_crds::v1alpha1::{LastAttempt, SourceStatus, TriggerKind};

/// When the next sync starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// Now.
    Now {
        /// Because of this.
        trigger: TriggerKind,
        /// The tag, if it is a manual one.
        tag: Option<String>,
    },
    /// At this time, if no new tag comes before.
    At(Timestamp),
    /// When a new tag comes.
    OnTag,
}

/// Finds out when the next sync starts, while none runs.
///
/// `created` is the time that the object was created at. Ticks that were missed, for whatever reason, are made up for by one sync.
pub fn due(
    trigger: &Trigger,
    status: &SourceStatus,
    created: Timestamp,
    settings: &Settings,
    now: Timestamp,
) -> Due {
    if let Some(tag) = &trigger.manual
        && status.last_manual_sync.as_ref() != Some(tag)
        // A tag has one sync, with its attempts; after that it takes a new one to say that the cause of the failure is gone.
        && status.last_attempt.as_ref().and_then(|last| last.tag.as_ref()) != Some(tag)
        && status.last_skip.as_ref().and_then(|skip| skip.tag.as_ref()) != Some(tag)
    {
        return Due::Now { trigger: TriggerKind::Manual, tag: Some(tag.clone()) };
    }
    let last = status.last_attempt.as_ref();
    let skipped = status.last_skip.as_ref().and_then(|skip| skip.counts_from.as_ref()).map(|time| time.0);
    let (at, kind) = if trigger.schedule.is_some() {
        match scheduled(trigger, last, (created, skipped), settings, now) {
            Some(tick) => tick,
            None => return Due::OnTag,
        }
    } else if let Some(interval) = trigger.interval {
        (
            continuous(interval, (last, skipped), status.consecutive_failures, settings, now),
            TriggerKind::Continuous,
        )
    } else {
        return Due::OnTag;
    };
    if at <= now { Due::Now { trigger: kind, tag: None } } else { Due::At(at) }
}

fn scheduled(
    trigger: &Trigger,
    last: Option<&LastAttempt>,
    (created, skipped): (Timestamp, Option<Timestamp>),
    settings: &Settings,
    now: Timestamp,
) -> Option<(Timestamp, TriggerKind)> {
    trigger.schedule.as_ref()?;
    let counted = last.map(|last| last.started_at.0).max(skipped);
    if counted.is_none() && trigger.on_create {
        return Some((now, TriggerKind::OnCreate));
    }
    let Some(since) = believable(counted.unwrap_or(created), now) else {
        return Some((now, TriggerKind::Schedule));
    };
    // A tick before the source was made is not its own, also if its delay ends after that.
    let tick = trigger.next_after(if counted.is_some() { since } else { after(since, trigger.delay) })?;
    // A tick that passed while a sync failed is not made up for in the same moment.
    let failed = last.filter(|last| last.failure.is_some()).and_then(|last| believable(last.ended_at.0, now));
    let pause = failed.map(|ended| after(ended, settings.retry_base));
    Some((pause.map_or(tick, |pause| pause.max(tick)), TriggerKind::Schedule))
}

fn continuous(
    interval: i64,
    (last, skipped): (Option<&LastAttempt>, Option<Timestamp>),
    failures: u32,
    settings: &Settings,
    now: Timestamp,
) -> Timestamp {
    let counted = last.map(|last| last.started_at.0).max(skipped);
    let Some(started) = counted.and_then(|counted| believable(counted, now)) else {
        return now;
    };
    let next = after(started, interval);
    let failed = last.filter(|last| last.failure.is_some());
    match failed.and_then(|last| Some((last, believable(last.ended_at.0, now)?))) {
        Some((last, ended)) => {
            let pause =
                backoff::pause(failures, settings.retry_base, settings.retry_max, fraction_of(&last.id));
            next.max(after(ended, pause))
        }
        None => next,
    }
}

/// A time that was recorded, unless it lies so far ahead that a clock was wrong when it was: then nothing may wait for it.
fn believable(recorded: Timestamp, now: Timestamp) -> Option<Timestamp> {
    Some(recorded).filter(|recorded| *recorded <= after(now, CLOCK_TOLERANCE))
}

/// A number from 0 to 1 that is random, as sync ids are, but the same in every pass.
fn fraction_of(id: &str) -> f64 {
    let hash = id.bytes().fold(0_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
    f64::from(hash % 1000) / 1000.0
}
