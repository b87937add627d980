//! What a hook asked of its host, as a case writes it.

use scribe_hooks::contract::effects::{Command, Event, PatchKind, Request};
use scribe_hooks::contract::grants::{ExecPermit, HttpPermit, KubePermit, ListPermit, Selector};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::hook::case::text;

/// A host function that a case can answer, by its name in the WIT package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostFunction {
    #[serde(rename = "kube.get")]
    KubeGet,
    #[serde(rename = "kube.list")]
    KubeList,
    #[serde(rename = "kube.patch")]
    KubePatch,
    #[serde(rename = "kube.annotate")]
    KubeAnnotate,
    #[serde(rename = "kube.scale")]
    KubeScale,
    #[serde(rename = "kube.wait-for")]
    KubeWaitFor,
    #[serde(rename = "exec.run")]
    ExecRun,
    #[serde(rename = "freeze.scale-down")]
    FreezeScaleDown,
    #[serde(rename = "freeze.annotate")]
    FreezeAnnotate,
    #[serde(rename = "freeze.suspend-cronjob")]
    FreezeSuspendCronjob,
    #[serde(rename = "freeze.exec-with-undo")]
    FreezeExecWithUndo,
    #[serde(rename = "freeze.hold-session")]
    FreezeHoldSession,
    #[serde(rename = "http.send")]
    HttpSend,
    #[serde(rename = "events.emit")]
    EventsEmit,
    #[serde(rename = "state.get")]
    StateGet,
    #[serde(rename = "state.put")]
    StatePut,
    #[serde(rename = "state.delete")]
    StateDelete,
    #[serde(rename = "state.keys")]
    StateKeys,
}

impl HostFunction {
    /// What a call of it has in `with`.
    pub fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::KubeGet => &["target", "fieldPath"],
            Self::KubeList => &["apiVersion", "kind", "labelSelector", "limit"],
            Self::KubePatch => &["target", "kind", "body"],
            Self::KubeAnnotate | Self::FreezeAnnotate => &["target", "key", "value"],
            Self::KubeScale | Self::FreezeScaleDown => &["target", "replicas"],
            Self::KubeWaitFor => &["target", "jsonPath", "equals", "timeoutSeconds"],
            Self::ExecRun => &["target", "argv", "stdin", "timeoutSeconds", "maxOutput"],
            Self::FreezeSuspendCronjob => &["target"],
            Self::FreezeExecWithUndo => &["target", "apply", "undo"],
            Self::FreezeHoldSession => {
                &["target", "argv", "stdin", "timeoutSeconds", "maxOutput", "readyMarker"]
            }
            Self::HttpSend => &["method", "url", "headers", "body", "timeoutSeconds", "secretHeaders"],
            Self::EventsEmit => &["kind", "reason", "message"],
            Self::StateGet => &["key"],
            Self::StatePut => &["key", "value", "expect"],
            Self::StateDelete => &["key", "expect"],
            Self::StateKeys => &["prefix"],
        }
    }
}

/// A call of a host function.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HostCall {
    /// Which function.
    pub call: HostFunction,
    /// Its parameters. Those that were not given are not there.
    pub with: Value,
}

impl HostCall {
    fn new(call: HostFunction, with: Value) -> Self {
        Self { call, with: without_nulls(with) }
    }

    pub fn kube_get(target: &KubePermit, pointer: Option<&str>) -> Self {
        Self::new(HostFunction::KubeGet, json!({ "target": object(target), "fieldPath": pointer }))
    }

    pub fn kube_list(query: &ListPermit) -> Self {
        let ListPermit { group, version, kind, selector, limit, .. } = query;
        let with = json!({
            "apiVersion": api_version(group, version), "kind": kind, "labelSelector": selector.to_string(), "limit": limit,
        });
        Self::new(HostFunction::KubeList, with)
    }

    pub fn kube_patch(target: &KubePermit, kind: PatchKind, body: &str) -> Self {
        let body = text::show_json(body.as_bytes());
        Self::new(HostFunction::KubePatch, json!({ "target": object(target), "kind": kind, "body": body }))
    }

    pub fn annotate(call: HostFunction, target: &KubePermit, key: &str, value: Option<&str>) -> Self {
        Self::new(call, json!({ "target": object(target), "key": key, "value": value }))
    }

    pub fn scale(call: HostFunction, target: &KubePermit, replicas: u32) -> Self {
        Self::new(call, json!({ "target": object(target), "replicas": replicas }))
    }

