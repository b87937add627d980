//! A destination that overwrites its claim in place.

use super::world::{T1, T2, World, commit, hello};
use scribe_core::decision::{Action, Child, SyncResult};
use scribe_crds::names;
use scribe_crds::v1alpha1::{DeletionPolicy, Phase};
use scribe_mover_contract::guards::Guard;
use scribe_mover_contract::peer::{PublicationState, Verdict};

const DIRECT: &str = "
apiVersion: scribe.dev/v1alpha1
kind: ReplicationDestination
metadata: {name: db, namespace: east, uid: rd-uid, generation: 1, creationTimestamp: 2026-03-04T04:59:00Z}
spec:
  rsync: {copyMethod: Direct, capacity: 10Gi, accessModes: [ReadWriteOnce]}
";

/// A destination that listens, in a cluster that has no snapshots at all.
fn listening() -> World {
    let mut world = World::new(DIRECT);
    world.seen.snapshots_available = false;
    world.settle();
    assert_eq!(world.status().phase, Some(Phase::Listening));
    world
}

fn promotable(world: &World) -> String {
    let found = world.status().conditions.iter().find(|condition| condition.type_ == "Promotable").unwrap();
    format!("{} {}: {}", found.status, found.reason, found.message)
}

fn image(world: &World) -> Option<(String, String)> {
    world.status().latest_image.clone().map(|image| (image.kind, image.name))
}

#[test]
fn the_record_of_the_commit_is_the_publication() {
    let mut world = listening();
    insta::assert_snapshot!(promotable(&world), @"False NoReplica: nothing has been received yet");
    assert!(matches!(world.shake(hello("a", 1, T1)), Verdict::Send { clean: false, .. }));
    insta::assert_snapshot!(promotable(&world), @"False Overwriting: sync a writes into the receiving claim, or was broken off while it did; the next complete sync makes it whole");
    world.commit(commit("a", 1, T1));
    let claim = Some(("PersistentVolumeClaim".to_owned(), "scribe-dst-db".to_owned()));
    assert_eq!(image(&world), claim);
    insta::assert_snapshot!(promotable(&world), @"True ReplicaAvailable: claim scribe-dst-db holds the data of 2026-03-04T05:00:00Z");
    assert!(matches!(world.published("a"), PublicationState::Yes { unchanged: false, .. }));
    let status = world.status();
    assert_eq!(status.recovery_point.as_ref().unwrap().data_time.0.to_string(), T1);
    assert!(status.last_sync_time.is_some() && status.current_sync.is_none() && status.replicas.is_empty());
    assert_eq!((status.phase, world.snapshots().len()), (Some(Phase::Listening), 0));
    // From the record of the next session on, which comes before its first write, there is no replica.
    assert!(matches!(world.shake(hello("b", 1, T2)), Verdict::Send { clean: true, .. }));
    assert_eq!((image(&world), promotable(&world).starts_with("False Overwriting")), (None, true));
    world.commit(commit("b", 1, T2));
    assert_eq!(image(&world), claim);
    assert_eq!(world.status().recovery_point.as_ref().unwrap().data_time.0.to_string(), T2);
}

#[test]
fn what_was_broken_off_is_not_a_replica() {
    let mut world = listening();
    world.sync("a", T1);
    world.shake(hello("b", 1, T2));
    world.kill_mover(1);
    world.pass_time(3600);
    world.settle();
    assert_eq!((image(&world), promotable(&world).starts_with("False Overwriting")), (None, true));
    // And cannot be called unchanged: everything is compared.
    assert!(matches!(world.shake(hello("b", 2, T2)), Verdict::Send { clean: false, .. }));
    world.commit(commit("b", 2, T2));
    assert!(image(&world).is_some());
}

#[test]
fn a_claim_that_a_guard_has_saved_is_still_the_replica() {
    let mut world = listening();
    world.sync("a", T1);
    world.shake(hello("b", 1, T2));
    world.guarded_after("b", Guard::EmptySource, true);
    assert!(image(&world).is_some(), "{}", promotable(&world));
    assert!(promotable(&world).starts_with("True"), "{}", promotable(&world));
}

#[test]
fn what_has_not_changed_moves_the_recovery_point_on() {
    let mut world = listening();
    world.sync("a", T1);
    world.shake(hello("b", 1, T2));
    let mut unchanged = commit("b", 1, T2);
    unchanged.unchanged = true;
    world.commit(unchanged);
    assert!(matches!(world.published("b"), PublicationState::Yes { unchanged: true, .. }));
    assert_eq!(world.status().recovery_point.as_ref().unwrap().data_time.0.to_string(), T2);
    assert!(image(&world).is_some());
    assert!(matches!(world.shake(hello("c", 1, T2)), Verdict::Send { clean: true, .. }));
}

