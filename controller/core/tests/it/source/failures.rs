//! Every way in which a sync fails, and what is said about it.

use super::world::World;
use scribe_core::decision::{ChildKind, SyncResult};
use scribe_crds::conditions::Reason;
use scribe_crds::v1alpha1::Phase;
use serde_json::json;

const MANUAL: &str = "{sourcePVC: data, trigger: {manual: one}, rsync: {sshKeys: db-keys}}";

fn running() -> World {
    let mut world = World::new(MANUAL);
    world.start_sync();
    world.transcript.clear();
    world
}

#[test]
fn transient_failures_are_tried_again_and_not_forever() {
    let mut world = running();
    let mut pauses = Vec::new();
    for attempt in 1..=5 {
        assert_eq!(world.sync().attempt, attempt);
        world.run_pod();
        world.later(20);
        world.end_mover(1, json!({"reason": "TransferFailed", "message": "rsync ended with 30"}));
        world.settle(&format!("attempt {attempt} fails"));
        assert!(world.seen.pods.is_empty());
        let Some(sync) = world.status().current_sync else { continue };
        assert_eq!((world.condition().as_str(), world.seen.cuts.len()), ("False WaitingForRetry", 1));
        let retry_at = sync.retry_at.unwrap().0;
        assert_eq!(world.pass("nothing").wake, Some(retry_at));
        pauses.push(retry_at.as_second() - world.now.as_second());
        world.now = retry_at;
        world.settle("the pause is over");
    }
    assert_eq!(pauses, [10, 20, 40, 80]);
    assert_eq!(
        (world.condition().as_str(), world.status().phase),
        ("False TransferFailed", Some(Phase::Failed))
    );
    assert!(world.seen.cuts.is_empty());
    assert!(world.message().contains("given up after 5 attempts"), "{}", world.message());
    assert!(world.message().contains("Set spec.trigger.manual to a new value"), "{}", world.message());
    assert_eq!(world.status().consecutive_failures, 1);
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn what_will_not_get_better_ends_the_sync_at_once() {
    for (exit, reason) in
        [(2, "HostKeyMismatch"), (2, "KeysMissing"), (3, "OtherSourcePinned"), (3, "SyncReplaced")]
    {
        let mut world = running();
        world.end_mover(exit, json!({"reason": reason, "message": "In the mover's words"}));
        let decision = world.pass("the mover has ended");
        assert_eq!(decision.ended.unwrap().result, SyncResult::Failure);
        assert_eq!(world.condition(), format!("False {reason}"));
        assert!(world.message().contains("In the mover's words"), "{}", world.message());
        assert_eq!(decision.events.len(), 1);
        world.settle("cleaned up");
        assert!(world.seen.cuts.is_empty() && world.seen.pods.is_empty());
        assert_eq!(world.status().recovery_point, None);
    }
}

#[test]
fn an_unreachable_destination_uses_up_no_attempt_but_time() {
    let mut world = running();
    let mut tries = 0;
    while let Some(sync) = world.status().current_sync {
        assert_eq!(sync.attempt, 1);
        tries += 1;
        assert!(tries < 30, "it never ends");
        world.run_pod();
        world.later(60);
        world.end_mover(
            1,
            json!({"reason": "DestinationUnreachable", "message": "connect 192.0.2.1:22: timed out"}),
        );
        world.settle("no answer");
        if let Some(retry_at) = world.status().current_sync.and_then(|sync| sync.retry_at) {
            assert_eq!(world.condition(), "False DestinationUnreachable");
            world.now = retry_at.0;
            world.settle("the pause is over");
        }
    }
    assert!(tries > 5, "more often than there are attempts: {tries}");
    let spent = world.now.as_second() - world.status().last_attempt.unwrap().started_at.0.as_second();
    assert!((3600..4200).contains(&spent), "{spent}");
    assert_eq!(world.condition(), "False DestinationUnreachable");
    assert_eq!(
        world.transcript.matches("event: DestinationUnreachable").count(),
        2,
        "told at the beginning and at the end"
    );
}

#[test]
fn a_pod_is_heard_once_even_if_it_lingers() {
    let mut world = running();
    world.slow_deletion = true;
    world.end_mover(1, json!({"reason": "DestinationUnreachable", "message": "no route to host"}));
    world.settle("no answer");
    let retry_at = world.sync().retry_at.unwrap().0;
    world.later(5);
    world.settle("its pod is still there");
    assert_eq!(world.sync().retry_at.unwrap().0, retry_at);
    world.now = retry_at;
    world.settle("the pause is over, and another pod of that name cannot be made yet");
    assert_eq!((world.jobs.len(), world.condition().as_str()), (1, "False DestinationUnreachable"));
    world.sweep();
    world.settle("it is gone");
    assert_eq!(world.jobs.len(), 2);
}

#[test]
fn an_unreachable_destination_is_looked_for_until_the_next_tick() {
    let mut world =
        World::new("{sourcePVC: data, trigger: {schedule: '*/10 * * * *'}, rsync: {sshKeys: db-keys}}");
    world.start_sync();
    world.later(600);
    world.end_mover(1, json!({"reason": "DestinationUnreachable", "message": "no route to host"}));
    world.settle("no answer");
    assert!(world.status().current_sync.is_none());
    assert_eq!(
        (world.condition().as_str(), world.status().phase),
        ("False DestinationUnreachable", Some(Phase::Failed))
    );
}

#[test]
fn a_slow_cut_is_deleted_and_gone_before_another_is_made() {
    let mut world = World::new(MANUAL);
    world.slow_deletion = true;
    world.settle("a tag");
    let first = world.cut().metadata.uid.clone().unwrap();
    world.warn(&first, "ProvisioningFailed", "rpc error: the pool is full");
    world.later(599);
    world.settle("not yet");
    assert_eq!(world.condition(), "True SyncInProgress");
    assert!(world.message().contains("the pool is full"), "{}", world.message());
    world.later(1);
    world.crash("the cut timed out");
    world.seen.around.warnings.clear();
    world.settle("the events are gone, the cut is not");
    assert_eq!((world.condition().as_str(), world.sync().attempt), ("False CutTimeout", 1));
    // The storage system is done after all, and the pod ends: too late, both are given up.
    world.bind_cut();
    world.end_pod(143, "");
    world.settle("the cut is bound after all");
    assert_eq!((world.seen.cuts.len(), world.seen.pods.len(), world.sync().attempt), (1, 1, 1));
    world.sweep();
    world.settle("both are gone");
    assert_eq!((world.sync().attempt, world.sync().cut), (2, None));
    assert!(world.message().contains("the pool is full"), "{}", world.message());
    world.later(10);
    world.settle("the pause is over");
    assert_ne!(world.sync().cut, Some(first.clone()));
    world.bind_cut();
    world.run_pod();
    world.settle("it runs");
    let job = world.jobs.last().unwrap();
    assert_eq!((Some(&job.cut_uid), job.attempt), (world.sync().cut.as_ref(), 2));
    // What was said of the first cut is not held against the second.
    let second = world.cut().metadata.name.clone().unwrap();
    world.end_mover(1, json!({"reason": "ConnectionLost"}));
    world.settle("lost");
    world.delete(ChildKind::Claim, &second, None);
    world.sweep();
    world.settle("somebody deletes the second cut");
    assert_eq!(world.condition(), "False CutVanished");
    insta::assert_snapshot!(world.transcript);
}

#[test]
fn a_cut_that_somebody_deletes_fails_the_sync() {
    let mut world = World::new(MANUAL);
    world.settle("a tag");
    world.seen.pods.clear();
    world.seen.cuts.clear();
    world.settle("the cut is gone");
    assert_eq!((world.condition().as_str(), world.seen.cuts.len()), ("False CutVanished", 0));

    // One by the same name is not it.
    let mut world = World::new(MANUAL);
    world.settle("a tag");
    world.cut().metadata.uid = Some("another".to_owned());
    world.settle("the cut is another");
    assert_eq!((world.condition().as_str(), world.seen.cuts.len()), ("False CutVanished", 0));

    let mut world = running();
    world.cut().status.as_mut().unwrap().phase = Some("Lost".to_owned());
    world.settle("its volume is gone");
    assert_eq!(world.condition(), "False CutVanished");

    // While a mover reads it, a deleted claim stays: what it sends is good.
    let mut world = running();
    world.slow_deletion = true;
    let name = world.cut().metadata.name.clone().unwrap();
    world.delete(ChildKind::Claim, &name, None);
    world.settle("deleted, but in use");
    assert_eq!(world.condition(), "True SyncInProgress");
    world.finish_sync();
    assert!(world.status().recovery_point.is_some());
}

#[test]
fn a_success_counts_even_if_the_cut_is_gone_by_then() {
    let mut world = running();
    world.end_mover(0, json!({}));
    world.seen.cuts.clear();
    world.settle("ended, and the cut is gone");
    assert_eq!(world.status().last_manual_sync.as_deref(), Some("one"));
}

#[test]
fn a_claim_that_goes_away() {
    // Before there is a cut.
    let mut world = World::new(MANUAL);
    world.crash("a tag");
    world.seen.claim = None;
    let decision = world.pass("the claim is gone");
    assert_eq!(decision.ended.unwrap().result, SyncResult::Aborted);
    assert_eq!(
        (world.condition().as_str(), world.status().phase),
        ("False SourceMissing", Some(Phase::Idle))
    );
    assert_eq!(world.status().consecutive_failures, 0);

    // While the cut is being made.
    let mut world = World::new(MANUAL);
    world.settle("a tag");
    world.seen.claim.as_mut().unwrap().metadata.uid = Some("another".to_owned());
    let decision = world.pass("another claim of that name");
    assert_eq!(decision.ended.unwrap().result, SyncResult::Aborted);
    // The tag has had no sync yet: the other claim gets it, with a cut of its own.
    world.settle("cleaned up, and begun anew");
    let sync = world.status().current_sync.clone().unwrap().id;
    let cuts: Vec<_> = world.seen.cuts.iter().map(|cut| cut.metadata.name.clone().unwrap()).collect();
    assert!(cuts.len() == 1 && cuts[0].ends_with(&sync), "{cuts:?} for {sync}");

    // When there is a cut: it is sent.
    let mut world = running();
    world.seen.claim = None;
    world.settle("the claim is gone");
    assert_eq!(world.condition(), "True SyncInProgress");
    world.end_mover(1, json!({"reason": "ConnectionLost"}));
    world.settle("lost");
    world.later(10);
    world.settle("the pause is over");
    assert_eq!(world.jobs.last().unwrap().claim_uid, "claim-uid");
    world.run_pod();
    world.finish_sync();
    assert!(world.status().recovery_point.is_some());
    assert_eq!(
        (world.condition().as_str(), world.status().phase),
        ("False SourceMissing", Some(Phase::Idle))
    );
}

#[test]
fn a_pod_that_does_not_start() {
    type Case = (&'static str, fn(&mut World), &'static str);
    let cases: [Case; 3] = [
        (
            "KeysMissing",
            |world| {
                let pod = world.pod().metadata.uid.clone().unwrap();
                let message = "MountVolume.SetUp failed for volume \"keys\" : secret \"db-keys\" not found";
                world.warn(&pod, "FailedMount", message);
                // What was said last is about another of its volumes.
                let message = "MountVolume.SetUp failed for volume \"control\" : failed to sync secret cache";
                world.warn(&pod, "FailedMount", message);
            },
            "secret \"db-keys\" not found",
        ),
        (
            "MoverStartTimeout",
            |world| {
                let status = json!({"phase": "Pending", "containerStatuses": [{
                    "name": "mover", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                    "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}},
                }]});
                world.pod().status = Some(serde_json::from_value(status).unwrap());
            },
            "ImagePullBackOff: Back-off pulling image",
        ),
        (
            "MoverStartTimeout",
            |world| {
                let status = json!({"phase": "Pending", "conditions": [
                    {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"},
                ]});
                world.pod().status = Some(serde_json::from_value(status).unwrap());
            },
            "0/1 nodes are available",
        ),
    ];
    for (reason, happens, words) in cases {
        let mut world = World::new(MANUAL);
        world.settle("a tag");
        world.bind_cut();
        happens(&mut world);
        world.settle("it waits");
        assert!(world.message().contains(words), "{}", world.message());
        assert_eq!(world.condition() == "False KeysMissing", reason == "KeysMissing");
        // A slow cut may have used up the time before: the first pod has the time of both.
        world.later(600);
        world.settle("not yet");
        assert_eq!(world.sync().attempt, 1);
        world.later(300);
        world.settle("too long");
        assert_eq!((world.condition(), world.sync().attempt), (format!("False {reason}"), 2));
        assert!(world.message().contains(words), "{}", world.message());
        world.seen.around.warnings.clear();
        world.later(10);
        world.settle("the pause is over");
        world.later(300);
        world.settle("the second pod has only its own time");
        assert_eq!(world.sync().attempt, 3);
    }
}

#[test]
fn a_pod_that_was_scheduled_has_its_time_from_then() {
    let mut world = World::new(MANUAL);
    world.settle("a tag");
    world.later(500);
    world.bind_cut();
    let scheduled = world.now;
    let status = json!({"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": scheduled},
    ]});
    world.pod().status = Some(serde_json::from_value(status).unwrap());
    world.later(299);
    world.settle("not yet");
    assert_eq!(world.sync().attempt, 1);
    world.later(1);
    world.settle("too long");
    assert_eq!(world.sync().attempt, 2);
}

