//! The recovery point objective: what it is, whether it is kept, and whether it can be.

use super::validate::ValidSource;
use super::{Pass, after};
use crate::rpo::{self, words};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use scribe_crds::conditions::{self, Reason, Severity, Status};

/// A sync that started longer ago than this, in seconds, says nothing of the schedule of today.
const RECENT: i64 = 8 * 24 * 3600;

/// The longest time between the next ticks, in seconds. Counted from the last tick that has had its sync: while that of Monday morning runs,
/// the newest replica is of Friday.
pub fn longest_gap(pass: &Pass<'_>, valid: Option<&ValidSource>) -> Option<i64> {
    let trigger = &valid?.trigger;
    let last = pass.status.last_attempt.as_ref().map(|last| last.started_at.0);
    let is_recent = |time: &Timestamp| *time <= pass.now && after(*time, RECENT) >= pass.now;
    let from = last.filter(is_recent).unwrap_or(pass.now);
    trigger.schedule.as_ref()?.longest_gap(after(from, -trigger.delay))
}

/// The objective, in seconds: the one that is asked for, or twice the longest time between ticks. A spec that cannot be read leaves the last
/// one in force: nobody is to lose an alarm by a slip of the pen.
pub fn of(pass: &Pass<'_>, valid: Option<&ValidSource>) -> Option<i64> {
    let Some(valid) = valid else {
        let last = pass.status.effective.as_ref().and_then(|effective| effective.rpo)?;
        return i64::try_from(std::time::Duration::from(last).as_secs()).ok();
    };
    valid.rpo.or_else(|| Some(pass.longest_gap?.saturating_mul(2)))
}

/// Sets the conditions `WithinRPO` and `Degraded`.
pub fn report(pass: &mut Pass<'_>, valid: Option<&ValidSource>) {
    let verdict = judge(pass);
    if let Some(ends) = verdict.ends {
        pass.wake_at(ends);
    }
    set(pass, conditions::WITHIN_RPO, verdict.status, verdict.reason, &verdict.message);
    let (status, reason, message) = degraded(pass, valid);
    set(pass, conditions::DEGRADED, status, reason, &message);
}

/// A source that waits for its claim, such as that of a reverse direction, has nothing to be late with: its clock starts with the claim.
fn judge(pass: &Pass<'_>) -> rpo::Verdict {
    let point = pass.status.recovery_point.as_ref().map(|point| point.data_time.0);
    match (&pass.seen.claim, point) {
        (None, None) => rpo::Verdict {
            status: Status::Unknown,
            reason: Reason::SourceMissing,
            message: format!("claim {} does not exist", pass.seen.source.spec.source_pvc),
            ends: None,
        },
        (_, point) => rpo::judge(pass.rpo, point, begin(pass), pass.now),
    }
}

/// When the clock started where nothing has been published.
fn begin(pass: &Pass<'_>) -> Timestamp {
    let made = |meta: &ObjectMeta| meta.creation_timestamp.as_ref().map_or(pass.now, |time| time.0);
    let created = made(&pass.seen.source.metadata);
    pass.seen.claim.as_ref().map_or(created, |claim| created.max(made(&claim.metadata)))
}

/// The time that the age of the newest replica is counted from.
pub fn since(pass: &Pass<'_>) -> Timestamp {
    pass.status.recovery_point.as_ref().map_or_else(|| begin(pass), |point| point.data_time.0)
}

fn set(pass: &mut Pass<'_>, kind: &str, status: Status, reason: Reason, message: &str) {
    let is_same = |condition: &Condition| condition.type_ == kind && condition.reason == reason.as_str();
    // A failed sync was told when it failed.
    let is_told = reason == Reason::SyncsFail
        || pass.status.conditions.iter().any(is_same)
        // What is wrong with hooks is told where that is found.
        || pass.roll.verdict().is_some_and(|(_, trouble, _)| trouble == reason);
    if reason.severity() == Severity::Warning && !is_told {
        pass.note(reason, format!("{message}. {}", reason.action()));
    }
    let generation = pass.seen.source.metadata.generation;
    conditions::set(&mut pass.status.conditions, kind, status, reason, message, generation, pass.now);
}

fn degraded(pass: &Pass<'_>, valid: Option<&ValidSource>) -> (Status, Reason, String) {
    let failures = pass.status.consecutive_failures;
    if failures > 0 {
        let last = pass.status.last_attempt.as_ref().and_then(|last| last.failure.as_ref());
        let last = last.map(|failure| format!(", the last with {}", failure.reason)).unwrap_or_default();
        let count = if failures == 1 { "1 sync has".to_owned() } else { format!("{failures} syncs have") };
        return (
            Status::True,
            Reason::SyncsFail,
            format!("{count} failed since the last successful one{last}"),
        );
    }
    if let Some(message) = valid.and_then(|valid| unreachable(pass, valid)) {
        return (Status::True, Reason::ObjectiveUnreachable, message);
    }
    if let Some((Status::False, reason, message)) = pass.roll.verdict() {
        return (Status::True, reason, message);
    }
    (Status::False, Reason::AsExpected, "nothing is known to be wrong".to_owned())
}

/// Why the objective cannot be kept, in numbers: just before a replica is published, the one before it is as old as the time between two
/// starts and the duration of a sync together.
fn unreachable(pass: &Pass<'_>, valid: &ValidSource) -> Option<String> {
    let rpo = pass.rpo?;
    let took = pass.status.last_sync_duration?;
    let took = i64::try_from(std::time::Duration::from(took).as_secs()).unwrap_or(i64::MAX);
    let (apart, what) = match (pass.longest_gap, valid.trigger.interval) {
        // A tick that passes while a sync runs is made up for when that has ended.
        (Some(gap), _) if gap < took => (took, "syncs start"),
        (Some(gap), _) => (gap, "ticks of the schedule are"),
        (None, Some(interval)) => (interval.max(took), "syncs start"),
        (None, None) => return None,
    };
    let oldest = apart.saturating_add(took);
    (oldest > rpo).then(|| {
        format!(
            "the objective of {} cannot be kept: {what} up to {} apart, and the last sync took {}, so the newest replica gets up to {} old",
            words(rpo),
            words(apart),
            words(took),
            words(oldest)
        )
    })
}
