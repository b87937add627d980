//! A decision for people: what is done first, what the status says, what is done then, and what is waited for.

use crate::render;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use scribe_core::decision::{Action, Child, Decision};
use scribe_mover_contract::job::{JOB_VARIABLE, Job};
use serde::Serialize;
use serde_json::Value;
use std::fmt::Write;

/// Fields that say the same in nearly every situation, or that have a line of their own.
const LEFT_OUT: [&str; 4] = ["phase", "conditions", "effective", "observedGeneration"];

/// What stands in a status.
pub trait Shown: Serialize {
    fn conditions(&self) -> &[Condition];
    fn phase(&self) -> String;
}

macro_rules! shown {
    ($($status:ty)+) => {
        $(impl Shown for $status {
            fn conditions(&self) -> &[Condition] {
                &self.conditions
            }
            fn phase(&self) -> String {
                self.phase.map_or("none".to_owned(), |phase| format!("{phase:?}"))
            }
        })+
    };
}

shown!(scribe_crds::v1alpha1::SourceStatus scribe_crds::v1alpha1::DestinationStatus);

/// The decision as text; `before` is the status that was seen.
pub fn decision<S: Shown>(decision: &Decision<S>, before: Option<&S>, now: Timestamp) -> String {
    let mut text = String::new();
    section(&mut text, "first", decision.first.iter().map(action));
    match &decision.status {
        None => text.push_str("status: left as it is\n"),
        Some(status) => self::status(&mut text, status, before),
    }
    section(&mut text, "then", decision.then.iter().map(action));
    section(
        &mut text,
        "events",
        decision.events.iter().map(|note| format!("{}: {}", note.reason, note.message)),
    );
    if let Some(ended) = &decision.ended {
        let reason = ended.reason.map(|reason| format!(", {reason}")).unwrap_or_default();
        let _ = writeln!(text, "the sync ends: {:?}{reason}", ended.result);
    }
    match decision.wake {
        Some(wake) => {
            let _ = writeln!(
                text,
                "looks again: at {wake} (in {} s), or when something changes",
                wake.as_second() - now.as_second()
            );
        }
        None => text.push_str("looks again: when something changes\n"),
    }
    text
}

fn section(text: &mut String, title: &str, lines: impl Iterator<Item = String>) {
    let lines: Vec<String> = lines.collect();
    if !lines.is_empty() {
        let _ = writeln!(text, "{title}:\n  {}", lines.join("\n  "));
    }
}

fn status<S: Shown>(text: &mut String, status: &S, before: Option<&S>) {
    let _ = writeln!(text, "status:\n  phase: {}", status.phase());
    for condition in status.conditions() {
        let Condition { type_, status, reason, message, .. } = condition;
        let _ = writeln!(text, "  {type_}: {status}, {reason}: {message}");
    }
    let json = |status: &S| {
        let mut value = serde_json::to_value(status).unwrap();
        LEFT_OUT.iter().for_each(|field| drop(value.as_object_mut().unwrap().remove(*field)));
        value
    };
    let before = before.map_or(Value::Null, json);
    for line in render::differences("", &before, &json(status)) {
        // Counters that count nothing, and there are many of them.
        if !line.ends_with(" = 0") {
            let _ = writeln!(text, "  {line}");
        }
    }
}

fn action(action: &Action) -> String {
    let what = render::action(action);
    match action {
        Action::Create(Child::Claim(claim)) => format!("{what}{}", claim_words(claim)),
        Action::Create(Child::Pod(pod)) => format!("{what}{}", pod_words(pod)),
        Action::Create(Child::Snapshot(snapshot)) => {
            let of = snapshot.spec.source.persistent_volume_claim_name.as_deref().unwrap_or_default();
            format!("{what} (of claim {of})")
        }
        _ => what,
    }
}

fn claim_words(claim: &PersistentVolumeClaim) -> String {
    let Some(spec) = &claim.spec else { return String::new() };
    let of = spec.data_source.as_ref().map(|of| format!("a clone of {}, ", of.name)).unwrap_or_default();
    let size = spec.resources.as_ref().and_then(|it| it.requests.as_ref()?.get("storage"));
    let class =
        spec.storage_class_name.as_deref().map(|class| format!(", class {class}")).unwrap_or_default();
    format!(" ({of}{}{class})", size.map(|size| size.0.as_str()).unwrap_or_default())
}

fn pod_words(pod: &Pod) -> String {
    let Some(spec) = &pod.spec else { return String::new() };
    let mounted = spec.volumes.iter().flatten().find_map(|volume| volume.persistent_volume_claim.as_ref());
    let claim = mounted.map(|claim| {
        let how = if claim.read_only == Some(true) { "read-only" } else { "to write" };
        format!("mounts claim {} {how}", claim.claim_name)
    });
    let mut variables = spec.containers.iter().flat_map(|container| container.env.iter().flatten());
    let job = variables.find(|variable| variable.name == JOB_VARIABLE).and_then(|it| it.value.as_deref());
    let job = match serde_json::from_str(job.unwrap_or_default()) {
        Ok(Job::Source(job)) => {
            format!(
                "; sends sync {}, attempt {}, with the data of {}",
                job.sync_id, job.attempt, job.data_time
            )
        }
        Ok(Job::Destination(_)) | Err(_) => String::new(),
    };
    format!(" ({}{job})", claim.unwrap_or_default())
}
