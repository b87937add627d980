//! An application that hooks bring to rest: what really holds it, and calls that do so.

use super::hooks::{Calls, answer};
use super::lies::Lie;
use super::world::World;
use scribe_core::hooks::{CallSeen, HookAnswer, HookCall, HookFailure, HookRequest};
use scribe_hooks_contract::points::{Consistency, Frozen};
use scribe_hooks_contract::reason::Reason;
use scribe_hooks_contract::undo::{Change, Changed, Place, Undo};
use std::collections::BTreeSet;

/// What holds the application.
#[derive(Clone, Debug, Default)]
pub struct Application {
    /// Something that the hook alone knows to undo.
    by_hook: bool,
    /// Changes, by the id of what undoes them.
    changes: BTreeSet<String>,
    /// How many changes there ever were.
    made: u64,
}

impl Application {
    pub fn is_at_rest(&self) -> bool {
        self.by_hook || !self.changes.is_empty()
    }
}

impl World {
    /// The sessions of that log that hold no longer, as whoever holds them knows.
    pub fn ended_sessions(&self, log: &[Undo]) -> BTreeSet<String> {
        let is_session = |entry: &&Undo| matches!(entry.change, Change::Session { .. });
        let sessions = log.iter().filter(is_session).map(|entry| &entry.id);
        let is_lied_about = self.lie == Some(Lie::RememberedRest);
        sessions.filter(|id| !is_lied_about && !self.application.changes.contains(*id)).cloned().collect()
    }

    /// Somebody who knows nothing of a quiesce undoes what it did. Whether there was anything.
    pub fn meddle(&mut self) -> bool {
        let any = !self.application.changes.is_empty();
        self.application.changes.clear();
        any
    }

    /// Who holds the application for a controller that died lets go of it, or does not.
    pub fn controller_dies(&mut self) {
        if self.dice.one_in(2) {
            self.application.changes.clear();
        }
    }
}

/// A call that has effects begins. What is known of it from then on.
pub fn begin(world: &mut World, calls: &mut Calls, call: &HookCall) -> CallSeen {
    match &call.request {
        HookRequest::Quiesce(..) if world.dice.one_in(2) => ask(world),
        HookRequest::Quiesce(..) => {
            world.application.by_hook = true;
            end(world)
        }
        HookRequest::Release(..) => {
            end_quiesces(calls);
            let said = answer(world, &call.request);
            if matches!(said, CallSeen::Done(Ok(HookAnswer::Released))) {
                world.application.by_hook = false;
            }
            said
        }
        HookRequest::Undo(log, _) => {
            end_quiesces(calls);
            undo(world, log)
        }
        HookRequest::Holds(log, _) => {
            let lost = log.iter().filter(|entry| !world.application.changes.contains(&entry.id));
            CallSeen::Done(Ok(HookAnswer::Lost(lost.map(|entry| entry.id.clone()).collect())))
        }
        request => answer(world, request),
    }
}

/// Wants its next change to be written down.
fn ask(world: &mut World) -> CallSeen {
    world.application.made += 1;
    let workload = Changed {
        group: "apps".to_owned(),
        version: "v1".to_owned(),
        resource: "deployments".to_owned(),
        name: "web".to_owned(),
        uid: "u".to_owned(),
    };
    let id = format!("change-{}", world.application.made);
    // The host can look at what was scaled. Of a session it is known only by whoever holds it.
    let is_session = world.application.made.is_multiple_of(2);
    let place = Place { pod: "web-0".to_owned(), uid: "u".to_owned(), container: "web".to_owned() };
    let change =
        if is_session { Change::Session { place } } else { Change::Scale { workload, set: 0, restore: 1 } };
    CallSeen::Asks(Undo { id, change })
}

/// It is at rest, or breaks down after what it did.
fn end(world: &mut World) -> CallSeen {
    if world.faults && world.dice.one_in(4) {
        return broken();
    }
    let achieved = Consistency::Filesystem;
    CallSeen::Done(Ok(HookAnswer::Frozen(Frozen { token: String::new(), achieved, note: None })))
}

fn broken() -> CallSeen {
    let failure = HookFailure { reason: Reason::HookTrap, message: "a trap".to_owned(), retry_after: None };
    CallSeen::Done(Err(failure))
}

/// A change was written down, or could not be.
pub fn answered(world: &mut World, calls: &mut Calls, call: &str, entry: &str, is_written: bool) {
    let asks = matches!(calls.get(call), Some(CallSeen::Asks(undo)) if undo.id == entry);
    if !asks {
        return;
    }
    let next = if !is_written {
        broken()
    } else {
        world.application.changes.insert(entry.to_owned());
        if world.dice.one_in(3) { ask(world) } else { end(world) }
    };
    calls.insert(call.to_owned(), next);
}

fn end_quiesces(calls: &mut Calls) {
    for call in calls.values_mut().filter(|call| matches!(call, CallSeen::Asks(_))) {
        *call = broken();
    }
}

fn undo(world: &mut World, log: &[Undo]) -> CallSeen {
    let mut left = Vec::new();
    for entry in log {
        if world.faults && world.dice.one_in(4) {
            left.insert(0, entry.clone());
        } else {
            world.application.changes.remove(&entry.id);
        }
    }
    let words = if left.is_empty() { String::new() } else { "no".to_owned() };
    CallSeen::Done(Ok(HookAnswer::Undone { left, words }))
}
