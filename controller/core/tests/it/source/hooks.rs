//! Hooks of a source over several passes: what is asked how often, and what a restart forgets.

use super::world::{World, job, time};
use crate::hooks::{Known, Modules, Said};
use scribe_crds::v1alpha1::{OnError, TriggerKind};
use scribe_hooks_contract::points::{Point, TransferOptions, Verdict};
use scribe_hooks_contract::reason::Reason;

const DECISION: &str = "{sourcePVC: data, trigger: {schedule: '@hourly'}, rsync: {sshKeys: db-keys},
  hooks: [{module: window, points: [Decision]}]}";
const TRANSFER: &str = "{sourcePVC: data, trigger: {manual: one}, rsync: {sshKeys: db-keys},
  hooks: [{module: tune, points: [Transfer]}]}";

fn says(world: &mut World, verdict: Verdict) {
    world.modules(|modules| modules.says.decide = Some(Said::Answers(verdict)));
}

fn defer(seconds: u32) -> Verdict {
    Verdict::Defer { seconds, message: "busy".to_owned() }
}

fn with_decision(verdict: Verdict) -> World {
    let mut world = World::new(DECISION);
    world.modules(|modules| *modules = Modules::one("window", &[Point::Decision]));
    says(&mut world, verdict);
    world
}

#[test]
fn a_sync_is_asked_about_once_and_its_attempts_are_not() {
    let mut world = with_decision(Verdict::Proceed);
    world.settle("new");
    // The settings, and the sync.
    assert_eq!((world.asked, world.sync().id.as_str()), (2, "sync0001"));
    world.bind_cut();
    world.settle("bound");
    world.run_pod();
    world.settle("runs");
    world.end_mover(1, serde_json::json!({"reason": "ConnectionLost", "message": "gone"}));
    world.settle("lost");
    world.later(30);
    world.settle("the next attempt");
    assert_eq!((world.asked, world.sync().attempt), (2, 2));
}

#[test]
fn what_was_put_off_is_asked_about_at_its_time_and_not_after_a_restart() {
    let mut world = with_decision(defer(600));
    world.settle("new");
    assert_eq!((world.asked, world.condition().as_str()), (2, "False HookDeferred"));
    world.restart();
    world.later(300);
    world.settle("another process, five minutes later");
    assert_eq!(world.asked, 2);
    says(&mut world, Verdict::Proceed);
    world.later(300);
    world.settle("its time");
    assert_eq!((world.asked, world.sync().trigger), (3, Some(TriggerKind::OnCreate)));
}

#[test]
fn a_hook_cannot_put_a_sync_off_for_ever() {
    let mut world = with_decision(defer(u32::MAX));
    world.settle("new");
    assert_eq!(world.status().next_sync_time.unwrap().0, time("2026-03-02T00:00:10Z"));
    let mut world = with_decision(defer(0));
    world.settle("new");
    assert_eq!(world.status().next_sync_time.unwrap().0, time("2026-03-01T00:00:11Z"));
}

#[test]
fn a_changed_spec_is_asked_about_anew() {
    let mut world = with_decision(defer(86_400));
    world.settle("new");
    says(&mut world, Verdict::Proceed);
    *world.seen.source.metadata.generation.as_mut().unwrap() += 1;
    world.seen.source.spec.hooks[0].settings =
        Some([("from".to_owned(), "22:00".into())].into_iter().collect());
    world.settle("other settings");
    assert_eq!(world.asked, 4, "the settings, the sync; the settings, the sync");
    assert!(world.status().current_sync.is_some());
}

