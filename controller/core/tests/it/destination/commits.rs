//! What a session comes to: commits, and what is answered to them.

use super::sessions::is_clean;
use super::world::{T1, T2, World, commit, hello};
use scribe_mover_contract::control::{Activity, Answer, CommitVerdict, QuestionKind};
use scribe_mover_contract::peer::{PublicationState, Verdict};

#[test]
fn nothing_changed_moves_the_recovery_point_and_makes_nothing() {
    let mut world = World::listening();
    world.sync("a", T1);
    for (sync, time) in [("b", T2), ("c", "2026-03-04T05:10:00Z")] {
        assert!(is_clean(&world.shake(hello(sync, 1, time))), "{sync}");
        let mut commit = commit(sync, 1, time);
        commit.unchanged = true;
        let verdict = world.commit(commit);
        let CommitVerdict::Recorded { published: Some(told), .. } = verdict else { panic!("{verdict:?}") };
        assert_eq!(world.snapshots(), ["db-20260304t050000z*"]);
        let point = world.status().recovery_point.clone().unwrap();
        assert_eq!((point.data_time.0, point.sync_id.as_str()), (time.parse().unwrap(), sync));
        let state = world.published(sync);
        assert!(matches!(state, PublicationState::Yes { unchanged: true, .. }), "{state:?}");
        assert_eq!(told, state);
    }
    // The next one changes something; until it is published the point stays where it is.
    world.shake(hello("d", 1, "2026-03-04T05:15:00Z"));
    let verdict = world.commit(commit("d", 1, "2026-03-04T05:15:00Z"));
    assert!(matches!(verdict, CommitVerdict::Recorded { published: None, .. }), "{verdict:?}");
    assert_eq!(world.status().recovery_point.as_ref().unwrap().sync_id, "c");
}

#[test]
fn nothing_changed_needs_a_session_that_began_clean() {
    let mut world = World::listening();
    assert!(!is_clean(&world.shake(hello("a", 1, T1))), "an empty claim is no replica");
    let mut unchanged = commit("a", 1, T1);
    unchanged.unchanged = true;
    let verdict = world.commit(unchanged);
    assert!(
        matches!(&verdict, CommitVerdict::Refused { reason, .. } if reason == "CommitRefused"),
        "{verdict:?}"
    );
    assert!(world.status().dirty.is_some(), "only a commit that is recorded clears it");
    assert_eq!(world.status().received, None);

    let mut world = World::listening();
    world.sync("a", T1);
    world.shake(hello("b", 1, T2));
    // A second attempt finds what the first one wrote.
    assert!(!is_clean(&world.shake(hello("b", 2, T2))));
}

#[test]
fn nothing_changed_makes_a_replica_if_the_one_it_equals_has_gone() {
    let mut world = World::listening();
    world.sync("a", T1);
    assert!(is_clean(&world.shake(hello("b", 1, T2))));
    world.seen.snapshots.clear();
    world.settle();
    assert_eq!(world.status().recovery_point, None);
    let mut commit = commit("b", 1, T2);
    commit.unchanged = true;
    assert!(matches!(world.commit(commit), CommitVerdict::Recorded { .. }));
    assert_eq!(world.snapshots(), ["db-20260304t050500z"]);
    assert!(matches!(world.published("b"), PublicationState::NotYet { .. }));
}

