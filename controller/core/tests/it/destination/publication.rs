//! From a commit to a replica.

use super::world::{T1, T2, World, commit, hello};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use scribe_core::observed::Refusal;
use scribe_crds::snapshots::{VolumeSnapshot, VolumeSnapshotSource, VolumeSnapshotSpec};
use scribe_crds::v1alpha1::Phase;
use scribe_mover_contract::control::{Activity, Answer, Order, QuestionKind};
use scribe_mover_contract::peer::{PublicationState, Published, Verdict};

pub const FIRST: &str = "db-20260304t050000z";

/// A sync is received, and its snapshot made.
fn received() -> World {
    let mut world = World::listening();
    world.shake(hello("a", 1, T1));
    world.commit(commit("a", 1, T1));
    assert_eq!(world.snapshots(), [FIRST]);
    world
}

#[test]
fn nothing_is_published_before_it_is_ready() {
    let mut world = received();
    for (is_cut, is_ready) in [(false, false), (true, false), (false, true)] {
        world.set_snapshot(FIRST, is_cut, is_ready, None);
        world.settle();
        assert_eq!(world.snapshots(), [FIRST]);
        assert_eq!(world.status().latest_image, None);
        assert_eq!(world.status().recovery_point, None);
        assert_eq!(world.status().phase, Some(Phase::Publishing));
    }
    world.set_snapshot(FIRST, true, true, None);
    world.settle();
    assert_eq!(world.status().latest_image.as_ref().unwrap().name, FIRST);
    let snapshot = world.snapshot(FIRST).clone();
    assert_eq!(snapshot.metadata.owner_references, None);
    insta::assert_yaml_snapshot!(snapshot.metadata.annotations);
}

#[test]
fn the_patch_alone_is_not_yet_a_publication_and_is_not_lost_either() {
    let mut world = received();
    world.snapshots_ready();
    // The patch is made; the process dies before it sees it.
    world.pass();
    assert_eq!(world.snapshots(), [format!("{FIRST}*")]);
    assert_eq!(world.status().received.as_ref().unwrap().published_at, None);
    assert_eq!(world.status().latest_image, None);
    world.pass_time(100);
    world.settle();
    assert!(world.status().received.as_ref().unwrap().published_at.is_some());
}