#[test]
fn a_leave_that_waited_too_long_in_the_line_is_asked_for_again() {
    let mut world = with_decision(Verdict::Proceed);
    let decision = world.pass("new");
    world.carry_out(&decision, true);
    world.pass("the settings are fine");
    assert_eq!(world.asked, 2);
    // It has answered, and now others have taken all the places.
    let full = scribe_core::slots::Limits { cluster: 1, namespace: 0, node: 0 };
    let mut slots = scribe_core::slots::Slots::new(full);
    slots.pods.insert(
        ("other".to_owned(), "pod".to_owned()),
        scribe_core::slots::Holder { namespace: "other".to_owned(), node: None, nodes: None },
    );
    world.seen.slots.slots = std::sync::Arc::new(slots);
    world.settle("the places are taken");
    assert_eq!(world.condition(), "False WaitingForSlot");
    world.later(7200);
    world.seen.slots.slots = std::sync::Arc::default();
    world.settle("a place is free");
    assert_eq!(world.asked, 3);
    assert!(world.status().current_sync.is_some());
}

#[test]
fn a_skipped_tick_is_over_and_the_next_one_is_asked_about() {
    let mut world = with_decision(Verdict::Skip("no".to_owned()));
    world.settle("new");
    assert_eq!((world.asked, world.condition().as_str()), (2, "False HookSkipped"));
    world.restart();
    world.settle("another process");
    assert_eq!(world.asked, 2);
    says(&mut world, Verdict::Proceed);
    world.now = time("2026-03-01T01:00:00Z");
    world.settle("the next tick");
    assert_eq!((world.asked, world.sync().trigger), (3, Some(TriggerKind::Schedule)));
}

#[test]
fn continuous_replication_that_was_skipped_waits_for_its_interval() {
    let spec = "{sourcePVC: data, trigger: {minInterval: 5m}, rsync: {sshKeys: db-keys},
      hooks: [{module: window, points: [Decision]}]}";
    let mut world = World::new(spec);
    world.modules(|modules| *modules = Modules::one("window", &[Point::Decision]));
    says(&mut world, Verdict::Skip("no".to_owned()));
    world.settle("new");
    assert_eq!(world.status().next_sync_time.unwrap().0, time("2026-03-01T00:05:10Z"));
    assert_eq!(world.asked, 2);
    world.now = time("2026-03-01T00:05:10Z");
    world.settle("the interval is over");
    assert_eq!(world.asked, 3);
}

#[test]
fn a_tag_that_was_skipped_stays_skipped_past_the_ticks_that_follow() {
    let mut world = with_decision(Verdict::Skip("no".to_owned()));
    world.seen.source.spec.trigger.as_mut().unwrap().manual = Some("one".to_owned());
    world.settle("a tag, and then the first sync, which no tag asked for");
    assert_eq!(world.asked, 3);
    let skip = world.status().last_skip.unwrap();
    assert_eq!((skip.tag.as_deref(), skip.trigger), (Some("one"), TriggerKind::OnCreate));
    world.now = time("2026-03-01T01:00:00Z");
    world.settle("a tick");
    assert_eq!(world.asked, 4);
    assert!(world.status().last_manual_sync.is_none());
}

#[test]
fn a_hook_that_breaks_is_asked_again_after_ever_longer_pauses() {
    let mut world = with_decision(Verdict::Proceed);
    let broken = Said::Fails { reason: Reason::HookTrap, message: "trap".to_owned() };
    world.modules(|modules| modules.says.decide = Some(broken));
    world.settle("new");
    let mut pauses = Vec::new();
    for _ in 0..4 {
        let next = world.status().next_sync_time.unwrap().0;
        pauses.push(next.as_second() - world.now.as_second());
        world.now = next;
        world.settle("again");
    }
    assert_eq!(pauses, [10, 20, 40, 80]);
    says(&mut world, Verdict::Proceed);
    world.later(300);
    world.settle("it is well again");
    assert!(world.status().current_sync.is_some());
    let ready = world.status().conditions.into_iter().find(|condition| condition.type_ == "HooksReady");
    assert_eq!(ready.unwrap().reason, "HooksCanRun");
}

#[test]
fn a_source_without_hooks_says_nothing_of_them() {
    let mut world = with_decision(Verdict::Proceed);
    world.settle("new");
    world.seen.source.spec.hooks.clear();
    world.settle("no hooks any more");
    let status = world.status();
    assert!(status.hooks.is_empty() && status.conditions.iter().all(|it| it.type_ != "HooksReady"));
}

