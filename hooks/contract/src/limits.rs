//! What a call may use, and how much of anything it may ask for.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::measure::{Bytes, Span};

/// What one call of a module may use. What is left out has its default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Linear memory, all of the module's memories together. Default: 64Mi. At most 256Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// What a pure call may compute, in units of fuel, about one for each instruction. Default: 100000000. At most 1000000000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub fuel: Option<u64>,
    /// How long a pure call may take. Default: 2s. At most 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pure_timeout: Option<Span>,
    /// How long an effectful call may take. Default: 60s. At most 15m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// How long an effectful call may compute. Default: 10s. Never more than `timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Span>,
}

/// A limit that is out of range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("limits.{field} is {value}: it must be between {least} and {most}")]
pub struct LimitError {
    field: &'static str,
    value: String,
    least: String,
    most: String,
}

/// Limits with every default filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effective {
    /// Linear memory, in bytes.
    pub memory: u64,
    /// What a pure call may compute, in units of fuel.
    pub fuel: u64,
    /// How long a pure call may take.
    pub pure_timeout: Duration,
    /// How long an effectful call may take.
    pub timeout: Duration,
    /// How long an effectful call may compute.
    pub cpu: Duration,
}

impl Default for Effective {
    fn default() -> Self {
        Self {
            memory: 64 << 20,
            fuel: 100_000_000,
            pure_timeout: Duration::from_secs(2),
            timeout: Duration::from_secs(60),
            cpu: Duration::from_secs(10),
        }
    }
}

/// No module gets more linear memory, in bytes.
pub const MOST_MEMORY: u64 = 256 << 20;
/// No pure call may compute more.
pub const MOST_FUEL: u64 = 1_000_000_000;
/// No pure call may take longer.
pub const MOST_PURE_TIMEOUT: Duration = Duration::from_secs(10);
/// No effectful call may take longer.
pub const MOST_TIMEOUT: Duration = Duration::from_secs(15 * 60);
const LEAST_MEMORY: u64 = 64 << 10;
const LEAST_TIMEOUT: Duration = Duration::from_millis(10);

impl Limits {
    /// Fills in the defaults.
    ///
    /// # Errors
    ///
    /// Says which limit is out of range.
    pub fn effective(&self) -> Result<Effective, LimitError> {
        let Self { memory, fuel, pure_timeout, timeout, cpu } = self;
        let normal = Effective::default();
        let memory = memory.map_or(normal.memory, |bytes| bytes.0);
        within("memory", memory, LEAST_MEMORY, MOST_MEMORY, |bytes| Bytes(bytes).to_string())?;
        let fuel = fuel.unwrap_or(normal.fuel);
        within("fuel", fuel, 1, MOST_FUEL, |units| units.to_string())?;
        let show = |span: Duration| Span(span).to_string();
        let pure_timeout = pure_timeout.map_or(normal.pure_timeout, |span| span.0);
        within("pureTimeout", pure_timeout, LEAST_TIMEOUT, MOST_PURE_TIMEOUT, show)?;
        let timeout = timeout.map_or(normal.timeout, |span| span.0);
        within("timeout", timeout, LEAST_TIMEOUT, MOST_TIMEOUT, show)?;
        let cpu = match cpu {
            Some(span) => {
                within("cpu", span.0, LEAST_TIMEOUT, timeout, show)?;
                span.0
            }
            None => normal.cpu.min(timeout),
        };
        Ok(Effective { memory, fuel, pure_timeout, timeout, cpu })
    }
}

fn within<T: PartialOrd + Copy>(
    field: &'static str,
    value: T,
    least: T,
    most: T,
    show: impl Fn(T) -> String,
) -> Result<(), LimitError> {
    if value >= least && value <= most {
        Ok(())
    } else {
        Err(LimitError { field, value: show(value), least: show(least), most: show(most) })
    }
}

/// What one call may ask of its host, and answer. These are not for users to change.
pub mod fixed {
    /// Calls of host functions.
    pub const HOST_CALLS: u64 = 10_000;
    /// Bytes that cross from the module to the host, counted by wasmtime.
    pub const HOSTCALL_BYTES: usize = 8 << 20;
    /// Bytes of the log, fields included.
    pub const LOG_BYTES: usize = 64 << 10;
    /// Bytes of one line of the log.
    pub const LOG_LINE_BYTES: usize = 4 << 10;
    /// Kubernetes Events.
    pub const EVENTS: u64 = 20;
    /// Bytes of an Event's message: what the API server takes.
    pub const EVENT_MESSAGE_BYTES: usize = 1024;
    /// Bytes of output of all commands together.
    pub const EXEC_OUTPUT_BYTES: u64 = 1 << 20;
    /// Bytes of an HTTP body, either way, and of all responses together.
    pub const HTTP_BODY_BYTES: u64 = 4 << 20;
    /// Bytes of a module's store for one object, keys included.
    pub const STATE_BYTES: u64 = 256 << 10;
    /// Bytes of a key of the store.
    pub const STATE_KEY_BYTES: usize = 253;
    /// Bytes of an answer of the Kubernetes API.
    pub const KUBE_ANSWER_BYTES: usize = 1 << 20;
    /// Objects in a list.
    pub const KUBE_LIST: u32 = 500;
    /// Bytes of the token of a quiesce.
    pub const TOKEN_BYTES: usize = 64 << 10;
    /// Bytes of any message for people.
    pub const MESSAGE_BYTES: usize = 4 << 10;
    /// Patterns that a module may exclude.
    pub const EXCLUDES: usize = 256;
    /// Bytes of one of them.
    pub const EXCLUDE_BYTES: usize = 1024;
    /// Problems in one answer of `validate`.
    pub const PROBLEMS: usize = 100;
    /// Bytes of a settings schema.
    pub const SCHEMA_BYTES: usize = 256 << 10;
    /// The longest that a module may ask to be asked again, in seconds: a week.
    pub const MOST_DELAY_SECONDS: u32 = 7 * 24 * 3600;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_limits_the_defaults_hold() {
        assert_eq!(Limits::default().effective(), Ok(Effective::default()));
    }

    #[test]
    fn a_limit_out_of_range_is_named_with_its_range() {
        let limits = Limits { memory: Some(Bytes::mebi(512)), ..Limits::default() };
        let error = limits.effective().unwrap_err().to_string();
        assert_eq!(error, "limits.memory is 512Mi: it must be between 64Ki and 256Mi");
        let limits =
            Limits { timeout: Some(Span::seconds(5)), cpu: Some(Span::seconds(6)), ..Limits::default() };
        assert!(limits.effective().unwrap_err().to_string().starts_with("limits.cpu is 6s"));
        let limits = Limits { fuel: Some(0), ..Limits::default() };
        assert!(limits.effective().is_err());
    }

    #[test]
    fn a_short_timeout_bounds_the_cpu_too() {
        let limits = Limits { timeout: Some(Span::seconds(5)), ..Limits::default() };
        assert_eq!(limits.effective().unwrap().cpu, Duration::from_secs(5));
    }
}
