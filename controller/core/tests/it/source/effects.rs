//! Hooks before and after a sync, and after an attempt that failed.

use super::world::{World, job, yaml};
use crate::hooks::{Known, Modules, Said};
use scribe_crds::v1alpha1::{FailedPhase, FailureReaction, ReactionRecord};
use scribe_hooks_contract::points::{Point, Reaction};
use scribe_hooks_contract::reason::Reason;
use scribe_mover_contract::peer::Comparison;

const LIFECYCLE: &str = "
sourcePVC: data
trigger: {manual: one}
rsync: {sshKeys: db-keys}
hooks: [{module: around, points: [Lifecycle], serviceAccountName: db-hook}]
";
const FAILURE: &str = "
sourcePVC: data
trigger: {manual: one}
rsync: {sshKeys: db-keys}
hooks: [{module: notify, points: [Failure]}]
";

fn lifecycle(spec: &str) -> World {
    let mut world = World::new(spec);
    world.modules(|modules| {
        *modules = Modules::one("around", &[Point::Lifecycle]);
        modules.says.pre_sync = Some(Said::Answers(()));
        modules.says.post_sync = Some(Said::Answers(()));
    });
    world
}

fn fails<T>(reason: Reason, message: &str) -> Option<Said<T>> {
    Some(Said::Fails { reason, message: message.to_owned() })
}

/// A mover that runs, for the attempt that is due.
fn run(world: &mut World) {
    world.settle("the cut is made");
    if !world.seen.cuts.is_empty() {
        world.bind_cut();
    }
    world.settle("bound");
    world.run_pod();
    world.settle("runs");
}

fn lose(world: &mut World) {
    world.end_mover(1, serde_json::json!({"reason": "ConnectionLost", "message": "gone"}));
    world.settle("lost");
}

fn notified(reaction: Reaction) -> World {
    let mut world = World::new(FAILURE);
    world.modules(|modules| {
        *modules = Modules::one("notify", &[Point::Failure]);
        modules.says.on_failure = Some(Said::Answers(reaction));
    });
    run(&mut world);
    lose(&mut world);
    world
}

fn reaction(world: &World) -> ReactionRecord {
    world.status().hooks[0].reaction.clone().unwrap_or_else(|| panic!("{}", world.transcript))
}

#[test]
fn nothing_is_made_before_the_hook_lets_the_sync_pass() {
    let mut world = lifecycle(LIFECYCLE);
    world.modules(|modules| modules.says.pre_sync = Some(Said::Nothing));
    world.settle("it is asked");
    assert!(world.status().current_sync.is_some() && world.seen.cuts.is_empty(), "{}", world.transcript);
    // Another process asks again.
    world.restart();
    world.modules(|modules| modules.says.pre_sync = Some(Said::Answers(())));
    run(&mut world);
    assert!(world.sync().pre_synced);
    let asked = world.asked;
    lose(&mut world);
    world.later(30);
    run(&mut world);
    assert_eq!((world.asked, world.sync().attempt), (asked, 2), "it is asked once for each sync");
}

#[test]
fn what_the_hook_before_a_sync_says_decides() {
    for (reason, ends, condition) in [
        (Reason::HookRejected, true, "False HookRejected"),
        (Reason::HookTrap, false, "False HookTrap"),
        (Reason::HookRetryAfter, false, "False HookRetryAfter"),
    ] {
        let mut world = lifecycle(LIFECYCLE);
        world.modules(|modules| modules.says.pre_sync = fails(reason, "no"));
        world.settle("it says no");
        assert_eq!(world.status().current_sync.is_none(), ends, "{reason:?}");
        assert_eq!(world.condition(), condition, "{}", world.transcript);
        assert!(world.seen.cuts.is_empty());
    }
    let mut world =
        lifecycle(&LIFECYCLE.replace("serviceAccountName", "onError: Continue, serviceAccountName"));
    world.modules(|modules| modules.says.pre_sync = fails(Reason::HookTrap, "unreachable"));
    run(&mut world);
    assert!(world.status().current_sync.is_some(), "{}", world.transcript);
}

