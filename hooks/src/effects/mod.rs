//! What a module may ask for: counted, judged, bounded, and passed on to the [`Host`](crate::Host).
//!
//! In the words of the contract crate, and so the same for every version of the interfaces. The outer error of each is a trap, the inner one is what the
//! module is told.

mod exec;
mod freeze;
mod http;
mod kube;
mod state;

use std::future::Future;
use std::time::Duration;

use scribe_hooks_contract::effects::{Event, ExecError, FreezeError, HttpError, KubeError, Level};
use scribe_hooks_contract::limits::fixed;
use tokio::time::timeout;

use crate::sanitize;
use crate::state::CallState;

/// An answer for the module, or a trap.
pub(crate) type Answer<T, E> = wasmtime::Result<Result<T, E>>;

/// An error of the host that may be a denial.
pub(crate) trait Denies {
    /// What was denied, and why.
    fn denied(&self) -> Option<&str>;
}

macro_rules! denies {
    ($($error:ident),*) => {$(
        impl Denies for $error {
            fn denied(&self) -> Option<&str> {
                match self {
                    Self::Denied(why) => Some(why),
                    _ => None,
                }
            }
        }
    )*};
}

denies!(ExecError, FreezeError, HttpError, KubeError);

/// The longest that the host may take for what has no time limit of its own.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits, but not longer than that, nor for longer than the call may take.
pub(crate) async fn within<T>(
    limit: Duration,
    remaining: Duration,
    work: impl Future<Output = T>,
) -> Option<T> {
    timeout(limit.min(remaining), work).await.ok()
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(count.max(1).into())
}

impl CallState {
    /// Writes a line to the log.
    pub fn write_log(
        &mut self,
        level: Level,
        message: &str,
        fields: &[(String, String)],
    ) -> wasmtime::Result<()> {
        self.count("log.log")?;
        self.log.push(level, message, fields);
        Ok(())
    }

    pub async fn emit_event(&mut self, event: Event) -> Answer<(), String> {
        self.count("events.emit")?;
        let effects = match self.effects("events.emit") {
            Ok(effects) => effects,
            Err(denied) => return Ok(Err(self.denied(denied))),
        };
        let is_reason = event.reason.len() <= 64
            && event.reason.starts_with(|first: char| first.is_ascii_uppercase())
            && event.reason.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_reason {
            return Ok(Err("reason must be one word in UpperCamelCase, of at most 64 letters".to_owned()));
        }
        if effects.events_left == 0 {
            return Ok(Err(format!("a call may emit {} events", fixed::EVENTS)));
        }
        effects.events_left -= 1;
        let host = effects.host.clone();
        let message = sanitize::line(&event.message, fixed::EVENT_MESSAGE_BYTES - '…'.len_utf8());
        let emitted = within(PATIENCE, self.patience(), host.emit_event(Event { message, ..event })).await;
        Ok(emitted.unwrap_or_else(|| Err("the API server does not answer".to_owned())))
    }

    /// The time, which in a pure call stands still.
    pub fn read_time(&mut self) -> wasmtime::Result<u64> {
        self.count("time.now")?;
        Ok(self.effects.as_ref().map_or(self.now, |effects| effects.host.now()))
    }

    /// How long the call may still take, in milliseconds; in a pure call, how long it might have taken at first.
    pub fn read_remaining(&mut self) -> wasmtime::Result<u64> {
        self.count("time.remaining-millis")?;
        let remaining = if self.effects.is_some() { self.remaining() } else { self.time_limit };
        Ok(u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX))
    }

    /// Waits; in a pure call, for which no time passes, not at all.
    pub async fn sleep(&mut self, millis: u32) -> wasmtime::Result<()> {
        self.count("time.sleep-millis")?;
        let Some(effects) = &self.effects else { return Ok(()) };
        let host = effects.host.clone();
        let _ =
            within(Duration::MAX, self.patience(), host.sleep(Duration::from_millis(millis.into()))).await;
        Ok(())
    }
}
