//! What a sync looks like when nothing goes wrong, and when the controller dies in between.

use super::world::{World, time};
use scribe_core::decision::{Action, SyncResult};
use scribe_crds::v1alpha1::Phase;
use serde_json::json;

const HOURLY: &str = "
sourcePVC: data
rpo: 2h
trigger: {schedule: '@hourly', timeZone: Europe/Berlin}
rsync: {sshKeys: db-keys}
";
const MANUAL: &str = "{sourcePVC: data, trigger: {manual: one}, rsync: {sshKeys: db-keys}}";

pub fn mover(world: &mut World, activity: &str, progress: serde_json::Value) {
    let pod = world.pod().metadata.name.clone().unwrap();
    let state = json!({
        "protocol": 1, "instance": "i", "revision": 1, "activity": activity, "progress": progress,
    });
    world.seen.mover = Some((pod, serde_json::from_value(state).unwrap()));
}

#[test]
fn what_the_destination_waits_for_is_told_at_the_source() {
    let mut world = World::new(MANUAL);
    world.start_sync();
    mover(&mut world, "waiting", json!(null));
    world.settle("the mover was told to wait");
    let asked = "the destination asked to come back a little later";
    assert_eq!(world.message(), format!("Sync {}: {asked}.", world.sync().id));
    world.seen.mover.as_mut().unwrap().1.waiting = Some("claim db:\nno space in the pool".to_owned());
    world.settle("and why");
    assert_eq!(
        world.message(),
        format!("Sync {}: {asked} (claim db: no space in the pool).", world.sync().id)
    );
}

#[test]
fn a_mover_that_falls_silent_is_not_said_to_start() {
    let mut world = World::new(MANUAL);
    world.start_sync();
    mover(&mut world, "transferring", json!(null));
    world.settle("data is sent");
    world.seen.mover = None;
    world.settle("no word from the mover");
    assert_eq!(world.status().phase, Some(Phase::Transferring));
    assert!(world.message().contains("does not answer"), "{}", world.message());
}

#[test]
fn a_sync_that_found_nothing_changed_is_told_apart() {
    let mut world = World::new(MANUAL);
    world.start_sync();
    mover(&mut world, "surveying", json!(null));
    world.settle("the mover runs");
    let words = "the mover looks at what there is to send";
    assert_eq!(world.message(), format!("Sync {}: {words}.", world.sync().id));
    let cut_time = world.sync().cut_time;
    world.end_mover(0, json!({"unchanged": true}));
    let decision = world.pass("the mover has ended");
    assert_eq!(decision.ended.map(|ended| ended.result), Some(SyncResult::Unchanged));
    assert!(decision.events[0].message.contains("nothing had changed"), "{:?}", decision.events);
    world.settle("the sync is over");
    assert_eq!(world.status().recovery_point.map(|point| point.data_time), cut_time);
}

/// What a mover says of its end while its pod still runs.
fn last_words(world: &mut World, sync: &str, result: &str) {
    let ended = json!({
        "protocol": 1, "syncId": sync, "result": result, "message": "", "published": result == "done",
    });
    mover(world, "finished", json!(null));
    world.seen.mover.as_mut().unwrap().1.ended = Some(serde_json::from_value(ended).unwrap());
}

#[test]
fn a_mover_that_says_it_is_published_is_believed_before_its_pod_has_ended() {
    let mut world = World::new(MANUAL);
    world.start_sync();
    let (id, cut_time) = (world.sync().id, world.sync().cut_time);
    last_words(&mut world, &id, "done");
    let decision = world.pass("the mover has said its last words");
    assert_eq!(decision.ended.map(|ended| ended.result), Some(SyncResult::Success));
    assert_eq!(world.status().recovery_point.map(|point| point.data_time), cut_time);
    world.settle("what is left goes");
    assert!(world.seen.pods.is_empty() && world.seen.cuts.is_empty());
}

