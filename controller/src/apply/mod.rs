//! Carries a decision out: the only module that writes children and statuses.
//!
//! The order is the core's: `first`, the status under the resource version that was observed, `then`. The first failure ends the pass.
//! Nothing here judges; what is checked is only that the world is still the one that was observed.

mod children;
mod error;
mod object;
mod patches;
mod secrets;

pub use error::{ApplyError, Class};
pub use secrets::{Whose, whose};

use crate::context::Context;
use crate::kinds::Reconciled;
use children::Written;
use object::Object;
use scribe_core::decision::{Action, Child, ChildKind, ChildRef, Decision};
use scribe_mover_contract::control::AnswerTo;

/// How far a decision was carried out.
#[derive(Debug)]
pub struct Applied {
    /// Whether the status says now what was decided: it was written, or it did already.
    pub is_recorded: bool,
    /// Whether the status was written.
    pub status_written: bool,
    /// Whether anything may have changed by it.
    pub changed: bool,
    /// What ended the pass early.
    pub error: Option<ApplyError>,
}

/// Carries a decision out, as far as that is possible.
pub async fn apply<K: Reconciled>(ctx: &Context, object: &K, decision: &Decision<K::Status>) -> Applied {
    let mut applied = Applied { is_recorded: false, status_written: false, changed: false, error: None };
    let mut writer = Writer { ctx, object: Object::new(ctx, object) };
    if let Err(error) = writer.carry_out(decision, &mut applied).await {
        applied.error = Some(error);
    }
    applied
}

struct Writer<'a, K: Reconciled> {
    ctx: &'a Context,
    object: Object<'a, K>,
}

impl<K: Reconciled> Writer<'_, K> {
    async fn carry_out(
        &mut self,
        decision: &Decision<K::Status>,
        applied: &mut Applied,
    ) -> Result<(), ApplyError> {
        for action in &decision.first {
            applied.changed |= self.act(action).await?.is_change();
        }
        if let Some(status) = &decision.status {
            self.check_term()?;
            applied.status_written = self.object.write_status(status).await?.is_change();
            applied.changed |= applied.status_written;
        }
        applied.is_recorded = true;
        let mut passed_over = None;
        for action in &decision.then {
            match self.act(action).await {
                Ok(written) => applied.changed |= written.is_change(),
                Err(error) if holds_up_nothing(action, &error) => passed_over = passed_over.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        passed_over.map_or(Ok(()), Err)
    }

    /// Before every write: the process may have been stopped for long since the last one.
    fn check_term(&self) -> Result<(), ApplyError> {
        if self.ctx.term.holds() { Ok(()) } else { Err(ApplyError::TermOver) }
    }

    async fn act(&mut self, action: &Action) -> Result<Written, ApplyError> {
        self.check_term()?;
        let (client, namespace, owner) = (&self.ctx.client, self.object.namespace(), self.object.uid());
        match action {
            Action::AddFinalizer => self.object.set_finalizer(true).await,
            Action::RemoveFinalizer => self.object.set_finalizer(false).await,
            Action::Create(child) => match child {
                Child::Claim(claim) => children::create(client, namespace, owner, &**claim).await,
                Child::Pod(pod) => children::create(client, namespace, owner, &**pod).await,
                Child::Service(service) => children::create(client, namespace, owner, &**service).await,
                Child::Secret(secret) => secrets::create(client, namespace, owner, &secret.0).await,
                Child::Snapshot(snapshot) => children::create(client, namespace, owner, &**snapshot).await,
            },
            Action::Apply(child) => match child {
                Child::Claim(claim) => children::apply(client, namespace, owner, &**claim).await,
                Child::Pod(pod) => children::apply(client, namespace, owner, &**pod).await,
                Child::Service(service) => children::apply(client, namespace, owner, &**service).await,
                Child::Secret(secret) => secrets::apply(client, namespace, owner, &secret.0).await,
                Child::Snapshot(snapshot) => children::apply(client, namespace, owner, &**snapshot).await,
            },
            Action::Delete(child) => children::delete(client, namespace, owner, child).await,
            Action::ApplyAddress { secret, resource_version, address, port } => {
                let into = patches::Into { secret, resource_version: resource_version.as_deref() };
                patches::address(client, namespace, owner, into, address, *port).await
            }
            Action::LabelClaim { name, uid, resource_version } => {
                patches::label_claim(client, namespace, owner, name, uid, resource_version).await
            }
            Action::UnlabelClaim { name, uid, labels, annotations } => {
                patches::unlabel_claim(client, namespace, name, uid, labels, annotations).await
            }
            Action::PublishSnapshot { name, uid, resource_version, annotations } => {
                patches::publish(client, namespace, name, uid, resource_version, annotations).await
            }
            Action::AdoptSnapshot { name, uid, resource_version, from } => {
                patches::adopt(client, namespace, owner, name, (uid, resource_version), from).await
            }
            Action::ReleaseContent { name } => patches::release_content(client, name).await,
            Action::Answer { pod, instance, question, answer } => {
                let answer =
                    AnswerTo { instance: instance.clone(), question: *question, answer: (**answer).clone() };
                self.ctx.movers.answer(owner, pod, &answer).await?;
                Ok(Written::Changed)
            }
            Action::Order { pod, order } => {
                self.ctx.movers.order(owner, pod, order).await?;
                Ok(Written::Changed)
            }
            Action::CallHook(call) => {
                self.ctx.hooks.ask(owner, namespace, call);
                Ok(Written::Unchanged)
            }
            Action::RememberHook { .. } => Ok(Written::Unchanged),
            Action::AnswerHook { call, entry, answer } => {
                self.ctx.hooks.answer(owner, call, entry, answer.clone());
                Ok(Written::Unchanged)
            }
            Action::EndSessions => {
                self.ctx.hooks.end_sessions(owner);
                Ok(Written::Unchanged)
            }
        }
    }
}

/// Whether the rest of a pass is done in spite of this failure.
///
/// A mover that cannot be reached must not hold up what needs no mover: publication, pruning, its own removal. What is recorded is not
/// undone by an answer that was not heard. An order is different: what follows may rest on it. And somebody may have forbidden that an
/// old replica goes, or changes hands: that must not keep a new one from being made.
fn holds_up_nothing(action: &Action, error: &ApplyError) -> bool {
    match action {
        Action::Answer { .. } => true,
        Action::Delete(ChildRef { kind: ChildKind::Snapshot, .. }) | Action::AdoptSnapshot { .. } => {
            matches!(error, ApplyError::Refused { .. })
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_that_may_not_be_deleted_holds_up_nothing() {
        let delete = |kind| {
            Action::Delete(ChildRef { kind, name: "db".to_owned(), uid: None, resource_version: None })
        };
        let refused = ApplyError::refused("delete", "db".to_owned(), "the policy says no".to_owned());
        assert!(holds_up_nothing(&delete(ChildKind::Snapshot), &refused));
        assert!(!holds_up_nothing(&delete(ChildKind::Pod), &refused));
        assert!(!holds_up_nothing(&Action::RemoveFinalizer, &refused));
        let api = kube::core::Status::failure("try later", "ServerTimeout").with_code(504).boxed();
        let failed = ApplyError::new("delete", "db".to_owned(), kube::Error::Api(api));
        assert!(!holds_up_nothing(&delete(ChildKind::Snapshot), &failed));
    }
}
