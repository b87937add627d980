//! What is expected of a step, and what was observed: in the same words, so that one can be written for the other.

use std::fmt;

use scribe_hooks::contract::effects::Event;
use scribe_hooks::contract::measure::Bytes;
use scribe_hooks::contract::reason::Reason;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::call::Function;

/// What is expected of a step. What is not there is not looked at, but for `denied`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Expect {
    /// What the function answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// How it fails instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ExpectedError>,
    /// What becomes of the replicas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<Value>,
    /// What the host would undo at release, the last change first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undo: Option<Vec<Value>>,
    /// The Events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<Event>>,
    /// What the module's store holds afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<Map<String, Value>>,
    /// What the host denied, as the module was told. Nothing, where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denied: Option<Vec<String>>,
    /// All that was asked of the host, in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls: Option<Vec<Value>>,
    /// The lines of the log, like `info: text`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<Vec<String>>,
    /// No more fuel than that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_fuel: Option<u64>,
    /// No more memory than that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_memory: Option<Bytes>,
}

/// How a function fails.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExpectedError {
    /// As in conditions.
    pub reason: Reason,
    /// In words. Any, where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl fmt::Display for ExpectedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reason, message } = self;
        match message {
            Some(message) => write!(f, "{reason}: {message}"),
            None => write!(f, "{reason}"),
        }
    }
}

impl Expect {
    /// Looks for what cannot be, and fills in what may be left out.
    ///
    /// # Errors
    ///
    /// The field, and what is wrong with it.
    pub fn settle(&mut self, function: Function) -> Result<(), String> {
        if self.output.is_some() && self.error.is_some() {
            return Err("error: there is an output too: leave one of them out".to_owned());
        }
        if let Some(output) = &mut self.output {
            *output = function.complete_answer(output).map_err(|why| format!("output: {why}"))?;
        }
        let only_of =
            [("plan", self.plan.is_some(), function == Function::Choose, "choose")].into_iter().chain([(
                "undo",
                self.undo.is_some(),
                matches!(function, Function::Quiesce | Function::Release),
                "quiesce and release",
            )]);
        for (field, is_there, is_possible, functions) in only_of {
            if is_there && !is_possible {
                return Err(format!("{field}: only {functions} have one"));
            }
        }
        Ok(())
    }

    /// Whether it says how the call ends. Without that, a case proves nothing.
    pub fn is_settled(&self) -> bool {
        self.output.is_some() || self.error.is_some()
    }

    /// Whether the call ends with a module that lacks the point, or cannot be used at all: mostly a mistake of the case.
    pub fn is_module_invalid(&self) -> bool {
        self.error.as_ref().is_some_and(|error| error.reason == Reason::HookModuleInvalid)
    }
}
