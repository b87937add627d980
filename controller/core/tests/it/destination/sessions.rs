//! Handshakes and sessions.

use super::world::{T1, T2, World, commit, hello};
use scribe_core::decision::Action;
use scribe_crds::v1alpha1::{DestinationStatus, DestinationTrigger, MoverResult, Phase};
use scribe_mover_contract::control::{
    Activity, Answer, CommitVerdict, Order, Progress, QuestionKind, SessionFailure, SessionState,
};
use scribe_mover_contract::peer::{PublicationState, Verdict};

fn token(verdict: &Verdict) -> u64 {
    match verdict {
        Verdict::Send { token, .. } => *token,
        other => panic!("{other:?}"),
    }
}

pub fn is_clean(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Send { clean: true, .. })
}

#[test]
fn a_sync_from_handshake_to_publication() {
    let mut world = World::listening();
    let mut log = String::from("# handshake\n");
    world.ask(QuestionKind::Handshake(Box::new(hello("a", 1, T1))));
    log += &world.settle();
    world.mover().progress = Some(Progress {
        bytes_done: 3 << 28,
        bytes_total: 1 << 30,
        files_done: 7,
        files_total: 9,
        rate: 1 << 20,
    });
    log += "# progress\n";
    log += &world.settle();
    world.pass_time(60);
    log += "# commit\n";
    world.ask_commit(commit("a", 1, T1));
    log += &world.settle();
    log += "# the snapshot is cut, and not ready\n";
    world.set_snapshot("db-20260304t050000z", true, false, None);
    log += &world.settle();
    assert!(matches!(world.published("a"), PublicationState::NotYet { .. }));
    world.pass_time(20);
    log += "# ready\n";
    world.set_snapshot("db-20260304t050000z", true, true, None);
    log += &world.settle();
    insta::assert_snapshot!(log);
    assert_eq!(
        world.published("a"),
        PublicationState::Yes { data_time: T1.parse().unwrap(), unchanged: false }
    );
    assert_eq!(world.published("z"), PublicationState::Unknown);
    assert_eq!(world.snapshots(), ["db-20260304t050000z*"]);
}

#[test]
fn nothing_is_answered_before_it_is_recorded() {
    let mut world = World::listening();
    world.ask(QuestionKind::Handshake(Box::new(hello("a", 1, T1))));
    let decision = world.decide();
    // Dies right after the record: the world would object to an answer without one.
    world.carry_out(&decision, 1);
    assert!(world.answers.is_empty());
    assert!(world.mover().seal.is_some(), "unsealed before it was recorded for whom");
    let tokens =
        |world: &World| world.status().sessions.iter().map(|session| session.token).collect::<Vec<_>>();
    let admitted = tokens(&world);
    world.settle();
    assert_eq!(tokens(&world), admitted, "the same question was given another token");
    assert!(matches!(world.answers.last(), Some((_, Answer::Handshake(_)))));

    world.ask_commit(commit("a", 1, T1));
    let decision = world.decide();
    world.carry_out(&decision, 1);
    assert_eq!(world.answers.len(), 1);
    world.settle();
    assert!(
        matches!(&world.answers[1].1, Answer::Commit(CommitVerdict::Recorded { claim_uid, publish_deadline: 660, published: None })
        if claim_uid == "claim-1"),
        "{:?}",
        world.answers
    );
    assert_eq!(world.snapshots(), ["db-20260304t050000z"]);
}

/// One controller saw the status and the snapshots of before the commit and the mover of after it: it must find out before it unseals what is being published.
#[test]
fn nothing_is_unsealed_by_a_status_that_is_old() {
    let mut world = World::listening();
    world.shake(hello("a", 1, T1));
    let before = world.seen.destination.clone();
    assert!(matches!(world.commit(commit("a", 1, T1)), CommitVerdict::Recorded { .. }));
    let after = world.seen.destination.clone();
    // A second pod of the same attempt: the first one was thought lost.
    world.ask(QuestionKind::Handshake(Box::new(hello("a", 1, T1))));
    world.seen.destination = before.clone();
    let snapshots = std::mem::take(&mut world.seen.snapshots);
    let late = world.decide();
    let unseals = |action: &Action| matches!(action, Action::Order { order: Order::Unseal { .. }, .. });
    assert!(late.then.iter().any(unseals), "this is not the case that is meant: {late:?}");
    // The admission is written before, under the version that it saw: that conflicts, and ends the pass.
    let token = |status: &DestinationStatus| status.sessions.last().map(|session| session.token);
    assert!(
        late.status.as_ref().and_then(token) > before.status.as_ref().and_then(token),
        "{:?}",
        late.status
    );
    (world.seen.destination, world.seen.snapshots) = (after, snapshots);
    assert!(!world.decide().then.iter().any(unseals));
}

