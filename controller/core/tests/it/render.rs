//! Decisions as text, for snapshots that can be read.

use scribe_core::decision::{Action, Child, Decision};
use scribe_core::hooks::HookRequest;
use scribe_crds::v1alpha1::DestinationStatus;
use scribe_mover_contract::control::{Answer, Order};
use serde_json::Value;
use std::fmt::Write;

/// One pass: what was done before the status, what changed in it, what was done after.
pub fn decision(decision: &Decision<DestinationStatus>, before: Option<&DestinationStatus>) -> String {
    let mut text = String::from("pass\n");
    for action in &decision.first {
        let _ = writeln!(text, "  first  {}", self::action(action));
    }
    if let Some(status) = &decision.status {
        let json = |status: Option<&DestinationStatus>| {
            status.map_or(Value::Null, |status| serde_json::to_value(status).unwrap())
        };
        for line in differences("", &json(before), &json(Some(status))) {
            let _ = writeln!(text, "  status {line}");
        }
    }
    for action in &decision.then {
        let _ = writeln!(text, "  then   {}", self::action(action));
    }
    for note in &decision.events {
        let _ = writeln!(text, "  event  {}: {}", note.reason, note.message);
    }
    if let Some(ended) = &decision.ended {
        let _ = writeln!(
            text,
            "  ended  {:?} {}",
            ended.result,
            ended.reason.map_or("", |reason| reason.as_str())
        );
    }
    if let Some(wake) = decision.wake {
        let _ = writeln!(text, "  wake   {wake}");
    }
    text
}

/// The leaves in which two documents differ.
pub fn differences(path: &str, before: &Value, after: &Value) -> Vec<String> {
    if before == after {
        return Vec::new();
    }
    match (before, after) {
        (Value::Object(_) | Value::Null, Value::Object(fields)) => {
            let was = |key: &String| before.get(key).unwrap_or(&Value::Null);
            let mut lines: Vec<String> = fields
                .iter()
                .flat_map(|(key, value)| differences(&join(path, key), was(key), value))
                .collect();
            let gone = before.as_object().into_iter().flatten().filter(|(key, _)| !fields.contains_key(*key));
            lines.extend(gone.map(|(key, _)| format!("{} gone", join(path, key))));
            lines
        }
        (_, Value::Array(items)) if path == "conditions" => items
            .iter()
            .filter(|item| !before.as_array().is_some_and(|before| before.contains(item)))
            .map(|item| {
                let field = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
                format!("{}={} {}: {}", field("type"), field("status"), field("reason"), field("message"))
            })
            .collect(),
        _ => vec![format!("{path} = {after}")],
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

pub fn action(action: &Action) -> String {
    match action {
        Action::AddFinalizer => "add the finalizer".into(),
        Action::RemoveFinalizer => "remove the finalizer".into(),
        Action::Create(child) => format!("create {}", self::child(child)),
        Action::Apply(child) => format!("apply {}", self::child(child)),
        Action::ApplyAddress { secret, resource_version, address, port } => {
            let version = resource_version.as_ref().map(|version| format!(" at resource version {version}"));
            format!("apply {address}:{port} to Secret {secret}{}", version.unwrap_or_default())
        }
        Action::Delete(child) => format!("delete {:?} {}", child.kind, child.name),
        Action::LabelClaim { name, resource_version, .. } => {
            format!("label Claim {name} at resource version {resource_version}")
        }
        Action::UnlabelClaim { name, .. } => format!("unlabel Claim {name}"),
        Action::PublishSnapshot { name, annotations, .. } => {
            format!("publish Snapshot {name} {annotations:?}")
        }
        Action::AdoptSnapshot { name, from, .. } => format!("adopt Snapshot {name} from {from}"),
        Action::ReleaseContent { name } => format!("release content {name}"),
        Action::Answer { question, answer, .. } => format!("answer {question}: {}", self::answer(answer)),
        Action::Order { order: Order::Unseal { seal }, .. } => format!("unseal {seal}"),
        Action::RememberHook { .. } => "remember the call".to_owned(),
        Action::AnswerHook { entry, answer: Ok(()), .. } => format!("undo {entry} is written down: go on"),
        Action::AnswerHook { entry, answer: Err(words), .. } => {
            format!("undo {entry} is not written down: {words}")
        }
        Action::EndSessions => "end the sessions".to_owned(),
        Action::CallHook(call) => format!("ask {} {}", call.module, self::request(&call.request)),
        Action::Order { order: Order::EndSession { token }, .. } => format!("end session {token}"),
    }
}

fn request(request: &HookRequest) -> String {
    match request {
        HookRequest::Validate(settings) => format!("what it has against {settings}"),
        HookRequest::Decide(context) => {
            format!("whether to sync: {:?}, asked {}", context.attempt.trigger, context.attempt.number)
        }
        HookRequest::Tune(context, _) => format!("how to transfer {}", context.attempt.attempt_id),
        HookRequest::Choose(_, points) => {
            let ids: Vec<&str> = points.iter().map(|point| point.id.as_str()).collect();
            format!("which to keep of {}", ids.join(" "))
        }
        HookRequest::Quiesce(context, acts_as) => {
            format!("to bring the application to rest for {} as {acts_as:?}", context.attempt.attempt_id)
        }
        HookRequest::Release(release, _) => format!(
            "to release {} ({:?}, token {:?}), try {}",
            release.context.attempt.attempt_id, release.reason, release.token, release.number
        ),
        HookRequest::PreSync(context, _) => format!("before {}", context.attempt.attempt_id),
        HookRequest::PostSync(context, ..) => format!("after {}", context.attempt.attempt_id),
        HookRequest::OnFailure(context, report, _) => {
            let retries = if report.retryable { "" } else { ", for good" };
            format!("about {} that failed with {}{retries}", context.attempt.attempt_id, report.code)
        }
        HookRequest::Undo(log, _) => {
            let ids: Vec<&str> = log.iter().map(|undo| undo.id.as_str()).collect();
            format!("the host to undo {}", ids.join(", "))
        }
        HookRequest::Holds(log, _) => {
            let ids: Vec<&str> = log.iter().map(|undo| undo.id.as_str()).collect();
            format!("the host whether {} still is as it was set", ids.join(", "))
        }
    }
}

fn answer(answer: &Answer) -> String {
    let value = serde_json::to_value(answer).unwrap();
    match answer {
        Answer::Handshake(_) => format!("{} published {}", value["verdict"], value["published"]),
        Answer::Commit(_) | Answer::Published(_) | Answer::Guarded => value.to_string(),
    }
}

fn child(child: &Child) -> String {
    let name = |name: &Option<String>| name.clone().unwrap_or_default();
    match child {
        Child::Claim(claim) => format!("Claim {}", name(&claim.metadata.name)),
        Child::Pod(pod) => format!("Pod {}", name(&pod.metadata.name)),
        Child::Service(service) => format!("Service {}", name(&service.metadata.name)),
        Child::Snapshot(snapshot) => format!("Snapshot {}", name(&snapshot.metadata.name)),
        Child::Secret(secret) => {
            let keys: Vec<&String> = secret.0.data.iter().flatten().map(|(key, _)| key).collect();
            format!("Secret {} {keys:?}", name(&secret.0.metadata.name))
        }
    }
}
