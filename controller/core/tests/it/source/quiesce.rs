//! An application is brought to rest for the cut, and let go on whatever happens.

use super::world::{World, yaml};
use crate::hooks::{Known, Modules, Said};
use scribe_core::decision::Action;
use scribe_core::hooks::{CallSeen, HookRequest, ReleaseRequest};
use scribe_crds::conditions::STILL_FROZEN;
use scribe_crds::v1alpha1::{Consistency, QuiesceState};
use scribe_hooks_contract::points::{self, Frozen, Point};
use scribe_hooks_contract::reason::Reason;
use scribe_hooks_contract::undo::Undo;

pub(super) const SPEC: &str = "
sourcePVC: data
trigger: {manual: one}
rsync: {sshKeys: db-keys}
hooks: [{module: rest, points: [Quiesce], serviceAccountName: db-hook, quiesce: {maxWindow: 30s}}]
";

pub(super) fn frozen(achieved: points::Consistency) -> Said<Frozen> {
    Said::Answers(Frozen { token: "t1".to_owned(), achieved, note: Some("checkpoint".to_owned()) })
}

pub(super) fn undo(id: &str) -> Undo {
    yaml(&format!(
        "{{id: {id}, change: {{scale: {{workload: {{group: apps, version: v1, resource: statefulsets, name: db, uid: u}}, set: 0, restore: 3}}}}}}"
    ))
}

pub(super) fn session(id: &str) -> Undo {
    yaml(&format!("{{id: {id}, change: {{session: {{place: {{pod: db-0, uid: u, container: db}}}}}}}}"))
}

/// A source whose hook brings the application to rest, and lets it go on.
pub(super) fn world(spec: &str) -> World {
    let mut world = World::new(spec);
    world.modules(|modules| {
        *modules = Modules::one("rest", &[Point::Quiesce]);
        modules.says.quiesce = Some(frozen(points::Consistency::Application));
        modules.says.release = Some(Said::Answers(()));
    });
    world
}

pub(super) fn state(world: &World) -> Option<QuiesceState> {
    world.status().quiesce.map(|quiesce| quiesce.state)
}

pub(super) fn still_frozen(world: &World) -> bool {
    world.status().conditions.iter().any(|condition| condition.type_ == STILL_FROZEN)
}

/// Passes until the application is at rest and the cut is being made.
pub(super) fn to_the_cut(world: &mut World) {
    for _ in 0..6 {
        if !world.seen.cuts.is_empty() {
            return;
        }
        world.pass("to the cut");
    }
    panic!("no cut:\n{}", world.transcript);
}

pub(super) fn releases(world: &mut World, what: &str) -> Vec<(points::ReleaseReason, Option<String>, u32)> {
    let decision = world.pass(what);
    let all = decision.first.iter().chain(&decision.then);
    all.filter_map(|action| match action {
        Action::CallHook(call) => match &call.request {
            HookRequest::Release(release, _) => {
                let ReleaseRequest { token, reason, number, .. } = &**release;
                Some((*reason, token.clone(), *number))
            }
            _ => None,
        },
        _ => None,
    })
    .collect()
}