#[test]
fn a_second_source_is_refused_and_the_running_session_untouched() {
    let mut world = World::listening();
    world.shake(hello("a", 1, T1));
    let before = world.status().clone();
    let mut intruder = hello("x", 1, T1);
    intruder.claim_uid = "other-claim".into();
    intruder.source_name = "west/other".into();
    let verdict = world.shake(intruder.clone());
    insta::assert_snapshot!(format!("{verdict:?}"), @r#"Refused { reason: "OtherSourcePinned", message: "ReplicationDestination db receives from claim west-claim of west/db; make a new one for west/other; or, if claim other-claim is to take that one's place, `kubectl -n east annotate --overwrite rd/db scribe.dev/admit-sync=x` lets its next sync pass", permanent: true }"#);
    let after = world.status();
    assert_eq!(
        (&after.source, &after.sessions, &after.current_sync, &after.dirty, &after.received, &after.phase),
        (
            &before.source,
            &before.sessions,
            &before.current_sync,
            &before.dirty,
            &before.received,
            &before.phase
        )
    );
    intruder.claim_uid = "west-claim".into();
    intruder.cluster_id = "other-cluster".into();
    assert!(matches!(world.shake(intruder), Verdict::Refused { permanent: true, .. }));
    assert!(matches!(world.commit(commit("a", 1, T1)), CommitVerdict::Recorded { .. }));
}

#[test]
fn two_sources_at_once_are_told_apart_by_the_first_admission() {
    let mut world = World::listening();
    let first = world.ask(QuestionKind::Handshake(Box::new(hello("a", 1, T1))));
    let mut other = hello("b", 1, T1);
    other.claim_uid = "other-claim".into();
    let second = world.ask(QuestionKind::Handshake(Box::new(other)));
    world.settle();
    assert!(matches!(world.verdict(first), Verdict::Send { .. }));
    assert!(
        matches!(world.verdict(second), Verdict::Refused { reason, .. } if reason == "OtherSourcePinned")
    );
}

#[test]
fn a_recreated_source_of_the_same_claim_goes_on() {
    let mut world = World::listening();
    world.sync("a", T1);
    let mut again = hello("b", 1, T2);
    again.source_name = "west/again".into();
    assert!(matches!(world.shake(again), Verdict::Send { .. }));
    assert_eq!(world.status().source.as_ref().unwrap().name, "west/again");
}

#[test]
fn data_of_a_time_to_come_is_not_believed() {
    let mut world = World::listening();
    let now = world.now;
    let id = world.ask(QuestionKind::Handshake(Box::new(hello("a", 1, "2026-03-04T05:05:01Z"))));
    world.now = now;
    world.settle();
    insta::assert_snapshot!(format!("{:?}", world.verdict(id)), @r#"Refused { reason: "ClockSkew", message: "the source's data is of 2026-03-04T05:05:01Z, and by the destination's clock it is 2026-03-04T05:00:00Z", permanent: false }"#);
    assert_eq!(world.status().source, None, "a refused source was pinned");
    // Clocks differ a little.
    let id = world.ask(QuestionKind::Handshake(Box::new(hello("b", 1, T2))));
    world.now = now;
    world.settle();
    assert!(matches!(world.verdict(id), Verdict::Send { .. }));
}

#[test]
fn a_handshake_that_is_none_is_refused_without_repeating_it() {
    let mut world = World::listening();
    let mut hello = hello("A sync", 1, T1);
    hello.source_name = "west\ndb".into();
    world.ask(QuestionKind::Handshake(Box::new(hello)));
    let decision = world.decide();
    assert!(decision.events.iter().all(|note| !note.message.contains('\n')), "{:?}", decision.events);
    let log = world.settle();
    assert!(log.contains("ProtocolMismatch"), "{log}");
    assert_eq!(world.status().source, None);
}

#[test]
fn what_is_refused_and_why() {
    type Change = fn(&mut scribe_mover_contract::peer::Handshake);
    let cases: &[(&str, Change)] = &[
        ("ProtocolMismatch", |hello| hello.protocol = 0),
        ("RelationshipMismatch", |hello| hello.relationship = "another".into()),
        ("RelationshipMismatch", |hello| hello.generation = 2),
        ("UnsupportedVolumeMode", |hello| hello.volume_mode = scribe_mover_contract::peer::VolumeMode::Block),
        ("DestinationFull", |hello| hello.expected_bytes = 11 << 30),
    ];
    let mut text = String::new();
    for (reason, change) in cases {
        let mut world = World::listening();
        let mut hello = hello("a", 1, T1);
        change(&mut hello);
        let verdict = world.shake(hello);
        text += &format!("{verdict:?}\n");
        assert!(matches!(&verdict, Verdict::Refused { reason: given, .. } if given == reason), "{verdict:?}");
        assert_eq!(world.status().source, None, "a refused source was pinned");
        assert_eq!(world.status().dirty, None);
    }
    insta::assert_snapshot!(text);
}

#[test]
fn paused_refuses_syncs_and_finishes_what_runs() {
    let mut world = World::listening();
    world.shake(hello("a", 1, T1));
    world.seen.around.paused_by = Some("scribe-system".into());
    assert!(matches!(world.commit(commit("a", 1, T1)), CommitVerdict::Recorded { .. }));
    world.snapshots_ready();
    world.settle();
    assert!(matches!(world.published("a"), PublicationState::Yes { .. }));
    assert_eq!(world.status().phase, Some(Phase::Paused));
    let verdict = world.shake(hello("b", 1, T2));
    assert!(
        matches!(&verdict, Verdict::Refused { reason, permanent: false, .. } if reason == "DestinationPaused"),
        "{verdict:?}"
    );
    world.seen.around.paused_by = None;
    world.spec(|spec| spec.paused = true);
    let verdict = world.shake(hello("b", 1, T2));
    assert!(
        matches!(&verdict, Verdict::Refused { reason, message, .. }
            if reason == "DestinationPaused" && message.contains("spec.paused is true")),
        "{verdict:?}"
    );
}

#[test]
fn a_tag_admits_one_sync() {
    let mut world = World::listening();
    let tag = |world: &mut World, tag: &str| {
        let manual = Some(tag.to_owned());
        world.spec(|spec| spec.trigger = Some(DestinationTrigger { manual }));
    };
    tag(&mut world, "one");
    assert!(matches!(world.shake(hello("a", 1, T1)), Verdict::Send { .. }));
    // A further attempt of it is still the same sync.
    assert!(matches!(world.shake(hello("a", 2, T1)), Verdict::Send { .. }));
    world.commit(commit("a", 2, T1));
    world.snapshots_ready();
    world.settle();
    let verdict = world.shake(hello("b", 1, T2));
    assert!(
        matches!(&verdict, Verdict::Refused { reason, .. } if reason == "DestinationNotTriggered"),
        "{verdict:?}"
    );
    tag(&mut world, "two");
    assert!(matches!(world.shake(hello("b", 1, T2)), Verdict::Send { .. }));
    assert_eq!(world.status().last_manual_sync.as_deref(), Some("two"));
}

#[test]
fn a_replaced_sync_and_a_lower_attempt_are_refused_for_good() {
    let mut world = World::listening();
    let first = token(&world.shake(hello("a", 1, T1)));
    let third = token(&world.shake(hello("a", 3, T1)));
    assert!(third > first);
    let lower = world.shake(hello("a", 2, T1));
    assert!(
        matches!(&lower, Verdict::Refused { reason, permanent: true, .. } if reason == "SyncReplaced"),
        "{lower:?}"
    );
    // The same attempt, once more: its connection broke.
    assert!(token(&world.shake(hello("a", 3, T1))) > third);
    assert!(matches!(world.shake(hello("b", 1, T2)), Verdict::Send { .. }));
    let replaced = world.shake(hello("a", 4, T1));
    assert!(
        matches!(&replaced, Verdict::Refused { reason, permanent: true, .. } if reason == "SyncReplaced")
    );
    assert_eq!(world.status().consecutive_failures, 1);
}

#[test]
fn the_last_thirty_two_syncs_are_remembered() {
    let mut world = World::listening();
    for number in 0..33 {
        assert!(matches!(world.shake(hello(&format!("s{number}"), 1, T1)), Verdict::Send { .. }));
    }
    let ids: Vec<&str> = world.status().sessions.iter().map(|session| session.sync_id.as_str()).collect();
    assert_eq!((ids.len(), ids[0], ids[31]), (32, "s1", "s32"));
    let tokens: Vec<u64> = world.status().sessions.iter().map(|session| session.token).collect();
    assert!(tokens.is_sorted_by(|a, b| a < b), "{tokens:?}");
    assert!(matches!(world.shake(hello("s1", 9, T1)), Verdict::Refused { .. }));
}

#[test]
fn a_lost_session_is_a_failure_once() {
    let mut world = World::listening();
    world.shake(hello("a", 1, T1));
    for attempt in 1..=2 {
        if attempt == 2 {
            assert!(!is_clean(&world.shake(hello("a", 2, T1))));
        }
        let mover = world.mover();
        mover.session.as_mut().unwrap().connected = false;
        mover.activity = Activity::Listening;
        mover.last_failure = Some(SessionFailure {
            sync_id: "a".into(),
            attempt,
            reason: "ConnectionLost".into(),
            message: format!("the peer was silent for {attempt} min"),
        });
        world.settle();
        let status = world.status();
        assert_eq!(status.consecutive_failures, 1, "attempt {attempt}");
        let last = status.latest_mover_status.as_ref().unwrap();
        assert_eq!((last.result, last.reason.as_deref()), (MoverResult::Failed, Some("ConnectionLost")));
        assert_eq!(status.phase, Some(Phase::Waiting));
        assert!(status.dirty.is_some());
    }
    world.shake(hello("a", 3, T1));
    assert_eq!(world.status().phase, Some(Phase::Transferring));
    world.commit(commit("a", 3, T1));
    world.snapshots_ready();
    world.settle();
    assert_eq!(world.status().consecutive_failures, 0);
    assert_eq!(world.status().current_sync, None);
}

#[test]
fn a_source_that_goes_away_without_a_word_is_a_failure_after_a_while() {
    let mut world = World::listening();
    world.shake(hello("a", 1, T1));
    world.mover().session.as_mut().unwrap().connected = false;
    world.settle();
    assert_eq!(world.status().phase, Some(Phase::Transferring), "it may only be between two connections");
    world.now = world.decide().wake.expect("a time to look again");
    world.settle();
    assert_eq!((world.status().phase, world.status().consecutive_failures), (Some(Phase::Waiting), 1));
    let condition =
        world.status().conditions.iter().find(|condition| condition.type_ == "Synchronizing").unwrap();
    assert_eq!(condition.reason, "ConnectionLost");
    world.mover().session.as_mut().unwrap().connected = true;
    world.settle();
    assert_eq!(world.status().phase, Some(Phase::Transferring));
}

#[test]
fn a_mover_that_restarts_loses_its_session_and_the_claim_stays_dirty() {
    let mut world = World::listening();
    world.shake(hello("a", 1, T1));
    world.kill_mover(137);
    world.settle();
    assert_eq!(world.status().consecutive_failures, 1);
    world.pass_time(60);
    world.settle();
    assert_eq!(world.mover().seal, Some(1), "it starts sealed");
    assert!(world.status().dirty.is_some());
    let verdict = world.shake(hello("a", 1, T1));
    assert!(!is_clean(&verdict) && token(&verdict) == 2, "{verdict:?}");
}

#[test]
fn a_session_of_which_nothing_is_on_record_is_ended() {
    let mut world = World::listening();
    world.mover().seal = None;
    world.mover().session =
        Some(SessionState { sync_id: "old".into(), attempt: 1, token: 41, connected: true });
    let log = world.settle();
    assert!(log.contains("end session 41"), "{log}");
    assert_eq!(world.mover().session, None);
}
