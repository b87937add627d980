//! What a call brought, what it cost, and why it failed.

use std::collections::BTreeMap;
use std::time::Duration;

use scribe_hooks_contract::effects::Level;
use scribe_hooks_contract::limits::fixed;
use scribe_hooks_contract::measure::{Bytes, Span};
use scribe_hooks_contract::points::Point;
use scribe_hooks_contract::reason::Reason;
use serde::Serialize;

use crate::sanitize;

/// A call that came to an end, one way or the other.
#[derive(Debug)]
pub struct Called<T> {
    /// The answer, or why there is none.
    pub outcome: Result<T, CallError>,
    /// What it cost.
    pub usage: Usage,
    /// What it wrote to the log, in order, within the limit.
    pub log: Vec<LogLine>,
}

/// What a call cost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Units of fuel, about one for each instruction. The same for the same input of a pure call.
    pub fuel: u64,
    /// The most linear memory that the module had, in bytes.
    pub memory: u64,
    /// From the beginning to the end, waiting for the host included, waiting for a place to run not.
    pub duration: Duration,
    /// Calls of host functions by name (`exec.run`), whatever they were answered.
    pub host_calls: BTreeMap<&'static str, u64>,
    /// What the host denied, as the module was told. At most the first ten.
    pub denied: Vec<String>,
    /// Lines of the log that were dropped, because there were too many.
    pub log_lines_dropped: u64,
}

/// A line of a module's log. Its text holds no control characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogLine {
    /// How much it matters.
    pub level: Level,
    /// What it says.
    pub message: String,
    /// Names and values.
    pub fields: Vec<(String, String)>,
}

/// Why a call brought no answer. The text is for the module's author, and shows in the status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It took too long.
    #[error("{function} did not answer within {}: {}", Span(*.after), way_out(*.limit))]
    Timeout {
        /// Which function.
        function: &'static str,
        /// Which limit. None: whoever asked could not wait any longer.
        limit: Option<&'static str>,
        /// What it allows.
        after: Duration,
    },
    /// It computed too long, waiting not counted.
    #[error("{function} computed for more than {}: raise limits.cpu, or do less in one call", Span(*.after))]
    Cpu {
        /// Which function.
        function: &'static str,
        /// What is allowed.
        after: Duration,
    },
    /// A pure call computed more than its fuel.
    #[error("{function} used up its {fuel} units of fuel: raise limits.fuel, or do less in one call")]
    Fuel {
        /// Which function.
        function: &'static str,
        /// What is allowed.
        fuel: u64,
    },
    /// It needed more memory.
    #[error("{function} needed more than {} of memory: raise limits.memory, or hold less at a time. {detail}", Bytes(*.memory))]
    Memory {
        /// Which function.
        function: &'static str,
        /// What is allowed, in bytes.
        memory: u64,
        /// How it ended.
        detail: String,
    },
    /// It ended abnormally.
    #[error("{function} trapped: {detail}")]
    Trap {
        /// Which function.
        function: &'static str,
        /// What happened, and where.
        detail: String,
    },
    /// It says that it failed, after the host had denied it something.
    #[error("{function} failed: {message}{}", unsaid(message, denied))]
    Denied {
        /// Which function.
        function: &'static str,
        /// The module's words.
        message: String,
        /// The host's words.
        denied: Vec<String>,
    },
    /// It decided against. `onError` does not apply.
    #[error("{0}")]
    Rejected(String),
    /// It asks to be asked again.
    #[error("asks to be asked again after {seconds} s: {message}")]
    RetryAfter {
        /// When.
        seconds: u32,
        /// Why.
        message: String,
    },
    /// It says that something broke.
    #[error("{function} failed: {message}")]
    Failed {
        /// Which function.
        function: &'static str,
        /// The module's words.
        message: String,
    },
    /// It answered what cannot be used.
    #[error("the answer of {function} cannot be used: {detail}")]
    Output {
        /// Which function.
        function: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// It does not have that point.
    #[error("the module does not export scribe:hooks/{}: it has {has}", .point.interface())]
    NotExported {
        /// What was asked for.
        point: Point,
        /// What it has.
        has: String,
    },
    /// The host could not run it now.
    #[error("{function} could not be run: {detail}")]
    Unavailable {
        /// Which function.
        function: &'static str,
        /// Why.
        detail: String,
    },
}

