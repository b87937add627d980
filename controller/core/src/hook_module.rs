//! What to say of a HookModule. Reading and compiling one is the controller's work, and goes on outside of any pass.

use crate::decision::{Decision, Note};
use crate::text::sentences;
use jiff::Timestamp;
use scribe_crds::conditions::{self, Reason, Severity, Status};
use scribe_crds::v1alpha1::{HookModule, HookModuleStatus};
use scribe_hooks_contract::points::Point;

/// What was seen of a HookModule.
#[derive(Clone, Debug, PartialEq)]
pub struct HookModuleObserved {
    /// The object.
    pub module: HookModule,
    /// What has become of loading it.
    pub load: Load,
}

/// How far a module is loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// What hooks run now: the last that could be loaded.
    pub loaded: Option<Loaded>,
    /// Whether what the source holds now is still being read and compiled.
    pub is_loading: bool,
    /// Why what the source holds now cannot be used.
    pub trouble: Option<LoadTrouble>,
}

/// A module that is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Its SHA-256, in hexadecimal.
    pub digest: String,
    /// Its size, in bytes.
    pub size: u64,
    /// The size of what it was compiled to, in bytes.
    pub compiled_size: u64,
    /// The version of the hooks' API that it was made for.
    pub api_version: String,
    /// Where it can be asked.
    pub exports: Vec<Point>,
    /// The name that it gives itself.
    pub name: String,
    /// The version that it gives itself.
    pub version: String,
}

/// Why a module could not be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadTrouble {
    /// Which kind of trouble.
    pub reason: Reason,
    /// In words.
    pub message: String,
}

/// Decides what the status of a HookModule says.
///
/// *Guarantees*: a controller that has just started, and is still loading what hooks ran before, says nothing else than before.
pub fn decide(seen: &HookModuleObserved, now: Timestamp) -> Decision<HookModuleStatus> {
    let HookModuleObserved { module, load } = seen;
    let before = module.status.clone().unwrap_or_default();
    let generation = module.metadata.generation;
    let is_new = before.observed_generation != generation;
    if module.metadata.deletion_timestamp.is_some() || (load.is_loading && !is_new) {
        return Decision::default();
    }
    let (status, reason, message) = verdict(load);
    let mut next = before.clone();
    if !load.is_loading {
        describe(&mut next, load.loaded.as_ref());
    }
    next.observed_generation = generation;
    conditions::set(&mut next.conditions, conditions::READY, status, reason, &message, generation, now);
    let mut decision = Decision::default();
    let is_told = before
        .conditions
        .iter()
        .any(|it| it.type_ == conditions::READY && it.reason == reason.as_str() && it.message == message);
    if !is_told && (reason.severity() == Severity::Warning || reason == Reason::ModuleReady) {
        decision.events.push(Note { reason, message });
    }
    decision.status = Some(next);
    decision
}

fn describe(status: &mut HookModuleStatus, loaded: Option<&Loaded>) {
    status.name = loaded.map(|loaded| loaded.name.clone());
    status.version = loaded.map(|loaded| loaded.version.clone());
    status.digest = loaded.map(|loaded| loaded.digest.clone());
    status.size = loaded.map(|loaded| loaded.size);
    status.compiled_size = loaded.map(|loaded| loaded.compiled_size);
    status.api_version = loaded.map(|loaded| loaded.api_version.clone());
    status.exports = loaded.map(|loaded| loaded.exports.clone()).unwrap_or_default();
}

fn verdict(load: &Load) -> (Status, Reason, String) {
    match (&load.loaded, &load.trouble) {
        (_, _) if load.is_loading => {
            let words = match load.loaded {
                Some(_) => "what the source holds now is being loaded; hooks go on with the module before",
                None => "the module is being loaded",
            };
            let status = if load.loaded.is_some() { Status::True } else { Status::Unknown };
            (status, Reason::ModuleLoading, words.to_owned())
        }
        (Some(loaded), None) => {
            let points: Vec<String> = loaded.exports.iter().map(|point| format!("{point:?}")).collect();
            let points = if points.is_empty() { "no point".to_owned() } else { points.join(", ") };
            let (name, version) = (&loaded.name, &loaded.version);
            (Status::True, Reason::ModuleReady, format!("{name} {version} can be asked at {points}"))
        }
        (Some(_), Some(trouble)) => {
            let reason = Reason::ModuleStale;
            let message = format!("hooks go on with the module before: {}", trouble.message);
            (Status::True, reason, sentences(&message, reason.action()))
        }
        (None, Some(trouble)) => {
            (Status::False, trouble.reason, sentences(&trouble.message, trouble.reason.action()))
        }
        (None, None) => (Status::Unknown, Reason::ModuleLoading, "the module is being loaded".to_owned()),
    }
}
