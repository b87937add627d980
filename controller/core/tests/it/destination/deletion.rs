//! The end, in every phase.

use super::world::{RD, T1, T2, World, commit, hello};
use scribe_crds::names;
use scribe_crds::v1alpha1::DeletionPolicy;
use scribe_mover_contract::control::{Answer, CommitVerdict, QuestionKind};
use scribe_mover_contract::peer::Verdict;

/// A destination with one replica, and whatever comes next.
type Phase = (&'static str, fn(&mut World));

const PHASES: &[Phase] = &[
    ("listening", |_| {}),
    ("a handshake is asked", |world| {
        world.ask(QuestionKind::Handshake(Box::new(hello("b", 1, T2))));
    }),
    ("transferring", |world| {
        world.shake(hello("b", 1, T2));
    }),
    ("a commit is asked", |world| {
        world.shake(hello("b", 1, T2));
        world.ask_commit(commit("b", 1, T2));
    }),
    ("publishing", |world| {
        world.shake(hello("b", 1, T2));
        world.commit(commit("b", 1, T2));
    }),
    ("ready, not published", |world| {
        world.shake(hello("b", 1, T2));
        world.commit(commit("b", 1, T2));
        world.snapshots_ready();
    }),
    ("given up", |world| {
        world.shake(hello("b", 1, T2));
        world.commit(commit("b", 1, T2));
        world.pass_time(600);
        world.pass();
    }),
    ("the mover is dead", |world| world.kill_mover(1)),
    ("paused", |world| world.spec(|spec| spec.paused = true)),
    ("the spec is invalid", |world| world.spec(|spec| spec.rsync.as_mut().unwrap().port = Some(0))),
    ("the claim is gone", |world| world.seen.claim = None),
];

#[test]
fn in_every_phase_replicas_stay_and_nothing_else() {
    for (name, reach) in PHASES {
        let mut world = World::listening();
        world.sync("a", T1);
        reach(&mut world);
        world.start_deletion();
        world.settle();
        assert!(world.is_gone, "{name}: {:?}", world.status().conditions);
        assert_eq!(world.snapshots(), ["db-20260304t050000z*"], "{name}");
        assert!(world.seen.claim.is_none(), "{name}");
        assert!(world.contents().len() <= 1, "{name}");
        let annotations = world.snapshot("db-20260304t050000z").metadata.annotations.clone().unwrap();
        assert_eq!(annotations[names::DESTINATION], "east/db");
    }
}

#[test]
fn in_every_phase_replicas_go_when_asked_for() {
    for (name, reach) in PHASES {
        let mut world = World::listening();
        world.sync("a", T1);
        world.spec(|spec| spec.deletion_policy = DeletionPolicy::Delete);
        reach(&mut world);
        world.start_deletion();
        world.settle();
        assert!(world.is_gone, "{name}");
        assert!(world.snapshots().is_empty(), "{name}: {:?}", world.snapshots());
    }
}

#[test]
fn before_anything_was_made() {
    let mut world = World::new(RD);
    world.start_deletion();
    assert_eq!(world.decide(), scribe_core::decision::Decision::default());
    let mut world = World::new(RD);
    world.pass();
    world.start_deletion();
    world.settle();
    assert!(world.is_gone);
}

#[test]
fn step_by_step() {
    let mut world = World::listening();
    world.contents_linger = true;
    world.sync("a", T1);
    world.content_policy = "Retain";
    world.shake(hello("b", 1, T2));
    world.commit(commit("b", 1, T2));
    world.start_deletion();
    let mut log = world.settle();
    assert!(!world.is_gone, "a content is still there");
    assert!(world.seen.service.is_some() && world.seen.claim.is_some(), "the rest goes later");
    world.contents_go();
    log += "# the content is gone\n";
    log += &world.settle();
    assert!(world.is_gone);
    insta::assert_snapshot!(log);
}

#[test]
fn whoever_asks_is_refused() {
    let mut world = World::listening();
    world.shake(hello("a", 1, T1));
    let commit = world.ask_commit(commit("a", 1, T1));
    let other = world.ask(QuestionKind::Handshake(Box::new(hello("b", 1, T2))));
    world.start_deletion();
    world.settle();
    assert!(
        matches!(world.answer_to(commit), Answer::Commit(CommitVerdict::Refused { reason, .. }) if reason == "Deleting")
    );
    assert!(
        matches!(world.verdict(other), Verdict::Refused { reason, permanent: true, .. } if reason == "Deleting")
    );
    assert_eq!(world.status().received, None);
}

#[test]
fn a_claim_of_the_users_own_stays_without_our_label() {
    let mut world = World::new(
        "{metadata: {name: db, namespace: east, uid: rd-uid, generation: 1, creationTimestamp: 2026-03-04T04:59:00Z}, spec: {rsync: {destinationPVC: mine}}}",
    );
    world.seen.claim = Some(
        serde_saphyr::from_str("{metadata: {name: mine, uid: mine-uid, resourceVersion: '1'}, spec: {}}")
            .unwrap(),
    );
    world.settle();
    world.start_deletion();
    world.settle();
    assert!(world.is_gone);
    let labels = world.seen.claim.as_ref().expect("the user's claim").metadata.labels.clone().unwrap();
    assert!(!labels.contains_key(names::OWNER_UID));
}

#[test]
fn a_claim_of_somebody_else_is_not_touched() {
    let mut world = World::new(
        "{metadata: {name: db, namespace: east, uid: rd-uid, generation: 1, creationTimestamp: 2026-03-04T04:59:00Z}, spec: {rsync: {destinationPVC: mine}}}",
    );
    let claim = "{metadata: {name: mine, uid: u, resourceVersion: '1', labels: {scribe.dev/owner-uid: other}}, spec: {}}";
    world.seen.claim = Some(serde_saphyr::from_str(claim).unwrap());
    world.settle();
    let before = world.seen.claim.clone();
    world.start_deletion();
    world.settle();
    assert!(world.is_gone);
    assert_eq!(world.seen.claim, before);
}

#[test]
fn what_was_copied_with_our_labels_is_not_ours_to_delete() {
    let mut world = World::listening();
    world.shake(hello("a", 1, T1));
    world.commit(commit("a", 1, T1));
    let mut copy = world.snapshot("db-20260304t050000z").clone();
    copy.metadata.name = Some("copy".into());
    copy.metadata.uid = Some("copy-uid".into());
    copy.metadata.owner_references = None;
    let mut pod = world.seen.pods[0].clone();
    pod.metadata.name = Some("copy".into());
    pod.metadata.uid = Some("copied-pod".into());
    pod.metadata.owner_references = None;
    world.seen.snapshots.push(copy);
    world.seen.pods.push(pod);
    world.snapshots_ready();
    world.settle();
    assert_eq!(world.snapshots(), ["db-20260304t050000z*", "copy"]);
    world.seen.claim.as_mut().unwrap().metadata.owner_references = None;
    world.start_deletion();
    world.settle();
    assert!(world.is_gone, "{:?}", world.status().conditions);
    assert_eq!(world.snapshots(), ["db-20260304t050000z*", "copy"]);
    assert_eq!(world.seen.pods.len(), 1);
    let claim = world.seen.claim.as_ref().expect("the claim is not ours any more, and stays");
    assert!(!claim.metadata.labels.iter().flatten().any(|(key, _)| key == names::OWNER_UID));
}