/// Where there is no cut, the hook is asked before the mover.
#[test]
fn a_direct_sync_waits_for_its_hook_too() {
    let spec = LIFECYCLE.replace("{sshKeys: db-keys}", "{sshKeys: db-keys, copyMethod: Direct}");
    let mut world = lifecycle(&spec);
    world.modules(|modules| modules.says.pre_sync = Some(Said::Nothing));
    world.settle("it is asked");
    assert!(world.status().current_sync.is_some() && world.seen.pods.is_empty(), "{}", world.transcript);
    world.modules(|modules| modules.says.pre_sync = Some(Said::Answers(())));
    world.restart();
    world.settle("it answers");
    assert_eq!(world.seen.pods.len(), 1, "{}", world.transcript);
}

#[test]
fn the_hook_after_a_sync_hears_of_it_until_it_has_answered() {
    let mut world = lifecycle(LIFECYCLE);
    world.modules(|modules| modules.says.post_sync = fails(Reason::HookFailed, "503"));
    run(&mut world);
    world.finish_sync();
    world.settle("published");
    let due = world.status().post_sync.unwrap();
    assert_eq!((due.number, due.retry_at.is_some()), (2, true), "{}", world.transcript);
    world.restart();
    world.modules(|modules| modules.says.post_sync = Some(Said::Answers(())));
    world.later(60);
    world.settle("its time");
    assert_eq!(world.status().post_sync, None, "{}", world.transcript);
}

#[test]
fn the_hook_after_a_sync_is_given_up_and_that_is_told() {
    let mut world = lifecycle(LIFECYCLE);
    world.modules(|modules| modules.says.post_sync = fails(Reason::HookFailed, "503"));
    run(&mut world);
    world.finish_sync();
    for _ in 0..8 {
        world.settle("again");
        world.later(300);
    }
    let due = world.status().post_sync.unwrap();
    assert_eq!((due.number, due.retry_at), (5, None), "{}", world.transcript);
    let ready = world.status().conditions.into_iter().find(|it| it.type_ == "HooksReady").unwrap();
    assert!(ready.message.contains("503"), "{}", ready.message);
    assert!(world.status().current_sync.is_none() && world.status().recovery_point.is_some());
}

/// A hook is told what was being done, also where the reason is one of any hook.
#[test]
fn a_hook_hears_what_was_being_done() {
    let spec = |point: &str| {
        format!(
            "{{sourcePVC: data, trigger: {{manual: one}}, rsync: {{sshKeys: db-keys}},
              hooks: [{{module: notify, points: [Failure]}}, {{module: other, points: [{point}]}}]}}"
        )
    };
    for (point, expected) in
        [(Point::Lifecycle, FailedPhase::PreSync), (Point::Quiesce, FailedPhase::Quiesce)]
    {
        let mut world = World::new(&spec(&format!("{point:?}")));
        world.modules(|modules| {
            *modules = Modules::one("notify", &[Point::Failure]);
            modules.modules.insert("other".to_owned(), Known::Ready(vec![point]));
            modules.says.pre_sync = fails(Reason::HookTrap, "unreachable");
            modules.says.quiesce = fails(Reason::HookTrap, "unreachable");
            modules.says.release = Some(Said::Answers(()));
        });
        world.settle("it breaks");
        let failed = world.status().failed_attempt.unwrap_or_else(|| panic!("{}", world.transcript));
        assert_eq!((failed.phase, failed.failure.reason.as_str()), (expected, "HookTrap"));
    }
    let mut world = World::new(FAILURE);
    world.modules(|modules| *modules = Modules::one("notify", &[Point::Failure]));
    run(&mut world);
    lose(&mut world);
    assert_eq!(world.status().failed_attempt.unwrap().phase, FailedPhase::Transfer);
}

