//! A snapshot as the cut, and no cut at all.

use super::world::{World, to_yaml, yaml};
use k8s_openapi::api::core::v1::Pod;
use scribe_core::decision::ChildKind;
use scribe_crds::v1alpha1::{Consistency, Phase};
use serde_json::json;

const SNAPSHOT: &str =
    "{sourcePVC: data, trigger: {manual: one}, rsync: {sshKeys: db-keys, copyMethod: Snapshot}}";
const DIRECT: &str =
    "{sourcePVC: data, trigger: {manual: one}, rsync: {sshKeys: db-keys, copyMethod: Direct}}";
const CUT: &str = "scribe-src-db-sync0001";

/// A pod of somebody else's that uses the claim.
pub fn user(name: &str, node: &str, phase: &str) -> Pod {
    yaml(&format!(
        "
metadata: {{name: {name}, namespace: shop, uid: {name}-uid}}
spec:
  nodeName: {node}
  containers: []
  tolerations: [{{key: dedicated, operator: Exists}}]
  volumes: [{{name: v, persistentVolumeClaim: {{claimName: data}}}}]
status: {{phase: {phase}}}
"
    ))
}

#[test]
fn a_snapshot_is_the_cut_and_a_claim_is_made_from_it_when_it_is_ready() {
    let mut world = World::new(SNAPSHOT);
    world.seen.source.spec.rsync.as_mut().unwrap().volume_snapshot_class_name = Some("gold".to_owned());
    world.settle("a tag");
    assert_eq!((world.seen.snapshots.len(), world.seen.cuts.len()), (1, 0));
    insta::assert_snapshot!("snapshot_cut", to_yaml(&world.seen.snapshots[0]));
    world.later(3);
    world.cut_snapshot("2026-03-01T00:00:11.5Z", "Delete");
    world.settle("it is cut");
    assert!(world.seen.cuts.is_empty(), "not ready");
    world.ready_snapshot();
    world.settle("it is ready");
    insta::assert_snapshot!("restored_cut", to_yaml(world.cut()));
    // The claim's class may wait for a pod, so there is one.
    assert_eq!((world.seen.pods.len(), world.condition().as_str()), (1, "True SyncInProgress"));
    world.bind_cut();
    world.run_pod();
    world.settle("the mover runs");
    let job = &world.jobs[0];
    assert_eq!((job.claim_uid.as_str(), job.cut_uid.as_str()), ("claim-uid", "uid-1"));
    world.finish_sync();
    let seen = &world.seen;
    assert_eq!((seen.pods.len(), seen.cuts.len(), seen.snapshots.len(), seen.contents.len()), (0, 0, 0, 0));
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn the_time_of_a_snapshots_data_is_never_later_than_the_truth() {
    for (by_the_array, data_time) in [
        // Its clock is ahead, or it cut late.
        ("2026-03-01T00:00:59Z", "2026-03-01T00:00:10Z"),
        ("2026-03-01T00:00:07.9Z", "2026-03-01T00:00:07Z"),
    ] {
        let mut world = World::new(SNAPSHOT);
        world.settle("a tag");
        world.cut_snapshot(by_the_array, "Delete");
        world.ready_snapshot();
        world.settle("ready");
        assert_eq!(world.sync().cut_time.unwrap().0.to_string(), data_time);
        assert_eq!(world.jobs[0].data_time.to_string(), data_time);
    }
}

#[test]
fn a_snapshot_that_is_not_ready_in_time_is_gone_before_there_is_another() {
    let mut world = World::new(SNAPSHOT);
    world.slow_deletion = true;
    world.settle("a tag");
    world.cut_snapshot("2026-03-01T00:00:11Z", "Retain");
    let error = "{message: 'rpc error: the pool is full'}";
    world.seen.snapshots[0].status.as_mut().unwrap().error = Some(yaml(error));
    world.settle("not ready");
    assert!(world.message().contains("the pool is full"), "{}", world.message());
    world.later(600);
    world.settle("too late");
    assert_eq!(world.condition(), "False CutTimeout");
    assert!(world.message().contains("the pool is full"), "{}", world.message());
    // Under a class that retains, what stands for it would stay behind, and the snapshotter would go on with it.
    assert_eq!(world.seen.contents[0].spec.deletion_policy, "Delete");
    world.settle("it is still there");
    assert_eq!(world.seen.snapshots.len(), 1);
    // The snapshot goes before its content.
    let content = world.seen.contents.clone();
    world.sweep();
    world.seen.contents = content;
    world.settle("its content is still there");
    assert_eq!((world.condition().as_str(), world.sync().cut.is_some()), ("False CutTimeout", true));
    assert_eq!(world.status().releasing, ["content-uid-1"]);
    world.seen.contents.clear();
    world.settle("all gone");
    assert_eq!((world.sync().attempt, world.sync().cut), (2, None));
    assert!(world.status().releasing.is_empty());
    world.later(10);
    world.settle("the pause is over");
    assert_eq!(world.seen.snapshots[0].metadata.uid.as_deref(), Some("uid-2"));
}

#[test]
fn a_cut_under_a_class_that_retains_leaves_nothing_behind() {
    let mut world = World::new(SNAPSHOT);
    world.settle("a tag");
    world.cut_snapshot("2026-03-01T00:00:11Z", "Retain");
    world.ready_snapshot();
    world.start_sync();
    world.finish_sync();
    assert!(world.seen.contents.is_empty() && world.seen.snapshots.is_empty());
    assert!(world.status().releasing.is_empty());
}

#[test]
fn nothing_is_left_behind_wherever_the_controller_dies_while_it_cleans_up() {
    for done in 0.. {
        let mut world = World::new(SNAPSHOT);
        world.settle("a tag");
        world.cut_snapshot("2026-03-01T00:00:11Z", "Retain");
        world.ready_snapshot();
        world.start_sync();
        world.end_mover(0, json!({}));
        let mut decision = world.decide();
        let all = decision.then.len();
        decision.then.truncate(done);
        world.carry_out(&decision, true);
        world.settle("after a crash");
        let seen = &world.seen;
        assert!(seen.pods.is_empty() && seen.cuts.is_empty(), "after {done} of {all}");
        assert!(seen.snapshots.is_empty() && seen.contents.is_empty(), "after {done} of {all}");
        assert!(world.status().recovery_point.is_some() && world.status().releasing.is_empty());
        if done == all {
            assert!(all > 3, "a pod, a claim, a content and a snapshot: {:?}", decision.then);
            return;
        }
    }
}

#[test]
fn a_snapshot_or_its_claim_that_somebody_takes_away_ends_the_sync() {
    let cut = || {
        let mut world = World::new(SNAPSHOT);
        world.settle("a tag");
        world.cut_snapshot("2026-03-01T00:00:11Z", "Delete");
        world
    };
    let mut world = cut();
    world.delete(ChildKind::Snapshot, CUT, None);
    world.settle("deleted while it was made");
    assert_eq!(world.condition(), "False CutVanished");
    assert!(world.message().contains("VolumeSnapshot scribe-src-db-sync0001"), "{}", world.message());
    let mut world = cut();
    world.ready_snapshot();
    world.settle("ready");
    world.delete(ChildKind::Claim, CUT, None);
    world.settle("the claim is deleted before the mover runs");
    assert_eq!(world.condition(), "False CutVanished");
    let mut world = cut();
    world.ready_snapshot();
    world.start_sync();
    world.delete(ChildKind::Snapshot, CUT, None);
    world.settle("the mover reads the claim");
    assert_eq!(world.condition(), "False CutVanished");
}

#[test]
fn a_claim_that_is_replaced_before_its_snapshot_is_cut_is_not_replicated_by_mistake() {
    let mut world = World::new(SNAPSHOT);
    world.settle("a tag");
    world.seen.claim.as_mut().unwrap().metadata.uid = Some("other-uid".to_owned());
    world.settle("another claim by that name");
    assert_eq!(world.status().last_attempt.unwrap().failure.unwrap().reason, "SourceMissing");
    assert_eq!(world.sync().id, "sync0002", "the tag has not had its sync yet");
    let mut world = World::new(SNAPSHOT);
    world.settle("a tag");
    world.cut_snapshot("2026-03-01T00:00:11Z", "Delete");
    world.seen.claim = None;
    world.settle("the claim is deleted after it was cut");
    world.ready_snapshot();
    world.settle("ready");
    world.bind_cut();
    world.run_pod();
    world.finish_sync();
    assert!(world.status().recovery_point.is_some());
}

#[test]
fn without_snapshots_nothing_is_started_until_they_are_possible() {
    let mut world = World::new(SNAPSHOT);
    world.seen.snapshots_available = false;
    world.settle("a tag");
    assert_eq!(world.condition(), "False SnapshotsUnavailable");
    assert!(world.status().current_sync.is_none());
    world.seen.snapshots_available = true;
    world.settle("they are installed");
    assert_eq!(world.seen.snapshots.len(), 1);
}

#[test]
fn deletion_takes_the_snapshot_and_what_stands_for_it() {
    let mut world = World::new(SNAPSHOT);
    world.settle("a tag");
    world.cut_snapshot("2026-03-01T00:00:11Z", "Retain");
    world.ready_snapshot();
    world.start_sync();
    world.seen.source.metadata.deletion_timestamp = Some(yaml("2026-03-01T01:00:00Z"));
    for _ in 0..4 {
        world.pass("deleted");
    }
    assert!(world.seen.snapshots.is_empty() && world.seen.contents.is_empty() && world.seen.cuts.is_empty());
    assert_eq!(world.seen.source.metadata.finalizers, None);
}

#[test]
fn without_a_copy_the_mover_reads_the_claim_beside_whoever_uses_it() {
    let mut world = World::new(DIRECT);
    world.seen.users = vec![user("db-0", "node-b", "Running")];
    let given = "{nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [
        {matchExpressions: [{key: zone, operator: In, values: [a]}]},
        {matchExpressions: [{key: zone, operator: In, values: [b]}]}]}}}";
    world.seen.source.spec.rsync.as_mut().unwrap().mover.mover_affinity = Some(yaml(given));
    world.settle("a tag");
    assert!(world.seen.cuts.is_empty() && world.seen.snapshots.is_empty());
    let sync = world.sync();
    assert_eq!((sync.cut.as_deref(), sync.consistency), (Some("claim-uid"), Some(Consistency::None)));
    // At least as new as when the sync began, and no mover says otherwise.
    assert_eq!(sync.cut_time, Some(sync.started_at));
    let spec = world.pod().spec.clone().unwrap();
    assert_eq!(spec.node_name, None, "the scheduler is not passed over");
    let volume = spec.volumes.unwrap().remove(0).persistent_volume_claim.unwrap();
    assert_eq!((volume.claim_name.as_str(), volume.read_only), ("data", Some(true)));
    insta::assert_snapshot!(to_yaml(&(spec.affinity, spec.tolerations)));
    world.run_pod();
    world.settle("the mover runs");
    assert_eq!(world.jobs[0].consistency, scribe_mover_contract::peer::Consistency::None);
    world.finish_sync();
    assert_eq!(
        world.status().recovery_point.unwrap().data_time,
        world.status().last_attempt.unwrap().started_at
    );
    assert!(world.seen.pods.is_empty() && world.seen.claim.is_some());
}

