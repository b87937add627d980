//! Sources that a guard keeps from sending, and a source that takes the place of another.

use super::world::{World, commit, hello};
use scribe_crds::conditions::DEGRADED;
use scribe_crds::names::ADMIT_SYNC;
use scribe_crds::v1alpha1::Guard;
use scribe_mover_contract::control::{Answer, CommitVerdict, QuestionKind};
use scribe_mover_contract::guards;
use scribe_mover_contract::peer::{Handshake, Verdict};
use std::collections::BTreeMap;

const T1: &str = "2026-03-04T05:00:00Z";
const T2: &str = "2026-03-04T06:00:00Z";
const T3: &str = "2026-03-04T07:00:00Z";

fn degraded(world: &World) -> (String, String) {
    let conditions = &world.status().conditions;
    let condition = conditions.iter().find(|condition| condition.type_ == DEGRADED).unwrap();
    (format!("{} {}", condition.status, condition.reason), condition.message.clone())
}

/// With two replicas, of which only one is asked for from now on, and a third sync that a guard refuses.
fn guarded() -> World {
    let mut world = World::listening();
    world.sync("a", T1);
    world.sync("b", T2);
    assert!(matches!(world.shake(hello("c", 1, T3)), Verdict::Send { .. }));
    world.guarded("c", guards::Guard::DeletedFiles);
    world.spec(|spec| spec.retain.get_or_insert_default().last = 1);
    world.settle();
    world
}

#[test]
fn nothing_is_pruned_from_a_guarded_sync_to_the_next_commit() {
    let mut world = guarded();
    let known = world.status().guarded.clone().expect("a record");
    assert_eq!(
        (known.sync_id.as_str(), known.source_uid.as_str(), known.guard),
        ("c", "west-claim", Guard::DeletedFiles)
    );
    assert_eq!(world.snapshots().len(), 2, "pruned after a guarded sync");
    let (condition, message) = degraded(&world);
    assert_eq!(condition, "True SyncGuarded");
    insta::assert_snapshot!(message, @"a guard refused sync c: 960 of the 1000 files of the receiving claim would be deleted, and 50 % of them may be; nothing is pruned until another sync is received");
    let status = world.status();
    assert_eq!((status.current_sync.as_ref(), status.consecutive_failures), (None, 1));
    assert_eq!(status.replicas[1].kept_because, "nothing is pruned after a sync that was refused");
    assert_eq!(status.recovery_point.as_ref().unwrap().sync_id, "b");

    // Another one that is only admitted, or fails, changes nothing of that.
    assert!(matches!(world.shake(hello("d", 1, T3)), Verdict::Send { .. }));
    assert_eq!(world.snapshots().len(), 2);
    assert!(matches!(world.commit(commit("d", 1, T3)), CommitVerdict::Recorded { .. }));
    assert_eq!(world.status().guarded, None);
    world.snapshots_ready();
    world.settle();
    assert_eq!(world.snapshots().len(), 1, "pruned again");
    assert_eq!(degraded(&world).0, "False AsExpected");
}

#[test]
fn a_claim_that_nobody_has_written_to_is_what_it_was() {
    let mut world = World::listening();
    world.sync("a", T1);
    for (sync, untouched, is_clean) in [("b", true, true), ("c", false, false), ("d", true, false)] {
        assert!(matches!(world.shake(hello(sync, 1, T2)), Verdict::Send { .. }));
        world.guarded_after(sync, guards::Guard::EmptySource, untouched);
        // Of one that was dirty before, nothing is known.
        assert_eq!(world.status().dirty.is_none(), is_clean, "{sync}");
    }
    assert!(matches!(world.shake(hello("e", 1, T2)), Verdict::Send { clean: false, .. }));
}

#[test]
fn a_guarded_sync_can_not_be_committed_any_more() {
    let mut world = guarded();
    assert!(matches!(world.commit(commit("c", 1, T3)), CommitVerdict::Refused { .. }));
    assert!(world.status().guarded.is_some() && world.status().dirty.is_some());
}

#[test]
fn a_refusal_that_is_told_once_more_counts_once() {
    let mut world = World::listening();
    world.sync("a", T1);
    world.shake(hello("b", 1, T2));
    let session = world.mover().session.clone();
    world.guarded("b", guards::Guard::EmptySource);
    let before = world.status().clone();
    // The answer was lost, and the session still runs.
    world.pass_time(5);
    world.mover().session = session;
    world.mover().seal = None;
    world.guarded("b", guards::Guard::EmptySource);
    assert_eq!((world.status().consecutive_failures, &world.status().guarded), (1, &before.guarded));
}

