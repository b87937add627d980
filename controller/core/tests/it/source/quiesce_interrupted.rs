//! Something comes between an application that is brought to rest and its cut, or its release.

use super::quiesce::{SPEC, releases, session, state, still_frozen, to_the_cut, undo, world};
use super::world::World;
use crate::hooks::{Known, Said};
use scribe_core::decision::Action;
use scribe_core::hooks::{CallSeen, HookAnswer, HookRequest};
use scribe_core::slots::{Holder, Limits, Slots};
use scribe_crds::v1alpha1::QuiesceState;
use scribe_hooks_contract::points::{Point, ReleaseReason};
use scribe_hooks_contract::reason::Reason;
use std::sync::Arc;

/// The hook is at work, or through, and no cut is there.
fn before_the_cut(wanted: QuiesceState) -> World {
    let mut world = world(SPEC);
    world.modules(|modules| modules.says.freezes = vec![undo("one")]);
    for what in ["judged", "called", "asks"] {
        world.pass(what);
    }
    if wanted == QuiesceState::Frozen {
        // Its cut could not be made.
        world.crash("at rest");
    }
    assert_eq!((state(&world), world.seen.cuts.len()), (Some(wanted), 0), "{}", world.transcript);
    world
}

fn no_place(world: &mut World) {
    let mut slots = Slots::new(Limits { cluster: 1, namespace: 0, node: 0 });
    let holder = Holder { namespace: "other".to_owned(), node: None, nodes: None };
    slots.pods.insert(("other".to_owned(), "mover".to_owned()), holder);
    world.seen.slots.slots = Arc::new(slots);
}

/// Whether the first attempt has been released; the next one may have begun.
fn is_released(world: &World) -> bool {
    !still_frozen(world) && world.status().quiesce.is_none_or(|quiesce| quiesce.attempt > 1)
}

/// Whatever holds the attempt up before its cut, the application does not wait for it.
#[test]
fn nothing_that_holds_the_attempt_up_holds_the_application() {
    type Change = fn(&mut World);
    let holds: [(&str, Change); 5] = [
        ("paused", |world| world.seen.source.spec.paused = true),
        ("a spec that is wrong", |world| {
            world.seen.source.spec.trigger.as_mut().unwrap().schedule = Some("never".to_owned());
        }),
        ("no HookModule", |world| world.modules(|modules| modules.modules.clear())),
        ("no place", no_place),
        ("another process, and no place", |world| {
            world.restart();
            no_place(world);
        }),
    ];
    for wanted in [QuiesceState::Quiescing, QuiesceState::Frozen] {
        for (what, change) in holds {
            let mut world = before_the_cut(wanted);
            change(&mut world);
            let before = world.sync();
            let calls = releases(&mut world, what);
            let is_gone = world.seen.hooks.modules.is_empty();
            assert_eq!(calls.len(), usize::from(!is_gone), "{what}: {}", world.transcript);
            world.settle("released");
            assert_eq!(world.status().quiesce, None, "{what}: {}", world.transcript);
            assert!(world.sync().attempt > before.attempt, "{what}: {}", world.transcript);
            assert!(world.seen.cuts.is_empty() && world.seen.pods.is_empty());
        }
    }
}

/// When it is not held up any more, the next attempt begins with a quiesce of its own.
#[test]
fn after_a_pause_it_is_brought_to_rest_anew() {
    let mut world = before_the_cut(QuiesceState::Frozen);
    world.seen.source.spec.paused = true;
    let calls = releases(&mut world, "paused");
    assert_eq!(calls, [(ReleaseReason::Cancelled, Some("t1".to_owned()), 1)]);
    world.settle("released");
    world.seen.source.spec.paused = false;
    to_the_cut(&mut world);
    assert_eq!((world.sync().attempt, state(&world)), (2, Some(QuiesceState::Frozen)));
}

/// A window that begins in the future is over.
#[test]
fn a_clock_that_was_wrong_does_not_lengthen_the_window() {
    let mut world = world(SPEC);
    to_the_cut(&mut world);
    world.pass("recorded");
    world.later(-3600);
    let calls = releases(&mut world, "the clock is set back by an hour");
    assert_eq!(calls, [(ReleaseReason::WindowExpired, Some("t1".to_owned()), 1)]);
}