#[test]
fn a_mover_makes_way_when_the_claims_user_has_moved() {
    let mut world = World::new(DIRECT);
    world.seen.users = vec![user("db-0", "node-b", "Running")];
    world.start_sync();
    world.pod().spec.as_mut().unwrap().node_name = Some("node-b".to_owned());
    world.settle("on the same node");
    // A Deployment moves: the old pod has the volume as long as it runs.
    world.seen.users.push(user("db-1", "node-c", "Pending"));
    let decision = world.pass("a new pod waits for the volume");
    assert_eq!(world.seen.pods.len(), 1);
    assert_eq!(decision.wake, Some(world.now + jiff::SignedDuration::from_secs(15)), "nobody tells of it");
    world.seen.users.remove(0);
    world.settle("only the new one is left, and waits for ours");
    assert_eq!((world.condition().as_str(), world.seen.pods.len()), ("False ClaimMoved", 0));
    assert!(world.message().contains("node-c"), "{}", world.message());
    world.later(10);
    world.settle("the pause is over");
    let affinity = to_yaml(&world.pod().spec.clone().unwrap().affinity);
    assert!(affinity.contains("node-c"), "{affinity}");
    // And one that has not even been scheduled does not wait for a node that is not the one any more.
    world.seen.users = vec![user("db-2", "node-d", "Running")];
    world.settle("moved again");
    assert_eq!(world.condition(), "False ClaimMoved");
}