#[test]
fn writes_that_are_refused_are_tried_again_a_few_times() {
    for (quota, reason) in [(true, "QuotaExceeded"), (false, "ObjectRefused")] {
        let mut world = World::new(MANUAL);
        world.crash("a tag; the clone is refused");
        for attempt in 2..=5 {
            world.refuse("PersistentVolumeClaim scribe-src-db-sync0001", quota, "exceeded quota: storage");
            world.settle("refused");
            world.seen.around.refusals.clear();
            assert_eq!((world.condition(), world.sync().attempt), (format!("False {reason}"), attempt));
            assert!(world.message().contains("exceeded quota: storage"), "{}", world.message());
            assert!(world.seen.cuts.is_empty());
            world.now = world.sync().retry_at.unwrap().0;
            world.crash("the pause is over; the clone is refused again");
        }
        world.refuse("PersistentVolumeClaim scribe-src-db-sync0001", quota, "exceeded quota: storage");
        world.settle("refused");
        assert!(world.status().current_sync.is_none());
        assert_eq!(
            (world.condition(), world.status().phase),
            (format!("False {reason}"), Some(Phase::Failed))
        );
        // A write that is refused and that nothing waits for is no reason to fail anything.
        let mut world = running();
        world.refuse("Pod x", quota, "no");
        world.settle("refused");
        assert_eq!(world.condition(), "True SyncInProgress");
    }
}