#[test]
fn a_hook_hears_of_each_attempt_that_failed_once() {
    let mut world = notified(Reaction::Default);
    let said = reaction(&world);
    assert_eq!((said.attempt, said.reaction), (1, Some(FailureReaction::Default)));
    let (asked, retry_at) = (world.asked, world.sync().retry_at);
    world.restart();
    world.settle("another process");
    assert_eq!((world.asked, world.sync().retry_at.clone()), (asked, retry_at));
    world.later(30);
    run(&mut world);
    lose(&mut world);
    assert_eq!(reaction(&world).attempt, 2);
}

/// What failed is known to the next process, which tells the hook.
#[test]
fn a_failure_is_not_forgotten_before_the_hook_has_heard_of_it() {
    let mut world = World::new(FAILURE);
    world.modules(|modules| *modules = Modules::one("notify", &[Point::Failure]));
    run(&mut world);
    lose(&mut world);
    assert!(world.status().failed_attempt.is_some());
    world.restart();
    world.modules(|modules| modules.says.on_failure = Some(Said::Answers(Reaction::Default)));
    world.settle("another process");
    assert_eq!((world.status().failed_attempt, reaction(&world).attempt), (None, 1));
}

#[test]
fn a_hook_chooses_the_time_of_the_next_attempt() {
    let mut world = notified(Reaction::RetryAfter(7200));
    world.later(7000);
    world.settle("not yet");
    assert!(world.sync().retry_at.is_some(), "{}", world.transcript);
    world.later(300);
    run(&mut world);
    assert_eq!((world.sync().attempt, world.sync().retry_at.clone()), (2, None), "{}", world.transcript);
}

#[test]
fn a_hook_has_everything_compared() {
    let mut world = notified(Reaction::FullResync);
    world.later(30);
    run(&mut world);
    assert_eq!(job(world.pod()).comparison, Comparison::Content);
    world.finish_sync();
    world.settle("published");
    assert!(!world.status().full_resync);
}

#[test]
fn a_hook_suspends_a_source_until_its_spec_changes() {
    let mut world = notified(Reaction::Suspend("the array is being\nmoved".to_owned()));
    world.later(3600);
    world.settle("an hour later");
    assert_eq!(world.condition(), "False HookSuspended");
    assert!(world.message().contains("the array is being moved"), "{}", world.message());
    assert!(world.seen.pods.is_empty(), "{}", world.transcript);
    world.seen.source.metadata.generation = world.seen.source.metadata.generation.map(|it| it + 1);
    run(&mut world);
    assert_eq!(world.sync().attempt, 2, "{}", world.transcript);
    assert_eq!(world.status().suspended, None);
}

/// A hook that breaks changes nothing, and that is told.
#[test]
fn a_failure_hook_that_breaks_is_told_and_holds_nothing_up() {
    let mut world = World::new(FAILURE);
    world.modules(|modules| {
        *modules = Modules::one("notify", &[Point::Failure]);
        modules.says.on_failure = fails(Reason::HookFailed, "the pager answered 500");
    });
    run(&mut world);
    lose(&mut world);
    let ready = world.status().conditions.into_iter().find(|it| it.type_ == "HooksReady").unwrap();
    assert!(ready.message.contains("the pager answered 500"), "{}", ready.message);
    world.later(30);
    run(&mut world);
    assert_eq!(world.sync().attempt, 2);
}

/// A source whose hook is gone forgets what the hook was to hear.
#[test]
fn what_nobody_is_to_hear_is_forgotten() {
    let mut world = World::new(FAILURE);
    world.modules(|modules| *modules = Modules::one("notify", &[Point::Failure]));
    run(&mut world);
    lose(&mut world);
    world.seen.source.spec.hooks = yaml("[]");
    world.settle("without the hook");
    assert_eq!(world.status().failed_attempt, None);
}