fn way_out(limit: Option<&'static str>) -> String {
    limit.map_or_else(
        || "there was no more time for it, so do less in one call".to_owned(),
        |limit| format!("raise limits.{limit}, or do less in one call"),
    )
}

impl CallError {
    /// As conditions and metrics name it.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Timeout { .. } | Self::Cpu { .. } => Reason::HookTimeout,
            Self::Fuel { .. } => Reason::HookFuel,
            Self::Memory { .. } => Reason::HookMemory,
            Self::Trap { .. } => Reason::HookTrap,
            Self::Denied { .. } => Reason::HookDenied,
            Self::Rejected(_) => Reason::HookRejected,
            Self::RetryAfter { .. } => Reason::HookRetryAfter,
            Self::Failed { .. } => Reason::HookFailed,
            Self::Output { .. } => Reason::HookOutput,
            Self::NotExported { .. } => Reason::HookModuleInvalid,
            Self::Unavailable { .. } => Reason::HookUnavailable,
        }
    }
}

/// What a module answers instead of an answer.
#[derive(Debug)]
pub(crate) enum Refusal {
    RetryAfter(u32, String),
    Rejected(String),
    Failed(String),
}

impl<T> Called<T> {
    /// The module was not even begun.
    pub(crate) fn not_run(error: CallError) -> Self {
        Self { outcome: Err(error), usage: Usage::default(), log: Vec::new() }
    }

    /// Looks at the answer. What is wrong with it is an error of its own.
    pub(crate) fn checked<U>(
        self,
        function: &'static str,
        look: impl FnOnce(T) -> Result<U, String>,
    ) -> Called<U> {
        let Self { outcome, usage, log } = self;
        let outcome =
            outcome.and_then(|answer| look(answer).map_err(|detail| CallError::Output { function, detail }));
        Called { outcome, usage, log }
    }
}

impl<T> Called<Result<T, Refusal>> {
    /// Takes a refusal for what it means.
    pub(crate) fn settled(self, function: &'static str) -> Called<T> {
        let Self { outcome, usage, log } = self;
        let short = |message: &str| sanitize::line(message, fixed::MESSAGE_BYTES);
        let outcome = outcome.and_then(|answer| {
            answer.map_err(|refusal| match refusal {
                Refusal::RetryAfter(seconds, message) => CallError::RetryAfter {
                    seconds: seconds.min(fixed::MOST_DELAY_SECONDS),
                    message: short(&message),
                },
                Refusal::Rejected(message) => CallError::Rejected(short(&message)),
                Refusal::Failed(message) if usage.denied.is_empty() => {
                    CallError::Failed { function, message: short(&message) }
                }
                Refusal::Failed(message) => {
                    CallError::Denied { function, message: short(&message), denied: usage.denied.clone() }
                }
            })
        });
        Called { outcome, usage, log }
    }
}

/// What the host has denied and the module's own words do not say.
fn unsaid(message: &str, denied: &[String]) -> String {
    let unsaid: Vec<&str> =
        denied.iter().map(String::as_str).filter(|words| !message.contains(*words)).collect();
    if unsaid.is_empty() { String::new() } else { format!(". It was denied: {}", unsaid.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_denied_is_told_once() {
        let failed = |message: &str| {
            let (function, denied) = ("quiesce", vec!["no exec grant has psql".to_owned()]);
            CallError::Denied { function, message: message.to_owned(), denied }.to_string()
        };
        assert_eq!(
            failed("freeze: no exec grant has psql"),
            "quiesce failed: freeze: no exec grant has psql"
        );
        assert_eq!(failed("no luck"), "quiesce failed: no luck. It was denied: no exec grant has psql");
    }
}