    pub fn kube_wait_for(target: &KubePermit, pointer: &str, equals: &str, timeout_seconds: u32) -> Self {
        let with = json!({
            "target": object(target), "jsonPath": pointer, "equals": equals, "timeoutSeconds": timeout_seconds,
        });
        Self::new(HostFunction::KubeWaitFor, with)
    }

    pub fn exec(target: &ExecPermit, command: &Command) -> Self {
        let mut with = command_value(command);
        with.insert("target".to_owned(), pods(target));
        Self::new(HostFunction::ExecRun, with.into())
    }

    pub fn suspend_cronjob(target: &KubePermit) -> Self {
        Self::new(HostFunction::FreezeSuspendCronjob, json!({ "target": object(target) }))
    }

    pub fn exec_with_undo(target: &ExecPermit, apply: &Command, undo: &Command) -> Self {
        let with =
            json!({ "target": pods(target), "apply": command_value(apply), "undo": command_value(undo) });
        Self::new(HostFunction::FreezeExecWithUndo, with)
    }

    pub fn hold_session(target: &ExecPermit, command: &Command, ready_marker: &str) -> Self {
        let mut with = command_value(command);
        with.insert("target".to_owned(), pods(target));
        with.insert("readyMarker".to_owned(), ready_marker.into());
        Self::new(HostFunction::FreezeHoldSession, with.into())
    }

    pub fn http_send(permit: &HttpPermit, request: &Request) -> Self {
        let map = |pairs: &[(String, String)]| {
            let pairs = pairs.iter().map(|(name, value)| (name.clone(), Value::from(value.clone())));
            let map: Map<_, _> = pairs.collect();
            if map.is_empty() { Value::Null } else { map.into() }
        };
        let body = if request.body.is_empty() { Value::Null } else { text::show_json(&request.body) };
        let with = json!({
            "method": request.method, "url": permit.url.as_str(), "headers": map(&request.headers), "body": body,
            "timeoutSeconds": request.timeout_seconds, "secretHeaders": map(&request.secret_headers),
        });
        Self::new(HostFunction::HttpSend, with)
    }

    pub fn emit_event(event: &Event) -> Self {
        let Event { kind, reason, message } = event;
        Self::new(HostFunction::EventsEmit, json!({ "kind": kind, "reason": reason, "message": message }))
    }

    pub fn state_get(key: &str) -> Self {
        Self::new(HostFunction::StateGet, json!({ "key": key }))
    }

    pub fn state_put(key: &str, value: &[u8], expect: Option<u64>) -> Self {
        let value = text::show_json(value);
        Self::new(HostFunction::StatePut, json!({ "key": key, "value": value, "expect": expect }))
    }

    pub fn state_delete(key: &str, expect: Option<u64>) -> Self {
        Self::new(HostFunction::StateDelete, json!({ "key": key, "expect": expect }))
    }

    pub fn state_keys(prefix: &str) -> Self {
        Self::new(HostFunction::StateKeys, json!({ "prefix": prefix }))
    }
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            fields.into_iter().filter(|(_, value)| !value.is_null()).collect::<Map<_, _>>().into()
        }
        other => other,
    }
}

fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// An object of the hook's own namespace, as in a manifest.
pub fn object(target: &KubePermit) -> Value {
    let KubePermit { group, version, kind, name, uid, .. } = target;
    without_nulls(
        json!({ "apiVersion": api_version(group, version), "kind": kind, "name": name, "uid": uid }),
    )
}

/// Containers of pods.
pub fn pods(target: &ExecPermit) -> Value {
    let selector = target.selector.as_ref().map(Selector::to_string);
    without_nulls(json!({
        "pod": target.pod, "labelSelector": selector, "container": target.container,
        "allMatching": target.all_matching.then_some(true),
    }))
}

/// A command, with what it reads if it reads anything.
pub fn command_value(command: &Command) -> Map<String, Value> {
    let Command { argv, stdin, timeout_seconds, max_output } = command;
    let mut value = Map::new();
    value.insert("argv".to_owned(), argv.clone().into());
    if !stdin.is_empty() {
        value.insert("stdin".to_owned(), text::show(stdin));
    }
    value.insert("timeoutSeconds".to_owned(), (*timeout_seconds).into());
    value.insert("maxOutput".to_owned(), (*max_output).into());
    value
}