#[test]
fn the_next_session_waits_for_the_cut() {
    let mut world = received();
    assert!(matches!(world.shake(hello("b", 1, T2)), Verdict::Wait { .. }));
    assert!(world.mover().seal.is_some(), "unsealed before the cut");
    world.set_snapshot(FIRST, false, false, Some("the array is busy"));
    let verdict = world.shake(hello("b", 1, T2));
    assert!(matches!(verdict, Verdict::Wait { .. }));
    insta::assert_snapshot!(format!("{:?}", world.published("a")), @r#"NotYet { message: "sync a is received; VolumeSnapshot db-20260304t050000z is not ready yet: the array is busy" }"#);
    world.snapshots_ready();
    world.settle();
    assert!(matches!(world.shake(hello("b", 1, T2)), Verdict::Send { clean: true, .. }));
}

#[test]
fn who_asks_whether_it_is_published_hears_at_once_when_it_is_and_now_and_then_until_then() {
    let mut world = received();
    let ask = |world: &mut World| {
        let asked = QuestionKind::Published(Published { sync_id: "a".into(), attempt: 1 });
        let id = world.ask(asked);
        world.settle();
        id
    };
    let patient = ask(&mut world);
    assert!(!world.is_answered(patient));
    let wake = world.decide().wake.expect("a time to answer");
    assert_eq!(wake, world.now + SignedDuration::from_secs(10));
    world.pass_time(9);
    world.settle();
    assert!(!world.is_answered(patient));
    world.snapshots_ready();
    world.settle();
    assert!(matches!(world.answer_to(patient), Answer::Published(PublicationState::Yes { .. })));

    let mut world = received();
    let patient = ask(&mut world);
    world.pass_time(10);
    world.settle();
    assert!(matches!(world.answer_to(patient), Answer::Published(PublicationState::NotYet { .. })));
    // A mover whose clock is ahead does not have its source wait for it.
    world.pass_time(3600);
    let hasty = world.ask(QuestionKind::Published(Published { sync_id: "a".into(), attempt: 1 }));
    world.now -= SignedDuration::from_secs(3600);
    world.settle();
    assert!(world.is_answered(hasty));
}

#[test]
fn a_snapshot_that_fails_and_succeeds_late_is_published() {
    let mut world = received();
    world.set_snapshot(FIRST, false, false, Some("no space in the pool"));
    world.settle();
    world.pass_time(599);
    world.settle();
    assert_eq!(world.snapshots(), [FIRST]);
    world.snapshots_ready();
    world.settle();
    assert_eq!(world.snapshots(), [format!("{FIRST}*")]);
    assert!(matches!(world.published("a"), PublicationState::Yes { .. }));
}

#[test]
fn giving_up_waits_until_snapshot_and_content_are_gone() {
    let mut world = World::listening();
    world.contents_linger = true;
    world.content_policy = "Retain";
    world.shake(hello("a", 1, T1));
    world.commit(commit("a", 1, T1));
    world.set_snapshot(FIRST, false, false, Some("no space in the pool"));
    world.settle();
    let wake = world.decide().wake.expect("a time to give up");
    world.now = wake;
    insta::assert_snapshot!(world.settle());
    // The snapshot is gone and its content is not: the sidecar may still cut.
    assert!(world.snapshots().is_empty());
    assert_eq!(world.contents().len(), 1);
    assert!(matches!(world.published("a"), PublicationState::NotYet { .. }));
    let again = world.shake(hello("a", 2, T1));
    assert!(matches!(&again, Verdict::Wait { .. }), "{again:?}");
    assert!(matches!(world.shake(hello("b", 1, T2)), Verdict::Wait { .. }));
    assert!(world.mover().seal.is_some());
    assert!(world.snapshots().is_empty(), "a new snapshot beside the old content");

    world.contents_go();
    world.settle();
    insta::assert_snapshot!(format!("{:?}", world.published("a")), @r#"GaveUp { message: "VolumeSnapshot db-20260304t050000z: no space in the pool" }"#);
    assert!(world.snapshots().is_empty(), "no new snapshot until the next attempt");
    // The attempt that has seen it learns of it again; the next one has it tried again, without sending.
    assert!(matches!(world.shake(hello("a", 1, T1)), Verdict::Received { .. }));
    assert!(world.snapshots().is_empty());
    assert!(matches!(world.shake(hello("a", 2, T1)), Verdict::Received { .. }));
    assert_eq!(world.snapshots(), [format!("{FIRST}-2")]);
    world.snapshots_ready();
    world.settle();
    assert!(matches!(world.published("a"), PublicationState::Yes { .. }));
    assert_eq!(world.status().consecutive_failures, 0);
}

#[test]
fn giving_up_is_recorded_before_anything_is_deleted() {
    let mut world = received();
    world.pass_time(600);
    let decision = world.decide();
    world.carry_out(&decision, 1);
    assert_eq!(world.snapshots(), [FIRST]);
    assert!(world.status().received.as_ref().unwrap().gave_up.is_some());
    // It becomes ready just now. It was given up, and somebody may have been told so.
    world.snapshots_ready();
    world.settle();
    assert!(world.snapshots().is_empty());
    assert_eq!(world.status().latest_image, None);
    assert_eq!(world.status().releasing, Vec::<String>::new());
}

/// One controller is late, and gives up what the other publishes at the same moment.
#[test]
fn a_snapshot_that_is_published_meanwhile_is_no_leftover() {
    let mut world = received();
    world.content_policy = "Retain";
    world.pass_time(600);
    let giving_up = world.decide();
    world.snapshots_ready();
    let publishing = world.decide();
    world.carry_out(&giving_up, 1);
    let removing = world.decide();
    for action in publishing.then {
        world.act(&action).expect("nobody has changed the snapshot");
    }
    world.carry_out(&removing, usize::MAX);
    world.settle();
    assert_eq!(world.snapshots(), [format!("{FIRST}*")], "what was published is deleted");
    assert!(world.status().received.as_ref().unwrap().gave_up.is_none());
    // Its content stays with it, and holds up nothing.
    assert_eq!(world.status().releasing, Vec::<String>::new());
    assert_eq!(world.contents().len(), 1);
    assert!(matches!(world.shake(hello("b", 1, T2)), Verdict::Send { clean: true, .. }));
}

#[test]
fn the_next_sync_goes_on_after_a_publication_was_given_up() {
    let mut world = World::listening();
    world.sync("a", T1);
    world.shake(hello("b", 1, T2));
    world.commit(commit("b", 1, T2));
    world.pass_time(600);
    world.settle();
    assert_eq!(world.snapshots(), [format!("{FIRST}*")], "a failed sync changes no replica");
    assert_eq!(world.status().recovery_point.as_ref().unwrap().sync_id, "a");
    let verdict = world.shake(hello("c", 1, "2026-03-04T05:10:00Z"));
    assert!(
        matches!(verdict, Verdict::Send { clean: false, .. }),
        "the claim is ahead of every replica: {verdict:?}"
    );
}

#[test]
fn a_snapshot_that_somebody_deletes_is_made_again() {
    let mut world = received();
    world.seen.snapshots.clear();
    world.settle();
    assert_eq!(world.snapshots(), [FIRST]);
}

#[test]
fn a_name_that_is_taken_is_not_used() {
    let mut world = World::listening();
    // Somebody's own snapshot of the receiving claim.
    let mut foreign = VolumeSnapshot::new(FIRST, VolumeSnapshotSpec::default());
    foreign.metadata.uid = Some("foreign".into());
    foreign.spec.source = VolumeSnapshotSource {
        persistent_volume_claim_name: Some("scribe-dst-db".into()),
        ..Default::default()
    };
    world.seen.snapshots.push(foreign);
    let log = {
        world.ask(QuestionKind::Handshake(Box::new(hello("a", 1, T1))));
        world.settle()
    };
    assert!(log.contains("event  ForeignSnapshot: VolumeSnapshot db-20260304t050000z"), "{log}");
    world.commit(commit("a", 1, T1));
    assert_eq!(world.snapshots(), [FIRST.to_owned(), format!("{FIRST}-2")]);
}

#[test]
fn a_name_that_is_taken_by_something_unseen_is_not_used_either() {
    let mut world = World::listening();
    world.shake(hello("a", 1, T1));
    world.ask_commit(commit("a", 1, T1));
    let decision = world.decide();
    world.carry_out(&decision, 2);
    world.seen.around.refusals.push(Refusal {
        object: format!("VolumeSnapshot {FIRST}"),
        quota: false,
        message: "it exists and is not ours".into(),
    });
    let decision = world.pass();
    world.seen.around.refusals.clear();
    assert_eq!(decision.status.unwrap().received.unwrap().publication, 2);
    world.settle();
    assert_eq!(world.snapshots(), [format!("{FIRST}-2")]);
}

#[test]
fn two_cuts_of_the_same_second_have_two_names() {
    let mut world = World::listening();
    world.sync("a", T1);
    world.sync("b", T1);
    assert_eq!(world.snapshots(), [format!("{FIRST}*"), format!("{FIRST}-2*")]);
    assert_eq!(world.status().recovery_point.as_ref().unwrap().sync_id, "b");
}

#[test]
fn a_quota_on_snapshots_is_named_and_nothing_is_lost() {
    let mut world = received();
    world.seen.snapshots.clear();
    world.seen.around.refusals.push(Refusal {
        object: format!("VolumeSnapshot {FIRST}"),
        quota: true,
        message: "exceeded quota: snapshots".into(),
    });
    let decision = world.decide();
    assert_eq!(decision.status.as_ref().unwrap().received.as_ref().unwrap().publication, 1);
    assert!(decision.wake.is_some());
    let conditions = decision.status.unwrap().conditions;
    let condition = conditions.iter().find(|condition| condition.type_ == "Synchronizing").unwrap();
    assert_eq!(condition.reason, "QuotaExceeded");
    assert!(condition.message.contains("exceeded quota: snapshots"));
}

#[test]
fn a_snapshot_that_is_refused_for_good_is_given_up() {
    let mut world = received();
    world.seen.snapshots.clear();
    let refuse = |world: &mut World, name: &str| {
        world.seen.around.refusals.push(Refusal {
            object: format!("VolumeSnapshot {name}"),
            quota: false,
            message: "admission webhook \"no-snapshots\" denied the request".into(),
        });
    };
    refuse(&mut world, FIRST);
    world.pass_time(599);
    let decision = world.pass();
    assert_eq!(world.status().received.as_ref().unwrap().gave_up, None);
    assert!(decision.wake.is_some());
    world.seen.snapshots.clear();
    world.pass_time(1);
    let decision = world.pass();
    assert!(!format!("{:?}", decision.then).contains("Create"), "{:?}", decision.then);
    world.seen.around.refusals.clear();
    world.settle();
    insta::assert_snapshot!(format!("{:?}", world.published("a")), @r#"GaveUp { message: "VolumeSnapshot db-20260304t050000z: admission webhook \"no-snapshots\" denied the request" }"#);
    assert_eq!(world.status().consecutive_failures, 1);
    // The next attempt has it tried again; the webhook is gone.
    assert!(matches!(world.shake(hello("a", 2, T1)), Verdict::Received { .. }));
    assert_eq!(world.snapshots(), [format!("{FIRST}-2")]);
}

#[test]
fn a_snapshot_that_may_not_be_published_is_given_up() {
    let mut world = received();
    world.set_snapshot(FIRST, true, true, None);
    world.seen.around.refusals.push(Refusal {
        object: format!("VolumeSnapshot {FIRST}"),
        quota: false,
        message: "annotations are not allowed".into(),
    });
    world.pass_time(600);
    let decision = world.pass();
    assert!(!format!("{:?}", decision.then).contains("PublishSnapshot"), "{:?}", decision.then);
    world.seen.around.refusals.clear();
    world.settle();
    assert!(world.snapshots().is_empty());
    assert!(matches!(world.published("a"), PublicationState::GaveUp { .. }));
}

#[test]
fn what_was_received_into_another_claim_is_void() {
    let mut world = received();
    // The claim is deleted and made anew, with a snapshot on the way.
    world.seen.claim.as_mut().unwrap().metadata.uid = Some("another".into());
    world.settle();
    assert!(world.snapshots().is_empty(), "the snapshot of a void commit is a leftover");
    assert!(matches!(world.published("a"), PublicationState::Unknown));
    let verdict = world.shake(hello("a", 2, T1));
    assert!(matches!(verdict, Verdict::Send { clean: false, .. }), "{verdict:?}");
}

#[test]
fn a_snapshot_that_is_cut_is_published_although_its_claim_goes() {
    let mut world = received();
    let now = world.now;
    world.seen.claim.as_mut().unwrap().metadata.deletion_timestamp = Some(Time(now));
    world.snapshots_ready();
    world.settle();
    assert_eq!(world.snapshots(), [format!("{FIRST}*")]);
}

#[test]
fn a_mover_that_is_not_sealed_is_sealed_before_the_cut() {
    let mut world = World::listening();
    world.shake(hello("a", 1, T1));
    world.ask_commit(commit("a", 1, T1));
    let decision = world.decide();
    world.carry_out(&decision, 2);
    world.mover().seal = None;
    world.mover().activity = Activity::Transferring;
    let decision = world.pass();
    assert!(!format!("{:?}", decision.then).contains("Create"), "{:?}", decision.then);
    world.settle();
    assert_eq!(world.snapshots(), [FIRST]);
}

#[test]
fn a_mover_that_writes_nobody_knows_why_is_sealed_before_the_cut() {
    let mut world = World::listening();
    world.shake(hello("a", 1, T1));
    world.ask_commit(commit("a", 1, T1));
    let decision = world.decide();
    // The commit is recorded, and the process dies.
    world.carry_out(&decision, 1);
    let mover = world.mover();
    (mover.seal, mover.session, mover.activity) = (None, None, Activity::Listening);
    mover.questions.clear();
    let decision = world.decide();
    assert!(
        decision.then.iter().any(|action| matches!(
            action,
            scribe_core::decision::Action::Order { order: Order::EndSession { .. }, .. }
        )),
        "{decision:?}"
    );
    world.settle();
    assert!(world.mover().seal.is_some());
    assert_eq!(world.snapshots(), [FIRST]);
}