fn with_transfer(on_error: OnError) -> World {
    let mut world = World::new(TRANSFER);
    world.seen.source.spec.hooks[0].on_error = on_error;
    world.modules(|modules| *modules = Modules::one("tune", &[Point::Transfer]));
    world
}

fn tunes(world: &mut World, options: TransferOptions) {
    world.modules(|modules| modules.says.tune = Some(Said::Answers(options)));
}

#[test]
fn each_attempt_is_tuned_once_and_the_job_says_how() {
    let mut world = with_transfer(OnError::Fail);
    let excludes = vec!["*.tmp".to_owned()];
    tunes(&mut world, TransferOptions { bandwidth_kib: Some(64), excludes, ..TransferOptions::default() });
    world.settle("new");
    world.bind_cut();
    world.settle("bound");
    let first = job(world.pod());
    assert_eq!((first.bandwidth_limit, first.excludes), (Some(65_536), vec!["*.tmp".to_owned()]));
    assert_eq!(world.asked, 2);
    world.restart();
    world.settle("another process");
    assert_eq!(world.asked, 2);
    tunes(&mut world, TransferOptions::default());
    world.run_pod();
    world.end_mover(1, serde_json::json!({"reason": "ConnectionLost", "message": "gone"}));
    world.settle("lost");
    world.later(30);
    world.settle("the next attempt");
    assert_eq!((world.asked, job(world.pod()).bandwidth_limit), (3, None));
}

#[test]
fn a_sync_that_waits_for_its_module_goes_on_when_that_is_there() {
    let mut world = with_transfer(OnError::Fail);
    tunes(&mut world, TransferOptions::default());
    world.pass("new");
    world.pass("its settings are judged");
    world
        .modules(|modules| drop(modules.modules.insert("tune".to_owned(), Known::Broken("gone".to_owned()))));
    world.bind_cut();
    world.settle("bound, and the module is broken");
    assert_eq!(world.condition(), "False HookModuleNotReady");
    assert!(world.seen.pods.is_empty());
    let well = Known::Ready(vec![Point::Transfer]);
    world.modules(|modules| drop(modules.modules.insert("tune".to_owned(), well)));
    world.settle("repaired");
    assert_eq!(world.seen.pods.len(), 1);
}

#[test]
fn patterns_are_not_taken_from_a_hook_without_a_look() {
    let many = (0..65).map(|number| format!("{number}")).collect();
    for excludes in [vec![String::new()], vec!["a\0b".to_owned()], vec!["x".repeat(1025)], many] {
        let mut world = with_transfer(OnError::Continue);
        tunes(&mut world, TransferOptions { excludes, ..TransferOptions::default() });
        world.settle("new");
        world.bind_cut();
        world.settle("bound");
        assert!(job(world.pod()).excludes.is_empty());
        assert_eq!(world.status().hooks[0].problem.as_ref().unwrap().reason, "HookOutput");
    }
}

/// Each way in which a hook can break has a reason of its own, its words, and a way out.
#[test]
fn what_broke_is_told_by_its_reason() {
    for reason in [
        Reason::HookTimeout,
        Reason::HookFuel,
        Reason::HookMemory,
        Reason::HookTrap,
        Reason::HookDenied,
        Reason::HookOutput,
        Reason::HookFailed,
        Reason::HookUnavailable,
    ] {
        let mut world = with_decision(Verdict::Proceed);
        let message = "these are its words".to_owned();
        world.modules(|modules| modules.says.decide = Some(Said::Fails { reason, message }));
        world.settle("new");
        let ready = world.status().conditions.into_iter().find(|it| it.type_ == "HooksReady").unwrap();
        assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", reason.as_str()));
        assert!(ready.message.contains("these are its words"), "{}", ready.message);
        let out: scribe_crds::conditions::Reason = ready.reason.parse().unwrap();
        let way_out = out.action().trim_start_matches("Nothing; i");
        assert!(ready.message.ends_with(way_out), "{}", ready.message);
        assert!(world.status().current_sync.is_none());
    }
}
