//! Who may write, and when: fencing, seals, commits, and what the controller decides.

use crate::harness::{Controller, LIMIT, Pair, Policy, Publishing};
use scribe_mover_contract::REFUSED_EXIT;
use scribe_mover_contract::control::{Activity, Order, Progress};
use scribe_mover_contract::peer::{Commit, CommitAnswer, Handshake, HandshakeAnswer, Verdict};

/// As our source's rsync puts it together.
const RSYNC: &str =
    "--server -lHDtprcRSxe.iLsfxCIvu --log-format=%i --checksum-choice=xxh128 --delete --partial . .";

#[tokio::test]
async fn a_commit_that_is_published_at_once_ends_the_sync() {
    let pair = Pair::new();
    let policy =
        Policy { says_published_at_once: true, publishing: Publishing::Unchanged, ..Policy::default() };
    let (_mover, controller) = pair.listen_with(policy).await;
    let end = pair.sync_well().await;
    assert!(end.termination.unchanged && end.termination.recovery_point.is_some(), "{:?}", end.termination);
    assert_eq!(controller.policy().publications_asked, 0);
}

/// The kubelet notices the end of a container only once a second.
#[tokio::test]
async fn the_controller_hears_that_it_is_published_before_the_mover_is_gone() {
    let pair = Pair::new();
    pair.write("a", "one");
    let (_mover, _controller) = pair.listen().await;
    let source = pair.send();
    let hearing = Controller::start(&pair.address, source.control_port, Policy::default()).await;
    // It would say that it has heard; this one does not, and the mover ends all the same.
    hearing.stop();
    let seen = hearing.wait_for(|state| state.ended.is_some()).await;
    let end = source.end().await;
    assert_eq!((end.code, seen.ended.as_deref()), (Some(0), Some(&end.termination)), "{}", end.log);
}

#[tokio::test]
async fn a_wait_uses_no_attempt_and_a_refusal_ends_the_sync() {
    let mut pair = Pair::new();
    pair.write("a", "one");
    let wait = Verdict::Wait { seconds: 1, message: "a snapshot is being made".to_owned() };
    let policy = Policy { verdicts: vec![wait.clone(), wait], ..Policy::default() };
    let (_mover, controller) = pair.listen_with(policy).await;
    let end = pair.sync_well().await;
    assert_eq!(controller.policy().handshakes.len(), 3);
    assert!(end.log.contains("a snapshot is being made"), "{}", end.log);

    for (permanent, code) in [(true, 3), (false, 1)] {
        let refused = Verdict::Refused {
            reason: "OtherSourcePinned".to_owned(),
            message: "belongs to ns/other".to_owned(),
            permanent,
        };
        controller.decide(|policy| policy.verdicts = vec![refused]);
        pair.next("second");
        let end = pair.sync().await;
        assert_eq!((end.code, end.termination.reason.as_deref()), (Some(code), Some("OtherSourcePinned")));
        assert_eq!(end.termination.message, "belongs to ns/other");
        assert!(!end.termination.published);
    }
}

#[tokio::test]
async fn what_a_source_waits_for_is_shown_until_it_goes_on() {
    let mut pair = Pair::new();
    pair.write("large", vec![b'x'; 8 << 20]);
    pair.job.bandwidth_limit = Some(100 << 10);
    let wait = Verdict::Wait { seconds: 1, message: "a snapshot\nis being made".to_owned() };
    let policy = Policy { verdicts: vec![wait; 100], ..Policy::default() };
    let (_mover, controller) = pair.listen_with(policy).await;
    let source = pair.send();
    let seen = Controller::start(&pair.address, source.control_port, Policy::default()).await;
    let state = seen.wait_for(|state| state.waiting.is_some()).await;
    assert_eq!(state.activity, Activity::Waiting);
    assert_eq!(state.waiting.as_deref(), Some("a snapshot is being made"));
    controller.decide(|policy| policy.verdicts.clear());
    let state = seen.wait_for(|state| state.activity == Activity::Transferring).await;
    assert_eq!(state.waiting, None);
}

