//! Modules that say anything, break, and come and go.

use super::world::World;
use scribe_core::decision::Action;
use scribe_core::hooks::{CallSeen, HookAnswer, HookCall, HookFailure, HookRequest, HooksSeen, ModuleSeen};
use scribe_hooks_contract::points::{Point, TransferOptions, Verdict};
use scribe_hooks_contract::reason::Reason;
use scribe_hooks_contract::retention::{Keep, ReplicaPoint};
use std::collections::BTreeMap;

/// The one module that hooks are made from.
pub const MODULE: &str = "m";

/// Calls by id, as far as a controller remembers them.
pub type Calls = BTreeMap<String, CallSeen>;

/// What a controller sees of hooks.
pub fn seen(world: &mut World, calls: &Calls) -> HooksSeen {
    let ready = |digest: u64| ModuleSeen::Ready {
        digest: format!("digest-{digest}"),
        exports: vec![Point::Decision, Point::Transfer, Point::Retention],
    };
    let module = match if world.faults { world.dice.roll(30) } else { 30 } {
        0 => None,
        1 => Some(ModuleSeen::Loading),
        2 => Some(ModuleSeen::Broken("it is broken".to_owned())),
        3 => Some(ready(world.dice.roll(3))),
        _ => Some(ready(0)),
    };
    let modules = module.map(|module| (MODULE.to_owned(), module)).into_iter().collect();
    HooksSeen { modules, calls: calls.clone() }
}

/// Whether the module is not what it will be in the end: then the object is looked at again.
pub fn may_change(seen: &HooksSeen) -> bool {
    !matches!(seen.modules.get(MODULE), Some(ModuleSeen::Ready { digest, .. }) if digest == "digest-0")
}

/// The calls that a decision asks for.
pub fn asked(then: &[Action]) -> Vec<HookCall> {
    let call = |action: &Action| match action {
        Action::CallHook(call) => Some((**call).clone()),
        _ => None,
    };
    then.iter().filter_map(call).collect()
}

/// Runs calls, and forgets all others. Whether there is something new to look at.
pub fn run(world: &mut World, calls: &mut Calls, asked: &[HookCall]) -> bool {
    let before = std::mem::take(calls);
    for call in asked {
        let known = before.get(&call.id).filter(|known| matches!(known, CallSeen::Done(Ok(_)))).cloned();
        let state = known.unwrap_or_else(|| state(world, &call.request));
        calls.insert(call.id.clone(), state);
    }
    *calls != before || calls.values().any(|call| *call == CallSeen::Running)
}

fn state(world: &mut World, request: &HookRequest) -> CallSeen {
    if !world.faults {
        return CallSeen::Done(Ok(good(world, request)));
    }
    match world.dice.roll(8) {
        0 | 1 => CallSeen::Running,
        2 => {
            let failure = HookFailure { reason: Reason::HookTrap, message: "a trap".to_owned() };
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
