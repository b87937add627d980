//! When a sync starts.

use super::world::{World, time};
use scribe_crds::v1alpha1::{Phase, TriggerKind};
use serde_json::json;

fn with_trigger(trigger: &str) -> World {
    World::new(&format!("{{sourcePVC: data, trigger: {trigger}, rsync: {{sshKeys: db-keys}}}}"))
}

fn next(world: &World) -> String {
    world.status().next_sync_time.map(|time| time.0.to_string()).unwrap_or_default()
}

fn fail(world: &mut World) {
    world.end_mover(
        3,
        json!({"reason": "OtherSourcePinned", "message": "The destination belongs to another source"}),
    );
    world.settle("refused");
}

#[test]
fn a_schedule_without_on_create_waits_for_its_tick() {
    let mut world = with_trigger("{schedule: '30 2 * * *', timeZone: Europe/Berlin, onCreate: false}");
    world.settle("new");
    assert_eq!(
        (world.condition().as_str(), next(&world).as_str()),
        ("False WaitingForSchedule", "2026-03-01T01:30:00Z")
    );
    assert_eq!(world.pass("nothing").wake, Some(time("2026-03-01T01:30:00Z")));
    world.now = time("2026-03-01T01:29:59Z");
    world.settle("not yet");
    assert!(world.status().current_sync.is_none());
    world.later(1);
    world.pass("the tick");
    assert_eq!(world.sync().trigger, Some(TriggerKind::Schedule));
}

#[test]
fn missed_ticks_are_made_up_for_by_one_sync() {
    let mut world = with_trigger("{schedule: '*/5 * * * *'}");
    world.start_sync();
    world.finish_sync();
    world.now = time("2026-03-03T12:34:00Z");
    world.start_sync();
    assert_eq!(world.sync().trigger, Some(TriggerKind::Schedule));
    world.later(5);
    world.finish_sync();
    assert!(world.status().current_sync.is_none());
    assert_eq!(next(&world), "2026-03-03T12:35:00Z");
}

#[test]
fn ticks_that_pass_while_a_sync_runs_are_made_up_for_by_one_sync() {
    let mut world = with_trigger("{schedule: '@hourly'}");
    world.start_sync();
    world.now = time("2026-03-01T05:20:00Z");
    world.finish_sync();
    assert_eq!(world.sync().id, "sync0002");
    world.start_sync();
    world.finish_sync();
    assert_eq!(next(&world), "2026-03-01T06:00:00Z");
}

#[test]
fn a_failed_tag_waits_for_a_new_one_even_past_scheduled_syncs() {
    let mut world = with_trigger("{schedule: '@hourly', manual: one, onCreate: false}");
    world.start_sync();
    assert_eq!(world.sync().trigger, Some(TriggerKind::Manual));
    fail(&mut world);
    assert_eq!(
        (world.condition().as_str(), world.status().phase),
        ("False OtherSourcePinned", Some(Phase::Failed))
    );
    world.now = time("2026-03-01T01:00:00Z");
    world.start_sync();
    assert_eq!(world.sync().trigger, Some(TriggerKind::Schedule));
    world.finish_sync();
    assert!(world.status().current_sync.is_none(), "the failed tag is not tried again");
    assert_eq!(world.status().last_manual_sync, None);
    world.seen.source.spec.trigger.as_mut().unwrap().manual = Some("two".to_owned());
    world.start_sync();
    world.finish_sync();
    assert_eq!(world.status().last_manual_sync.as_deref(), Some("two"));
}

#[test]
fn a_tag_that_is_done_is_idle() {
    let mut world = with_trigger("{manual: one}");
    world.start_sync();
    world.finish_sync();
    assert_eq!(
        (world.condition().as_str(), world.status().phase),
        ("False WaitingForManual", Some(Phase::Idle))
    );
    let decision = world.pass("nothing");
    assert_eq!((decision.wake, decision.then.len()), (None, 0));
}

