//! What becomes of replicas.

use super::publication::FIRST;
use super::world::{T1, T2, World, commit, hello};
use scribe_core::observed::Restore;
use scribe_crds::names;
use scribe_crds::v1alpha1::Retain;
use scribe_mover_contract::peer::Verdict;

#[test]
fn old_replicas_go_after_a_newer_one_is_published() {
    let mut world = World::listening();
    world.spec(|spec| spec.retain.get_or_insert_default().last = 2);
    for minute in 0..4 {
        let sync = format!("s{minute}");
        let time = format!("2026-03-04T05:0{minute}:00Z");
        world.shake(hello(&sync, 1, &time));
        world.commit(commit(&sync, 1, &time));
        let published = world.snapshots().iter().filter(|name| name.ends_with('*')).count();
        assert_eq!(published, minute.min(2), "pruned before the newer one was published");
        world.snapshots_ready();
        world.settle();
    }
    assert_eq!(world.snapshots(), ["db-20260304t050200z*", "db-20260304t050300z*"]);
    insta::assert_yaml_snapshot!(world.status().replicas);
}

#[test]
fn a_replica_stays_while_it_is_pinned_or_a_claim_is_being_made_from_it() {
    let mut world = World::listening();
    world.spec(|spec| spec.retain = Some(Retain { last: 1, daily: Some(2), ..Retain::default() }));
    world.sync("a", "2026-03-04T05:00:00Z");
    let pin = |value: &str| Some([(names::PINNED.to_owned(), value.to_owned())]);
    let annotations = &mut world.snapshot("db-20260304t050000z").metadata.annotations;
    annotations.get_or_insert_default().extend(pin("").into_iter().flatten());
    world.sync("b", "2026-03-04T06:00:00Z");
    let (snapshot, claim) = ("db-20260304t060000z".to_owned(), "restored".to_owned());
    world.seen.restores.push(Restore { snapshot, claim });
    world.sync("c", "2026-03-05T07:00:00Z");
    world.sync("d", "2026-03-06T08:00:00Z");
    let kept: Vec<String> = world
        .status()
        .replicas
        .iter()
        .map(|replica| format!("{} {} {}", replica.name, replica.pinned, replica.kept_because))
        .collect();
    insta::assert_snapshot!(kept.join("\n"), @r"
    db-20260306t080000z false last 1, daily 2026-03-06
    db-20260305t070000z false daily 2026-03-05
    db-20260304t060000z false claim restored is being made from it
    db-20260304t050000z true pinned
    ");
    world.seen.restores.clear();
    let annotations = &mut world.snapshot("db-20260304t050000z").metadata.annotations;
    annotations.get_or_insert_default().extend(pin("false").into_iter().flatten());
    world.settle();
    assert_eq!(world.snapshots(), ["db-20260305t070000z*", "db-20260306t080000z*"]);
}

#[test]
fn nothing_is_pruned_while_it_is_paused() {
    let mut world = World::listening();
    for minute in 0..3 {
        world.sync(&format!("s{minute}"), &format!("2026-03-04T05:0{minute}:00Z"));
    }
    world.seen.around.paused_by = Some("scribe-system".into());
    world.spec(|spec| spec.retain.get_or_insert_default().last = 1);
    world.settle();
    assert_eq!(world.snapshots().len(), 3);
    assert!(world.status().replicas.iter().all(|replica| replica.kept_because.contains("paused")));
    world.seen.around.paused_by = None;
    world.settle();
    assert_eq!(world.snapshots().len(), 1);
}

#[test]
fn nothing_is_pruned_while_something_is_wrong() {
    let mut world = World::listening();
    for minute in 0..3 {
        world.sync(&format!("s{minute}"), &format!("2026-03-04T05:0{minute}:00Z"));
    }
    world.shake(hello("x", 1, "2026-03-04T05:09:00Z"));
    world.commit(commit("x", 1, "2026-03-04T05:09:00Z"));
    world.pass_time(600);
    world.settle();
    world.spec(|spec| spec.retain.get_or_insert_default().last = 1);
    world.settle();
    assert_eq!(world.snapshots().len(), 3);
    world.sync("y", "2026-03-04T05:20:00Z");
    assert_eq!(world.snapshots(), ["db-20260304t052000z*"]);
}

#[test]
fn a_replica_that_somebody_deletes_is_no_recovery_point_any_more() {
    let mut world = World::listening();
    world.sync("a", T1);
    world.sync("b", T2);
    world.seen.snapshots.retain(|snapshot| snapshot.metadata.name.as_deref() == Some(FIRST));
    world.settle();
    assert_eq!(world.status().latest_image.as_ref().unwrap().name, FIRST);
    assert_eq!(world.status().recovery_point.as_ref().unwrap().sync_id, "a");
    assert_eq!(world.status().replicas.len(), 1);
    // The claim equals `b`, of which there is no replica: nothing can be unchanged.
    let verdict = world.shake(hello("c", 1, "2026-03-04T05:10:00Z"));
    assert!(matches!(verdict, Verdict::Send { clean: false, .. }), "{verdict:?}");
    world.seen.snapshots.clear();
    world.settle();
    assert_eq!(world.status().latest_image, None);
    assert_eq!(world.status().recovery_point, None);
    assert!(
        world
            .status()
            .conditions
            .iter()
            .any(|condition| condition.type_ == "Promotable" && condition.status == "False")
    );
}

#[test]
fn replicas_are_read_from_the_snapshots_when_the_status_is_lost() {
    let mut world = World::listening();
    world.sync("a", T1);
    world.sync("b", T2);
    let before = world.status().clone();
    world.seen.destination.status = None;
    // With the keys the mover is made anew, and no session of the old one is left to fence off.
    world.highest_token = 0;
    world.settle();
    assert_eq!(world.status().replicas, before.replicas);
    assert_eq!(world.status().latest_image, before.latest_image);
    assert_eq!(world.status().recovery_point, before.recovery_point);
    // Without the record of what was received, nothing is known to be clean.
    let mut again = hello("c", 1, "2026-03-04T05:10:00Z");
    again.relationship = world.status().key_fingerprints.clone().unwrap().relationship;
    let verdict = world.shake(again);
    assert!(matches!(verdict, Verdict::Send { clean: false, .. }), "{verdict:?}");
}

#[test]
fn a_damaged_replica_is_neither_listed_nor_deleted() {
    let mut world = World::listening();
    world.sync("a", T1);
    world.sync("b", T2);
    world.snapshot(FIRST).metadata.annotations.as_mut().unwrap().remove(names::DATA_TIME);
    world.spec(|spec| spec.retain.get_or_insert_default().last = 1);
    world.settle();
    assert_eq!(world.snapshots().len(), 2);
    assert_eq!(world.status().replicas.len(), 1);
}