#[test]
fn at_rest_for_the_cut_and_no_longer() {
    let mut world = world(SPEC);
    world.modules(|modules| modules.says.freezes = vec![undo("one"), undo("two")]);
    for what in
        ["its settings are judged", "it is called", "it freezes one", "it freezes two", "it is at rest"]
    {
        world.pass(what);
    }
    world.later(2);
    world.pass("the cut is there");
    assert!(world.seen.pods.is_empty(), "a mover starts before the cut is complete");
    world.bind_cut();
    world.pass("the cut is complete, and the host looks");
    world.pass("all is as it was set");
    world.pass("the hook has released it");
    world.pass("the host has undone what is left");
    assert_eq!(world.status().quiesce, None);
    assert_eq!(world.sync().consistency, Some(Consistency::Application));
    assert_eq!(world.seen.pods.len(), 1);
    assert_eq!(world.jobs[0].consistency, scribe_mover_contract::peer::Consistency::Application);
    world.finish_sync();
    world.settle("published");
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn nothing_is_called_or_changed_before_it_stands_in_the_status() {
    let mut world = world(SPEC);
    world.modules(|modules| modules.says.freezes = vec![undo("one")]);
    world.pass("its settings are judged");
    let decision = world.decide();
    assert!(decision.first.iter().all(|action| !matches!(action, Action::CallHook(_))));
    assert_eq!(decision.status.unwrap().quiesce.unwrap().state, QuiesceState::Quiescing);
    world.pass("it is called");
    let decision = world.decide();
    assert!(decision.first.iter().all(|action| !matches!(action, Action::AnswerHook { .. })));
    assert_eq!(decision.status.unwrap().quiesce.unwrap().undo, [undo("one")]);
    assert!(decision.then.iter().any(|action| matches!(action, Action::AnswerHook { .. })));
}

/// The process that had it at rest is gone: what it did is released by the next one, and the cut is not used.
#[test]
fn a_restart_in_every_state() {
    for passes in 1..=5 {
        let mut world = world(SPEC);
        world.modules(|modules| modules.says.freezes = vec![undo("one")]);
        for _ in 0..=passes {
            world.pass("on");
        }
        if let Some(cut) = world.seen.cuts.first().and_then(|cut| cut.metadata.name.clone()) {
            assert!(world.seen.pods.is_empty(), "{cut}");
            world.bind_cut();
        }
        let before = world.status().quiesce.unwrap();
        world.restart();
        let calls = releases(&mut world, "another process");
        let token = (before.state == QuiesceState::Frozen).then(|| "t1".to_owned());
        assert_eq!(calls, [(points::ReleaseReason::ControllerRestarted, token, 1)], "{}", world.transcript);
        world.pass("the hook has released it");
        world.pass("and the host");
        assert_eq!(world.status().quiesce, None, "{}", world.transcript);
        world.settle("the cut is gone");
        assert!(world.seen.cuts.is_empty() && world.seen.pods.is_empty(), "{}", world.transcript);
        assert_eq!((world.sync().attempt, world.sync().cut), (2, None));
        world.later(15);
        world.pass("the second attempt");
        assert_eq!(state(&world), Some(QuiesceState::Quiescing));
    }
}

/// While the release runs, the controller dies: it is called for again.
#[test]
fn a_restart_while_it_is_released() {
    let mut world = world(SPEC);
    to_the_cut(&mut world);
    world.pass("recorded");
    world.bind_cut();
    world.modules(|modules| modules.says.release = Some(Said::Nothing));
    let calls = releases(&mut world, "the cut is complete");
    assert_eq!(calls, [(points::ReleaseReason::CutTaken, Some("t1".to_owned()), 1)]);
    world.restart();
    let calls = releases(&mut world, "another process");
    assert_eq!(calls, [(points::ReleaseReason::CutTaken, Some("t1".to_owned()), 1)]);
    assert_eq!(world.sync().consistency, Some(Consistency::Application));
    assert_eq!(world.seen.pods.len(), 1, "the transfer goes on meanwhile");
}

/// The release does not wait for the write of the status. If that is lost, the cut counts all the same; after a restart it does not.
#[test]
fn the_write_after_the_release_is_lost() {
    for is_restarted in [false, true] {
        let mut world = world(SPEC);
        to_the_cut(&mut world);
        world.pass("recorded");
        world.bind_cut();
        let decision = world.decide();
        assert!(matches!(decision.first.as_slice(), [Action::CallHook(_)]), "{:?}", decision.first);
        world.modules.begin_all(&mut world.seen.hooks, &decision.first);
        if is_restarted {
            world.restart();
        }
        world.pass("the status is the one before");
        let consistency = world.sync().consistency;
        let expected = if is_restarted { Consistency::Crash } else { Consistency::Application };
        assert_eq!(consistency, Some(expected), "{}", world.transcript);
        assert_eq!(world.seen.pods.is_empty(), is_restarted);
        world.pass("released");
        assert_eq!(world.status().quiesce, None);
    }
}

#[test]
fn a_cut_that_is_not_complete_in_time_is_not_used() {
    let mut world = world(SPEC);
    to_the_cut(&mut world);
    let decision = world.pass("recorded");
    assert_eq!(decision.wake, world.status().quiesce.map(|quiesce| quiesce.deadline.0));
    world.later(30);
    world.bind_cut();
    let calls = releases(&mut world, "complete, and too late");
    assert_eq!(calls, [(points::ReleaseReason::WindowExpired, Some("t1".to_owned()), 1)]);
    world.settle("discarded");
    assert!(world.seen.cuts.is_empty());
    assert!(world.message().contains("was not complete within 30s"), "{}", world.message());
    assert_eq!(world.condition(), "False QuiesceWindowExpired");
}

#[test]
fn a_hook_that_takes_too_long_is_ended() {
    let mut world = world(SPEC);
    world.modules(|modules| modules.says.quiesce = Some(Said::Nothing));
    for what in ["judged", "called", "runs"] {
        world.pass(what);
    }
    world.later(30);
    let calls = releases(&mut world, "its time is over");
    assert_eq!(calls, [(points::ReleaseReason::WindowExpired, None, 1)]);
    assert!(!world.seen.hooks.calls.values().any(|call| matches!(call, CallSeen::Running)));
}

#[test]
fn what_held_it_ends_by_itself() {
    let mut world = world(SPEC);
    world.modules(|modules| modules.says.freezes = vec![session("held")]);
    to_the_cut(&mut world);
    world.pass("recorded");
    world.bind_cut();
    world.seen.hooks.ended_sessions.insert("held".to_owned());
    let calls = releases(&mut world, "the session has ended");
    assert_eq!(calls.len(), 1);
    world.settle("discarded");
    assert!(world.seen.cuts.is_empty() && world.seen.pods.is_empty());
    assert_eq!(world.sync().attempt, 2);
}

#[test]
fn a_hook_that_breaks_is_released_and_fails_the_attempt() {
    let mut world = world(SPEC);
    world.modules(|modules| {
        let message = "psql: not found".to_owned();
        modules.says.quiesce = Some(Said::Fails { reason: Reason::HookTrap, message });
        modules.says.freezes = vec![undo("one")];
    });
    for what in ["judged", "called", "freezes one", "broken"] {
        world.pass(what);
    }
    assert_eq!(state(&world), Some(QuiesceState::Releasing));
    world.settle("released");
    assert_eq!(world.status().quiesce, None);
    assert!(world.seen.cuts.is_empty());
    assert_eq!((world.sync().attempt, world.condition().as_str()), (2, "False HookTrap"));
}

#[test]
fn a_hook_that_breaks_may_not_matter() {
    let mut world = world(&SPEC.replace("module: rest,", "module: rest, onError: Continue,"));
    let message = "psql: not found".to_owned();
    world.modules(|modules| modules.says.quiesce = Some(Said::Fails { reason: Reason::HookTrap, message }));
    to_the_cut(&mut world);
    assert_eq!(world.status().quiesce, None, "the cut is made before it is released");
    world.pass("recorded");
    world.bind_cut();
    world.settle("complete");
    assert_eq!((world.sync().attempt, world.sync().consistency), (1, Some(Consistency::Crash)));
    assert!(world.sync().unquiesced.is_some_and(|failure| failure.message.contains("psql: not found")));
}

#[test]
fn a_hook_decides_against_or_puts_it_off() {
    let says = |reason: Reason| {
        let mut world = world(&SPEC.replace("module: rest,", "module: rest, onError: Continue,"));
        let message = "a backup runs".to_owned();
        world.modules(|modules| modules.says.quiesce = Some(Said::Fails { reason, message }));
        for what in ["judged", "called", "answered"] {
            world.pass(what);
        }
        world
    };
    let mut refused = says(Reason::HookRejected);
    refused.settle("released");
    assert_eq!(refused.status().current_sync, None, "onError has no part in a decision");
    assert!(refused.message().contains("a backup runs"), "{}", refused.message());
    let later = says(Reason::HookRetryAfter);
    let pause = later.sync().retry_at.unwrap().0.as_second() - later.now.as_second();
    assert_eq!((later.sync().attempt, pause), (2, 30));
}

#[test]
fn less_than_what_is_required() {
    let mut world = world(&SPEC.replace("maxWindow: 30s", "requireConsistency: Filesystem"));
    world.modules(|modules| modules.says.quiesce = Some(frozen(points::Consistency::Crash)));
    for what in ["judged", "called", "answered"] {
        world.pass(what);
    }
    world.settle("released");
    assert!(world.seen.cuts.is_empty());
    assert!(world.message().contains("achieved Crash"), "{}", world.message());
}

#[test]
fn a_release_that_fails_is_tried_until_it_succeeds() {
    let mut world = world(SPEC);
    let message = "the API server does not answer".to_owned();
    world.modules(|modules| {
        modules.says.freezes = vec![undo("one"), undo("two")];
        modules.says.stuck = vec!["one".to_owned()];
        modules.says.release = Some(Said::Fails { reason: Reason::HookFailed, message });
    });
    to_the_cut(&mut world);
    world.pass("recorded");
    world.bind_cut();
    for what in ["complete", "the host has looked", "the hook fails", "the host too"] {
        world.pass(what);
    }
    let quiesce = world.status().quiesce.unwrap();
    assert_eq!(quiesce.undo, [undo("one")], "what is undone is not undone again");
    assert!(still_frozen(&world), "{}", world.transcript);
    assert_eq!(world.seen.pods.len(), 1, "the transfer does not wait for it");
    world.modules(|modules| {
        modules.says.stuck.clear();
        modules.says.release = Some(Said::Answers(()));
    });
    world.later(1);
    assert_eq!(releases(&mut world, "again")[0].2, 2);
    world.settle("released");
    assert_eq!(world.status().quiesce, None);
    assert!(!still_frozen(&world));
}

#[test]
fn no_other_attempt_begins_before_it_is_released() {
    let mut world = world(SPEC);
    to_the_cut(&mut world);
    world.pass("recorded");
    world.bind_cut();
    world.modules(|modules| modules.says.release = Some(Said::Nothing));
    world.settle("complete");
    world.finish_sync();
    world.seen.source.spec.trigger.as_mut().unwrap().manual = Some("two".to_owned());
    world.settle("published, and another tag");
    assert!(world.seen.cuts.is_empty(), "{}", world.transcript);
    assert!(world.message().contains("has to go on before the next copy"), "{}", world.message());
    assert_eq!(state(&world), Some(QuiesceState::Releasing));
}

#[test]
fn a_module_that_is_gone() {
    for log in [vec![undo("one")], vec![]] {
        let mut world = world(SPEC);
        let is_known = !log.is_empty();
        world.modules(|modules| modules.says.freezes = log);
        to_the_cut(&mut world);
        world.pass("recorded");
        world.modules(|modules| modules.modules.clear());
        world.bind_cut();
        world.settle("complete, and the module is gone");
        // What the host has undone it knows; of what a hook did by itself nobody does.
        assert_eq!(world.status().quiesce.is_none(), is_known, "{}", world.transcript);
        assert_eq!(still_frozen(&world), !is_known);
        if !is_known {
            world.modules(|modules| {
                drop(modules.modules.insert("rest".to_owned(), Known::Ready(vec![Point::Quiesce])))
            });
            world.later(60);
            world.settle("it is back");
            assert_eq!(world.status().quiesce, None);
        }
    }
}

#[test]
fn somebody_knows_that_it_goes_on() {
    let mut world = world(SPEC);
    to_the_cut(&mut world);
    world.pass("recorded");
    let message = "broken for good".to_owned();
    world.modules(|modules| modules.says.release = Some(Said::Fails { reason: Reason::HookTrap, message }));
    world.bind_cut();
    world.settle("complete");
    let id = world.sync().id;
    let told = world.status().conditions.into_iter().find(|it| it.type_ == "StillFrozen").unwrap().message;
    let command = format!("kubectl annotate --overwrite -n shop rsrc/db scribe.dev/forget-freeze={id}");
    assert!(told.contains(&command), "{told}");
    world.seen.source.metadata.annotations = Some([("scribe.dev/forget-freeze".to_owned(), id)].into());
    let decision = world.pass("annotated");
    assert!(decision.first.contains(&Action::EndSessions), "{}", world.transcript);
    world.settle("forgotten");
    assert_eq!((world.status().quiesce, still_frozen(&world)), (None, false));
}

/// The log of what is to be undone is not lost by a word that was said before there was anything to know.
#[test]
fn nobody_knows_beforehand_that_it_goes_on() {
    let mut world = world(SPEC);
    world.modules(|modules| modules.says.freezes = vec![undo("one")]);
    to_the_cut(&mut world);
    world.pass("recorded");
    let id = world.sync().id;
    world.seen.source.metadata.annotations = Some([("scribe.dev/forget-freeze".to_owned(), id)].into());
    world.bind_cut();
    world.pass("complete: the host looks");
    let calls = releases(&mut world, "all is as it was set");
    assert_eq!(calls.len(), 1, "{}", world.transcript);
    assert!(!world.status().quiesce.unwrap().undo.is_empty(), "what is to be undone is not forgotten");
}

#[test]
fn the_object_is_deleted_while_it_is_at_rest() {
    let mut world = world(SPEC);
    world.modules(|modules| modules.says.freezes = vec![undo("one")]);
    to_the_cut(&mut world);
    world.seen.source.metadata.deletion_timestamp = yaml("2026-03-01T00:00:20Z");
    let calls = releases(&mut world, "deleted");
    assert_eq!(calls, [(points::ReleaseReason::ObjectDeleted, Some("t1".to_owned()), 1)]);
    for _ in 0..6 {
        let answered =
            world.seen.hooks.calls.values().filter(|call| matches!(call, CallSeen::Done(_))).count();
        let decision = world.pass("on");
        if decision.first.contains(&Action::RemoveFinalizer) {
            return assert!(answered >= 2, "the hook and the host have released it: {}", world.transcript);
        }
    }
    panic!("it stays:\n{}", world.transcript);
}

#[test]
fn without_a_hook_nothing_changes() {
    let mut world = World::new("{sourcePVC: data, trigger: {manual: one}, rsync: {sshKeys: db-keys}}");
    world.pass("new");
    assert_eq!((world.seen.cuts.len(), world.status().quiesce), (1, None));
}

/// A copy that waits for a pod is made for the node on which the application ran: it cannot wait for its mover, and the application may have been
/// scaled to nothing by then.
#[test]
fn the_cut_is_made_for_the_node_of_the_application() {
    let mut world = world(SPEC);
    world.modules(|modules| modules.says.quiesce = Some(Said::Nothing));
    world.seen.users = vec![super::copy_methods::user("db-0", "west-1", "Running")];
    world.pass("its settings are judged");
    world.pass("it is called");
    world.seen.users.clear();
    world.modules(|modules| modules.says.quiesce = Some(frozen(points::Consistency::Application)));
    to_the_cut(&mut world);
    let annotations = world.cut().metadata.annotations.clone().unwrap();
    assert_eq!(annotations.get(scribe_crds::names::SELECTED_NODE).map(String::as_str), Some("west-1"));
}

/// What its ServiceAccount may not do is told before it matters, and holds nothing up.
#[test]
fn a_missing_right_is_told() {
    let mut world = world(SPEC);
    let key = ("rest".to_owned(), Some("db-hook".to_owned()));
    let words = "ServiceAccount db-hook may not create pods/exec".to_owned();
    world.seen.hooks.missing_rights.insert(key, vec![words]);
    to_the_cut(&mut world);
    let ready = world.status().conditions.into_iter().find(|it| it.type_ == "HooksReady").unwrap();
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "HookRightsMissing"));
    assert!(ready.message.contains("may not create pods/exec"), "{}", ready.message);
}

