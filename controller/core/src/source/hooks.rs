//! The hooks of a source: what they keep from being started, and what is said of them.

use super::validate::{Hold, Plan};
use super::{Pass, cut};
use crate::decision::Action;
use crate::hooks::{Asked, Roll, context, last_sync};
use jiff::Timestamp;
use scribe_crds::conditions::{self, Severity};
use scribe_crds::v1alpha1::{CurrentSync, Phase, SourceCopyMethod, TriggerKind};
use scribe_hooks_contract::context::{Context, CopyMethod, Role, Trigger};

/// Looks at the hooks. A sync is not started without one that it is not to go without.
pub fn look(pass: &mut Pass<'_>, plan: &mut Plan) {
    let hooks = pass.seen.source.spec.hooks.iter().map(Into::into);
    pass.roll = Roll::look(hooks, &pass.status.hooks, &pass.seen.hooks);
    if plan.hold.is_none() {
        plan.hold = pass.roll.holds_up().map(|trouble| Hold {
            phase: Phase::Waiting,
            reason: trouble.reason,
            message: trouble.told(),
        });
    }
}

/// Sets the condition about hooks, or takes it away.
pub fn report(pass: &mut Pass<'_>) {
    let Some((status, reason, message)) = pass.roll.verdict() else {
        return pass.status.conditions.retain(|condition| condition.type_ != conditions::HOOKS_READY);
    };
    let before = pass.status.conditions.iter().find(|condition| condition.type_ == conditions::HOOKS_READY);
    let is_told = before.is_some_and(|it| it.reason == reason.as_str() && it.message == message);
    let is_noted = pass.out.events.iter().any(|note| note.reason == reason);
    if reason.severity() == Severity::Warning && !is_told && !is_noted {
        pass.note(reason, message.clone());
    }
    let generation = pass.seen.source.metadata.generation;
    let kind = conditions::HOOKS_READY;
    conditions::set(&mut pass.status.conditions, kind, status, reason, &message, generation, pass.now);
}

/// Writes down what became of the hooks, and asks what is still to be asked.
pub fn finish(pass: &mut Pass<'_>) {
    let roll = std::mem::take(&mut pass.roll);
    for call in &roll.calls {
        pass.then(Action::CallHook(Box::new(call.clone())));
    }
    pass.status.hooks = roll.into_records();
}

/// What a module is told of this source. `id`: of the attempt.
pub fn told(
    pass: &Pass<'_>,
    id: String,
    number: u32,
    trigger: Trigger,
    method: SourceCopyMethod,
    settings_json: &str,
) -> Context {
    let source = &pass.seen.source;
    let uid = pass.seen.claim.as_ref().and_then(|claim| claim.metadata.uid.as_deref());
    let status = &pass.status;
    let last = last_sync(
        status.last_sync_time.as_ref(),
        status.last_sync_duration,
        status.latest_mover_status.as_ref(),
        status.consecutive_failures,
    );
    let copy_method = match method {
        SourceCopyMethod::Clone => CopyMethod::Clone,
        SourceCopyMethod::Snapshot => CopyMethod::Snapshot,
        SourceCopyMethod::Direct => CopyMethod::Direct,
    };
    let claims = (Some((source.spec.source_pvc.as_str(), uid)), None);
    let asked = Asked { attempt_id: id, number, trigger, now: pass.now, last, settings_json };
    context(&pass.owner, &source.metadata, Role::Source, copy_method, claims, asked)
}

/// Why a sync is due, in the words of the contract.
pub fn trigger(kind: TriggerKind) -> Trigger {
    match kind {
        TriggerKind::Schedule | TriggerKind::OnCreate => Trigger::Schedule,
        TriggerKind::Manual => Trigger::Manual,
        TriggerKind::Continuous => Trigger::Change,
    }
}

/// Why an attempt is made, in the words of the contract.
pub fn trigger_of(sync: &CurrentSync) -> Trigger {
    if sync.attempt > 1 { Trigger::Retry } else { sync.trigger.map_or(Trigger::Change, trigger) }
}

/// How the copy of a sync is made.
pub fn method_of(sync: &CurrentSync) -> SourceCopyMethod {
    cut::method(sync)
}

/// Until when a hook that broke is not asked again, in words.
pub fn asked_again(at: Timestamp) -> String {
    format!("It is asked again at {at}.")
}
