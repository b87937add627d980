//! The replicas of a destination of the same name that is gone.

use super::world::{RD, World};
use scribe_core::observed::SnapshotClass;
use scribe_crds::names;
use scribe_crds::snapshots::VolumeSnapshot;

const LEFT: [&str; 3] = ["db-20260304t050000z", "db-20260304t050100z", "db-20260304t050200z"];

/// What a destination called `db` has left behind in the namespace `east`.
fn left() -> Vec<VolumeSnapshot> {
    let mut world = World::listening();
    for minute in 0..3 {
        world.sync(&format!("s{minute}"), &format!("2026-03-04T05:0{minute}:00Z"));
    }
    let mut left = world.seen.snapshots;
    for snapshot in &mut left {
        snapshot.metadata.labels.as_mut().unwrap().insert(names::OWNER_UID.into(), "gone-uid".into());
    }
    left
}

/// A new destination of that name, with this `retain.last`.
fn heir(last: u32) -> World {
    let mut world = World::new(RD);
    world.spec(|spec| spec.retain.get_or_insert_default().last = last);
    world.seen.snapshots = left();
    world
}

fn why(world: &World) -> Vec<String> {
    let replicas = world.status().replicas.iter();
    replicas.map(|replica| format!("{}: {}", replica.name, replica.kept_because)).collect()
}

#[test]
fn they_are_shown_and_promoted_and_kept_until_there_is_one_of_its_own() {
    let mut world = heir(2);
    let log = world.settle();
    assert_eq!(log.matches("adopt Snapshot").count(), 3, "{log}");
    assert_eq!(log.matches("ReplicasAdopted").count(), 1, "{log}");
    assert!(log.contains("replicas: 3") && log.contains("lets go of 1"), "{log}");
    let status = world.status();
    assert_eq!(status.latest_image.as_ref().unwrap().name, LEFT[2]);
    assert_eq!(status.recovery_point.as_ref().unwrap().sync_id, "s2");
    // Who may send is settled anew, with the new keys.
    assert_eq!(status.source, None);
    assert_eq!(
        why(&world),
        [
            format!("{}: last 2", LEFT[2]),
            format!("{}: last 2", LEFT[1]),
            format!("{}: until a replica of this destination's own is published", LEFT[0]),
        ]
    );
    world.sync("new", "2026-03-04T05:30:00Z");
    assert_eq!(world.snapshots(), [format!("{}*", LEFT[2]), "db-20260304t053000z*".to_owned()]);
}

#[test]
fn a_controller_that_dies_in_between_goes_on() {
    let mut world = heir(5);
    while world.seen.destination.metadata.finalizers.is_none() {
        world.pass();
    }
    for _ in 0..3 {
        let decision = world.decide();
        let adoptions = |decision: &scribe_core::decision::Decision<_>| {
            let is_one =
                |action: &&scribe_core::decision::Action| format!("{action:?}").starts_with("AdoptSnapshot");
            decision.then.iter().filter(is_one).count()
        };
        if adoptions(&decision) == 0 {
            break;
        }
        let first =
            decision.then.iter().position(|action| format!("{action:?}").starts_with("AdoptSnapshot"));
        world.carry_out(&decision, decision.first.len() + 1 + first.unwrap() + 1);
    }
    world.settle();
    assert_eq!(world.status().replicas.len(), 3);
}

#[test]
fn what_somebody_else_made_or_copied_is_left_alone() {
    type Change = fn(&mut VolumeSnapshot);
    let cases: [(&str, Change); 7] = [
        ("of another namespace or name", |one| set(one, names::DESTINATION, "east/other")),
        ("a copy by another name", |one| one.metadata.name = Some("my-copy".into())),
        ("a copy by the name of another time", |one| one.metadata.name = Some("db-20260304t050900z".into())),
        ("not published", |one| drop(one.metadata.annotations.as_mut().unwrap().remove(names::PUBLISHED))),
        ("somebody's own", |one| {
            one.metadata.owner_references = Some(vec![
                serde_json::from_str(r#"{"apiVersion":"v1","kind":"X","name":"x","uid":"x"}"#).unwrap(),
            ]);
        }),
        ("without the mark", |one| drop(one.metadata.labels.as_mut().unwrap().remove(names::MANAGED_BY))),
        ("of a time to come", |one| {
            set(one, names::DATA_TIME, "2027-03-04T05:00:00Z");
            one.metadata.name = Some("db-20270304t050000z".into());
        }),
    ];
    for (what, change) in cases {
        let mut world = heir(1);
        world.seen.snapshots.truncate(1);
        change(&mut world.seen.snapshots[0]);
        let before = world.seen.snapshots.clone();
        let log = world.settle();
        assert!(!log.contains("dopt"), "{what}: {log}");
        assert_eq!(world.seen.snapshots, before, "{what}");
        assert_eq!(world.status().latest_image, None, "{what}");
    }
    // One that was made at a later try is as good as the others.
    let mut world = heir(1);
    world.seen.snapshots.truncate(1);
    world.seen.snapshots[0].metadata.name = Some(format!("{}-2", LEFT[0]));
    world.settle();
    assert_eq!(world.status().replicas.len(), 1);
}

fn set(snapshot: &mut VolumeSnapshot, key: &str, value: &str) {
    snapshot.metadata.annotations.as_mut().unwrap().insert(key.to_owned(), value.to_owned());
}

#[test]
fn what_appears_after_the_first_publication_is_its_users_own() {
    let mut world = World::listening();
    world.spec(|spec| spec.retain.get_or_insert_default().last = 1);
    world.sync("own", "2026-03-04T05:30:00Z");
    world.seen.snapshots.extend(left());
    world.settle();
    assert_eq!((world.seen.snapshots.len(), world.status().replicas.len()), (4, 1));
}

#[test]
fn they_stay_with_the_next_one_too() {
    let mut world = heir(5);
    world.settle();
    world.start_deletion();
    world.settle();
    assert!(world.is_gone);
    assert_eq!(world.seen.snapshots.len(), 3);
    let annotations = world.seen.snapshots[0].metadata.annotations.as_ref().unwrap();
    assert_eq!(annotations[names::DESTINATION], "east/db");
    assert_eq!(annotations[names::ADOPTED_FROM], "gone-uid");
}

fn degraded(world: &World) -> String {
    let found = world.status().conditions.iter().find(|condition| condition.type_ == "Degraded").unwrap();
    format!("{} {}: {}", found.status, found.reason, found.message)
}

#[test]
fn a_class_that_is_missing_or_keeps_what_is_pruned_is_told() {
    let mut world = World::listening();
    let class = |policy: Option<&str>| {
        Some(SnapshotClass { name: "cheap".into(), deletion_policy: policy.map(str::to_owned) })
    };
    world.seen.snapshot_class = class(Some("Delete"));
    world.settle();
    assert_eq!(degraded(&world), "False AsExpected: nothing is known to be wrong");
    world.seen.snapshot_class = class(Some("Retain"));
    let log = world.settle();
    assert!(log.contains("SnapshotClassRetains"), "{log}");
    assert!(
        degraded(&world).starts_with("True SnapshotClassRetains: VolumeSnapshotClass cheap"),
        "{}",
        degraded(&world)
    );
    world.seen.snapshot_class = class(None);
    world.settle();
    assert!(
        degraded(&world).starts_with("True SnapshotClassMissing: VolumeSnapshotClass cheap does not exist")
    );
    assert!(world.pass().wake.is_some(), "it is looked for again");
    world.seen.snapshot_class = class(Some("Delete"));
    world.settle();
    assert!(degraded(&world).starts_with("False"));
}
