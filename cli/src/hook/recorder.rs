//! A host that lets another one answer, and keeps what was said: so that a case can be made of it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use scribe_hooks::Host;
use scribe_hooks::contract::effects::{
    Command, Entry, Event, ExecError, FreezeError, HttpError, KubeError, Outcome, PatchKind, Request,
    Response, StateError,
};
use scribe_hooks::contract::grants::{ExecPermit, HttpPermit, KubePermit, ListPermit};
use serde::Serialize;
use serde_json::{Value, json};

use super::case::text;
use super::scripted::answer::{OutcomeAnswer, ResponseAnswer};
use super::scripted::request::{HostCall, HostFunction};

/// A call and what was answered, as an entry of a script.
#[derive(Clone, Debug, Serialize)]
pub struct Recorded {
    #[serde(flatten)]
    call: HostCall,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Value>,
}

/// Lets `inner` answer.
pub struct Recorder {
    inner: Arc<dyn Host>,
    recorded: Mutex<Vec<Recorded>>,
}

impl Recorder {
    pub fn new(inner: Arc<dyn Host>) -> Self {
        Self { inner, recorded: Mutex::default() }
    }

    /// What was said so far, in order. Events are left out: they need no answer.
    pub fn recorded(&self) -> Vec<Recorded> {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep<T, E: Serialize>(
        &self,
        call: HostCall,
        result: Result<T, E>,
        show: impl FnOnce(&T) -> Option<Value>,
    ) -> Result<T, E> {
        let (answer, error) = match &result {
            Ok(answer) => (show(answer), None),
            Err(error) => (None, serde_json::to_value(error).ok()),
        };
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner).push(Recorded { call, answer, error });
        result
    }
}

/// JSON as what it says.
fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

fn shown<T: Serialize>(value: &T) -> Option<Value> {
    serde_json::to_value(value).ok()
}

fn nothing(_: &()) -> Option<Value> {
    None
}

#[async_trait]
impl Host for Recorder {
    fn now(&self) -> u64 {
        self.inner.now()
    }

    async fn sleep(&self, duration: Duration) {
        self.inner.sleep(duration).await;
    }

    async fn emit_event(&self, event: Event) -> Result<(), String> {
        self.inner.emit_event(event).await
    }

    async fn state_get(&self, key: String) -> Result<Option<Entry>, StateError> {
        let call = HostCall::state_get(&key);
        let entry = |entry: &Option<Entry>| {
            let entry = entry.as_ref()?;
            Some(json!({ "value": text::show(&entry.value), "revision": entry.revision }))
        };
        self.keep(call, self.inner.state_get(key).await, entry)
    }

    async fn state_put(
        &self,
        key: String,
        value: Vec<u8>,
        expect: Option<u64>,
        max_bytes: u64,
    ) -> Result<u64, StateError> {
        let call = HostCall::state_put(&key, &value, expect);
        self.keep(call, self.inner.state_put(key, value, expect, max_bytes).await, shown)
    }

    async fn state_delete(&self, key: String, expect: Option<u64>) -> Result<(), StateError> {
        let call = HostCall::state_delete(&key, expect);
        self.keep(call, self.inner.state_delete(key, expect).await, nothing)
    }

    async fn state_keys(&self, prefix: String) -> Result<Vec<String>, StateError> {
        let call = HostCall::state_keys(&prefix);
        self.keep(call, self.inner.state_keys(prefix).await, shown)
    }

    async fn kube_get(&self, target: KubePermit, pointer: Option<String>) -> Result<String, KubeError> {
        let call = HostCall::kube_get(&target, pointer.as_deref());
        self.keep(call, self.inner.kube_get(target, pointer).await, |text| Some(parsed(text)))
    }

    async fn kube_list(&self, query: ListPermit) -> Result<Vec<String>, KubeError> {
        let call = HostCall::kube_list(&query);
        let list = |objects: &Vec<String>| Some(objects.iter().map(|text| parsed(text)).collect());
        self.keep(call, self.inner.kube_list(query).await, list)
    }

