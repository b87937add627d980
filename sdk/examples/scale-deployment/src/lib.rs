//! Stops a workload for the cut, and has it started again.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use scribe_hook_sdk::quiesce::{Consistency, Frozen};
use scribe_hook_sdk::{Context, Hook, HookError, ObjectRef, Problem, Quiesce, export, freeze, kube, time};
use serde::Deserialize;

/// Between two looks at the pods, in milliseconds.
const INTERVAL: u32 = 500;

/// What is left of the call's time when it gives up, so that it can say so: milliseconds.
const RESERVE: u64 = 2_000;

/// Pods of which a message names no more.
const NAMED: u32 = 5;

/// What the user sets.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    /// What kind of workload it is.
    #[serde(default)]
    kind: Kind,
    /// Its name.
    name: String,
}

/// What can be scaled, and whose pods are known by its selector.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
enum Kind {
    #[default]
    Deployment,
    StatefulSet,
}

impl Settings {
    fn workload(&self) -> ObjectRef {
        let kind = match self.kind {
            Kind::Deployment => "Deployment",
            Kind::StatefulSet => "StatefulSet",
        };
        ObjectRef::new("apps/v1", kind, &self.name)
    }
}

struct ScaleDeployment;

impl Hook for ScaleDeployment {
    type Settings = Settings;
    const SCHEMA: Option<&'static str> = Some(include_str!("../settings.schema.json"));

    fn validate(settings: &Settings) -> Vec<Problem> {
        match settings.name.as_str() {
            "" => vec![Problem::at("/name", "is empty: name the workload that writes to the volume")],
            _ => Vec::new(),
        }
    }
}

/// There is no `release`: the host itself scales back what was scaled down through it.
impl Quiesce for ScaleDeployment {
    fn quiesce(ctx: &Context<Settings>) -> Result<Frozen, HookError> {
        let workload = ctx.settings.workload();
        // First, so that a workload whose pods cannot be found stays up.
        let selector = selector(&workload)?;
        freeze::scale_down(&workload, 0)?;
        await_no_pods(&selector)?;
        Ok(Frozen::new(Consistency::Application)
            .with_note(format!("{} {} was stopped", workload.kind, workload.name)))
    }
}

/// The workload's label selector.
fn selector(workload: &ObjectRef) -> Result<String, HookError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Selector {
        #[serde(default)]
        match_labels: BTreeMap<String, String>,
        #[serde(default)]
        match_expressions: Vec<serde::de::IgnoredAny>,
    }

    let Selector { match_labels, match_expressions } = kube::get_at(workload, "/spec/selector")?;
    // Left out, they would make the selector match more; and without labels it would match everything.
    if match_labels.is_empty() || !match_expressions.is_empty() {
        return Err(HookError::failed(format!(
            "{} {}: its selector has to be matchLabels alone for this hook to find its pods",
            workload.kind, workload.name
        )));
    }
    let labels = match_labels.iter().map(|(key, value)| format!("{key}={value}"));
    Ok(labels.collect::<Vec<_>>().join(","))
}

/// Waits until no pod is left: one that is still ending may still write.
fn await_no_pods(selector: &str) -> Result<(), HookError> {
    loop {
        let pods = kube::list("v1", "Pod", selector, NAMED)?;
        if pods.is_empty() {
            return Ok(());
        }
        if time::remaining_millis() < RESERVE + u64::from(INTERVAL) {
            let names = pods.iter().filter_map(|pod| pod.pointer("/metadata/name")?.as_str());
            let names = names.collect::<Vec<_>>().join(", ");
            return Err(HookError::failed(format!(
                "these pods are still there: {names}; give them a shorter grace period, or the hook more time"
            )));
        }
        time::sleep_millis(INTERVAL);
    }
}

export!(ScaleDeployment: Quiesce);
