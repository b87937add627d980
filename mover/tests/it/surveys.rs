//! What a source does before it asks to begin: it looks at all that there is, for as long as that takes.

use crate::harness::{Controller, Gate, Mover, Pair, Policy};
use scribe_mover_contract::control::Activity;
use scribe_mover_contract::job::Outcome;
use std::fs;

/// Starts a source, and waits until it stands at the gate.
async fn surveying(pair: &Pair, gate: &Gate) -> Mover {
    let source = pair.send();
    gate.reached().await;
    let seen = Controller::start(&pair.address, source.control_port, Policy::default()).await;
    assert_eq!(seen.state().await.activity, Activity::Surveying);
    source
}

#[tokio::test]
async fn a_source_looks_before_it_asks_and_ends_when_told_to() {
    let pair = Pair::new();
    let file = pair.write("folder/a", "x");
    // It is not opened before the end: a source does not wait for storage that does not answer.
    let gate = Gate::shut(file.parent().unwrap());
    let (_mover, controller) = pair.listen().await;
    let source = surveying(&pair, &gate).await;
    source.terminate();
    let end = source.end().await;
    assert_eq!((end.code, end.termination.result), (Some(1), Outcome::Transient), "{}", end.log);
    assert!(end.termination.message.contains("told to end"), "{}", end.termination.message);
    assert!(controller.policy().handshakes.is_empty());
    let state = controller.state().await;
    assert!(state.seal.is_some() && state.session.is_none());
}

#[tokio::test]
async fn a_connection_that_is_lost_during_the_survey_is_made_again() {
    let pair = Pair::new();
    let first = pair.write("folder/first", "x");
    for name in 0..2000 {
        fs::hard_link(&first, first.with_file_name(name.to_string())).unwrap();
    }
    let gate = Gate::shut(first.parent().unwrap());
    let (mover, controller) = pair.listen().await;
    let source = surveying(&pair, &gate).await;
    mover.kill().await;
    assert!(controller.policy().handshakes.is_empty());
    let (_mover, controller) = pair.listen().await;
    drop(gate);
    let end = source.end().await;
    assert_eq!(end.code, Some(0), "{}", end.log);
    assert_eq!(end.log.matches("surveyed").count(), 1, "{}", end.log);
    pair.assert_same();
    // The room that it needs is not that of each name.
    let handshake = controller.policy().handshakes.remove(0);
    assert!(handshake.expected_files < 1000, "{handshake:?}");
}

#[tokio::test]
async fn no_more_room_is_asked_for_than_is_needed() {
    const MIB: u64 = 1 << 20;
    let mut pair = Pair::new();
    let large = pair.write("large", vec![b'x'; 1 << 20]);
    for name in 0..100 {
        fs::hard_link(&large, large.with_file_name(name.to_string())).unwrap();
    }
    fs::File::create_new(pair.source.path().join("holes")).unwrap().set_len(128 * MIB).unwrap();
    pair.own();
    let (_mover, controller) = pair.listen().await;
    pair.sync_well().await;
    for name in 0..100 {
        fs::remove_file(large.with_file_name(name.to_string())).unwrap();
    }
    // Of somebody else, on the same file system.
    fs::write(pair.source.path().join("lost+found/other"), vec![b'x'; 40 << 20]).unwrap();
    pair.next("second");
    // That most of the names are gone is meant.
    pair.job.guards = None;
    pair.sync_well().await;
    let expected: Vec<_> = controller.policy().handshakes.iter().map(|it| it.expected_bytes).collect();
    assert!(expected.iter().all(|bytes| (MIB..32 * MIB).contains(bytes)), "{expected:?}");
}
