//! Syncs that a guard refuses, and how the next one is let through.

use super::story::mover;
use super::world::World;
use scribe_crds::names::ADMIT_SYNC;
use scribe_crds::v1alpha1::Guard;
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn world(trigger: &str) -> World {
    World::new(&format!("{{sourcePVC: data, trigger: {trigger}, rsync: {{sshKeys: db-keys}}}}"))
}

fn hourly() -> World {
    world("{schedule: '@hourly'}")
}

fn left(guard: &str) -> Value {
    json!({
        "reason": "SyncGuarded",
        "message": "the source holds no file, and the 1200 files of the receiving claim would be deleted",
        "guarded": {
            "syncId": "whatever", "attempt": 1, "claimUid": "claim-uid", "guard": guard, "percent": 0,
            "forecast": {"sourceFiles": 0, "files": 1200, "deletedFiles": 1200, "rewrittenFiles": 0,
                "bytes": 3_000_000_000_u64, "deletedBytes": 3_000_000_000_u64},
        },
    })
}

/// From nothing to a sync that a guard has refused.
fn refused(world: &mut World) -> String {
    world.start_sync();
    let id = world.sync().id;
    world.end_mover(2, left("emptySource"));
    world.settle("a guard has refused it");
    id
}

fn annotate(world: &mut World, id: &str) {
    let annotations = BTreeMap::from([(ADMIT_SYNC.to_owned(), id.to_owned())]);
    world.seen.source.metadata.annotations = Some(annotations);
}

/// An hour later the next sync runs; whether its mover has guards.
fn next_is_guarded(world: &mut World) -> bool {
    world.later(3600);
    world.start_sync();
    world.jobs.last().unwrap().guards.is_some()
}

#[test]
fn a_guarded_sync_is_told_with_the_ways_out_and_let_through_once() {
    let mut world = hourly();
    world.start_sync();
    world.finish_sync();
    world.later(3600);
    world.transcript.clear();
    let id = refused(&mut world);
    let status = world.status();
    let guarded = status.guarded.expect("a record");
    assert_eq!(
        (&guarded.sync_id, guarded.source_uid.as_str(), guarded.guard),
        (&id, "claim-uid", Guard::EmptySource)
    );
    assert_eq!(status.recovery_point.unwrap().sync_id, "sync0001");
    annotate(&mut world, &id);
    world.settle("its user admits the next one");
    assert!(!next_is_guarded(&mut world));
    assert_eq!((world.sync().admits, world.status().guarded), (Some(id.clone()), None));
    // All its attempts are admitted.
    world.end_mover(1, json!({"reason": "ConnectionLost"}));
    world.settle("the connection breaks");
    world.later(20);
    world.settle("the next attempt");
    assert_eq!((world.sync().attempt, world.jobs.last().unwrap().guards), (2, None));
    world.run_pod();
    world.finish_sync();
    insta::assert_snapshot!("guarded", world.transcript);
    // The annotation is still there, and its time is over.
    assert!(next_is_guarded(&mut world));
    world.end_mover(2, left("deletedFiles"));
    world.settle("refused again");
    assert_eq!(world.status().guarded.unwrap().guard, Guard::DeletedFiles);
    assert!(next_is_guarded(&mut world));
}

#[test]
fn only_the_sync_that_was_refused_last_can_be_named() {
    let mut world = hourly();
    let first = refused(&mut world);
    world.later(3600);
    let second = refused(&mut world);
    assert_ne!(first, second);
    for name in [&first, "", "nonsense"] {
        annotate(&mut world, name);
        assert!(next_is_guarded(&mut world), "{name}");
        // What else fails was not refused.
        world.end_mover(2, json!({"reason": "NeedsPrivilege"}));
        world.settle("something else");
        assert_eq!(world.status().guarded.unwrap().sync_id, second);
    }
    annotate(&mut world, &second);
    assert!(!next_is_guarded(&mut world));
}

#[test]
fn another_claim_of_that_name_is_not_admitted() {
    let mut world = hourly();
    let id = refused(&mut world);
    annotate(&mut world, &id);
    world.seen.claim.as_mut().unwrap().metadata.uid = Some("another-uid".to_owned());
    world.settle("the claim is made anew");
    assert!(!world.message().contains("let it pass"), "{}", world.message());
    assert!(next_is_guarded(&mut world));
}

#[test]
fn a_sync_that_passes_by_itself_ends_the_matter() {
    let mut world = hourly();
    let id = refused(&mut world);
    assert!(next_is_guarded(&mut world));
    world.finish_sync();
    assert_eq!(world.status().guarded, None);
    annotate(&mut world, &id);
    assert!(next_is_guarded(&mut world));
}

#[test]
fn who_starts_syncs_by_hand_is_told_that_it_takes_one_more() {
    let mut world = world("{manual: one}");
    let id = refused(&mut world);
    assert!(
        world.message().contains(&format!("rsrc/db scribe.dev/admit-sync={id}` lets the next sync pass, which a new value of spec.trigger.manual starts.")),
        "{}",
        world.message()
    );
    annotate(&mut world, &id);
    world.settle("admitted");
    assert!(world.status().current_sync.is_none(), "an annotation starts nothing");
    assert!(world.message().contains(&format!("{ADMIT_SYNC}={id} asks.")), "{}", world.message());
    world.seen.source.spec.trigger.as_mut().unwrap().manual = Some("two".to_owned());
    world.settle("a new tag");
    assert_eq!(world.sync().admits, Some(id));
}

#[test]
fn the_mover_is_told_what_the_spec_allows() {
    let mut world = World::new(
        "{sourcePVC: data, guards: {emptySource: Allow, maxDeletedPercent: 100, maxRewrittenPercent: 7}, rsync: {sshKeys: k}}",
    );
    world.start_sync();
    let guards = world.jobs[0].guards.unwrap();
    assert_eq!(
        (guards.empty_source, guards.max_deleted_percent, guards.max_rewritten_percent),
        (false, 100, 7)
    );
}

#[test]
fn a_refusal_without_numbers_is_one_all_the_same() {
    let mut world = hourly();
    world.start_sync();
    world.end_mover(2, json!({"reason": "SyncGuarded", "message": "as the mover says"}));
    world.settle("a guard has refused it");
    assert_eq!(world.condition(), "False SyncGuarded");
    assert_eq!(world.status().guarded, None);
}

#[test]
fn what_has_passed_once_is_not_judged_by_what_is_left_of_it() {
    // The mover says so with its last words, or is seen to be past the guards and has none.
    for says_so in [true, false] {
        let mut world = hourly();
        world.start_sync();
        if says_so {
            world.end_mover(1, json!({"reason": "ConnectionLost", "guardsPassed": true}));
        } else {
            mover(&mut world, "surveying", Value::Null);
            world.settle("the mover asks what it would do");
            assert!(!world.sync().guards_passed);
            mover(&mut world, "transferring", Value::Null);
            world.settle("the mover sends");
            world.end_pod(137, "");
        }
        world.settle("the first attempt ends");
        world.later(20);
        world.settle("the next attempt");
        assert_eq!((world.sync().attempt, world.jobs.last().unwrap().guards), (2, None), "{says_so}");
        world.run_pod();
        world.finish_sync();
        assert!(next_is_guarded(&mut world), "the next sync is another matter");
    }
}