#[test]
fn a_claim_that_is_replaced_holds_nothing() {
    let mut world = listening();
    world.sync("a", T1);
    world.seen.claim = None;
    world.settle();
    assert_eq!((image(&world), world.status().recovery_point.is_none()), (None, true));
    assert!(matches!(world.shake(hello("b", 1, T2)), Verdict::Send { clean: false, .. }));
}

#[test]
fn the_claim_has_no_owner_that_could_take_it_along() {
    let mut world = listening();
    let claim = world.seen.claim.clone().unwrap();
    assert_eq!(claim.metadata.owner_references, None);
    world
        .spec(|spec| spec.rsync.as_mut().unwrap().capacity = Some(serde_json::from_str("\"20Gi\"").unwrap()));
    let decision = world.decide();
    let expansion = decision.then.iter().find_map(|action| match action {
        Action::Apply(Child::Claim(claim)) => Some(claim),
        _ => None,
    });
    assert_eq!(expansion.expect("it grows").metadata.owner_references, None);
}

#[test]
fn at_the_end_the_claim_stays_and_says_what_it_holds() {
    let mut world = listening();
    world.sync("a", T1);
    world.start_deletion();
    world.settle();
    assert!(world.is_gone);
    let meta = world.seen.claim.clone().unwrap().metadata;
    assert_eq!(meta.labels, Some(std::collections::BTreeMap::new()));
    insta::assert_yaml_snapshot!(meta.annotations, @r#"
    scribe.dev/comparison: Content
    scribe.dev/consistency: crash
    scribe.dev/data-time: "2026-03-04T05:00:00Z"
    scribe.dev/destination: east/db
    scribe.dev/published: "2026-03-04T05:00:00Z"
    scribe.dev/source-uid: west-claim
    scribe.dev/sync-id: a
    "#);
    // A torn one claims nothing.
    let mut world = listening();
    world.sync("a", T1);
    world.shake(hello("b", 1, T2));
    world.start_deletion();
    world.settle();
    let annotations = world.seen.claim.clone().unwrap().metadata.annotations.unwrap();
    assert!(!annotations.contains_key(names::DATA_TIME), "{annotations:?}");
    // And with the other policy it goes.
    let mut world = listening();
    world.sync("a", T1);
    world.spec(|spec| spec.deletion_policy = DeletionPolicy::Delete);
    world.start_deletion();
    world.settle();
    assert!(world.is_gone && world.seen.claim.is_none());
}

#[test]
fn a_success_is_counted_once() {
    let mut world = listening();
    world.shake(hello("a", 1, T1));
    world.ask_commit(commit("a", 1, T1));
    let decision = world.pass();
    assert_eq!(decision.ended.unwrap().result, SyncResult::Success);
    assert_eq!(world.pass().ended, None);
}

#[test]
fn what_speaks_of_snapshots_is_refused_by_name() {
    for (field, yaml) in [
        ("spec.retain", "retain: {last: 2}"),
        ("spec.rsync.volumeSnapshotClassName", "rsync: {volumeSnapshotClassName: gold}"),
        ("spec.rsync.publishTimeout", "rsync: {publishTimeout: 5m}"),
    ] {
        let mut spec: serde_json::Value = serde_saphyr::from_str(DIRECT).unwrap();
        let more: serde_json::Value = serde_saphyr::from_str(yaml).unwrap();
        for (key, value) in more.as_object().unwrap() {
            match value.as_object().filter(|_| key == "rsync") {
                Some(rsync) => spec["spec"]["rsync"].as_object_mut().unwrap().extend(rsync.clone()),
                None => spec["spec"][key] = value.clone(),
            }
        }
        let mut world = World::new(&spec.to_string());
        world.settle();
        let all = &world.status().conditions;
        let condition = all.iter().find(|condition| condition.type_ == "Synchronizing").unwrap();
        assert!(condition.reason == "InvalidSpec" && condition.message.contains(field), "{condition:?}");
    }
}

#[test]
fn snapshots_of_an_earlier_destination_are_not_its_concern() {
    let mut before = World::listening();
    before.sync("a", T1);
    let mut left = before.snapshot("db-20260304t050000z").clone();
    left.metadata.labels.as_mut().unwrap().insert(names::OWNER_UID.into(), "earlier-uid".into());
    let mut world = listening();
    world.seen.snapshots_available = true;
    world.seen.snapshots.push(left);
    let log = world.settle();
    assert!(!log.contains("adopt"), "{log}");
    assert!(world.status().replicas.is_empty() && image(&world).is_none());
}
