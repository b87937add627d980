//! The host functions, answered by the script.

use async_trait::async_trait;
use scribe_hooks::Host;
use scribe_hooks::contract::effects::{
    Command, Entry, Event, ExecError, FreezeError, HttpError, KubeError, Outcome, PatchKind, Request,
    Response, StateError,
};
use scribe_hooks::contract::grants::{ExecPermit, HttpPermit, KubePermit, ListPermit};

use super::answer::{self, OutcomeAnswer};
use super::request::{HostCall, HostFunction};
use super::undo::Undo;
use super::{Scripted, resolve};

#[async_trait]
impl Host for Scripted {
    fn now(&self) -> u64 {
        self.time()
    }

    async fn emit_event(&self, event: Event) -> Result<(), String> {
        let reply = self.scripted(&HostCall::emit_event(&event)).await;
        self.state().events.push(event);
        reply.map_or(Ok(()), |reply| resolve(reply, answer::nothing))
    }

    async fn state_get(&self, key: String) -> Result<Option<Entry>, StateError> {
        match self.scripted(&HostCall::state_get(&key)).await {
            Some(reply) => resolve(reply, answer::entry),
            None => Ok(self.state().store.get(&key)),
        }
    }

    async fn state_put(
        &self,
        key: String,
        value: Vec<u8>,
        expect: Option<u64>,
        max_bytes: u64,
    ) -> Result<u64, StateError> {
        match self.scripted(&HostCall::state_put(&key, &value, expect)).await {
            Some(reply) => resolve(reply, crate::hook::case::call::typed),
            None => self.state().store.put(key, value, expect, max_bytes),
        }
    }

    async fn state_delete(&self, key: String, expect: Option<u64>) -> Result<(), StateError> {
        match self.scripted(&HostCall::state_delete(&key, expect)).await {
            Some(reply) => resolve(reply, answer::nothing),
            None => self.state().store.delete(&key, expect),
        }
    }

    async fn state_keys(&self, prefix: String) -> Result<Vec<String>, StateError> {
        match self.scripted(&HostCall::state_keys(&prefix)).await {
            Some(reply) => resolve(reply, crate::hook::case::call::typed),
            None => Ok(self.state().store.keys(&prefix)),
        }
    }

    async fn kube_get(&self, target: KubePermit, pointer: Option<String>) -> Result<String, KubeError> {
        self.ask(HostCall::kube_get(&target, pointer.as_deref()), answer::json).await
    }

    async fn kube_list(&self, query: ListPermit) -> Result<Vec<String>, KubeError> {
        self.ask(HostCall::kube_list(&query), answer::objects).await
    }

    async fn kube_patch(
        &self,
        target: KubePermit,
        kind: PatchKind,
        body: String,
    ) -> Result<String, KubeError> {
        self.ask(HostCall::kube_patch(&target, kind, &body), answer::json).await
    }

    async fn kube_annotate(
        &self,
        target: KubePermit,
        key: String,
        value: Option<String>,
    ) -> Result<Option<String>, KubeError> {
        let call = HostCall::annotate(HostFunction::KubeAnnotate, &target, &key, value.as_deref());
        self.ask(call, answer::optional).await
    }

    async fn kube_scale(&self, target: KubePermit, replicas: u32) -> Result<u32, KubeError> {
        self.ask(HostCall::scale(HostFunction::KubeScale, &target, replicas), answer::count).await
    }

    async fn kube_wait_for(
        &self,
        target: KubePermit,
        pointer: String,
        equals: String,
        timeout_seconds: u32,
    ) -> Result<bool, KubeError> {
        let call = HostCall::kube_wait_for(&target, &pointer, &equals, timeout_seconds);
        self.ask(call, answer::flag).await
    }

