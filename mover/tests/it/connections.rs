//! What goes wrong between the two ends, and around them.

use crate::harness::{Identity, Pair, text};
use scribe_mover_contract::job::Outcome;
use std::fs;

#[tokio::test]
async fn an_address_that_does_not_answer_is_unreachable() {
    let mut pair = Pair::new();
    pair.job.timeouts.unreachable = 3;
    let end = pair.sync().await;
    assert_eq!((end.code, end.termination.reason.as_deref()), (Some(1), Some("DestinationUnreachable")));
    assert!(end.termination.message.contains("Connection refused"), "{}", end.termination.message);
}

#[tokio::test]
async fn the_destination_may_come_later() {
    let pair = Pair::new();
    pair.write("a", "one");
    let source = pair.send();
    while !source.log().contains("does not answer") {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let (_mover, _controller) = pair.listen().await;
    assert_eq!(source.end().await.code, Some(0));
    pair.assert_same();
}

#[tokio::test]
async fn another_host_key_is_never_accepted() {
    let pair = Pair::new();
    pair.write("a", "one");
    let stranger = fs::read(pair.keys("source").join("source.pub")).unwrap();
    fs::write(pair.keys("source").join("destination.pub"), stranger).unwrap();
    let (_mover, controller) = pair.listen().await;
    let end = pair.sync().await;
    assert_eq!(
        (end.code, end.termination.reason.as_deref()),
        (Some(2), Some("HostKeyMismatch")),
        "{}",
        end.log
    );
    assert!(controller.policy().handshakes.is_empty());
}

#[tokio::test]
async fn another_client_key_is_never_accepted() {
    let pair = Pair::new();
    pair.write("a", "one");
    let stranger = fs::read(pair.keys("destination").join("destination.pub")).unwrap();
    fs::write(pair.keys("destination").join("source.pub"), stranger).unwrap();
    let (_mover, controller) = pair.listen().await;
    let end = pair.sync().await;
    assert_eq!(
        (end.code, end.termination.reason.as_deref()),
        (Some(2), Some("ClientKeyRejected")),
        "{}",
        end.log
    );
    assert!(controller.policy().handshakes.is_empty());
}

#[tokio::test]
async fn a_missing_key_is_named() {
    let pair = Pair::new();
    fs::remove_file(pair.keys("source").join("relationship")).unwrap();
    let end = pair.sync().await;
    assert_eq!((end.code, end.termination.reason.as_deref()), (Some(2), Some("KeysMissing")));
    assert!(end.termination.message.contains("relationship"), "{}", end.termination.message);
}

#[tokio::test]
async fn no_secret_is_ever_logged() {
    let pair = Pair::new();
    pair.write("a", "one");
    let (mover, _controller) = pair.listen().await;
    let end = pair.sync_well().await;
    let said = format!("{}{}{:?}", mover.log(), end.log, end.termination);
    for (folder, name) in [("source", "source"), ("destination", "destination")] {
        let key = fs::read_to_string(pair.keys(folder).join(name)).unwrap();
        for line in key.lines().filter(|line| line.len() > 16) {
            assert!(!said.contains(line));
        }
    }
    assert!(!said.contains("token-of-the-test"));
}

#[tokio::test]
async fn a_full_destination_says_so_and_recovers() {
    let mut pair = Pair::with(Identity::User(crate::harness::USER), 16);
    let large = pair.write("large", vec![b'x'; 32 << 20]);
    let (_mover, controller) = pair.listen().await;
    let end = pair.sync().await;
    assert_eq!(
        (end.code, end.termination.reason.as_deref()),
        (Some(2), Some("DestinationFull")),
        "{}",
        end.log
    );
    assert_eq!(end.termination.result, Outcome::Permanent);
    assert!(controller.policy().commits.is_empty());
    fs::remove_file(large).unwrap();
    pair.write("small", "x");
    pair.next("second");
    pair.sync_well().await;
    pair.assert_same();
}

#[tokio::test]
async fn a_peer_that_falls_silent_is_noticed() {
    let mut pair = Pair::new();
    pair.write("large", vec![b'x'; 8 << 20]);
    pair.job.bandwidth_limit = Some(100 << 10);
    let (mover, controller) = pair.listen().await;
    let source = pair.send();
    controller.wait_for(|state| state.session.as_ref().is_some_and(|session| session.connected)).await;
    mover.freeze();
    let end = source.end().await;
    assert_eq!(
        (end.code, end.termination.reason.as_deref()),
        (Some(1), Some("ConnectionLost")),
        "{}",
        end.log
    );
}

#[tokio::test]
async fn a_source_that_falls_silent_is_noticed() {
    let mut pair = Pair::new();
    pair.write("large", vec![b'x'; 8 << 20]);
    pair.job.bandwidth_limit = Some(100 << 10);
    let (_mover, controller) = pair.listen().await;
    let source = pair.send();
    controller.wait_for(|state| state.session.as_ref().is_some_and(|session| session.connected)).await;
    source.freeze();
    controller.wait_for(|state| state.session.as_ref().is_some_and(|session| !session.connected)).await;
    assert!(controller.state().await.seal.is_none());
}

#[tokio::test]
async fn sigterm_ends_either_side_in_order() {
    let mut pair = Pair::new();
    pair.write("large", vec![b'x'; 8 << 20]);
    pair.job.bandwidth_limit = Some(100 << 10);
    let (mover, controller) = pair.listen().await;
    let source = pair.send();
    controller.wait_for(|state| state.session.as_ref().is_some_and(|session| session.connected)).await;
    source.terminate();
    let end = source.end().await;
    assert_eq!((end.code, end.termination.result), (Some(1), Outcome::Transient), "{}", end.log);
    controller.wait_for(|state| state.session.as_ref().is_some_and(|session| !session.connected)).await;
    mover.terminate();
    assert_eq!(mover.code().await, Some(1));
    // The next one finds what this one left in the same place.
    pair.job.bandwidth_limit = None;
    let (_mover, _controller) = pair.listen().await;
    pair.sync_well().await;
    pair.assert_same();
}

#[tokio::test]
async fn any_user_will_do_and_so_will_ipv6() {
    // A database's, which is too low for libnss-extrausers, and one as OpenShift assigns them.
    for user in [70, 1_000_680_000] {
        let mut pair = Pair::with(Identity::User(user), 64);
        pair.address = "::1".to_owned();
        pair.write("a", "one");
        let (_mover, _controller) = pair.listen().await;
        pair.sync_well().await;
        pair.assert_same();
        assert!(text(pair.source.path()).starts_with('/'));
    }
}
