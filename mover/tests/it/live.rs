//! A source without a copy: what is read is written at the same time.

use crate::harness::{Controller, Mover, Pair, Policy};
use scribe_mover_contract::control::Activity;
use scribe_mover_contract::job::Outcome;
use scribe_mover_contract::peer::Consistency;
use std::fs::{self, File};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Large enough for something to happen while it is sent, at this many bytes per second.
const LARGE: usize = 6 << 20;
const SPEED: u64 = 2 << 20;

fn noise(length: usize) -> Vec<u8> {
    (0..length).map(|i| (u32::try_from(i).unwrap().wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// A live source whose first file takes a while.
fn pair() -> Pair {
    let mut pair = Pair::new();
    pair.write("a-large", noise(LARGE));
    pair.write("folder/gone", "soon");
    pair.write("folder/grown", "small");
    pair.write("folder/still", "calm");
    pair.own();
    pair.job.consistency = Consistency::None;
    pair.job.bandwidth_limit = Some(SPEED);
    pair
}

/// Waits until the large file is being sent.
async fn sending(pair: &Pair, source: &Mover) {
    let seen = Controller::start(&pair.address, source.control_port, Policy::default()).await;
    seen.wait_for(|state| state.progress.as_ref().is_some_and(|progress| progress.rate > 0)).await;
}

#[tokio::test]
async fn what_vanishes_or_grows_while_it_is_read_is_named_in_a_warning() {
    let pair = pair();
    let (_mover, _controller) = pair.listen().await;
    let source = pair.send();
    sending(&pair, &source).await;
    let at = |name: &str| pair.source.path().join(name);
    fs::remove_file(at("folder/gone")).unwrap();
    fs::write(at("folder/grown"), noise(100_000)).unwrap();
    let end = source.end().await;
    assert_eq!((end.code, end.termination.published), (Some(0), true), "{}", end.log);
    let warnings = end.termination.warnings.join("\n");
    assert!(warnings.contains("file has vanished") && warnings.contains("folder/gone"), "{warnings}");
    assert!(warnings.contains("1 entries changed") && warnings.contains("folder/grown"), "{warnings}");
    assert!(!warnings.contains("still"), "{warnings}");
    let there = |name: &str| fs::read(pair.destination.path().join(name));
    assert_eq!(there("folder/grown").unwrap(), noise(100_000));
    assert!(there("folder/gone").is_err());
}

#[tokio::test]
async fn a_file_that_is_cut_short_while_it_is_read_is_read_again() {
    let pair = pair();
    let (_mover, controller) = pair.listen().await;
    let source = pair.send();
    sending(&pair, &source).await;
    File::options().write(true).open(pair.source.path().join("a-large")).unwrap().set_len(1000).unwrap();
    let end = source.end().await;
    assert_eq!((end.code, end.termination.published), (Some(0), true), "{}", end.log);
    assert!(end.log.contains("No data available"), "it was read in the middle: {}", end.log);
    assert_eq!(fs::read(pair.destination.path().join("a-large")).unwrap(), noise(LARGE)[..1000]);
    assert_eq!(controller.policy().commits.len(), 1);
    let warnings = end.termination.warnings.join("\n");
    assert!(warnings.contains("a-large"), "{warnings}");
    // By looking again, not by a warning: rsync's own end with that is one with which nothing is published.
    assert!(!warnings.contains("No data available"), "{warnings}");
}

#[tokio::test]
async fn names_that_go_from_the_root_keep_nothing_from_being_sent() {
    let mut pair = pair();
    pair.job.bandwidth_limit = None;
    let (_mover, controller) = pair.listen().await;
    // Long names, so that rsync is still reading them when they go.
    let name = |number: u32| format!("{number}-{}", "n".repeat(200));
    for number in 0..6000 {
        fs::write(pair.source.path().join(name(number)), "").unwrap();
    }
    pair.own();
    let source = pair.send();
    let seen = Controller::start(&pair.address, source.control_port, Policy::default()).await;
    seen.wait_for(|state| state.activity == Activity::Transferring).await;
    for number in 0..6000 {
        fs::remove_file(pair.source.path().join(name(number))).unwrap();
    }
    let end = source.end().await;
    assert_eq!((end.code, end.termination.published), (Some(0), true), "{}", end.log);
    assert!(!end.log.contains("link_stat"), "{}", end.log);
    assert_eq!(controller.policy().commits.len(), 1);
    assert!(pair.destination.path().join("folder/still").exists());
}

/// Whether one of the looks finds it at rest is chance; that there is an end is not.
#[tokio::test]
async fn a_file_that_never_rests_does_not_keep_a_sync_for_ever() {
    let pair = pair();
    let (_mover, controller) = pair.listen().await;
    let source = pair.send();
    let is_over = Arc::new(AtomicBool::new(false));
    let (path, stop) = (pair.source.path().join("a-large"), is_over.clone());
    let restless = std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            let file = File::options().write(true).open(&path).unwrap();
            file.set_len(1000).unwrap();
            file.set_len(LARGE as u64).unwrap();
        }
    });
    let end = source.end().await;
    is_over.store(true, Ordering::Relaxed);
    restless.join().unwrap();
    let committed = controller.policy().commits.len();
    match end.termination.result {
        Outcome::Done => assert_eq!(committed, 1),
        Outcome::Transient => {
            assert_eq!(committed, 0, "what was caught in the middle is not published");
            assert!(end.termination.message.contains("a-large"), "{}", end.termination.message);
        }
        other => panic!("{other:?}: {}", end.log),
    }
}

#[tokio::test]
async fn of_a_cut_nothing_may_change() {
    let mut pair = pair();
    pair.job.consistency = Consistency::Crash;
    let (_mover, controller) = pair.listen().await;
    let source = pair.send();
    sending(&pair, &source).await;
    fs::remove_file(pair.source.path().join("folder/gone")).unwrap();
    let end = source.end().await;
    assert_eq!(end.termination.reason.as_deref(), Some("TransferFailed"), "{}", end.log);
    assert!(end.termination.message.contains("folder/gone"), "{}", end.termination.message);
    assert!(controller.policy().commits.is_empty());
}