#[tokio::test]
async fn a_handshake_that_cannot_be_recorded_never_becomes_a_question() {
    let pair = Pair::new();
    pair.write("a", "one");
    let (_mover, controller) = pair.listen().await;
    pair.sync_well().await;
    let handshake = controller.policy().handshakes[0].clone();
    let bad = Handshake { sync_id: "../Sync".to_owned(), ..handshake };
    let output = pair.ssh("scribe handshake", &serde_json::to_string(&bad).unwrap()).await;
    let answer: HandshakeAnswer = serde_json::from_slice(&output.stdout).unwrap();
    assert!(matches!(answer.verdict, Verdict::Refused { permanent: true, .. }), "{answer:?}");
    assert_eq!(controller.policy().handshakes.len(), 1);
}

#[tokio::test]
async fn a_sealed_volume_is_never_written_to() {
    let pair = Pair::new();
    pair.write("a", "one");
    // The controller says "send" but does not lift the seal: the mover knows better.
    let (_mover, controller) = pair.listen_with(Policy { unseals: false, ..Policy::default() }).await;
    let source = pair.send();
    let state = controller.wait_for(|state| state.revision > 0).await;
    while controller.policy().handshakes.len() < 2 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(!pair.destination.path().join("a").exists());
    let refused = pair.ssh(&format!("scribe rsync 1 {RSYNC}"), "").await;
    assert_eq!(refused.status.code(), Some(REFUSED_EXIT));
    assert_eq!(controller.order(Order::Unseal { seal: state.seal.unwrap() + 1 }).await, 409);
    controller.decide(|policy| policy.unseals = true);
    assert_eq!(source.end().await.code, Some(0));
    pair.assert_same();
    // And sealed again after the commit, also for the session that wrote.
    let token = controller.policy().token;
    let refused = pair.ssh(&format!("scribe rsync {token} {RSYNC}"), "").await;
    assert_eq!(refused.status.code(), Some(REFUSED_EXIT));
    assert!(controller.state().await.seal.unwrap() > state.seal.unwrap());
}

#[tokio::test]
async fn a_newer_attempt_takes_over_and_the_older_one_is_ended() {
    let mut pair = Pair::new();
    pair.write("large", vec![b'x'; 8 << 20]);
    pair.job.bandwidth_limit = Some(100 << 10);
    let (_mover, controller) = pair.listen().await;
    let older = pair.send();
    controller.wait_for(|state| state.session.as_ref().is_some_and(|session| session.connected)).await;
    pair.job.attempt = 2;
    pair.job.bandwidth_limit = None;
    // The older one comes back with its next handshake, and is told that its place is taken.
    let replaced = Verdict::Refused {
        reason: "SyncReplaced".to_owned(),
        message: "a later attempt runs".to_owned(),
        permanent: true,
    };
    let newer = pair.send();
    controller.wait_for(|state| state.session.as_ref().is_some_and(|session| session.attempt == 2)).await;
    controller.decide(|policy| policy.verdicts = vec![replaced]);
    let (older, newer) = tokio::join!(older.end(), newer.end());
    assert_eq!(newer.code, Some(0), "{}", newer.log);
    assert!(matches!(older.code, Some(1 | 3)), "{}", older.log);
    pair.assert_same();
    let stale = pair.ssh("scribe commit 1", "{}").await;
    assert_eq!(stale.status.code(), Some(REFUSED_EXIT));
}

#[tokio::test]
async fn an_ended_session_can_neither_write_nor_commit() {
    let mut pair = Pair::new();
    pair.write("large", vec![b'x'; 8 << 20]);
    pair.job.bandwidth_limit = Some(100 << 10);
    let (_mover, controller) = pair.listen().await;
    let source = pair.send();
    let state =
        controller.wait_for(|state| state.session.as_ref().is_some_and(|session| session.connected)).await;
    let token = state.session.unwrap().token;
    assert_eq!(controller.order(Order::EndSession { token: token + 1 }).await, 409);
    let refused = Verdict::Refused {
        reason: "DestinationPaused".to_owned(),
        message: "paused".to_owned(),
        permanent: false,
    };
    controller.decide(|policy| policy.verdicts = vec![refused; 10]);
    assert_eq!(controller.order(Order::EndSession { token }).await, 204);
    let state = controller.state().await;
    assert!(state.seal.is_some() && state.session.is_none());
    assert_eq!(source.end().await.code, Some(1));
    for command in [format!("scribe rsync {token} {RSYNC}"), format!("scribe commit {token}")] {
        assert_eq!(pair.ssh(&command, "{}").await.status.code(), Some(REFUSED_EXIT));
    }
}

