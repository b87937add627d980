//! What a source does while as many movers run as are allowed to.

use super::world::{World, yaml};
use scribe_core::decision::Decision;
use scribe_core::slots::{Claim, Limits, Node, Slots};
use scribe_crds::v1alpha1::{Phase, SourceStatus};
use serde_json::json;
use std::sync::Arc;

const MANUAL: &str = "{sourcePVC: data, rpo: 1h, trigger: {manual: one}, rsync: {sshKeys: db-keys}}";

fn slots(world: &mut World) -> &mut Slots {
    Arc::make_mut(&mut world.seen.slots.slots)
}

/// One mover is allowed in the cluster, and another source has it.
fn full(world: &mut World) {
    *slots(world) = Slots { limits: Limits { cluster: 1, namespace: 0, node: 0 }, ..Slots::default() };
    slots(world).pod_runs(foreign(), None);
}

fn foreign() -> (String, String) {
    ("bank".to_owned(), "scribe-src-other".to_owned())
}

/// A reconcile, and what it means for the slots.
fn pass(world: &mut World, what: &str) -> Decision<SourceStatus> {
    let decision = world.pass(what);
    match &decision.slot {
        Claim::Waits(candidate) => slots(world).wait("source-uid", Some(candidate)),
        Claim::Takes { candidate, pod } => {
            assert!(slots(world).take(candidate, pod).is_some());
        }
        Claim::Keeps => {}
        Claim::Nothing => slots(world).give_back("source-uid"),
    }
    decision
}