#[test]
fn who_has_no_session_cannot_stop_anything() {
    let mut world = World::listening();
    world.sync("a", T1);
    world.guarded("a", guards::Guard::EmptySource);
    world.shake(hello("b", 1, T2));
    world.guarded("x", guards::Guard::EmptySource);
    assert_eq!(world.status().guarded, None);
    assert_eq!(world.status().current_sync.as_ref().unwrap().id, "b");
    assert!(matches!(world.commit(commit("b", 1, T2)), CommitVerdict::Recorded { .. }));
}

#[test]
fn the_source_hears_how_much_the_claim_holds() {
    let mut world = World::listening();
    let bytes = |world: &mut World, sync: &str, at: &str| {
        let id = world.ask(QuestionKind::Handshake(Box::new(hello(sync, 1, at))));
        world.settle();
        match world.answer_to(id) {
            Answer::Handshake(answer) => answer.received_bytes,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(bytes(&mut world, "a", T1), None);
    world.commit(commit("a", 1, T1));
    world.snapshots_ready();
    world.settle();
    assert_eq!(bytes(&mut world, "b", T2), Some(1 << 30));
    // Not committed: what the guards let pass is measured by what was there before.
    assert_eq!(bytes(&mut world, "c", T3), Some(1 << 30));
}

fn other(sync: &str, at: &str) -> Handshake {
    Handshake { claim_uid: "other-claim".into(), source_name: "west/other".into(), ..hello(sync, 1, at) }
}

fn annotate(world: &mut World, id: &str) {
    let annotations = BTreeMap::from([(ADMIT_SYNC.to_owned(), id.to_owned())]);
    world.seen.destination.metadata.annotations = Some(annotations);
}

fn is_refused(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Refused { reason, permanent: true, .. } if reason == "OtherSourcePinned")
}

#[test]
fn another_source_takes_the_place_of_the_first_if_its_user_says_so() {
    let mut world = World::listening();
    world.sync("a", T1);
    assert!(is_refused(&world.shake(other("x", T2))));
    let refused = world.status().refused_source.clone().expect("a record");
    assert_eq!((refused.sync_id.as_str(), refused.source.claim_uid.as_str()), ("x", "other-claim"));
    assert_eq!(degraded(&world).0, "True OtherSourcePinned");
    // Neither another id, nor a third source.
    annotate(&mut world, "y");
    assert!(is_refused(&world.shake(other("y", T2))));
    annotate(&mut world, "x");
    assert!(is_refused(&world.shake(other("z", T2))), "the record is of y by now");
    annotate(&mut world, "z");
    // Its next sync, and from then on all of them; the first source is another one now.
    assert!(matches!(world.shake(other("admitted", T2)), Verdict::Send { .. }));
    let status = world.status();
    assert_eq!(status.source.as_ref().unwrap().claim_uid, "other-claim");
    assert_eq!(status.refused_source, None);
    assert!(is_refused(&world.shake(hello("b", 1, T2))));
    let received =
        scribe_mover_contract::peer::Commit { claim_uid: "other-claim".into(), ..commit("admitted", 1, T2) };
    assert!(matches!(world.commit(received), CommitVerdict::Recorded { .. }));
    world.snapshots_ready();
    world.settle();
    assert!(matches!(world.shake(other("later", T3)), Verdict::Send { .. }));
    assert!(is_refused(&world.shake(hello("c", 1, T3))), "admitted for good");
}

#[test]
fn an_admission_is_for_the_source_that_was_refused_and_no_other() {
    let third = Handshake { claim_uid: "third-claim".into(), ..other("y", T2) };
    let elsewhere = Handshake { cluster_id: "third-cluster".into(), ..other("y", T2) };
    for hello in [third, elsewhere] {
        let mut world = World::listening();
        world.sync("a", T1);
        assert!(is_refused(&world.shake(other("x", T2))));
        annotate(&mut world, "x");
        assert!(is_refused(&world.shake(hello)));
        assert_eq!(world.status().source.as_ref().unwrap().claim_uid, "west-claim");
    }
}

#[test]
fn a_stranger_holds_up_pruning_until_the_next_commit() {
    let mut world = World::listening();
    world.sync("a", T1);
    world.sync("b", T2);
    assert!(is_refused(&world.shake(other("x", T2))));
    world.spec(|spec| spec.retain.get_or_insert_default().last = 1);
    world.settle();
    assert_eq!(world.snapshots().len(), 2, "pruned after a sync was refused");
    world.pass_time(60);
    world.sync("c", T3);
    world.settle();
    assert_eq!(degraded(&world).0, "False AsExpected");
    assert_eq!(world.snapshots().len(), 1);
    // But not for who decides about it later.
    annotate(&mut world, "x");
    assert!(matches!(world.shake(other("y", T3)), Verdict::Send { .. }));
}