#[tokio::test]
async fn a_commit_may_be_repeated_but_not_changed() {
    let pair = Pair::new();
    pair.write("a", "one");
    let (_mover, controller) = pair.listen().await;
    pair.sync_well().await;
    let policy = controller.policy();
    let request = format!("scribe commit {}", policy.token);
    let again = pair.ssh(&request, &serde_json::to_string(&policy.commits[0]).unwrap()).await;
    let answer: CommitAnswer = serde_json::from_slice(&again.stdout).unwrap();
    let expected =
        CommitAnswer::Received { claim_uid: "receiving".to_owned(), publish_deadline: 3, published: None };
    assert_eq!(answer, expected);
    assert_eq!(controller.policy().commits.len(), 1, "the controller is not asked again");
    let other = Commit { unchanged: !policy.commits[0].unchanged, ..policy.commits[0].clone() };
    let other = pair.ssh(&request, &serde_json::to_string(&other).unwrap()).await;
    assert!(matches!(serde_json::from_slice(&other.stdout).unwrap(), CommitAnswer::Refused { .. }));
}

#[tokio::test]
async fn a_commit_waits_for_its_controller() {
    let pair = Pair::new();
    pair.write("a", "one");
    let (_mover, controller) = pair.listen_with(Policy { records: false, ..Policy::default() }).await;
    let source = pair.send();
    while controller.policy().commits.is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(controller.state().await.seal.is_some());
    controller.decide(|policy| policy.records = true);
    let end = source.end().await;
    assert_eq!(end.code, Some(0), "{}", end.log);
    let commits = controller.policy().commits;
    assert!(commits.len() >= 2 && commits.iter().all(|commit| *commit == commits[0]));
}

#[tokio::test]
async fn only_a_published_sync_is_done() {
    for (publishing, reason, words) in [
        (Publishing::Never, "PublicationTimeout", "the snapshot is not ready"),
        (Publishing::GaveUp, "PublicationFailed", "no space in the pool"),
    ] {
        let pair = Pair::new();
        pair.write("a", "one");
        let (_mover, controller) = pair.listen_with(Policy { publishing, ..Policy::default() }).await;
        let end = pair.sync().await;
        assert_eq!((end.code, end.termination.reason.as_deref()), (Some(1), Some(reason)));
        assert!(end.termination.message.contains(words), "{}", end.termination.message);
        assert!(!end.termination.published && end.termination.recovery_point.is_none());
        assert_eq!(controller.policy().commits.len(), 1);
        // The next attempt is told that it has arrived, and only asks.
        controller.decide(|policy| {
            policy.publishing = Publishing::Yes;
            policy.verdicts = vec![Verdict::Received { publish_deadline: 3 }];
        });
        assert_eq!(pair.sync_well().await.termination.recovery_point.unwrap().1, "first");
        assert_eq!(controller.policy().commits.len(), 1);
    }
}

#[tokio::test]
async fn a_destination_that_starts_again_is_sealed_and_asks_anew() {
    let mut pair = Pair::new();
    pair.write("large", vec![b'x'; 8 << 20]);
    pair.job.bandwidth_limit = Some(100 << 10);
    let (mover, controller) = pair.listen().await;
    let source = pair.send();
    let before =
        controller.wait_for(|state| state.session.as_ref().is_some_and(|session| session.connected)).await;
    mover.kill().await;
    let end = source.end().await;
    assert_eq!(
        (end.code, end.termination.reason.as_deref()),
        (Some(1), Some("ConnectionLost")),
        "{}",
        end.log
    );
    let (_mover, controller) = pair.listen().await;
    let after = controller.state().await;
    assert_ne!(after.instance, before.instance);
    assert!(after.seal.is_some() && after.session.is_none() && after.revision > before.revision);
    pair.job.bandwidth_limit = None;
    pair.job.attempt = 2;
    pair.sync_well().await;
    pair.assert_same();
}