/// What the host is to undo does not wait behind writes, of which any may fail.
#[test]
fn what_is_undone_waits_for_no_write() {
    let mut world = world(SPEC);
    world.modules(|modules| modules.says.freezes = vec![undo("one")]);
    to_the_cut(&mut world);
    world.pass("recorded");
    world.bind_cut();
    world.pass("complete, and the host looks");
    world.crash("all is as it was set; nothing after the status is done");
    let decision = world.decide();
    let undoes = |action: &Action| match action {
        Action::CallHook(call) => matches!(call.request, HookRequest::Undo(..) | HookRequest::Release(..)),
        _ => false,
    };
    let makes = |action: &Action| matches!(action, Action::Create(_) | Action::Apply(_) | Action::Delete(_));
    let (first, then) = (decision.then.iter().position(undoes), decision.then.iter().position(makes));
    assert!(first.is_some() && then.is_some(), "{:?}", decision.then);
    assert!(first < then, "{:?}", decision.then);
}

/// A module that cannot be read now may have done more than is written down: only it knows, and it is asked when it is back.
#[test]
fn a_module_that_cannot_be_read_is_not_gone() {
    let mut world = world(SPEC);
    world.modules(|modules| modules.says.freezes = vec![undo("one")]);
    to_the_cut(&mut world);
    world.pass("recorded");
    world.restart();
    let broken = Known::Broken("the registry does not answer".to_owned());
    world.modules(|modules| drop(modules.modules.insert("rest".to_owned(), broken)));
    world.settle("another process, and no registry");
    let quiesce = world.status().quiesce.unwrap();
    assert!(quiesce.undo.is_empty(), "the host has done its part: {}", world.transcript);
    assert!(still_frozen(&world));
    world.modules(|modules| {
        drop(modules.modules.insert("rest".to_owned(), Known::Ready(vec![Point::Quiesce])))
    });
    world.later(60);
    world.settle("it is back");
    assert!(is_released(&world), "{}", world.transcript);
}

/// One that is being read is waited for as long as the window lasts; then the host goes first.
#[test]
fn a_module_that_is_being_read_holds_the_host_up_no_longer_than_the_window() {
    let mut world = world(SPEC);
    world.modules(|modules| modules.says.freezes = vec![undo("one")]);
    to_the_cut(&mut world);
    world.pass("recorded");
    world.restart();
    world.modules(|modules| drop(modules.modules.insert("rest".to_owned(), Known::Loading)));
    world.settle("another process");
    assert_eq!(world.status().quiesce.unwrap().undo.len(), 1);
    world.later(30);
    world.settle("the window is over");
    assert!(world.status().quiesce.unwrap().undo.is_empty(), "{}", world.transcript);
    assert!(still_frozen(&world));
    world.modules(|modules| {
        drop(modules.modules.insert("rest".to_owned(), Known::Ready(vec![Point::Quiesce])))
    });
    world.settle("it is read");
    assert!(is_released(&world), "{}", world.transcript);
}

/// Somebody has made another thing of the HookModule: nobody is left who could release.
#[test]
fn a_module_that_has_become_another_one() {
    let mut world = world(SPEC);
    world.modules(|modules| modules.says.freezes = vec![undo("one")]);
    to_the_cut(&mut world);
    world.pass("recorded");
    world.modules(|modules| {
        drop(modules.modules.insert("rest".to_owned(), Known::Ready(vec![Point::Retention])));
    });
    world.bind_cut();
    world.settle("complete, and the module has no release");
    assert_eq!(world.status().quiesce, None, "{}", world.transcript);
}

/// By force is what the hook had no part in, and what came too late; not every end of an attempt.
#[test]
fn what_is_by_force() {
    let forced = |change: fn(&mut World)| {
        let mut world = before_the_cut(QuiesceState::Frozen);
        change(&mut world);
        (0..6).any(|_| world.pass("on").forced_release)
    };
    assert!(!forced(|world| world.seen.source.spec.paused = true));
    assert!(forced(World::restart));
    assert!(forced(|world| world.later(30)));
    assert!(forced(|world| world.modules(|modules| modules.modules.clear())));
}