#[test]
fn commits_that_do_not_match_are_refused() {
    type Change = fn(&mut scribe_mover_contract::peer::Commit);
    let cases: &[(&str, Change)] = &[
        ("another cut", |commit| commit.cut_uid = "other".into()),
        ("another data time", |commit| commit.data_time = "2026-03-04T04:00:00Z".parse().unwrap()),
        ("another sync", |commit| commit.sync_id = "x".into()),
        ("an older attempt", |commit| commit.attempt = 1),
        ("another source claim", |commit| commit.claim_uid = "other".into()),
    ];
    let mut text = String::new();
    for (what, change) in cases {
        let mut world = World::listening();
        world.shake(hello("a", 2, T1));
        let mut commit = commit("a", 2, T1);
        change(&mut commit);
        let verdict = world.commit(commit);
        assert!(matches!(verdict, CommitVerdict::Refused { .. }), "{what}: {verdict:?}");
        assert!(world.status().dirty.is_some() && world.status().received.is_none(), "{what}");
        assert!(world.snapshots().is_empty());
        text += &format!("{what}: {verdict:?}\n");
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_commit_with_another_fencing_token_is_refused() {
    let mut world = World::listening();
    world.shake(hello("a", 1, T1));
    world.mover().session.as_mut().unwrap().token = 77;
    let verdict = world.commit(commit("a", 1, T1));
    assert!(matches!(verdict, CommitVerdict::Refused { .. }), "{verdict:?}");
}

#[test]
fn a_commit_whose_seal_was_lifted_is_refused() {
    let mut world = World::listening();
    world.shake(hello("a", 1, T1));
    let id = world.ask(QuestionKind::Commit { commit: commit("a", 1, T1), seal: 5 });
    world.mover().seal = None;
    world.settle();
    assert!(matches!(world.answer_to(id), Answer::Commit(CommitVerdict::Refused { .. })));
}

#[test]
fn an_exact_repeat_of_a_commit_is_answered_yes_and_a_different_one_no() {
    let mut world = World::listening();
    world.shake(hello("a", 1, T1));
    world.commit(commit("a", 1, T1));
    let before = world.status().clone();
    assert!(matches!(world.commit(commit("a", 1, T1)), CommitVerdict::Recorded { .. }));
    assert_eq!(world.status(), &before);
    let mut other = commit("a", 1, T1);
    other.cut_uid = "other".into();
    assert!(matches!(world.commit(other), CommitVerdict::Refused { .. }));
    assert_eq!(world.status().received, before.received);
}

#[test]
fn a_received_sync_is_not_sent_again() {
    let mut world = World::listening();
    world.shake(hello("a", 1, T1));
    world.commit(commit("a", 1, T1));
    assert_eq!(world.shake(hello("a", 2, T1)), Verdict::Received { publish_deadline: 660 });
    assert!(matches!(world.shake(hello("b", 1, T2)), Verdict::Wait { .. }), "another one has to wait");
    world.snapshots_ready();
    world.settle();
    assert!(matches!(world.shake(hello("a", 2, T1)), Verdict::Received { .. }));
    let mut other = hello("a", 3, T1);
    other.cut_uid = "other".into();
    assert!(matches!(world.shake(other), Verdict::Refused { reason, .. } if reason == "CommitRefused"));
}

#[test]
fn the_recovery_point_is_told_to_its_own_source() {
    let mut world = World::listening();
    world.sync("a", T1);
    let id = world.ask(QuestionKind::Handshake(Box::new(hello("b", 1, T2))));
    world.settle();
    let Answer::Handshake(answer) = world.answer_to(id) else { panic!() };
    assert_eq!(answer.published, Some((T1.parse().unwrap(), "a".into())));
    let mut intruder = hello("x", 1, T2);
    intruder.claim_uid = "other".into();
    let id = world.ask(QuestionKind::Handshake(Box::new(intruder)));
    world.settle();
    let Answer::Handshake(answer) = world.answer_to(id) else { panic!() };
    assert_eq!(answer.published, None);
}

#[test]
fn a_commit_that_nobody_waits_for_any_more_holds_nothing_up() {
    let mut world = World::listening();
    world.shake(hello("a", 1, T1));
    // Flushed and sealed, and the source has gone: the question is withdrawn.
    world.ask_commit(commit("a", 1, T1));
    let mover = world.mover();
    mover.questions.clear();
    mover.session.as_mut().unwrap().connected = false;
    assert!(matches!(world.shake(hello("a", 2, T1)), Verdict::Send { clean: false, .. }));
    // The volume could not be flushed: the mover stays as it is, without a seal.
    world.mover().activity = Activity::Committing;
    world.mover().session.as_mut().unwrap().connected = false;
    assert!(matches!(world.shake(hello("a", 3, T1)), Verdict::Send { .. }));
}

#[test]
fn a_seal_that_may_belong_to_a_commit_is_not_lifted() {
    let mut world = World::listening();
    world.sync("a", T1);
    world.shake(hello("b", 1, T2));
    // Flushing and sealing: the question comes later.
    world.mover().activity = Activity::Committing;
    for seal in [None, Some(1000)] {
        world.mover().seal = seal;
        assert!(matches!(world.shake(hello("b", 1, T2)), Verdict::Wait { .. }));
    }
    assert_eq!(world.mover().seal, Some(1000));
    // The question is there, and an older one asks to begin.
    world.mover().activity = Activity::Listening;
    let begin = world.ask(QuestionKind::Handshake(Box::new(hello("c", 1, T2))));
    world.ask(QuestionKind::Commit { commit: commit("b", 1, T2), seal: 1000 });
    world.settle();
    assert!(matches!(world.verdict(begin), Verdict::Wait { .. }));
    assert_eq!(world.status().received.as_ref().unwrap().sync_id, "b");
    assert_eq!(world.mover().seal, Some(1000));
    assert_eq!(world.now.to_string(), T2, "no time has passed");
}
