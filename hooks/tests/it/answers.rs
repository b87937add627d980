//! Answers that cannot be used.

use std::sync::Arc;

use proptest::prelude::*;
use scribe_hooks::CallError;
use scribe_hooks::contract::points::{Consistency, Frozen, Reaction, ReleaseReason};
use scribe_hooks::contract::reason::Reason;

use crate::effects::Idle;
use crate::guest::{DATA, Guest, guest};
use crate::setup::{context, limits, load, point};

/// A retention hook that keeps these, by address and length of their ids.
fn keeping(ids: &[(u32, u32)]) -> Guest {
    let list: Vec<u32> = ids.iter().flat_map(|(at, length)| [*at, *length, 0, 0]).collect();
    guest("retention-hook")
        .words(DATA, &[0, DATA + 64, u32::try_from(ids.len()).unwrap()])
        .words(DATA + 64, &list)
        .text(DATA + 512, "ab")
        .does("choose", &format!("i32.const {DATA}"))
}

const A: (u32, u32) = (DATA + 512, 1);
const B: (u32, u32) = (DATA + 513, 1);

async fn choose(guest: Guest) -> Result<usize, CallError> {
    let points = vec![point("a", 1), point("c", 2)];
    load(guest.build())
        .await
        .pure(limits())
        .choose(context(), points, false)
        .await
        .outcome
        .map(|keeps| keeps.len())
}

#[tokio::test]
async fn a_retention_hook_names_what_there_is_and_once() {
    assert_eq!(choose(keeping(&[A])).await, Ok(1));
    assert_eq!(choose(keeping(&[])).await, Ok(0));
    let error = choose(keeping(&[B])).await.unwrap_err();
    assert_eq!(error.reason(), Reason::HookOutput);
    assert_eq!(
        error.to_string(),
        "the answer of choose cannot be used: keeps `b`, which is not among the points that it was given"
    );
    let error = choose(keeping(&[A, A])).await.unwrap_err();
    assert_eq!(error.to_string(), "the answer of choose cannot be used: keeps `a` twice");
}

#[tokio::test]
async fn text_that_is_no_text_is_an_error_and_no_panic() {
    let hook = guest("decision-hook")
        .words(DATA, &[1, DATA + 64, 4])
        .words(DATA + 64, &[0xfffe_fdfc])
        .does("decide", &format!("i32.const {DATA}"));
    let error = load(hook.build()).await.pure(limits()).decide(context()).await.outcome.unwrap_err();
    assert_eq!(error.reason(), Reason::HookOutput, "{error}");
    assert!(error.to_string().contains("utf-8"), "{error}");
}

#[tokio::test]
async fn answers_outside_of_memory_are_errors() {
    for (words, what) in [
        ([1, 0x7fff_0000, 4], "out of bounds"),
        ([1, 16, 0x7fff_ffff], "out of bounds"),
        ([77, 0, 0], "unexpected discriminant: 77"),
    ] {
        let hook = guest("decision-hook").words(DATA, &words).does("decide", &format!("i32.const {DATA}"));
        let error = load(hook.build()).await.pure(limits()).decide(context()).await.outcome.unwrap_err();
        assert_eq!(error.reason(), Reason::HookOutput, "{what}: {error}");
        assert!(error.to_string().contains(what), "{what}: {error}");
    }
    let hook = guest("decision-hook").does("decide", "i32.const 0x7ffffff0");
    let error = load(hook.build()).await.pure(limits()).decide(context()).await.outcome.unwrap_err();
    assert_eq!(error.reason(), Reason::HookOutput, "{error}");
}