/// Both parts of a try fail: the condition has the words of both, and the way out.
#[test]
fn a_release_that_traps_is_told_and_the_host_goes_on() {
    let mut world = world(SPEC);
    let message = "release trapped: unreachable".to_owned();
    world.modules(|modules| {
        modules.says.freezes = vec![undo("one"), undo("two")];
        modules.says.release = Some(Said::Fails { reason: Reason::HookTrap, message });
    });
    to_the_cut(&mut world);
    world.pass("recorded");
    world.bind_cut();
    world.settle("complete");
    assert_eq!(world.status().quiesce.unwrap().undo, [], "{}", world.transcript);
    let told = world.status().conditions.into_iter().find(|it| it.type_ == "StillFrozen").unwrap();
    for words in ["release trapped: unreachable", "scribe.dev/forget-freeze"] {
        assert!(told.message.contains(words), "{}", told.message);
    }
}

/// Somebody who knows nothing of the quiesce has scaled back before the cut was complete: it is worth nothing.
#[test]
fn what_is_not_as_it_was_set_when_the_cut_is_complete_is_not_used() {
    let mut world = world(SPEC);
    world.modules(|modules| {
        modules.says.freezes = vec![session("held"), undo("one")];
        modules.says.lost = vec!["statefulsets/db has 3 replicas now".to_owned()];
    });
    to_the_cut(&mut world);
    world.pass("recorded");
    world.bind_cut();
    let decision = world.pass("complete");
    let asked = decision.then.iter().find_map(|action| match action {
        Action::CallHook(call) => match &call.request {
            HookRequest::Holds(log, acts_as) => Some((log.clone(), acts_as.clone())),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(asked, Some((vec![undo("one")], Some("db-hook".to_owned()))), "{}", world.transcript);
    let calls = releases(&mut world, "the host has looked");
    assert_eq!(calls, [(ReleaseReason::CutFailed, Some("t1".to_owned()), 1)]);
    world.settle("discarded");
    assert!(world.seen.cuts.is_empty() && world.seen.pods.is_empty(), "{}", world.transcript);
    assert_eq!((world.sync().attempt, world.sync().consistency), (2, None));
    let words = world.sync().last_failure.unwrap().message;
    assert!(words.contains("has 3 replicas now"), "{words}");
}

/// A release that has no end keeps the host from nothing when the window is over.
#[test]
fn a_release_that_runs_holds_the_host_up_no_longer_than_the_window() {
    let mut world = world(SPEC);
    world.modules(|modules| modules.says.freezes = vec![undo("one")]);
    to_the_cut(&mut world);
    world.pass("recorded");
    world.bind_cut();
    world.modules(|modules| modules.says.release = Some(Said::Nothing));
    world.settle("complete");
    assert_eq!(world.status().quiesce.unwrap().undo.len(), 1);
    world.later(30);
    world.settle("the window is over");
    assert!(world.status().quiesce.unwrap().undo.is_empty(), "{}", world.transcript);
    world.modules(|modules| modules.says.release = Some(Said::Answers(())));
    world.restart();
    world.settle("another process, in which it ends");
    assert!(is_released(&world), "{}", world.transcript);
}

/// That the host fails does not end a release that takes its time; both are tried again when it is over.
#[test]
fn a_release_that_takes_its_time_is_not_begun_anew() {
    let mut world = world(SPEC);
    world.modules(|modules| {
        modules.says.freezes = vec![undo("one")];
        modules.says.stuck = vec!["one".to_owned()];
    });
    to_the_cut(&mut world);
    world.pass("recorded");
    world.bind_cut();
    world.modules(|modules| modules.says.release = Some(Said::Nothing));
    world.settle("complete");
    world.later(30);
    world.settle("the window is over");
    for _ in 0..3 {
        world.later(60);
        world.settle("it still runs");
        let release = world.status().quiesce.unwrap().release.unwrap();
        assert_eq!((release.number, release.retry_at), (1, None), "{}", world.transcript);
    }
    assert!(still_frozen(&world));
    world.modules(|modules| {
        modules.says.stuck.clear();
        modules.says.release = Some(Said::Answers(()));
    });
    // Its answer comes, and then the host is asked once more.
    let running = world.seen.hooks.calls.values_mut().find(|call| **call == CallSeen::Running).unwrap();
    *running = CallSeen::Done(Ok(HookAnswer::Released));
    world.settle("it has ended");
    world.later(60);
    world.settle("and the host is through");
    assert!(is_released(&world), "{}", world.transcript);
}
