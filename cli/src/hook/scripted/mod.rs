//! A host that answers by a script. Nothing is reached, and no time passes but that which a hook sleeps.

pub mod answer;
mod host;
pub mod request;
pub mod script;
mod store;
mod undo;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use scribe_hooks::contract::effects::Event;
use serde_json::{Map, Value};
use tokio::time::Instant;

use self::answer::Failure;
use self::request::HostCall;
use self::script::{Entry, Reply, Script};
use self::store::Store;
use self::undo::Undo;
use crate::hook::case::text::Text;

/// What a hook is told that asks for what the script does not have.
const UNSCRIPTED: &str = "the test case has no answer for this call";

/// A host for one case. What it remembers goes on from step to step.
pub struct Scripted {
    /// When the case began, in milliseconds since 1970-01-01T00:00:00Z.
    epoch: u64,
    began: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    script: Script,
    calls: Vec<HostCall>,
    unscripted: Vec<HostCall>,
    events: Vec<Event>,
    store: Store,
    undo: Vec<Undo>,
}

/// What was asked of the host during one step.
#[derive(Debug)]
pub struct Seen {
    /// All that it was asked, in order.
    pub calls: Vec<HostCall>,
    /// What the script has no answer for.
    pub unscripted: Vec<HostCall>,
    /// What of the script is left, in words.
    pub unused: Vec<String>,
    /// The Events that were emitted.
    pub events: Vec<Event>,
    /// What the store holds now.
    pub store: Map<String, Value>,
    /// What release would undo now, in the order in which it would.
    pub undo: Vec<Value>,
}

impl Scripted {
    /// A host whose clock and store begin with that.
    pub fn new(epoch: u64, store: BTreeMap<String, Text>) -> Self {
        let state = State { store: Store::new(store), ..State::default() };
        Self { epoch, began: Instant::now(), state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time, in milliseconds since 1970-01-01T00:00:00Z.
    pub fn time(&self) -> u64 {
        let passed = self.began.elapsed().as_millis();
        self.epoch.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    /// Begins a step, with the script of that step.
    pub fn begin(&self, script: Vec<Entry>) {
        let mut state = self.state();
        state.script = Script::new(script);
        state.calls.clear();
        state.unscripted.clear();
        state.events.clear();
    }

    /// What happened since [`Scripted::begin`].
    pub fn seen(&self) -> Seen {
        let state = self.state();
        Seen {
            calls: state.calls.clone(),
            unscripted: state.unscripted.clone(),
            unused: state.script.unused(),
            events: state.events.clone(),
            store: state.store.show(),
            undo: state.undo.iter().rev().map(Undo::show).collect(),
        }
    }

    /// What release undoes was undone.
    pub fn undone(&self) {
        self.state().undo.clear();
    }

    /// Writes down what undoes a change.
    fn record(&self, undo: Undo) {
        self.state().undo.push(undo);
    }

    /// The reply of the script, if it has one.
    async fn scripted(&self, call: &HostCall) -> Option<Reply> {
        let (reply, after) = {
            let mut state = self.state();
            state.calls.push(call.clone());
            state.script.take(call)
        }?;
        if let Some(after) = after {
            tokio::time::sleep(after.0).await;
        }
        Some(reply)
    }

    /// The answer of the script. Where it has none, that is remembered, and the call fails.
    async fn ask<T, E: Failure>(&self, call: HostCall, read: fn(Value) -> Result<T, String>) -> Result<T, E> {
        match self.scripted(&call).await {
            Some(reply) => resolve(reply, read),
            None => {
                self.state().unscripted.push(call);
                Err(E::unavailable(UNSCRIPTED.to_owned()))
            }
        }
    }
}

/// Both were looked at when the case was read, and can be read.
fn resolve<T, E: Failure>(reply: Reply, read: fn(Value) -> Result<T, String>) -> Result<T, E> {
    match reply {
        Reply::Answer(value) => read(value).map_err(E::unavailable),
        Reply::Error(value) => {
            Err(serde_json::from_value(value).unwrap_or_else(|error| E::unavailable(error.to_string())))
        }
    }
}
