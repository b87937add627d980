//! The undo log: what the host does at release, whatever becomes of the module.

use scribe_hooks::contract::effects::Command;
use scribe_hooks::contract::grants::{ExecPermit, KubePermit};
use serde_json::{Value, json};

use super::request::{command_value, object, pods};
use crate::hook::case::text;

/// What undoes one change. Written down before the change is made.
#[derive(Clone, Debug)]
pub enum Undo {
    /// The number of replicas. Restored only if it still is what was set.
    Scale { workload: KubePermit, set: u32, restore: u32 },
    /// An annotation. Restored only if it still is what was set.
    Annotation { target: KubePermit, key: String, set: String, restore: Option<String> },
    /// A CronJob that was suspended, and was not before.
    CronJob { target: KubePermit },
    /// A command that undoes another.
    Command { place: ExecPermit, command: Command },
    /// A command that holds something as long as its stdin is open.
    Session { place: ExecPermit },
}

impl Undo {
    /// As a case writes it, in the words of the status.
    pub fn show(&self) -> Value {
        match self {
            Self::Scale { workload, set, restore } => {
                json!({ "scale": { "workload": object(workload), "set": set, "restore": restore } })
            }
            Self::Annotation { target, key, set, restore } => {
                json!({ "annotation": { "target": object(target), "key": key, "set": set, "restore": restore } })
            }
            Self::CronJob { target } => json!({ "cronJob": { "target": object(target) } }),
            Self::Command { place, command } => {
                let mut shown = command_value(command);
                shown.insert("place".to_owned(), pods(place));
                shown.insert("stdin".to_owned(), text::show(&command.stdin));
                shown.remove("maxOutput");
                json!({ "command": shown })
            }
            Self::Session { place } => json!({ "session": { "place": pods(place) } }),
        }
    }
}
