//! Deletion, at any time.

use super::world::{World, yaml};
use scribe_core::decision::{Action, Decision, SyncResult};
use serde_json::json;

const MANUAL: &str = "{sourcePVC: data, trigger: {manual: one}, rsync: {sshKeys: db-keys}}";

fn delete(world: &mut World) {
    world.seen.source.metadata.deletion_timestamp = Some(yaml("2026-03-01T01:00:00Z"));
    world.transcript.clear();
}

#[test]
fn pods_go_first_then_cuts_then_the_secret_then_the_object() {
    let mut world = World::new(MANUAL);
    world.start_sync();
    world.slow_deletion = true;
    delete(&mut world);
    world.settle("deleted");
    assert_eq!(world.seen.pods.len(), 1);
    world.sweep();
    world.settle("the pod is gone");
    world.sweep();
    world.pass("the cut is gone");
    assert_eq!(world.seen.source.metadata.finalizers, None);
    assert_eq!(world.decide(), Decision::default());
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn it_works_in_every_phase_and_whatever_the_spec_says() {
    type Case = (&'static str, fn(&mut World));
    let phases: [Case; 8] = [
        ("recorded", |world| world.crash("")),
        ("cutting", |world| {
            world.pass("");
        }),
        ("starting", |world| world.settle("")),
        ("transferring", World::start_sync),
        ("ended", |world| {
            world.start_sync();
            world.end_mover(0, json!({}));
        }),
        ("waiting for a retry", |world| {
            world.start_sync();
            world.end_mover(1, json!({"reason": "ConnectionLost"}));
            world.settle("");
        }),
        ("paused", |world| {
            world.start_sync();
            world.seen.source.spec.paused = true;
        }),
        ("broken", |world| {
            world.start_sync();
            world.seen.source.spec.rsync.as_mut().unwrap().port = Some(0);
            world.seen.claim = None;
        }),
    ];
    for (phase, reach) in phases {
        let mut world = World::new(MANUAL);
        reach(&mut world);
        delete(&mut world);
        for _ in 0..4 {
            world.pass(phase);
        }
        assert!(world.seen.pods.is_empty() && world.seen.cuts.is_empty(), "{phase}");
        assert_eq!(world.seen.source.metadata.finalizers, None, "{phase}");
    }
}

#[test]
fn a_sync_that_is_cut_short_is_told_once() {
    let mut world = World::new(MANUAL);
    world.start_sync();
    world.slow_deletion = true;
    delete(&mut world);
    assert_eq!(world.pass("deleted").ended.unwrap().result, SyncResult::Aborted);
    assert_eq!(world.pass("still there").ended, None);
}

#[test]
fn the_finalizer_stays_until_nothing_is_left() {
    let mut world = World::new(MANUAL);
    world.start_sync();
    delete(&mut world);
    world.slow_deletion = true;
    for _ in 0..5 {
        let decision = world.pass("not gone");
        assert!(!decision.first.contains(&Action::RemoveFinalizer));
    }
}

#[test]
fn what_was_copied_with_our_labels_is_not_ours_to_delete() {
    let mut world = World::new(MANUAL);
    world.start_sync();
    let mut cut = world.cut().clone();
    cut.metadata.name = Some("copy".to_owned());
    cut.metadata.uid = Some("copied-cut".to_owned());
    cut.metadata.owner_references = None;
    world.seen.cuts.insert(0, cut);
    let mut pod = world.pod().clone();
    pod.metadata.name = Some("copy".to_owned());
    pod.metadata.uid = Some("copied-pod".to_owned());
    pod.metadata.owner_references = None;
    pod.spec.as_mut().unwrap().volumes =
        Some(yaml("[{name: data, persistentVolumeClaim: {claimName: copy}}]"));
    world.seen.pods.insert(0, pod);
    world.finish_sync();
    world.settle("the sync is over");
    let left = |world: &World| -> Vec<_> {
        let cuts = world.seen.cuts.iter().map(|cut| cut.metadata.name.clone());
        cuts.chain(world.seen.pods.iter().map(|pod| pod.metadata.name.clone())).flatten().collect()
    };
    assert_eq!(left(&world), ["copy", "copy"]);
    delete(&mut world);
    world.settle("deleted");
    assert_eq!(left(&world), ["copy", "copy"]);
    assert_eq!(world.seen.source.metadata.finalizers, None);
}
