//! Every released version of the interfaces stays usable: one component of each is kept here as it was.
//!
//! `SCRIBE_WRITE_FIXTURE=1 cargo test -p scribe-hooks --test it versions` writes the one of the version that is being made. What was released is
//! never written again.

use std::path::Path;
use std::sync::Arc;

use scribe_hooks::contract::points::{Point, ReleaseReason, Verdict};

use crate::effects::Idle;
use crate::guest::{DATA, guest};
use crate::setup::{context, limits, loader};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");

/// Has every point, imports every interface, and says `skip("v0.1.0")`.
fn v0_1_0() -> Vec<u8> {
    guest("all-hooks")
        .words(DATA, &[1, DATA + 64, 6])
        .text(DATA + 64, "v0.1.0")
        .does("decide", &format!("i32.const {DATA}"))
        .imports("log", "log", "log", "(param i32 i32 i32 i32 i32)")
        .imports("events", "emit", "emit", "(param i32 i32 i32 i32 i32 i32)")
        .imports("state", "get", "state-get", "(param i32 i32 i32)")
        .imports("time", "now", "now", "(result i64)")
        .imports("kube", "list", "kube-list", "(param i32 i32 i32 i32 i32 i32 i32 i32)")
        .imports("http", "send", "send", "(param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)")
        .does("pre-sync", "(drop (call $now)) i32.const 512")
        .build()
}

fn fixture(version: &str, current: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
    let path = Path::new(FIXTURES).join(format!("hooks-{version}.wasm"));
    if std::env::var_os("SCRIBE_WRITE_FIXTURE").is_some() && !path.exists() {
        std::fs::create_dir_all(FIXTURES).unwrap();
        std::fs::write(&path, current()).unwrap();
    }
    std::fs::read(&path).unwrap()
}

#[tokio::test]
async fn version_0_1_0_is_understood() {
    let module = loader().load(fixture("0.1.0", v0_1_0)).await.unwrap();
    assert_eq!(module.points(), Point::ALL);
    let verdict = module.pure(limits()).decide(context()).await.outcome;
    assert_eq!(verdict, Ok(Verdict::Skip("v0.1.0".into())));
    let effectful = module.effectful(limits(), Arc::default(), Idle::shared());
    assert_eq!(effectful.pre_sync(context()).await.outcome, Ok(()));
    assert!(effectful.quiesce(context()).await.outcome.is_ok());
    assert_eq!(effectful.release(context(), None, ReleaseReason::CutTaken, 1).await.outcome, Ok(()));
}