/// Its answer lies wherever the settings begin, so that these decide what it is.
#[test]
fn whatever_validate_answers_is_problems_or_an_error() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let hook = guest("decision-hook").does("validate", "local.get 0").build();
    let module = runtime.block_on(load(hook));
    // Tags and lengths; addresses near the heap, where the text lies; anything.
    let word = prop_oneof![
        0_u32..4,
        (0_u32..64).prop_map(|number| (64 << 10) + 4 * number),
        any::<u32>().prop_map(|word| word & 0x7f7f_7f7f),
    ];
    proptest!(ProptestConfig::with_cases(300), |(words in proptest::collection::vec(word, 3..40))| {
        let bytes = words.iter().flat_map(|word| word.to_le_bytes()).map(|byte| byte & 0x7f).collect();
        let text = String::from_utf8(bytes).unwrap();
        match runtime.block_on(module.pure(limits()).validate(text)).outcome {
            Ok(problems) => {
                let is_clean = |text: &str| !text.contains(char::is_control);
                prop_assert!(problems.iter().all(|it| is_clean(&it.message)), "{problems:?}");
            }
            Err(error) => {
                let is_its_own = matches!(error.reason(), Reason::HookOutput | Reason::HookTrap);
                prop_assert!(is_its_own, "{error}");
            }
        }
    });
}

/// A quiesce hook whose token is so long, somewhere in its memory.
fn token(length: u32) -> Vec<u8> {
    guest("quiesce-hook")
        .pages(256)
        .words(DATA, &[0, 1 << 20, length, 1, 0])
        .does("quiesce", &format!("i32.const {DATA}"))
        .build()
}

#[tokio::test]
async fn a_token_is_bounded() {
    let quiesce = async |length| {
        let module = load(token(length)).await;
        module.effectful(limits(), Arc::default(), Idle::shared()).quiesce(context()).await.outcome
    };
    let frozen = quiesce(64 << 10).await.unwrap();
    assert_eq!(
        frozen,
        Frozen { token: "\0".repeat(64 << 10), achieved: Consistency::Filesystem, note: None }
    );
    let error = quiesce((64 << 10) + 1).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the answer of quiesce cannot be used: the token is longer than 65536 bytes"
    );
    let error = quiesce(10 << 20).await.unwrap_err();
    assert_eq!(error.reason(), Reason::HookOutput, "{error}");
}

/// A lifecycle hook that refuses: a case of `hook-error`, and its words.
async fn refuse(words: &[u32]) -> CallError {
    let mut answer = vec![1];
    answer.extend(words);
    let hook = guest("lifecycle-hook")
        .words(DATA, &answer)
        .text(DATA + 64, "why\n")
        .does("pre-sync", &format!("i32.const {DATA}"));
    load(hook.build())
        .await
        .effectful(limits(), Arc::default(), Idle::shared())
        .pre_sync(context())
        .await
        .outcome
        .unwrap_err()
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let (at, length) = (DATA + 64, 4);
    let later = refuse(&[0, 30, at, length]).await;
    assert_eq!(later, CallError::RetryAfter { seconds: 30, message: "why\\n".into() });
    let rejected = refuse(&[1, at, length]).await;
    assert_eq!((rejected.reason(), rejected.to_string()), (Reason::HookRejected, "why\\n".into()));
    let failed = refuse(&[2, at, length]).await;
    assert_eq!((failed.reason(), failed.to_string()), (Reason::HookFailed, "pre-sync failed: why\\n".into()));
}

#[tokio::test]
async fn reactions_and_releases_come_through() {
    let hook =
        guest("failure-hook").words(DATA, &[0, 1, 300]).does("on-failure", &format!("i32.const {DATA}"));
    let report = scribe_hooks::contract::points::FailureReport {
        phase: scribe_hooks::contract::points::Phase::Transfer,
        code: "DestinationFull".into(),
        message: "full".into(),
        mover_exit: Some(11),
        retryable: true,
    };
    let module = load(hook.build()).await;
    let called =
        module.effectful(limits(), Arc::default(), Idle::shared()).on_failure(context(), report).await;
    assert_eq!(called.outcome, Ok(Reaction::RetryAfter(300)));
    let module = load(guest("quiesce-hook").build()).await;
    let effectful = module.effectful(limits(), Arc::default(), Idle::shared());
    assert_eq!(
        effectful.release(context(), Some("t".into()), ReleaseReason::CutTaken, 1).await.outcome,
        Ok(())
    );
}
