//! Decisions as a reader of a transcript sees them.

use scribe_core::decision::{Action, Child};
use serde_json::Value;
use std::fmt::Write;

pub fn describe(action: &Action) -> String {
    match action {
        Action::CallHook(_) | Action::RememberHook { .. } | Action::AnswerHook { .. } => {
            crate::render::action(action)
        }
        Action::Create(Child::Claim(claim)) => {
            format!("create claim {}", claim.metadata.name.as_ref().unwrap())
        }
        Action::Create(Child::Snapshot(snapshot)) => {
            format!("create snapshot {}", snapshot.metadata.name.as_ref().unwrap())
        }
        Action::ReleaseContent { name } => format!("release content {name}"),
        Action::Create(Child::Pod(pod)) => format!("create pod {}", pod.metadata.name.as_ref().unwrap()),
        Action::Apply(Child::Secret(secret)) => {
            format!("apply secret {}", secret.0.metadata.name.as_ref().unwrap())
        }
        Action::Delete(child) => {
            format!("delete {:?} {} ({})", child.kind, child.name, child.uid.as_deref().unwrap_or("any uid"))
        }
        other => format!("{other:?}"),
    }
}

/// The fields of a status that changed; a condition as one line.
pub fn changes(entry: &mut String, before: &Value, after: &Value) {
    let (before, after) = (before.as_object().unwrap(), after.as_object().unwrap());
    for (field, value) in after {
        if before.get(field) == Some(value) {
            continue;
        }
        if field == "conditions" {
            let known = before.get(field).and_then(Value::as_array);
            let is_known = |condition: &&Value| known.is_some_and(|known| known.contains(condition));
            for condition in value.as_array().unwrap().iter().filter(|condition| !is_known(condition)) {
                let text = |key: &str| condition[key].as_str().unwrap_or_default().to_owned();
                let _ = writeln!(
                    entry,
                    "  {}: {} {}, {}",
                    text("type"),
                    text("status"),
                    text("reason"),
                    text("message")
                );
            }
        } else {
            let _ = writeln!(entry, "  {field}: {}", flow(value));
        }
    }
    for field in before.keys().filter(|field| !after.contains_key(*field)) {
        let _ = writeln!(entry, "  {field}: gone");
    }
}

/// A value on one line, without quotes.
pub fn flow(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(k, v)| format!("{k}: {}", flow(v)))
                .collect();
            format!("{{{}}}", fields.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
