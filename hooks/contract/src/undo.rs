//! What undoes what a hook has frozen: a log that stands in the status of the object that names the hook.
//!
//! An entry is written before the change that it undoes is made, so it may stand there for a change that never was. Whoever undoes looks first:
//! what is no longer as the hook has set it is left alone.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Entries in the log of one object.
pub const MOST_ENTRIES: usize = 64;
/// Bytes of one entry, as JSON.
pub const MOST_ENTRY_BYTES: usize = 16 << 10;
/// Bytes of the log of one object, as JSON: an object may have about a mebibyte, and the log is not all of it.
pub const MOST_LOG_BYTES: usize = 128 << 10;

/// One change, and how to undo it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Undo {
    /// Tells this change from every other one.
    #[schemars(length(min = 1, max = 64))]
    pub id: String,
    /// What is undone.
    pub change: Change,
}

/// What was changed, and what it was before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Change {
    /// The number of replicas. It is restored only if it still is what was set.
    Scale {
        /// What was scaled.
        workload: Changed,
        /// The number that was set.
        set: u32,
        /// The number before.
        restore: u32,
    },
    /// An annotation. It is restored only if it still is what was set.
    Annotation {
        /// What was annotated.
        target: Changed,
        /// The annotation's key.
        key: String,
        /// The value that was set.
        set: String,
        /// The value before. None: there was no such annotation.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        restore: Option<String>,
    },
    /// A CronJob that was suspended, and was not before.
    CronJob {
        /// The CronJob.
        target: Changed,
    },
    /// A command that undoes another. It may run more than once, and where the other one never ran.
    Command {
        /// Where it runs.
        place: Place,
        /// The command and its arguments.
        argv: Vec<String>,
        /// What it reads.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        stdin: String,
        /// How long it may take.
        timeout_seconds: u32,
    },
    /// A command that holds something as long as its stdin is open. The process that started it holds it open: it is released with that process too.
    Session {
        /// Where it runs.
        place: Place,
    },
}

/// An object that was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Changed {
    /// Its API group; the core group is the empty string.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The version of its API: `v1`.
    pub version: String,
    /// In the plural: `statefulsets`.
    pub resource: String,
    /// Its name. It is in the namespace of the object that names the hook.
    pub name: String,
    /// Its uid: a later one of the same name is another.
    pub uid: String,
}

/// A container that a command ran in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Place {
    /// The pod's name. It is in the namespace of the object that names the hook.
    pub pod: String,
    /// The pod's uid: a later one of the same name is another.
    pub uid: String,
    /// The container's name.
    pub container: String,
}

/// An entry, or a log, that is too large for a status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooMuch {
    /// One entry.
    #[error(
        "what undoes this takes {bytes} bytes, and at most {MOST_ENTRY_BYTES} can be written down: make it shorter"
    )]
    Entry {
        /// How many it takes.
        bytes: usize,
    },
    /// All of them.
    #[error(
        "what undoes all this takes {bytes} bytes, and at most {MOST_LOG_BYTES} can be written down: freeze less"
    )]
    Log {
        /// How many they take.
        bytes: usize,
    },
    /// Their number.
    #[error("a hook may freeze {MOST_ENTRIES} things at once")]
    Entries,
}

impl Undo {
    /// Can this be written down beside the entries that are there already?
    ///
    /// # Errors
    ///
    /// Says what is too much.
    pub fn check(&self, log: &[Self]) -> Result<(), TooMuch> {
        let bytes = self.bytes();
        if bytes > MOST_ENTRY_BYTES {
            return Err(TooMuch::Entry { bytes });
        }
        if log.len() >= MOST_ENTRIES {
            return Err(TooMuch::Entries);
        }
        let all = log.iter().map(Self::bytes).sum::<usize>() + bytes;
        if all > MOST_LOG_BYTES { Err(TooMuch::Log { bytes: all }) } else { Ok(()) }
    }

    fn bytes(&self) -> usize {
        // A map with keys that are no text is what alone could fail, and there is none.
        serde_json::to_vec(self).map_or(usize::MAX, |json| json.len())
    }
}

impl std::fmt::Display for Undo {
    /// What it undoes, for people. Neither arguments nor values are shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.change {
            Change::Scale { workload, set, restore } => {
                write!(f, "{workload} from {set} to {restore} replicas")
            }
            Change::Annotation { target, key, .. } => write!(f, "annotation {key} of {target}"),
            Change::CronJob { target } => write!(f, "suspension of {target}"),
            Change::Command { place, argv, .. } => {
                write!(f, "{} in {place}", argv.first().map_or("a command", String::as_str))
            }
            Change::Session { place } => write!(f, "session in {place}"),
        }
    }
}

impl std::fmt::Display for Changed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.resource, self.name)
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "pod {}, container {}", self.pod, self.container)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place { pod: "db-0".into(), uid: "u".into(), container: "db".into() }
    }

    fn command(argument: &str) -> Undo {
        let argv = vec!["psql".to_owned(), argument.to_owned()];
        let change = Change::Command { place: place(), argv, stdin: String::new(), timeout_seconds: 5 };
        Undo { id: "1".into(), change }
    }

    #[test]
    fn an_entry_reads_back_as_it_was_written() {
        let target = Changed {
            group: "apps".into(),
            version: "v1".into(),
            resource: "statefulsets".into(),
            name: "db".into(),
            uid: "u".into(),
        };
        for change in [
            Change::Scale { workload: target.clone(), set: 0, restore: 3 },
            Change::Annotation { target: target.clone(), key: "k".into(), set: "v".into(), restore: None },
            Change::CronJob { target },
            command("x").change,
            Change::Session { place: place() },
        ] {
            let undo = Undo { id: "1".into(), change };
            let json = serde_json::to_string(&undo).unwrap();
            assert_eq!(serde_json::from_str::<Undo>(&json).unwrap(), undo, "{json}");
        }
        let json = serde_json::to_value(command("x")).unwrap();
        assert_eq!(json["change"]["command"]["timeoutSeconds"], 5, "{json}");
    }

    #[test]
    fn what_does_not_fit_a_status_is_refused() {
        let entry = command(&"x".repeat(MOST_ENTRY_BYTES - 1000));
        assert_eq!(entry.check(&[]), Ok(()));
        assert!(matches!(command(&"x".repeat(MOST_ENTRY_BYTES)).check(&[]), Err(TooMuch::Entry { .. })));
        let many = vec![command(""); MOST_ENTRIES];
        assert_eq!(entry.check(&many), Err(TooMuch::Entries));
        let large = vec![entry.clone(); MOST_LOG_BYTES / MOST_ENTRY_BYTES + 1];
        assert!(matches!(entry.check(&large), Err(TooMuch::Log { .. })));
    }

    #[test]
    fn what_is_shown_of_a_command_is_its_program() {
        assert_eq!(command("password").to_string(), "psql in pod db-0, container db");
    }
}