#[tokio::test]
async fn whoever_has_the_key_can_do_nothing_else() {
    let mut pair = Pair::new();
    pair.write("a", "one");
    let (mover, controller) = pair.listen().await;
    pair.sync_well().await;
    pair.next("second");
    pair.job.bandwidth_limit = Some(1024);
    pair.write("large", vec![b'x'; 8 << 20]);
    let _source = pair.send();
    let state =
        controller.wait_for(|state| state.session.as_ref().is_some_and(|session| session.connected)).await;
    let token = state.session.unwrap().token;
    for command in [
        "id".to_owned(),
        String::new(),
        "scribe handshake; id".to_owned(),
        "scribe session".to_owned(),
        format!("scribe rsync {token} --server --sender -logDtpre.iLsfxCIvu . ."),
        format!("scribe rsync {token} {}", RSYNC.replace(" . .", " . /etc")),
        format!("scribe rsync {token} {}", RSYNC.replace("--partial", "--remove-source-files")),
        format!("scribe rsync {} {RSYNC}", token + 1),
        format!("scribe progress {token} 1"),
    ] {
        let output = pair.ssh(&command, "").await;
        assert_eq!(output.status.code(), Some(REFUSED_EXIT), "{command}: {output:?}");
        assert!(output.stdout.is_empty(), "{command}");
    }
    let forwarded = pair.ssh("scribe published", "not json").await;
    assert_eq!(forwarded.status.code(), Some(1));
    let flood = pair.ssh("scribe handshake", &"x".repeat(100_000)).await;
    assert_eq!(flood.status.code(), Some(1));
    assert!(
        mover.log().contains("refused a request: only handshake, rsync, progress, guarded, commit and"),
        "{}",
        mover.log()
    );
    assert!(controller.wait_for(|state| state.session.is_some()).await.seal.is_none());
}

#[tokio::test]
async fn a_source_hears_that_nothing_had_changed() {
    for (publishing, unchanged) in [(Publishing::Yes, false), (Publishing::Unchanged, true)] {
        let pair = Pair::new();
        pair.write("a", "one");
        let (_mover, _controller) = pair.listen_with(Policy { publishing, ..Policy::default() }).await;
        assert_eq!(pair.sync_well().await.termination.unchanged, unchanged);
    }
}

#[tokio::test]
async fn the_destination_shows_how_far_its_source_is() {
    const SIZE: u64 = 8 << 20;
    let mut pair = Pair::new();
    pair.write("large", vec![b'x'; usize::try_from(SIZE).unwrap()]);
    // Longer than anything here may take: nobody waits for its end.
    pair.job.bandwidth_limit = Some(SIZE / (4 * LIMIT.as_secs()));
    let (_mover, controller) = pair.listen().await;
    let source = pair.send();
    let state =
        controller.wait_for(|state| state.progress.as_ref().is_some_and(|it| it.bytes_done > 0)).await;
    let progress = state.progress.unwrap();
    assert_eq!((progress.bytes_total, progress.files_total), (SIZE, 2));
    assert!(progress.bytes_done <= SIZE && progress.files_done <= 2, "{progress:?}");

    // Only of the current session, and never more than all.
    let token = state.session.unwrap().token;
    let told = Progress { bytes_done: 9, bytes_total: 8, files_done: 9, files_total: 8, rate: 1 };
    let document = serde_json::to_string(&told).unwrap();
    let other = pair.ssh(&format!("scribe progress {}", token + 1), &document).await;
    assert_eq!(other.status.code(), Some(REFUSED_EXIT));
    let told_until_shown = async {
        // The source itself may tell something at the same moment.
        loop {
            let ours = pair.ssh(&format!("scribe progress {token}"), &document).await;
            assert_eq!((ours.status.code(), ours.stdout.as_slice()), (Some(0), b"{}".as_slice()));
            let shown = controller.state().await.progress;
            if let Some(shown) = shown.filter(|shown| shown.bytes_total == 8) {
                return shown;
            }
        }
    };
    let shown = tokio::time::timeout(LIMIT, told_until_shown).await.expect("what was told is never shown");
    assert_eq!(shown, Progress { bytes_done: 8, files_done: 8, ..told });

    source.kill().await;
    pair.job.attempt = 2;
    pair.job.bandwidth_limit = None;
    pair.sync_well().await;
    pair.assert_same();
    assert_eq!(controller.state().await.progress, None);
    for token in [token, controller.policy().token] {
        let late = pair.ssh(&format!("scribe progress {token}"), &document).await;
        assert_eq!(late.status.code(), Some(REFUSED_EXIT));
    }
}

#[tokio::test]
async fn without_a_session_any_order_to_end_one_seals() {
    let pair = Pair::new();
    let (_mover, controller) = pair.listen().await;
    let seal = controller.state().await.seal.unwrap();
    assert_eq!(controller.order(Order::Unseal { seal }).await, 204);
    assert_eq!(controller.order(Order::EndSession { token: 77 }).await, 204);
    assert!(controller.state().await.seal.unwrap() > seal);
}