#[test]
fn a_claim_that_can_be_used_everywhere_is_read_everywhere() {
    for (modes, is_beside) in
        [("[ReadWriteOnce]", true), ("[ReadWriteMany]", false), ("[ReadWriteOnce, ReadWriteMany]", false)]
    {
        let mut world = World::new(DIRECT);
        world.seen.claim.as_mut().unwrap().spec.as_mut().unwrap().access_modes = Some(yaml(modes));
        world.seen.users = vec![user("db-0", "node-b", "Running")];
        world.settle("a tag");
        assert_eq!(world.pod().spec.as_ref().unwrap().affinity.is_some(), is_beside, "{modes}");
    }
    // Nobody uses it: where it can be reached is for the scheduler to know.
    let mut world = World::new(DIRECT);
    world.seen.users = vec![user("done", "node-b", "Succeeded")];
    world.settle("a tag");
    assert_eq!(world.pod().spec.as_ref().unwrap().affinity, None);
}

#[test]
fn a_claim_for_a_single_pod_cannot_be_read_beside_it() {
    let mut world = World::new(DIRECT);
    world.seen.claim.as_mut().unwrap().spec.as_mut().unwrap().access_modes =
        Some(vec!["ReadWriteOncePod".to_owned()]);
    world.settle("a tag");
    assert_eq!(
        (world.condition().as_str(), world.status().phase),
        ("False UnsupportedAccessMode", Some(Phase::Failed))
    );
    assert!(world.message().contains("Set spec.rsync.copyMethod"), "{}", world.message());
}