#[test]
fn continuous_syncs_keep_their_distance_and_longer_after_failures() {
    let mut world = with_trigger("{minInterval: 1m}");
    world.start_sync();
    world.later(20);
    world.finish_sync();
    assert_eq!(
        (world.condition().as_str(), next(&world).as_str()),
        ("False WaitingForInterval", "2026-03-01T00:01:10Z")
    );
    let mut pauses = Vec::new();
    for _ in 0..7 {
        world.now = world.status().next_sync_time.unwrap().0;
        world.start_sync();
        assert_eq!(world.sync().trigger, Some(TriggerKind::Continuous));
        fail(&mut world);
        pauses.push(world.status().next_sync_time.unwrap().0.as_second() - world.now.as_second());
    }
    assert_eq!(pauses[0], 60, "the interval, as long as it is longer");
    assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1] + 75), "{pauses:?}");
    assert!(pauses[6] > 200 && pauses[6] <= 300, "{pauses:?}");
    assert_eq!(world.status().consecutive_failures, 7);
    world.now = world.status().next_sync_time.unwrap().0;
    world.start_sync();
    world.finish_sync();
    assert_eq!(world.status().consecutive_failures, 0);
}

#[test]
fn a_failed_schedule_is_not_tried_again_in_the_same_moment() {
    let mut world = with_trigger("{schedule: '* * * * *'}");
    world.start_sync();
    world.later(180);
    fail(&mut world);
    assert!(world.status().current_sync.is_none());
    assert_eq!(world.status().next_sync_time.unwrap().0.as_second() - world.now.as_second(), 10);
}

#[test]
fn a_clock_that_was_wrong_once_does_no_harm() {
    let mut world = with_trigger("{schedule: '@daily'}");
    world.now = time("2036-01-01T00:00:00Z");
    world.start_sync();
    world.end_mover(1, json!({"reason": "ConnectionLost"}));
    world.settle("lost");
    // The clock is put right: neither the retry nor the next tick waits for ten years.
    world.now = time("2026-03-01T12:00:00Z");
    world.settle("the clock is right again");
    assert_eq!(world.jobs.len(), 2);
    world.run_pod();
    world.finish_sync();
    assert_eq!(world.sync().id, "sync0002", "one sync at once");
    world.start_sync();
    world.finish_sync();
    assert_eq!(next(&world), "2026-03-02T00:00:00Z", "and then by the schedule");
}

/// When the next syncs start, by the schedule and the jitter of a source with this uid.
fn starts(trigger: &str, uid: &str, count: usize) -> Vec<i64> {
    let mut world = with_trigger(trigger);
    world.seen.source.metadata.uid = Some(uid.to_owned());
    world.settle("new");
    let mut starts = Vec::new();
    for _ in 0..count {
        world.now = world.status().next_sync_time.unwrap().0;
        starts.push(world.now.as_second() - time("2026-03-01T00:00:00Z").as_second());
        world.start_sync();
        world.later(5);
        world.finish_sync();
    }
    starts
}

#[test]
fn jitter_is_an_objects_own_and_skips_no_tick() {
    const HOUR: i64 = 3600;
    let hourly = "{schedule: '@hourly', jitter: 10m, onCreate: false}";
    let one = starts(hourly, "one", 3);
    let delay = one[0] - HOUR;
    assert!((0..=600).contains(&delay), "{one:?}");
    assert_eq!(one, [HOUR + delay, 2 * HOUR + delay, 3 * HOUR + delay]);
    assert_eq!(starts(hourly, "one", 3), one, "another delay for the same source");
    let delays: std::collections::BTreeSet<i64> =
        (0..50).map(|number| starts(hourly, &format!("uid-{number}"), 1)[0] % HOUR).collect();
    assert!(delays.len() > 40 && delays.last() <= Some(&600), "{delays:?}");
    // A jitter that is longer than the time between two ticks.
    let often = starts("{schedule: '*/5 * * * *', jitter: 1h, onCreate: false}", "one", 5);
    assert!(often.windows(2).all(|pair| pair[1] - pair[0] == 300), "{often:?}");
}