#[test]
fn a_pod_that_somebody_deletes_or_that_its_node_evicts() {
    let mut world = running();
    world.pod().metadata.deletion_timestamp =
        Some(serde_json::from_value(json!("2026-03-01T00:01:00Z")).unwrap());
    world.settle("drained");
    assert_eq!((world.condition().as_str(), world.sync().attempt), ("False WaitingForRetry", 2));

    let mut world = running();
    let status = json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory"});
    world.pod().status = Some(serde_json::from_value(status).unwrap());
    world.settle("evicted");
    assert!(world.message().contains("Evicted The node was low on memory"), "{}", world.message());

    // Gone without a trace: made again, under the same number, since nothing shows that it ever ran.
    let mut world = running();
    world.seen.pods.clear();
    world.settle("gone");
    assert_eq!((world.sync().attempt, world.seen.pods.len()), (1, 1));
}

#[test]
fn what_a_pod_leaves_behind_is_not_believed_blindly() {
    let huge = format!("{{\"protocol\":1,\"message\":\"{}\"}}", "x".repeat(5000));
    let good =
        json!({"protocol": 1, "syncId": "sync0001", "result": "done", "message": "", "published": true});
    let with = |fields: serde_json::Value| {
        let mut left = good.clone();
        left.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        left.to_string()
    };
    let cases: [(&str, i32, String, &str, &str); 13] = [
        ("nothing", 1, String::new(), "MoverFailed", "exit code 1 (Error), and left no message"),
        ("killed", 137, String::new(), "MoverFailed", "exit code 137"),
        ("cut off", 0, good.to_string()[..40].to_owned(), "MoverFailed", "cannot be read"),
        ("too long", 0, huge, "MoverFailed", "too long"),
        ("no object", 0, "[]".to_owned(), "MoverFailed", "cannot be read"),
        ("another sync", 0, with(json!({"syncId": "other"})), "MoverFailed", "about another sync"),
        ("another protocol", 0, with(json!({"protocol": 99})), "MoverFailed", "another protocol version"),
        ("not published", 0, with(json!({"published": false})), "MoverFailed", "the mover gave no message"),
        ("exit code and words differ", 1, good.to_string(), "MoverFailed", ""),
        (
            "a new reason",
            3,
            with(json!({"result": "refused", "reason": "Sunspots"})),
            "InternalError",
            "Sunspots:",
        ),
        (
            "a normal reason",
            2,
            with(json!({"result": "permanent", "reason": "Paused"})),
            "InternalError",
            "Paused:",
        ),
        (
            "ours",
            1,
            with(json!({"result": "transient", "reason": "CutTimeout"})),
            "MoverFailed",
            "CutTimeout:",
        ),
        (
            "many words",
            1,
            with(
                json!({"result": "transient", "reason": "TransferFailed", "message": format!("a\u{1b}[31m\n{}", "ä".repeat(1500))}),
            ),
            "TransferFailed",
            "a [31m ää",
        ),
    ];
    for (what, exit, message, reason, words) in cases {
        let mut world = running();
        world.end_pod(exit, &message);
        let decision = world.pass(what);
        let status = world.status();
        assert_eq!(status.recovery_point, None, "{what}");
        assert_eq!(status.last_manual_sync, None, "{what}");
        let seen = status.latest_mover_status.unwrap();
        assert_eq!(seen.reason.as_deref(), Some(reason), "{what}");
        assert!(seen.logs.contains(words) && seen.logs.len() <= 1024, "{what}: {}", seen.logs);
        assert!(world.message().len() < 1000 && !world.message().contains(char::is_control), "{what}");
        assert!(decision.events.iter().all(|note| note.message.len() <= 1024), "{what}");
        world.settle(what);
        assert!(world.seen.pods.is_empty(), "{what}");
        // Whatever it was, the next attempt or the next tag goes on.
        if let Some(sync) = world.status().current_sync {
            world.now = sync.retry_at.unwrap().0;
        } else {
            world.seen.source.spec.trigger.as_mut().unwrap().manual = Some("two".to_owned());
        }
        world.start_sync();
        world.finish_sync();
        assert!(world.status().last_manual_sync.is_some(), "{what}");
    }
}

#[test]
fn a_reason_is_told_once_per_failure() {
    let mut world = running();
    world.end_mover(1, json!({"reason": "DestinationFull", "message": "No space left on device"}));
    let decision = world.pass("full");
    let told: Vec<Reason> = decision.events.iter().map(|note| note.reason).collect();
    assert_eq!(told, [Reason::DestinationFull]);
    assert_eq!(world.condition(), "False DestinationFull");
    let again = world.pass("nothing new");
    assert_eq!(again.events, []);
}