#[test]
fn the_owner_of_a_claim_that_is_read_can_delete_it() {
    let mut world = World::new(DIRECT);
    world.start_sync();
    world.seen.claim.as_mut().unwrap().metadata.deletion_timestamp = Some(yaml("2026-03-01T00:01:00Z"));
    world.settle("it is being deleted, and our pod would keep it");
    assert_eq!((world.condition().as_str(), world.seen.pods.len()), ("False SourceMissing", 0));
    let failure = world.status().last_attempt.unwrap().failure.unwrap();
    assert!(failure.message.contains("while it was read"), "{}", failure.message);
}

#[test]
fn a_later_attempt_of_a_direct_sync_claims_no_newer_data() {
    let mut world = World::new(DIRECT);
    world.start_sync();
    world.later(60);
    world.end_mover(1, json!({"reason": "ConnectionLost", "message": "lost"}));
    world.settle("lost");
    world.later(10);
    world.settle("the pause is over");
    assert_eq!(world.jobs[1].attempt, 2);
    assert_eq!(world.jobs[1].data_time, world.jobs[0].data_time);
}

#[test]
fn the_method_is_that_of_the_start_and_the_next_sync_has_the_new_one() {
    let mut world = World::new(SNAPSHOT);
    world.settle("a tag");
    world.seen.source.spec.rsync.as_mut().unwrap().copy_method = yaml("Clone");
    world.cut_snapshot("2026-03-01T00:00:11Z", "Delete");
    world.ready_snapshot();
    world.start_sync();
    world.finish_sync();
    assert!(world.seen.snapshots.is_empty());
    world.seen.source.spec.trigger.as_mut().unwrap().manual = Some("two".to_owned());
    world.settle("a new tag");
    assert_eq!((world.seen.snapshots.len(), world.seen.cuts.len()), (0, 1));
}

#[test]
fn what_does_not_fit_the_method_is_refused_by_name() {
    for (rsync, field) in [
        ("{sshKeys: k, volumeSnapshotClassName: c}", "spec.rsync.volumeSnapshotClassName"),
        ("{sshKeys: k, copyMethod: Direct, capacity: 1Gi}", "spec.rsync.capacity"),
        ("{sshKeys: k, copyMethod: Direct, storageClassName: c}", "spec.rsync.storageClassName"),
        ("{sshKeys: k, copyMethod: Direct, accessModes: [ReadWriteMany]}", "spec.rsync.accessModes"),
        ("{sshKeys: k, copyMethod: Direct, cutTimeout: 1m}", "spec.rsync.cutTimeout"),
    ] {
        let mut world = World::new(&format!("{{sourcePVC: data, rsync: {rsync}}}"));
        world.settle("made");
        assert_eq!(world.condition(), "False InvalidSpec", "{rsync}");
        assert!(world.message().contains(field), "{}", world.message());
    }
}
