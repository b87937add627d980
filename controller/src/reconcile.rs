//! One pass over one object, of any kind.

use crate::apply::{self, Applied, ApplyError, Class};
use crate::chance::SystemChance;
use crate::context::Context;
use crate::kinds::Reconciled;
use crate::metrics::Outcome;
use crate::observe::{ObserveError, Seen};
use crate::pace::Passed;
use crate::refusals::When;
use crate::router::Owner;
use crate::slots::Taken;
use jiff::{SignedDuration, Timestamp, Unit};
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::controller::Action;
use kube::{Api, Resource, ResourceExt};
use scribe_core::chance::Chance;
use scribe_core::decision::{Decision, Note};
use scribe_crds::conditions::Reason;
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The shortest pause between two looks at an object with an unfinished child.
const SOONEST_LOOK: Duration = Duration::from_secs(1);
/// Timers and the wall clock need not agree to the millisecond: a pass that comes too early would find nothing to do.
const WAKE_SLACK: Duration = Duration::from_millis(20);

/// What a pass came to.
struct Pass {
    outcome: Outcome,
    passed: Passed,
    wake: Option<Duration>,
}

/// A pass that did not get as far as a decision.
#[derive(Debug, thiserror::Error)]
enum PassError {
    #[error("read the object")]
    Read(#[source] kube::Error),
    #[error(transparent)]
    Observe(#[from] ObserveError),
}

/// Observes, decides, applies and reports; says when to come back.
///
/// *Guarantees*: nothing is looked at before it is this controller's turn; an object that is left alone for the sake of pace is looked at
/// again when its pause is over.
pub async fn reconcile<K: Reconciled>(
    object: Arc<PartialObjectMeta<K>>,
    ctx: Arc<Context>,
) -> Result<Action, Infallible> {
    if !ctx.term.begins().await {
        return Ok(Action::await_change());
    }
    let meta = object.meta();
    let (uid, generation) = (meta.uid.clone().unwrap_or_default(), meta.generation);
    if let Some(rest) = ctx.pace.hold(&uid, generation, Instant::now()) {
        return Ok(Action::requeue(rest));
    }
    let step = ctx.metrics.reconcile(K::SIDE);
    let pass = pass::<K>(&ctx, &object).await.unwrap_or_else(|error| {
        tracing::warn!(error = &error as &dyn std::error::Error, "observe");
        Pass { outcome: Outcome::Failed, passed: Passed::Failed, wake: None }
    });
    if matches!(pass.outcome, Outcome::Skipped | Outcome::Failed) {
        ctx.slots.step_aside(&uid);
    }
    let took = step.finish(pass.outcome);
    tracing::debug!(outcome = ?pass.outcome, wake = ?pass.wake, ?took, "reconciled");
    let pause = ctx.pace.passed(&uid, generation, pass.passed, Instant::now(), SystemChance.fraction());
    ctx.forget_if_gone(&uid, &Owner::new(K::SIDE, meta));
    Ok(earlier(pause, pass.wake).map_or_else(Action::await_change, Action::requeue))
}

async fn pass<K: Reconciled>(ctx: &Context, meta: &PartialObjectMeta<K>) -> Result<Pass, PassError> {
    let skipped = Pass { outcome: Outcome::Skipped, passed: Passed::Settled, wake: None };
    let Some(object) = read(ctx, meta).await? else { return Ok(skipped) };
    if object.is_external() {
        return Ok(skipped);
    }
    let Seen { observed, pending_since } = object.observe(ctx).await?;
    let now = Timestamp::now();
    // Kubernetes stores times to the second; with more in hand, a status would never equal itself.
    let decision = K::decide(&observed, &ctx.settings, whole_seconds(now), &mut SystemChance);
    let uid = object.uid().unwrap_or_default();
    let taken = ctx.slots.take(&decision.slot);
    if taken == Taken::Lost {
        // Another pass has taken what this one saw: nothing of it is done.
        return Ok(Pass { outcome: Outcome::Conflict, passed: Passed::Settled, wake: Some(Duration::ZERO) });
    }
    let applied = apply::apply(ctx, &object, &decision).await;
    ctx.slots.passed(&uid, &decision.slot, taken, applied.is_recorded);
    if applied.is_recorded {
        ctx.hooks.keep_only(&uid, decision.first.iter().chain(&decision.then));
    }
    report(ctx, &object, &decision, &applied).await;
    let wake = wake(decision.wake, pending_since, ctx.pending_interval, now);
    Ok(conclude(ctx, object.meta(), &decision, &applied, wake))
}

/// The object as it is now. `None`: it is gone, or cannot be read by this version, which its user is told.
async fn read<K: Reconciled>(ctx: &Context, meta: &PartialObjectMeta<K>) -> Result<Option<K>, PassError> {
    let api: Api<DeserializeGuard<K>> =
        Api::namespaced(ctx.client.clone(), meta.metadata.namespace.as_deref().unwrap_or_default());
    match api.get_opt(&meta.name_any()).await.map_err(PassError::Read)? {
        None => Ok(None),
        Some(DeserializeGuard(Ok(object))) => Ok(Some(object)),
        Some(DeserializeGuard(Err(invalid))) => {
            tracing::warn!(error = %invalid.error, "the object cannot be read");
            let message = format!("this version of Scribe cannot read the object: {}", invalid.error);
            let note = Note { reason: Reason::InvalidSpec, message };
            ctx.reporter.tell(&meta.object_ref(&()), &[note]).await;
            Ok(None)
        }
    }
}

async fn report<K: Reconciled>(ctx: &Context, object: &K, decision: &Decision<K::Status>, applied: &Applied) {
    // What is not recorded is decided again, and told then.
    if !applied.is_recorded {
        return;
    }
    let uid = object.uid().unwrap_or_default();
    let owner = Owner::new(K::SIDE, object.meta());
    if let Some(status) = decision.status.as_ref().or(object.status()) {
        let facts = object.facts(status);
        if let Some(facts) = &facts {
            ctx.metrics.show(&uid, &owner, facts);
        }
        if let Some(ended) = decision.ended.as_ref().filter(|_| applied.status_written) {
            let transfer = facts.as_ref().and_then(|facts| facts.transfer.as_ref());
            ctx.metrics.ended(&uid, &owner, ended, transfer);
        }
        if let Some(guard) = decision.tripped.filter(|_| applied.status_written) {
            ctx.metrics.tripped(&owner, guard);
        }
        if decision.forced_release && applied.status_written {
            ctx.metrics.forced_release(&owner);
        }
    }
    ctx.reporter.tell(&object.object_ref(&()), &decision.events).await;
}

/// What the pass came to, and what is remembered of it.
fn conclude<S: serde::Serialize>(
    ctx: &Context,
    meta: &kube::core::ObjectMeta,
    decision: &Decision<S>,
    applied: &Applied,
    wake: Option<Duration>,
) -> Pass {
    let uid = meta.uid.as_deref().unwrap_or_default();
    let (refusals, now) = (&ctx.refusals, Instant::now());
    if applied.is_recorded {
        refusals.recorded(uid);
    }
    let Some(error) = &applied.error else {
        refusals.done(uid);
        let wake = earlier(wake, refusals.retry_in(uid, now));
        return if applied.changed {
            Pass { outcome: Outcome::Applied, passed: Passed::Worked(fingerprint(decision)), wake }
        } else {
            Pass { outcome: Outcome::Settled, passed: Passed::Settled, wake }
        };
    };
    match error.class() {
        Class::Conflict => tracing::debug!(error = error as &dyn std::error::Error, "the world has changed"),
        Class::Refused | Class::Transient => tracing::warn!(error = error as &dyn std::error::Error, "apply"),
    }
    match error {
        ApplyError::Refused { refusal, .. } => {
            let when = if applied.is_recorded { When::AfterStatus } else { When::BeforeStatus };
            let pause = refusals.add(uid, meta.generation, refusal, when, now, SystemChance.fraction());
            let wake = earlier(wake, refusals.retry_in(uid, now));
            Pass { outcome: Outcome::Refused, passed: Passed::Refused(pause), wake }
        }
        ApplyError::Conflict { .. } => {
            Pass { outcome: Outcome::Conflict, passed: Passed::Failed, wake: None }
        }
        // What was decided may have a time that does not wait for what failed, such as the end of a window.
        ApplyError::Failed { .. } | ApplyError::Mover(_) | ApplyError::TermOver => {
            Pass { outcome: Outcome::Failed, passed: Passed::Failed, wake }
        }
    }
}

fn earlier(wake: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    wake.into_iter().chain(other).min()
}

/// Stands for all that a decision writes. Secrets are not part of it, but the actions that write them are.
fn fingerprint<S: serde::Serialize>(decision: &Decision<S>) -> u64 {
    let mut hasher = DefaultHasher::new();
    // A status that could not be written as JSON was not written at all, so this was not reached.
    serde_json::to_string(&decision.status).unwrap_or_default().hash(&mut hasher);
    format!("{:?}{:?}", decision.first, decision.then).hash(&mut hasher);
    hasher.finish()
}

fn whole_seconds(now: Timestamp) -> Timestamp {
    // Downwards: what is due at a full second is due when that second has come.
    let floor = jiff::TimestampRound::new().smallest(Unit::Second).mode(jiff::RoundMode::Floor);
    now.round(floor).unwrap_or(now)
}

/// When to look again: at the core's time, and, while a child is unfinished, after a quarter of the time that it has been so.
fn wake(
    wake: Option<Timestamp>,
    pending_since: Option<Timestamp>,
    pending_interval: Duration,
    now: Timestamp,
) -> Option<Duration> {
    let until = |time: Timestamp| Duration::try_from(time.duration_since(now)).unwrap_or_default();
    let at = wake.map(|time| until(time) + WAKE_SLACK);
    let look = pending_since.map(|since| {
        let age = Duration::try_from(now.duration_since(since).max(SignedDuration::ZERO)).unwrap_or_default();
        (age / 4).max(SOONEST_LOOK).min(pending_interval)
    });
    at.into_iter().chain(look).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_clock_is_rounded_down() {
        assert_eq!(whole_seconds(time("2026-01-01T00:00:00.999Z")), time("2026-01-01T00:00:00Z"));
    }

    #[test]
    fn an_unfinished_child_is_looked_at_ever_less_often() {
        let interval = Duration::from_secs(30);
        let now = time("2026-01-01T00:01:00Z");
        let look = |since: &str| wake(None, Some(time(since)), interval, now).unwrap();
        assert_eq!(look("2026-01-01T00:00:59Z"), SOONEST_LOOK);
        assert_eq!(look("2026-01-01T00:00:20Z"), Duration::from_secs(10));
        assert_eq!(look("2025-01-01T00:00:00Z"), interval);
        assert_eq!(look("2026-01-01T00:02:00Z"), SOONEST_LOOK);
    }

    #[test]
    fn the_earlier_of_two_reasons_wins() {
        let now = time("2026-01-01T00:00:00Z");
        let soon = Some(time("2026-01-01T00:00:05Z"));
        assert_eq!(wake(soon, None, SOONEST_LOOK, now), Some(Duration::from_secs(5) + WAKE_SLACK));
        assert_eq!(wake(soon, Some(now), SOONEST_LOOK, now), Some(SOONEST_LOOK));
        assert_eq!(wake(Some(time("2025-01-01T00:00:00Z")), None, SOONEST_LOOK, now), Some(WAKE_SLACK));
        assert_eq!(wake(None, None, SOONEST_LOOK, now), None);
    }

    #[test]
    fn equal_decisions_have_equal_fingerprints() {
        let decision = |wake| Decision::<u8> { status: Some(1), wake, ..Decision::default() };
        assert_eq!(fingerprint(&decision(None)), fingerprint(&decision(Some(Timestamp::UNIX_EPOCH))));
        let other = Decision::<u8> { status: Some(2), ..Decision::default() };
        assert_ne!(fingerprint(&decision(None)), fingerprint(&other));
    }
}