    async fn kube_patch(
        &self,
        target: KubePermit,
        kind: PatchKind,
        body: String,
    ) -> Result<String, KubeError> {
        let call = HostCall::kube_patch(&target, kind, &body);
        self.keep(call, self.inner.kube_patch(target, kind, body).await, |text| Some(parsed(text)))
    }

    async fn kube_annotate(
        &self,
        target: KubePermit,
        key: String,
        value: Option<String>,
    ) -> Result<Option<String>, KubeError> {
        let call = HostCall::annotate(HostFunction::KubeAnnotate, &target, &key, value.as_deref());
        let result = self.inner.kube_annotate(target, key, value).await;
        self.keep(call, result, |before| before.clone().map(Value::from))
    }

    async fn kube_scale(&self, target: KubePermit, replicas: u32) -> Result<u32, KubeError> {
        let call = HostCall::scale(HostFunction::KubeScale, &target, replicas);
        self.keep(call, self.inner.kube_scale(target, replicas).await, shown)
    }

    async fn kube_wait_for(
        &self,
        target: KubePermit,
        pointer: String,
        equals: String,
        timeout_seconds: u32,
    ) -> Result<bool, KubeError> {
        let call = HostCall::kube_wait_for(&target, &pointer, &equals, timeout_seconds);
        self.keep(call, self.inner.kube_wait_for(target, pointer, equals, timeout_seconds).await, shown)
    }

    async fn exec(&self, target: ExecPermit, command: Command) -> Result<Vec<Outcome>, ExecError> {
        let call = HostCall::exec(&target, &command);
        let outcomes = |outcomes: &Vec<Outcome>| {
            shown(&outcomes.iter().cloned().map(OutcomeAnswer::from).collect::<Vec<_>>())
        };
        self.keep(call, self.inner.exec(target, command).await, outcomes)
    }

    async fn freeze_scale_down(&self, workload: KubePermit, replicas: u32) -> Result<(), FreezeError> {
        let call = HostCall::scale(HostFunction::FreezeScaleDown, &workload, replicas);
        self.keep(call, self.inner.freeze_scale_down(workload, replicas).await, nothing)
    }

    async fn freeze_annotate(
        &self,
        target: KubePermit,
        key: String,
        value: String,
    ) -> Result<(), FreezeError> {
        let call = HostCall::annotate(HostFunction::FreezeAnnotate, &target, &key, Some(&value));
        self.keep(call, self.inner.freeze_annotate(target, key, value).await, nothing)
    }

    async fn freeze_suspend_cronjob(&self, target: KubePermit) -> Result<(), FreezeError> {
        let call = HostCall::suspend_cronjob(&target);
        self.keep(call, self.inner.freeze_suspend_cronjob(target).await, nothing)
    }

    async fn freeze_exec_with_undo(
        &self,
        target: ExecPermit,
        apply: Command,
        undo: Command,
    ) -> Result<(), FreezeError> {
        let call = HostCall::exec_with_undo(&target, &apply, &undo);
        self.keep(call, self.inner.freeze_exec_with_undo(target, apply, undo).await, nothing)
    }

    async fn freeze_hold_session(
        &self,
        target: ExecPermit,
        command: Command,
        ready_marker: String,
    ) -> Result<(), FreezeError> {
        let call = HostCall::hold_session(&target, &command, &ready_marker);
        let printed = ready_marker.clone();
        let result = self.inner.freeze_hold_session(target, command, ready_marker).await;
        self.keep(call, result, |()| Some(printed.into()))
    }

    async fn http_send(
        &self,
        permit: HttpPermit,
        request: Request,
        max_body: u64,
    ) -> Result<Response, HttpError> {
        let call = HostCall::http_send(&permit, &request);
        let result = self.inner.http_send(permit, request, max_body).await;
        self.keep(call, result, |response| shown(&ResponseAnswer::from(response.clone())))
    }
}
