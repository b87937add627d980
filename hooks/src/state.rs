//! What one call has, and has used.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use scribe_hooks_contract::grants::{Denied, Grants};
use scribe_hooks_contract::limits::fixed;
use tokio::time::Instant;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::effects::Denies;
use crate::host::Host;
use crate::limiter::Limiter;
use crate::log::Log;
use crate::sanitize;
use crate::wasi;

/// Resources that a module may hold.
const MOST_RESOURCES: usize = 256;
/// What is left to a module when the host was not done in time.
const MOST_LAST_WORDS: Duration = Duration::from_millis(500);
/// Denials that are kept to be shown.
const MOST_DENIALS: usize = 10;

/// What one call has, and has used. Nothing of it outlives the call.
pub(crate) struct CallState {
    wasi: WasiCtx,
    table: ResourceTable,
    pub limiter: Limiter,
    pub log: Log,
    pub effects: Option<Effects>,
    /// What a pure call takes for the time, in milliseconds since 1970-01-01T00:00:00Z.
    pub now: u64,
    pub time_limit: Duration,
    pub deadline: Instant,
    pub host_calls: BTreeMap<&'static str, u64>,
    pub denied: Vec<String>,
    host_calls_left: u64,
}

/// What an effectful call may do.
pub(crate) struct Effects {
    pub host: Arc<dyn Host>,
    pub grants: Arc<Grants>,
    /// Of the object that names the hook.
    pub namespace: String,
    /// Whether this is `quiesce`.
    pub may_freeze: bool,
    /// Whether an application stands still until it is over.
    pub is_release: bool,
    pub events_left: u64,
    pub exec_output_left: u64,
    pub http_left: u64,
}

/// Ends a call, since it would go on for ever otherwise.
#[derive(Debug, thiserror::Error)]
#[error("called the host more than {} times", fixed::HOST_CALLS)]
pub(crate) struct TooManyHostCalls;

/// What a call begins with.
pub(crate) struct Start {
    pub memory: u64,
    pub time_limit: Duration,
    pub now: u64,
    pub effects: Option<Effects>,
}

impl CallState {
    pub fn new(start: Start) -> Self {
        let Start { memory, time_limit, now, effects } = start;
        let log = Log::default();
        let wasi = match &effects {
            None => wasi::pure(&log, now),
            Some(effects) => wasi::effectful(&log, effects.host.clone()),
        };
        let mut table = ResourceTable::new();
        table.set_max_capacity(MOST_RESOURCES);
        Self {
            wasi,
            table,
            limiter: Limiter::new(memory),
            log,
            effects,
            now,
            time_limit,
            deadline: Instant::now() + time_limit,
            host_calls: BTreeMap::new(),
            denied: Vec::new(),
            host_calls_left: fixed::HOST_CALLS,
        }
    }

    /// Counts a call of the host.
    pub fn count(&mut self, name: &'static str) -> wasmtime::Result<()> {
        *self.host_calls.entry(name).or_default() += 1;
        self.host_calls_left = self.host_calls_left.checked_sub(1).ok_or(TooManyHostCalls)?;
        Ok(())
    }

    /// What an effect needs. A pure call has none.
    pub fn effects(&mut self, name: &'static str) -> Result<&mut Effects, Denied> {
        match &mut self.effects {
            Some(effects) => Ok(effects),
            None => Err(Denied::because(format!("{name}: this call is pure, and has no effects"))),
        }
    }

    /// Remembers a denial for whoever looks for the cause of a failure.
    pub fn denied(&mut self, denied: Denied) -> String {
        let Denied(why) = denied;
        let why = sanitize::line(&why, 512);
        if self.denied.len() < MOST_DENIALS && !self.denied.contains(&why) {
            self.denied.push(why.clone());
        }
        why
    }

    /// What the host answered. That it denied something, as for want of a right, is remembered too.
    pub fn heard<T, E: Denies>(&mut self, answer: Result<T, E>) -> Result<T, E> {
        if let Some(why) = answer.as_ref().err().and_then(Denies::denied) {
            self.denied(Denied::because(why.to_owned()));
        }
        answer
    }

    /// How long the call may still take.
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// How long the host may still take: a little less, so that the module gets to hear of it and can say what it makes of it.
    pub fn patience(&self) -> Duration {
        self.remaining().saturating_sub((self.time_limit / 10).min(MOST_LAST_WORDS))
    }
}

impl WasiView for CallState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}
