//! Modules that say anything, break, and come and go.

use super::rest;
use super::world::World;
use scribe_core::decision::Action;
use scribe_core::hooks::{CallSeen, HookAnswer, HookCall, HookFailure, HookRequest, HooksSeen, ModuleSeen};
use scribe_hooks_contract::points::{Consistency, Frozen, Point, Reaction, TransferOptions, Verdict};
use scribe_hooks_contract::reason::Reason;
use scribe_hooks_contract::retention::{Keep, ReplicaPoint};
use std::collections::{BTreeMap, BTreeSet};

/// The one module that hooks are made from.
pub const MODULE: &str = "m";

/// Calls by id, as far as a controller remembers them.
pub type Calls = BTreeMap<String, CallSeen>;

/// What a controller sees of hooks.
pub fn seen(world: &mut World, calls: &Calls) -> HooksSeen {
    let ready = |digest: u64| ModuleSeen::Ready {
        digest: format!("digest-{digest}"),
        exports: vec![
            Point::Decision,
            Point::Transfer,
            Point::Retention,
            Point::Lifecycle,
            Point::Failure,
            Point::Quiesce,
        ],
    };
    let module = match if world.faults { world.dice.roll(30) } else { 30 } {
        0 => None,
        1 => Some(ModuleSeen::Loading),
        2 => Some(ModuleSeen::Broken("it is broken".to_owned())),
        3 => Some(ready(world.dice.roll(3))),
        _ => Some(ready(0)),
    };
    let modules = module.map(|module| (MODULE.to_owned(), module)).into_iter().collect();
    HooksSeen { modules, calls: calls.clone(), ..HooksSeen::default() }
}

/// Whether the module is not what it will be in the end: then the object is looked at again.
pub fn may_change(seen: &HooksSeen) -> bool {
    !matches!(seen.modules.get(MODULE), Some(ModuleSeen::Ready { digest, .. }) if digest == "digest-0")
}

/// The calls that a decision asks for, or wants to be remembered.
pub fn asked(decision: impl Iterator<Item = Action>) -> Vec<Action> {
    decision.filter(|it| matches!(it, Action::CallHook(_) | Action::RememberHook { .. })).collect()
}

/// Begins a call, unless it is known, or is one without effects that failed and is made again.
pub fn ask(world: &mut World, calls: &mut Calls, call: &HookCall) {
    let is_pure = matches!(
        call.request,
        HookRequest::Validate(_) | HookRequest::Decide(_) | HookRequest::Tune(..) | HookRequest::Choose(..)
    );
    let state = match calls.get(&call.id) {
        Some(CallSeen::Running) => answer(world, &call.request),
        Some(CallSeen::Done(Err(_))) if is_pure => answer(world, &call.request),
        Some(_) => return,
        None => rest::begin(world, calls, call),
    };
    calls.insert(call.id.clone(), state);
}

/// Runs calls, and forgets all that were neither asked for nor are to be remembered. Whether there is something new to look at.
pub fn run(world: &mut World, calls: &mut Calls, asked: &[Action]) -> bool {
    let before = calls.clone();
    let mut kept = BTreeSet::new();
    for action in asked {
        match action {
            Action::CallHook(call) => {
                ask(world, calls, call);
                kept.insert(call.id.clone());
            }
            Action::RememberHook { call } => {
                kept.insert(call.clone());
            }
            _ => {}
        }
    }
    calls.retain(|id, _| kept.contains(id));
    *calls != before || calls.values().any(|call| matches!(call, CallSeen::Running | CallSeen::Asks(_)))
}

/// What comes of a call.
pub fn answer(world: &mut World, request: &HookRequest) -> CallSeen {
    if !world.faults {
        return CallSeen::Done(Ok(good(world, request)));
    }
    match world.dice.roll(8) {
        0 | 1 => CallSeen::Running,
        2 => {
            let failure =
                HookFailure { reason: Reason::HookTrap, message: "a trap".to_owned(), retry_after: None };
            CallSeen::Done(Err(failure))
        }
        3 => CallSeen::Done(Ok(bad(world, request))),
        _ => CallSeen::Done(Ok(good(world, request))),
    }
}

fn good(world: &mut World, request: &HookRequest) -> HookAnswer {
    match request {
        HookRequest::Validate(_) => HookAnswer::Settings(Vec::new()),
        HookRequest::Decide(_) => {
            HookAnswer::Verdict(match if world.faults { world.dice.roll(6) } else { 6 } {
                0 => Verdict::Skip("no".to_owned()),
                1 => {
                    let seconds = u32::try_from(world.dice.roll(100)).unwrap_or_default();
                    Verdict::Defer { seconds, message: "later".to_owned() }
                }
                _ => Verdict::Proceed,
            })
        }
        HookRequest::Tune(_, defaults) => HookAnswer::Options(defaults.clone()),
        HookRequest::Choose(_, points) => HookAnswer::Keeps(some_of(world, points)),
        HookRequest::Quiesce(..) => HookAnswer::Frozen(Frozen {
            token: "token".to_owned(),
            achieved: Consistency::Filesystem,
            note: None,
        }),
        HookRequest::Release(..) => HookAnswer::Released,
        HookRequest::Undo(..) => HookAnswer::Undone { left: Vec::new(), words: String::new() },
        HookRequest::Holds(..) => HookAnswer::Lost(Vec::new()),
        HookRequest::PreSync(..) | HookRequest::PostSync(..) => HookAnswer::Done,
        HookRequest::OnFailure(..) => {
            HookAnswer::Reaction(match if world.faults { world.dice.roll(4) } else { 4 } {
                0 => Reaction::RetryAfter(u32::try_from(world.dice.roll(100)).unwrap_or_default()),
                1 => Reaction::FullResync,
                _ => Reaction::Default,
            })
        }
    }
}

fn some_of(world: &mut World, points: &[ReplicaPoint]) -> Vec<Keep> {
    let chosen = points.iter().filter(|_| world.dice.one_in(3));
    chosen.map(|point| Keep { id: point.id.clone(), reason: String::new() }).collect()
}

/// What must not be believed.
fn bad(world: &mut World, request: &HookRequest) -> HookAnswer {
    match request {
        HookRequest::Validate(_) => HookAnswer::Verdict(Verdict::Proceed),
        HookRequest::Decide(_) => HookAnswer::Settings(Vec::new()),
        HookRequest::Quiesce(..)
        | HookRequest::Release(..)
        | HookRequest::PreSync(..)
        | HookRequest::PostSync(..)
        | HookRequest::OnFailure(..) => HookAnswer::Settings(Vec::new()),
        HookRequest::Undo(log, _) => HookAnswer::Undone { left: log.clone(), words: "no".to_owned() },
        HookRequest::Holds(..) => HookAnswer::Lost(vec!["it is gone".to_owned()]),
        HookRequest::Tune(..) => {
            let options = TransferOptions { bandwidth_kib: Some(0), ..TransferOptions::default() };
            HookAnswer::Options(options)
        }
        HookRequest::Choose(_, points) => {
            let mut keeps = some_of(world, points);
            keeps.push(Keep { id: "nobody".to_owned(), reason: String::new() });
            HookAnswer::Keeps(keeps)
        }
    }
}
