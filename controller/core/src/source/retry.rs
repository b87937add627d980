//! An attempt that failed, and the time of the next one.

use super::ending::{end_failed, failure};
use super::validate::Plan;
use super::{CLOCK_TOLERANCE, LONGEST_WAIT, Pass, after, failure_hook, report};
use crate::backoff;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use scribe_crds::conditions::Reason;
use scribe_crds::v1alpha1::{CurrentSync, TriggerKind};

/// Waits for the time of the next attempt, and says so. `true`: not yet.
pub fn waits_for_retry(pass: &mut Pass<'_>, plan: &Plan, sync: &mut CurrentSync) -> bool {
    let Some(retry_at) = sync.retry_at.as_ref().map(|time| time.0) else {
        return false;
    };
    // Later than any pause could be: a clock was wrong when it was written.
    let longest = if sync.put_off { LONGEST_WAIT } else { pass.settings.retry_max };
    let limit = after(pass.now, longest + CLOCK_TOLERANCE);
    if retry_at > pass.now && retry_at <= limit {
        report::retrying(pass, plan.hold.as_ref(), sync, retry_at);
        pass.wake_at(retry_at);
        return true;
    }
    // An attempt that did not count has the name of the one before, whose pod has to be gone first.
    if pass.find_pod(&pass.pod_name(sync)).is_some() {
        report::retrying(pass, plan.hold.as_ref(), sync, retry_at);
        return true;
    }
    if plan.hold.is_none() {
        sync.retry_at = None;
        sync.put_off = false;
        pass.status.current_sync = Some(sync.clone());
    }
    false
}

/// One attempt is over without success: there will be another, unless there were enough.
pub fn fail_attempt(pass: &mut Pass<'_>, plan: &Plan, sync: CurrentSync, reason: Reason, message: &str) {
    fail_attempt_until(pass, plan, sync, (reason, message), None);
}

/// The same; if `until` is given, a hook has said when the next one comes.
pub fn fail_attempt_until(
    pass: &mut Pass<'_>,
    plan: &Plan,
    mut sync: CurrentSync,
    (reason, message): (Reason, &str),
    until: Option<Timestamp>,
) {
    let message = message.trim_end_matches('.');
    failure_hook::due(pass, &sync, reason, message, true);
    let (base, max) = (pass.settings.retry_base, pass.settings.retry_max);
    let fraction = pass.chance.fraction();
    let pause = if reason == Reason::DestinationUnreachable {
        let since = sync.started_at.0;
        if pass.now >= unreachable_deadline(pass, plan, &sync) {
            return end_failed(pass, sync, reason, message);
        }
        // It uses up no attempt, so the pause grows with the time that has gone into it instead.
        let spent = pass.now.as_second() - since.as_second();
        backoff::pause(1, base.max(spent / 4), max, fraction)
    } else {
        let most = pass.settings.max_attempts;
        if sync.attempt >= most {
            let message = format!("{message} (given up after {most} attempts)");
            return end_failed(pass, sync, reason, &message);
        }
        let pause = backoff::pause(sync.attempt, base, max, fraction);
        pass.note(
            reason,
            format!(
                "Sync {}, attempt {} of {most}: {message}.{}",
                sync.id,
                sync.attempt,
                report::advice(reason)
            ),
        );
        sync.attempt += 1;
        pause
    };
    if reason == Reason::DestinationUnreachable && !has_failed_with(&sync, reason) {
        pass.note(reason, format!("Sync {}: {message}.{}", sync.id, report::advice(reason)));
    }
    let retry_at = until.unwrap_or_else(|| after(pass.now, pause));
    sync.retry_at = Some(Time(retry_at));
    sync.put_off = until.is_some();
    sync.last_failure = Some(failure(reason, message));
    pass.status.current_sync = Some(sync.clone());
    pass.status.progress = None;
    report::retrying(pass, plan.hold.as_ref(), &sync, retry_at);
    pass.wake_at(retry_at);
}

fn has_failed_with(sync: &CurrentSync, reason: Reason) -> bool {
    sync.last_failure.as_ref().is_some_and(|failure| failure.reason == reason.as_str())
}

/// How long a sync looks for its peer: until the next one would start.
fn unreachable_deadline(pass: &Pass<'_>, plan: &Plan, sync: &CurrentSync) -> Timestamp {
    let since = sync.started_at.0;
    let trigger = plan.valid.as_ref().map(|valid| &valid.trigger);
    let tick = match sync.trigger {
        Some(TriggerKind::Schedule | TriggerKind::OnCreate) => {
            trigger.and_then(|trigger| trigger.next_after(since))
        }
        Some(TriggerKind::Manual | TriggerKind::Continuous) | None => None,
    };
    tick.unwrap_or_else(|| after(since, pass.settings.unreachable_timeout))
}