    async fn exec(&self, target: ExecPermit, command: Command) -> Result<Vec<Outcome>, ExecError> {
        let outcomes = self.ask(HostCall::exec(&target, &command), answer::outcomes).await?;
        if let Some(outcome) = outcomes.iter().find(|outcome| !may_run(&target, outcome)) {
            return Err(ExecError::Denied(format!("no exec grant covers pod {}", outcome.pod)));
        }
        Ok(outcomes.into_iter().map(Into::into).collect())
    }

    async fn freeze_scale_down(&self, workload: KubePermit, replicas: u32) -> Result<(), FreezeError> {
        let call = HostCall::scale(HostFunction::FreezeScaleDown, &workload, replicas);
        let before = self.ask(call, answer::count).await?;
        self.record(Undo::Scale { workload, set: replicas, restore: before });
        Ok(())
    }

    async fn freeze_annotate(
        &self,
        target: KubePermit,
        key: String,
        value: String,
    ) -> Result<(), FreezeError> {
        let call = HostCall::annotate(HostFunction::FreezeAnnotate, &target, &key, Some(&value));
        let before = self.ask(call, answer::optional).await?;
        self.record(Undo::Annotation { target, key, set: value, restore: before });
        Ok(())
    }

    async fn freeze_suspend_cronjob(&self, target: KubePermit) -> Result<(), FreezeError> {
        let was_suspended = self.ask(HostCall::suspend_cronjob(&target), answer::was).await?;
        // What somebody else has suspended stays so.
        if !was_suspended {
            self.record(Undo::CronJob { target });
        }
        Ok(())
    }

    async fn freeze_exec_with_undo(
        &self,
        target: ExecPermit,
        apply: Command,
        undo: Command,
    ) -> Result<(), FreezeError> {
        let call = HostCall::exec_with_undo(&target, &apply, &undo);
        // Before it is known how it ends: it may have worked and the answer be lost.
        self.record(Undo::Command { place: target.clone(), command: undo });
        let outcomes: Vec<OutcomeAnswer> = self.ask(call, answer::outcomes).await?;
        for outcome in &outcomes {
            if !may_run(&target, outcome) {
                return Err(FreezeError::Denied(format!("no exec grant covers pod {}", outcome.pod)));
            }
            if outcome.exit_code != 0 {
                let words = String::from_utf8_lossy(&outcome.stderr.0).trim().to_owned();
                let code = outcome.exit_code;
                return Err(FreezeError::Failed(format!(
                    "the command ended with {code} in {}: {words}",
                    outcome.pod
                )));
            }
        }
        Ok(())
    }

    async fn freeze_hold_session(
        &self,
        target: ExecPermit,
        command: Command,
        ready_marker: String,
    ) -> Result<(), FreezeError> {
        let call = HostCall::hold_session(&target, &command, &ready_marker);
        self.record(Undo::Session { place: target });
        let output = self.ask(call, answer::output).await?;
        if String::from_utf8_lossy(&output.0).lines().any(|line| line.contains(&ready_marker)) {
            Ok(())
        } else {
            Err(FreezeError::Failed(format!("the session ended before it printed `{ready_marker}`")))
        }
    }

    async fn http_send(
        &self,
        permit: HttpPermit,
        request: Request,
        max_body: u64,
    ) -> Result<Response, HttpError> {
        let response = self.ask(HostCall::http_send(&permit, &request), answer::response).await?;
        if let Some(address) = response.address {
            permit.allows(address).map_err(|denied| HttpError::Denied(denied.to_string()))?;
        }
        if response.body.0.len() as u64 > max_body {
            return Err(HttpError::TooLarge(max_body));
        }
        Ok(response.into())
    }
}

/// What is not said of a pod cannot be judged: then the grant's own selector has done that.
fn may_run(target: &ExecPermit, outcome: &OutcomeAnswer) -> bool {
    let container = target.container.as_ref().or(outcome.container.as_ref());
    match (&outcome.labels, container) {
        (Some(labels), Some(container)) => target.allows(labels, container),
        _ => true,
    }
}
