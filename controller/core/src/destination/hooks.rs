//! The hooks of a destination: which replicas a module keeps, and what is said of the hooks.

use super::draft::Draft;
use super::replica::Seen;
use super::retain::Retention;
use super::view::View;
use crate::decision::{Action, Note};
use crate::hooks::{Asked, HookAnswer, HookCall, HookRequest, Roll, State, Trouble, context, id, millis};
use crate::text::clean;
use scribe_crds::conditions::{self, Reason, Severity};
use scribe_crds::v1alpha1::{DestinationHook, RetentionRecord};
use scribe_hooks_contract::context::{CopyMethod, LastSync, Role, Trigger};
use scribe_hooks_contract::points::Point;
use scribe_hooks_contract::retention::{ReplicaPoint, check, sort};
use std::collections::BTreeMap;

/// The longest reason of a module's for one replica, in bytes: 128 of them stand in the status.
const REASON: usize = 200;
/// The most replicas that go at a time: the status has room for their names.
const MOST: usize = 128;

/// What a Retention hook says.
pub(super) enum Choice {
    /// There is no such hook.
    NoHook,
    /// It has not said anything yet.
    Waits,
    /// It cannot say anything.
    Broken,
    /// It has chosen before. These are to go, by name; everything else stays.
    Stands(Vec<String>),
    /// These are kept, by name, with its reasons.
    Keeps(BTreeMap<String, String>),
}

/// Looks at the hooks.
pub(super) fn look(view: &View<'_>, draft: &mut Draft) {
    let hooks = view.seen.destination.spec.hooks.iter().map(Into::into);
    draft.roll = Roll::look(hooks, &draft.status.hooks, &view.seen.hooks);
}

/// Asks the hook which of the replicas it keeps, once for the same replicas: a hook that keeps every second replica must not be asked again
/// because half of them are gone.
pub(super) fn choose(view: &View<'_>, draft: &mut Draft) -> Choice {
    let Some(entry) = draft.roll.at(Point::Retention) else { return Choice::NoHook };
    let digest = match &entry.state {
        State::Ready { digest } => digest.clone(),
        State::Waits(_) => return Choice::Waits,
        State::Broken(_) => return Choice::Broken,
    };
    let Some(newest) = view.replicas.first() else { return Choice::Waits };
    let mut points: Vec<ReplicaPoint> = view.replicas.iter().map(|replica| point(view, replica)).collect();
    sort(&mut points);
    if let Some(record) = &entry.record.retention
        && record.about == about(view, entry.judged(), &points, &record.deletes)
    {
        return Choice::Stands(record.deletes.clone());
    }
    let asked = Asked {
        attempt_id: newest.sync_id.to_owned(),
        number: 1,
        trigger: Trigger::Change,
        // The same replicas are to give the same answer, today and tomorrow.
        now: newest.data_time,
        last: LastSync::default(),
        settings_json: &entry.settings_json,
    };
    let claim = view.seen.claim.as_ref().and_then(|claim| claim.metadata.name.as_deref());
    let claims = (None, claim.map(|name| (name, view.received_claim_uid())));
    let meta = &view.seen.destination.metadata;
    let context = context(&view.owner, meta, Role::Destination, CopyMethod::Snapshot, claims, asked);
    let call = HookCall {
        id: id(&("choose", entry.judged(), &context, &points)),
        module: entry.module().to_owned(),
        digest,
        request: HookRequest::Choose(Box::new(context), points.clone()),
    };
    let trouble = match draft.roll.ask(&view.seen.hooks, &call) {
        None => return Choice::Waits,
        Some(Ok(HookAnswer::Keeps(keeps))) => {
            match check(points.iter().map(|point| point.id.as_str()), &keeps) {
                Ok(()) => {
                    let kept = keeps.into_iter().map(|keep| (keep.id, clean(&keep.reason, REASON)));
                    return Choice::Keeps(kept.collect());
                }
                Err(error) => Trouble::new(Reason::HookOutput, format!("it {error}")),
            }
        }
        Some(Ok(_)) => Trouble::misunderstood(),
        Some(Err(failure)) => Trouble::of(&failure),
    };
    let message = format!(
        "HookModule {} could not say which replicas to keep, so all stay: {}",
        call.module, trouble.message
    );
    // Remembered, and tried again.
    draft.roll.calls.push(call);
    if let Some(entry) = draft.roll.at_mut(Point::Retention) {
        entry.failed = Some(Trouble::new(trouble.reason, message));
    }
    Choice::Broken
}