#[test]
fn other_last_words_count_when_the_pod_has_ended() {
    for (sync, result) in [("another", "done"), ("", "transient"), ("", "permanent"), ("", "refused")] {
        let mut world = World::new(MANUAL);
        world.start_sync();
        let id = if sync.is_empty() { world.sync().id } else { sync.to_owned() };
        last_words(&mut world, &id, result);
        world.settle("the mover has said something");
        assert_eq!(world.sync().attempt, 1, "{result}");
        assert_eq!((world.seen.pods.len(), world.status().recovery_point), (1, None), "{result}");
    }
    // Nor of another pod.
    let mut world = World::new(MANUAL);
    world.start_sync();
    let id = world.sync().id;
    last_words(&mut world, &id, "done");
    world.seen.mover.as_mut().unwrap().0 = "another".to_owned();
    world.settle("somebody has said something");
    assert_eq!(world.status().recovery_point, None);
}

#[test]
fn a_scheduled_sync() {
    let mut world = World::new(HOURLY);
    world.pass("the source is new");
    world.later(2);
    world.pass("the cut is there");
    world.pass("the pod is there");
    world.later(5);
    world.bind_cut();
    world.pass("the cut is bound");
    world.run_pod();
    world.pass("the pod runs");
    mover(&mut world, "connecting", json!(null));
    world.pass("the mover connects");
    let progress = json!({
        "bytesDone": 1_288_490_189_u64, "bytesTotal": 3_113_851_289_u64,
        "filesDone": 10, "filesTotal": 1200, "rate": 10_000_000,
    });
    mover(&mut world, "transferring", progress.clone());
    world.pass("data is being sent");
    mover(&mut world, "awaitingPublication", progress);
    world.pass("the destination makes a snapshot");
    world.later(60);
    world.end_mover(
        0,
        json!({"fidelity": ["security.capability"], "warnings": ["The clocks differ by 7 s."]}),
    );
    world.pass("the mover has ended");
    world.pass("the pod and the cut are gone");
    world.pass("nothing happens");
    world.now = time("2026-03-01T01:00:00Z");
    world.pass("the clock strikes two in Berlin");
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn nothing_is_made_before_it_stands_in_the_status() {
    let mut world = World::new(HOURLY);
    let decision = world.decide();
    assert!(decision.status.as_ref().unwrap().current_sync.is_some());
    assert_eq!(decision.first, [Action::AddFinalizer]);
    assert!(matches!(decision.then.as_slice(), [Action::Create(_), Action::Apply(_)]));
}

#[test]
fn the_controller_dies_after_every_write() {
    let mut world = World::new(MANUAL);
    world.crash("a tag");
    assert!(world.seen.cuts.is_empty());
    world.pass("a new controller");
    world.later(3);
    world.crash("the cut is there");
    assert!(world.seen.pods.is_empty());
    world.pass("a new controller");
    world.bind_cut();
    world.run_pod();
    world.crash("the pod runs");
    world.later(30);
    world.end_mover(1, json!({"reason": "ConnectionLost", "message": "The connection broke"}));
    world.crash("the connection broke");
    assert_eq!((world.seen.pods.len(), world.sync().attempt), (1, 2));
    world.pass("a new controller");
    world.later(10);
    world.crash("the pause is over");
    world.pass("a new controller");
    world.run_pod();
    world.end_mover(0, json!({}));
    world.crash("the second mover has ended");
    assert_eq!((world.seen.pods.len(), world.seen.cuts.len()), (1, 1));
    world.pass("a new controller");
    world.settle("all is quiet");
    assert_eq!((world.seen.pods.len(), world.seen.cuts.len()), (0, 0));
    assert_eq!(world.status().last_manual_sync.as_deref(), Some("one"));
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn every_attempt_sends_the_same_cut() {
    let mut world = World::new(MANUAL);
    world.start_sync();
    world.end_mover(1, json!({"reason": "TransferFailed", "message": "rsync ended with 10"}));
    world.settle("the first attempt failed");
    world.later(11);
    world.settle("the pause is over");
    let jobs = world.jobs.clone();
    let [first, second] = jobs.as_slice() else { panic!("two attempts: {jobs:?}") };
    assert_eq!((first.attempt, second.attempt), (1, 2));
    assert_eq!((&first.cut_uid, &first.data_time), (&second.cut_uid, &second.data_time));
    assert_eq!(first.data_time, world.cut().metadata.creation_timestamp.as_ref().unwrap().0);
}

#[test]
fn the_recovery_point_moves_forward_only() {
    let mut world = World::new(&HOURLY.replace("db-keys", "db-keys, cutTimeout: 3h"));
    world.start_sync();
    let earlier = "2026-02-28T00:00:00Z";
    world.end_mover(1, json!({"reason": "ConnectionLost", "recoveryPoint": [earlier, "syncbefo"]}));
    world.settle("learnt from the handshake that an earlier sync is published");
    let point = world.status().recovery_point.unwrap();
    assert_eq!((point.data_time.0, point.sync_id.as_str()), (time(earlier), "syncbefo"));

    world.later(11);
    world.settle("the pause is over");
    world.run_pod();
    world.end_mover(
        1,
        json!({"reason": "ConnectionLost", "recoveryPoint": ["2026-02-27T00:00:00Z", "older"]}),
    );
    world.settle("an older one");
    world.later(30);
    world.settle("the pause is over");
    world.run_pod();
    world.end_mover(
        1,
        json!({"reason": "ConnectionLost", "recoveryPoint": ["2030-01-01T00:00:00Z", "dream"]}),
    );
    world.settle("one that cannot be");
    assert_eq!(world.status().recovery_point.unwrap().sync_id, "syncbefo");

    // The API server's clock went back between two cuts: the second replica is newer, its data time is not.
    world.later(60);
    world.settle("the pause is over");
    let cut_time = world.sync().cut_time.unwrap();
    world.run_pod();
    world.end_mover(0, json!({}));
    world.settle("published");
    assert_eq!(world.status().recovery_point.unwrap().data_time, cut_time);
    world.now = time("2026-03-01T01:00:00Z");
    world.pass("the next tick");
    world.cut().metadata.creation_timestamp =
        Some(serde_json::from_value(json!("2026-02-28T23:00:00Z")).unwrap());
    world.start_sync();
    world.finish_sync();
    assert_eq!(world.status().recovery_point.unwrap().data_time, cut_time);
}

#[test]
fn a_tag_is_the_one_that_was_read_at_the_start() {
    let mut world = World::new(MANUAL);
    world.start_sync();
    world.seen.source.spec.trigger.as_mut().unwrap().manual = Some("two".to_owned());
    world.finish_sync();
    assert_eq!(world.status().last_manual_sync.as_deref(), Some("one"));
    assert_eq!(world.sync().tag.as_deref(), Some("two"), "and the new tag starts another one");
}

#[test]
fn the_next_sync_waits_until_the_last_ones_copy_is_gone() {
    let mut world = World::new("{sourcePVC: data, rsync: {sshKeys: db-keys}}");
    world.start_sync();
    world.slow_deletion = true;
    world.later(60);
    world.finish_sync();
    assert_eq!(world.condition(), "False CleaningUp");
    assert!(world.message().contains("scribe-src-db-sync0001"), "{}", world.message());
    assert_eq!(world.status().phase, Some(Phase::Waiting));
    world.sweep();
    world.pass("they are gone");
    assert_eq!(world.sync().id, "sync0002");
}

#[test]
fn a_paused_source_finishes_what_runs_and_starts_nothing() {
    let mut world = World::new(MANUAL);
    world.pass("a tag");
    world.seen.source.spec.paused = true;
    world.settle("paused, with a cut and no mover");
    assert_eq!((world.condition().as_str(), world.seen.pods.len()), ("False Paused", 0));
    world.seen.source.spec.paused = false;
    world.start_sync();
    world.seen.source.spec.paused = true;
    world.settle("paused, with a mover that runs");
    assert_eq!(world.condition(), "True SyncInProgress");
    world.finish_sync();
    assert_eq!((world.condition().as_str(), world.status().phase), ("False Paused", Some(Phase::Paused)));
    assert!(world.status().recovery_point.is_some());
    world.seen.source.spec.trigger.as_mut().unwrap().manual = Some("two".to_owned());
    world.settle("a new tag, still paused");
    assert!(world.status().current_sync.is_none());
    // And as everything else in the cluster.
    world.seen.source.spec.paused = false;
    world.seen.around.paused_by = Some("scribe-system".to_owned());
    world.settle("paused with all the others");
    assert!(world.status().current_sync.is_none());
    insta::assert_snapshot!(
        format!("{}: {}", world.condition(), world.message()),
        @"False Paused: everything in this cluster is paused: remove the annotation scribe.dev/pause-all of namespace scribe-system to go on: nothing is started."
    );
    world.seen.around.paused_by = None;
    world.start_sync();
}
