//! The recovery point objective, and what is said of it.

use super::world::{World, time};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use scribe_core::decision::Decision;
use scribe_crds::v1alpha1::SourceStatus;
use serde_json::json;

const QUARTERLY: &str = "{sourcePVC: data, trigger: {schedule: '*/15 * * * *'}, rsync: {sshKeys: k}}";

/// The two conditions, a line each.
fn conditions(world: &World) -> String {
    let status = world.status();
    let told = |kind: &str| {
        let found = status.conditions.iter().find(|condition| condition.type_ == kind).unwrap();
        format!("{kind}={} {}: {}\n", found.status, found.reason, found.message)
    };
    told("WithinRPO") + &told("Degraded")
}

fn events(decision: &Decision<SourceStatus>) -> Vec<&str> {
    decision.events.iter().map(|note| note.reason.as_str()).collect()
}

#[test]
fn a_schedule_has_an_objective_of_twice_its_longest_gap() {
    let mut world = World::new(QUARTERLY);
    world.start_sync();
    insta::assert_snapshot!(conditions(&world), @r"
    WithinRPO=Unknown NoReplica: there is no replica; the objective of 30m gives the first one until 2026-03-01T00:30:00Z
    Degraded=False AsExpected: nothing is known to be wrong
    ");
    world.finish_sync();
    insta::assert_snapshot!(conditions(&world), @r"
    WithinRPO=True WithinObjective: the newest replica holds the data of 2026-03-01T00:00:10Z; the objective of 30m is kept until 2026-03-01T00:30:10Z
    Degraded=False AsExpected: nothing is known to be wrong
    ");
    let effective = world.status().effective.unwrap();
    assert_eq!(std::time::Duration::from(effective.rpo.unwrap()).as_secs(), 1800);
    assert_eq!(world.jobs[0].rpo_seconds, Some(1800), "the destination is told");
}

#[test]
fn an_objective_that_is_exceeded_is_told_once_and_at_once() {
    let mut world = World::new("{sourcePVC: data, rpo: 10m, trigger: {manual: one}, rsync: {sshKeys: k}}");
    world.start_sync();
    world.finish_sync();
    assert_eq!(world.pass("nothing").wake, Some(time("2026-03-01T00:10:11Z")));
    world.now = time("2026-03-01T00:10:10Z");
    assert!(events(&world.pass("the last second")).is_empty());
    world.later(1);
    assert_eq!(events(&world.pass("too late")), ["ObjectiveExceeded"]);
    insta::assert_snapshot!(conditions(&world), @r"
    WithinRPO=False ObjectiveExceeded: the newest replica holds the data of 2026-03-01T00:00:10Z; the objective of 10m was kept until 2026-03-01T00:10:10Z
    Degraded=False AsExpected: nothing is known to be wrong
    ");
    world.later(3600);
    let decision = world.pass("much too late");
    assert!(events(&decision).is_empty() && decision.wake.is_none());
    // A slip of the pen elsewhere does not end the alarm.
    world.seen.source.spec.rpo = None;
    world.seen.source.spec.rsync.as_mut().unwrap().port = Some(0);
    world.settle("an edit");
    assert_eq!(world.condition(), "False InvalidSpec");
    assert!(conditions(&world).starts_with("WithinRPO=False"), "{}", conditions(&world));
}

#[test]
fn without_a_schedule_and_without_a_number_there_is_no_objective() {
    for trigger in ["{manual: one}", "{minInterval: 1m}"] {
        let mut world =
            World::new(&format!("{{sourcePVC: data, trigger: {trigger}, rsync: {{sshKeys: k}}}}"));
        world.start_sync();
        world.finish_sync();
        insta::allow_duplicates! {
            insta::assert_snapshot!(conditions(&world), @r"
            WithinRPO=Unknown NoObjective: there is no objective: a schedule has one, and spec.rpo of the ReplicationSource sets one
            Degraded=False AsExpected: nothing is known to be wrong
            ");
        }
    }
}

#[test]
fn an_objective_that_cannot_be_kept_is_told_in_numbers() {
    let mut world = World::new(&QUARTERLY.replace("trigger", "rpo: 16m, trigger"));
    world.start_sync();
    world.later(59);
    world.finish_sync();
    assert!(conditions(&world).contains("Degraded=False"), "{}", conditions(&world));
    world.now = time("2026-03-01T00:15:00Z");
    world.start_sync();
    world.later(61);
    world.finish_sync();
    insta::assert_snapshot!(conditions(&world), @r"
    WithinRPO=True WithinObjective: the newest replica holds the data of 2026-03-01T00:15:00Z; the objective of 16m is kept until 2026-03-01T00:31:00Z
    Degraded=True ObjectiveUnreachable: the objective of 16m cannot be kept: ticks of the schedule are up to 15m apart, and the last sync took 1m 1s, so the newest replica gets up to 16m 1s old
    ");
    // A sync that takes longer than ticks are apart makes up for those that it missed.
    let mut world = World::new(&QUARTERLY.replace("trigger", "rpo: 36m, trigger"));
    world.start_sync();
    world.later(20 * 60);
    world.finish_sync();
    let told =
        "syncs start up to 20m apart, and the last sync took 20m, so the newest replica gets up to 40m old";
    assert!(conditions(&world).contains(told), "{}", conditions(&world));
    // And a continuous source: it starts again as soon as it is done.
    let mut world = World::new("{sourcePVC: data, rpo: 1m, rsync: {sshKeys: k}}");
    world.start_sync();
    world.later(40);
    world.finish_sync();
    assert!(conditions(&world).contains("syncs start up to 40s apart"), "{}", conditions(&world));
}

#[test]
fn syncs_that_fail_degrade_it() {
    let mut world = World::new(QUARTERLY);
    world.start_sync();
    world.end_mover(3, json!({"reason": "OtherSourcePinned", "message": "it belongs to another source"}));
    world.settle("refused");
    insta::assert_snapshot!(conditions(&world), @r"
    WithinRPO=Unknown NoReplica: there is no replica; the objective of 30m gives the first one until 2026-03-01T00:30:00Z
    Degraded=True SyncsFail: 1 sync has failed since the last successful one, the last with OtherSourcePinned
    ");
}

#[test]
fn within_a_long_pause_of_the_schedule_that_pause_counts() {
    let spec = "{sourcePVC: data, trigger: {schedule: '*/15 9-17 * * 1-5'}, rsync: {sshKeys: k}}";
    let mut world = World::new(spec);
    // A Friday evening, and the Sunday after it.
    world.now = time("2026-03-06T17:45:00Z");
    world.start_sync();
    world.finish_sync();
    world.now = time("2026-03-08T20:00:00Z");
    world.settle("a weekend");
    assert!(conditions(&world).starts_with("WithinRPO=True"), "{}", conditions(&world));
}

#[test]
fn an_objective_does_not_shrink_while_the_next_tick_comes_nearer() {
    let mut world = World::new("{sourcePVC: data, trigger: {schedule: '0 0 1,2 * *'}, rsync: {sshKeys: k}}");
    world.now = time("2026-03-02T00:00:00Z");
    world.start_sync();
    world.finish_sync();
    for now in ["2026-03-09T12:00:00Z", "2026-03-23T12:00:00Z", "2026-03-31T23:59:00Z"] {
        world.now = time(now);
        world.settle("an event");
        assert!(conditions(&world).starts_with("WithinRPO=True"), "{now}: {}", conditions(&world));
    }
}

#[test]
fn a_source_that_waits_for_its_claim_is_not_late() {
    let mut world = World::new(QUARTERLY);
    let claim = world.seen.claim.take();
    world.settle("no claim yet");
    world.later(7 * 24 * 3600);
    let decision = world.pass("a week later");
    assert!(events(&decision).is_empty());
    assert!(conditions(&world).starts_with("WithinRPO=Unknown SourceMissing"), "{}", conditions(&world));
    // The clock starts with the claim.
    world.seen.claim = claim;
    world.seen.claim.as_mut().unwrap().metadata.creation_timestamp = Some(Time(world.now));
    world.settle("there it is");
    assert!(conditions(&world).starts_with("WithinRPO=Unknown NoReplica"), "{}", conditions(&world));
}