#[test]
fn a_sync_waits_before_anything_is_made() {
    let mut world = World::new(MANUAL);
    full(&mut world);
    let decision = pass(&mut world, "a tag, and another source's mover runs");
    assert!(matches!(&decision.slot, Claim::Waits(candidate) if candidate.since == world.now));
    assert_eq!(
        (world.status().phase, world.condition().as_str()),
        (Some(Phase::Waiting), "False WaitingForSlot")
    );
    let since = world.now;
    world.later(3600);
    let decision = pass(&mut world, "an hour later");
    assert!(matches!(&decision.slot, Claim::Waits(candidate) if candidate.since == since));
    assert!(world.seen.cuts.is_empty() && world.status().current_sync.is_none());
    assert!(world.seen.source.metadata.finalizers.is_none());
    let late = world.status().conditions.iter().any(|condition| condition.reason == "ObjectiveExceeded");
    assert!(late, "the objective is judged as ever");
    slots(&mut world).pod_ended(&foreign());
    let decision = pass(&mut world, "the other one has ended");
    let pod = ("shop".to_owned(), "scribe-src-db-sync0001-1".to_owned());
    assert!(matches!(&decision.slot, Claim::Takes { pod: taken, .. } if *taken == pod));
    pass(&mut world, "the cut is there");
    assert_eq!((world.seen.cuts.len(), world.seen.pods.len()), (1, 1));
    assert_eq!(pass(&mut world, "the pod is there").slot, Claim::Keeps);
    world.bind_cut();
    world.run_pod();
    pass(&mut world, "the mover runs");
    world.end_mover(0, json!({}));
    // Whatever it has left behind, it does not run any more.
    assert_eq!(pass(&mut world, "it has ended").slot, Claim::Nothing);
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn the_next_attempt_waits_before_its_pod_and_its_cut_is_not_blamed() {
    let mut world = World::new(MANUAL);
    world.settle("a tag");
    let cut = world.cut().metadata.uid.clone();
    world.later(500);
    world.end_mover(1, json!({"reason": "TransferFailed", "message": "rsync ended with 30"}));
    world.settle("the attempt fails before the cut is bound");
    full(&mut world);
    world.now = world.sync().retry_at.unwrap().0;
    pass(&mut world, "the pause is over");
    assert_eq!(world.condition(), "False WaitingForSlot");
    assert!(
        world.message().starts_with("Sync sync0001: attempt 2 of 5 waits: 1 of 1 movers"),
        "{}",
        world.message()
    );
    world.later(1000);
    pass(&mut world, "much later");
    assert_eq!((world.condition().as_str(), world.seen.pods.len()), ("False WaitingForSlot", 0));
    slots(&mut world).pod_ended(&foreign());
    pass(&mut world, "the other one has ended");
    world.later(500);
    pass(&mut world, "the driver takes its time, now that there is a pod");
    assert_eq!((world.sync().attempt, world.sync().cut, world.seen.pods.len()), (2, cut, 1));
    assert_eq!(world.condition(), "True SyncInProgress");
    world.later(100);
    pass(&mut world, "and too long");
    assert_eq!(world.condition(), "False CutTimeout");
}

#[test]
fn a_cut_that_was_not_made_yet_waits_too() {
    let mut world = World::new(MANUAL);
    world.crash("a tag");
    full(&mut world);
    pass(&mut world, "the next controller finds another mover");
    assert!(world.seen.cuts.is_empty());
    assert_eq!(world.condition(), "False WaitingForSlot");
}

#[test]
fn a_source_that_may_start_nothing_stands_in_nobodys_way() {
    let mut world = World::new(MANUAL);
    full(&mut world);
    pass(&mut world, "a tag");
    world.seen.source.spec.paused = true;
    assert_eq!(pass(&mut world, "paused").slot, Claim::Nothing);
    assert_eq!(world.condition(), "False Paused");
}

#[test]
fn a_deleted_source_keeps_its_slot_until_its_pod_is_gone() {
    let mut world = World::new(MANUAL);
    world.slow_deletion = true;
    world.start_sync();
    world.seen.source.metadata.deletion_timestamp =
        Some(serde_json::from_value(json!("2026-03-01T00:01:00Z")).unwrap());
    assert_eq!(pass(&mut world, "deleted").slot, Claim::Keeps);
    world.sweep();
    assert_eq!(pass(&mut world, "its pod is gone").slot, Claim::Nothing);
}

/// What the pod says about nodes.
fn affinity(world: &mut World) -> serde_json::Value {
    world.settle("a tag");
    serde_json::to_value(&world.pod().spec.as_ref().unwrap().affinity).unwrap()
}

fn nodes(world: &mut World) {
    let limits = Limits { cluster: 0, namespace: 0, node: 1 };
    let zone = |zone: &str| Node { labels: yaml(&format!("{{zone: '{zone}'}}")), ..Node::default() };
    let nodes = [("a", zone("1")), ("b", zone("1")), ("c", zone("2"))];
    let nodes = nodes.map(|(name, node)| (name.to_owned(), node)).into();
    *slots(world) = Slots { limits, nodes, ..Slots::default() };
    slots(world).pod_runs(foreign(), Some("a".to_owned()));
}

#[test]
fn a_pod_keeps_away_from_full_nodes() {
    let full = json!([{"key": "metadata.name", "operator": "NotIn", "values": ["a"]}]);
    let terms = |affinity: &serde_json::Value| {
        affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
            .clone()
    };
    let mut world = World::new(MANUAL);
    nodes(&mut world);
    assert_eq!(terms(&affinity(&mut world)), json!([{"matchFields": full}]));

    let zone = json!([{"key": "zone", "operator": "In", "values": ["1"]}]);
    let spec = |zone: &serde_json::Value| {
        let required = json!({"nodeSelectorTerms": [{"matchExpressions": zone}]});
        let affinity = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}});
        json!({"sourcePVC": "data", "trigger": {"manual": "one"}, "rsync": {"sshKeys": "k", "moverAffinity": affinity}})
            .to_string()
    };
    let mut world = World::new(&spec(&zone));
    nodes(&mut world);
    assert_eq!(terms(&affinity(&mut world)), json!([{"matchExpressions": zone, "matchFields": full}]));

    // A volume that only the full node can reach.
    let mut world = World::new(MANUAL);
    nodes(&mut world);
    world.seen.slots.volume =
        Some(yaml("{nodeSelectorTerms: [{matchFields: [{key: metadata.name, operator: In, values: [a]}]}]}"));
    world.settle("a tag");
    assert_eq!((world.condition().as_str(), world.seen.cuts.len()), ("False WaitingForSlot", 0));
    assert!(world.message().contains("1 of 1 movers of node a run"), "{}", world.message());
    slots(&mut world).pod_ended(&foreign());
    assert_eq!(affinity(&mut world), json!(null));
}

/// A cut that is made without its pod: what was taken for the mover is not given to another meanwhile, or the data would grow old in line.
#[test]
fn the_place_is_kept_while_the_cut_is_made() {
    let snapshot =
        "{sourcePVC: data, trigger: {manual: one}, rsync: {sshKeys: db-keys, copyMethod: Snapshot}}";
    let mut world = World::new(snapshot);
    full(&mut world);
    slots(&mut world).pod_ended(&foreign());
    assert!(matches!(pass(&mut world, "a tag").slot, Claim::Takes { .. }));
    assert_eq!(pass(&mut world, "the snapshot is there").slot, Claim::Keeps);
    world.cut_snapshot("2026-03-01T00:00:11Z", "Delete");
    assert_eq!(pass(&mut world, "it is cut").slot, Claim::Keeps);
    world.ready_snapshot();
    assert!(matches!(pass(&mut world, "it is ready").slot, Claim::Takes { .. }));

    let mut world = World::new(MANUAL);
    full(&mut world);
    slots(&mut world).pod_ended(&foreign());
    world.seen.users = vec![super::copy_methods::user("db-0", "west-1", "Running")];
    assert!(matches!(pass(&mut world, "a tag").slot, Claim::Takes { .. }));
    assert_eq!(pass(&mut world, "the clone is there, and not bound").slot, Claim::Keeps);
    world.bind_cut();
    assert!(matches!(pass(&mut world, "it is bound").slot, Claim::Takes { .. }));
}