/// Stands for what an answer is of: who gave it, and what its user can say about the replicas that stay after it. Whether one is ready, or in use
/// for a while, is no reason to choose anew.
fn about(view: &View<'_>, judged: &str, points: &[ReplicaPoint], gone: &[String]) -> String {
    let stay = points.iter().filter(|point| !gone.contains(&point.id));
    let stay: Vec<_> = stay.map(|point| (&point.id, point.created, &point.labels, point.pinned)).collect();
    id(&("keep", judged, view.seen.destination.metadata.generation, stay))
}

fn point(view: &View<'_>, replica: &Seen<'_>) -> ReplicaPoint {
    ReplicaPoint {
        id: replica.name.to_owned(),
        created: millis(replica.data_time),
        size_bytes: replica.size,
        labels: replica.labels.cloned().unwrap_or_default(),
        pinned: replica.pinned,
        in_use: view.seen.restores.iter().any(|restore| restore.snapshot == replica.name),
        ready: replica.ready,
    }
}

/// What becomes of the replicas when the hook has chosen: all that it does not keep goes, but nothing in a dry run, and not too many at a
/// time.
pub(super) fn carry_out<'a, 'b>(
    view: &'b View<'a>,
    draft: &mut Draft,
    mut retention: Retention<'a, 'b>,
) -> Retention<'a, 'b> {
    let hooks = &view.seen.destination.spec.hooks;
    let is_asked =
        |hook: &&DestinationHook| hook.points.iter().any(|at| Point::from(*at) == Point::Retention);
    let Some(hook) = hooks.iter().find(is_asked) else { return retention };
    let (keeps, drops) = (count(retention.keep.len()), count(retention.prune.len()));
    if hook.dry_run {
        draft.note(Reason::HookDryRun, dry_run_words(&hook.module, &retention));
        retention.take_back(0, &format!("dry run: {} does not keep it", hook.module));
    } else {
        let most = hook.max_delete_per_run.map_or(MOST, |most| most as usize).min(MOST);
        retention.take_back(most, "maxDeletePerRun is used up until the next replica is published");
    }
    let mut points: Vec<ReplicaPoint> = view.replicas.iter().map(|replica| point(view, replica)).collect();
    sort(&mut points);
    let deletes: Vec<String> = retention.prune.iter().map(|replica| replica.name.to_owned()).collect();
    if let Some(entry) = draft.roll.at_mut(Point::Retention) {
        let about = about(view, entry.judged(), &points, &deletes);
        entry.record.retention = Some(RetentionRecord { about, keeps, drops, deletes });
    }
    retention
}

fn dry_run_words(module: &str, retention: &Retention<'_, '_>) -> String {
    /// An Event has room for these.
    const SHOWN: usize = 10;
    let mut names: Vec<&str> = retention.prune.iter().take(SHOWN).map(|replica| replica.name).collect();
    if names.len() < retention.prune.len() {
        names.push("…");
    }
    let (keeps, drops) = (retention.keep.len(), retention.prune.len());
    let which = if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
    format!("dry run: HookModule {module} would keep {keeps} replicas and delete {drops}{which}")
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Sets the condition about hooks, or takes it away; and says what is wrong with them.
pub(super) fn report(view: &View<'_>, draft: &mut Draft) {
    let Some((status, reason, message)) = draft.roll.verdict() else {
        return draft.status.conditions.retain(|condition| condition.type_ != conditions::HOOKS_READY);
    };
    if reason.severity() == Severity::Warning {
        // The reporter drops what it has said before.
        draft.events.push(Note { reason, message: message.clone() });
    }
    let (kind, generation) = (conditions::HOOKS_READY, draft.status.observed_generation);
    conditions::set(&mut draft.status.conditions, kind, status, reason, &message, generation, view.now);
}

/// Writes down what became of the hooks, and asks what is still to be asked.
pub(super) fn finish(draft: &mut Draft) {
    let roll = std::mem::take(&mut draft.roll);
    draft.then.extend(roll.calls.iter().map(|call| Action::CallHook(Box::new(call.clone()))));
    draft.status.hooks = roll.into_records();
}