/// A snapshot is cut when it has a time: the application goes on then, and not when the snapshot is ready, or a claim made from it.
#[test]
fn a_snapshot_ends_the_window_when_it_is_cut() {
    let mut world = world(&SPEC.replace("{sshKeys: db-keys}", "{sshKeys: db-keys, copyMethod: Snapshot}"));
    for _ in 0..6 {
        if world.seen.snapshots.is_empty() {
            world.pass("to the cut");
        }
    }
    world.pass("recorded");
    assert_eq!(state(&world), Some(QuiesceState::Frozen));
    let time = world.now.to_string();
    world.cut_snapshot(&time, "Delete");
    let calls = releases(&mut world, "it is cut, and not ready");
    assert_eq!(calls, [(points::ReleaseReason::CutTaken, Some("t1".to_owned()), 1)]);
    world.pass("released");
    assert_eq!((world.status().quiesce, world.sync().consistency), (None, Some(Consistency::Application)));
    assert!(world.seen.pods.is_empty(), "{}", world.transcript);
}

/// One that gets its time too late is discarded, as a clone is.
#[test]
fn a_snapshot_that_is_cut_too_late_is_not_used() {
    let mut world = world(&SPEC.replace("{sshKeys: db-keys}", "{sshKeys: db-keys, copyMethod: Snapshot}"));
    for _ in 0..6 {
        if world.seen.snapshots.is_empty() {
            world.pass("to the cut");
        }
    }
    world.pass("recorded");
    world.later(30);
    let calls = releases(&mut world, "the window is over");
    assert_eq!(calls, [(points::ReleaseReason::WindowExpired, Some("t1".to_owned()), 1)]);
    world.settle("it is discarded");
    assert!(world.seen.snapshots.is_empty() && world.seen.pods.is_empty(), "{}", world.transcript);
    assert_eq!((world.sync().attempt, world.sync().consistency), (2, None));
}
