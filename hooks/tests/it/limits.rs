//! Modules that want too much.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use scribe_hooks::contract::limits::Effective;
use scribe_hooks::contract::points::{ReleaseReason, Verdict};
use scribe_hooks::contract::reason::Reason;
use scribe_hooks::{CallError, LoadError};

use crate::effects::Idle;
use crate::guest::{Guest, guest};
use crate::setup::{context, limits, load, tight};

async fn decide(guest: Guest) -> CallError {
    let error = load(guest.build()).await.pure(limits()).decide(context()).await.outcome.unwrap_err();
    assert!(!error.to_string().contains('\n'), "{error}");
    error
}

fn decision(body: &str) -> Guest {
    guest("decision-hook").does("decide", body)
}

#[tokio::test]
async fn an_endless_loop_runs_out_of_fuel() {
    let error = decide(decision("(loop $l (br $l)) i32.const 0")).await;
    assert_eq!(error.reason(), Reason::HookFuel);
    assert_eq!(
        error.to_string(),
        "decide used up its 100000000 units of fuel: raise limits.fuel, or do less in one call"
    );
}

#[tokio::test]
async fn endless_growth_ends_at_the_limit() {
    // Asks for a page until it gets none, and then gives up as most languages do.
    let module = load(
        decision("(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable")
            .build(),
    )
    .await;
    let called = module.pure(limits()).decide(context()).await;
    let error = called.outcome.unwrap_err();
    assert_eq!(error.reason(), Reason::HookMemory);
    assert!(
        error.to_string().starts_with("decide needed more than 64Mi of memory: raise limits.memory"),
        "{error}"
    );
    assert_eq!(called.usage.memory, 64 << 20);
    let less = Effective { memory: 1 << 20, ..limits() };
    assert_eq!(module.pure(less).decide(context()).await.usage.memory, 1 << 20);
}

#[tokio::test]
async fn several_memories_count_together() {
    // 40 MiB in each of two memories.
    let hook = decision("i32.const 512").extra("(memory $other 640)").pages(640);
    let error = decide(hook).await;
    assert_eq!(error.reason(), Reason::HookMemory, "{error}");
}

#[tokio::test]
async fn what_is_too_large_from_the_start_does_not_start() {
    let module = load(decision("i32.const 512").pages(32).build()).await;
    let less = Effective { memory: 1 << 20, ..limits() };
    let error = module.pure(less).decide(context()).await.outcome.unwrap_err();
    assert_eq!(error.reason(), Reason::HookMemory, "{error}");
}

#[tokio::test]
async fn tables_are_bounded() {
    // More than there is for any module; and more in sum than there is for one.
    let error = crate::setup::loader()
        .load(decision("i32.const 512").extra("(table 30000 funcref)").build())
        .await
        .unwrap_err();
    assert!(matches!(error, LoadError::Unfit(_) | LoadError::Start(_)), "{error}");
    let several = decision("i32.const 512").extra("(table 15000 funcref) (table 15000 funcref)").build();
    let error = crate::setup::loader().load(several).await.unwrap_err();
    assert_eq!(error.reason(), Reason::HookModuleInvalid, "{error}");
}

#[tokio::test]
async fn endless_recursion_exhausts_the_stack() {
    let error = decide(decision("(call $deep (i32.const 0))").extra(
        "(func $deep (param i32) (result i32) (i32.add (i32.const 1) (call $deep (i32.add (local.get 0) (i32.const 1)))))",
    ))
    .await;
    assert_eq!(error.reason(), Reason::HookTrap);
    assert!(error.to_string().contains("call stack exhausted"), "{error}");
}

#[tokio::test]
async fn a_trap_says_what_happened_and_where() {
    let error = decide(decision("(call $inner) i32.const 0").extra("(func $inner unreachable)")).await;
    assert_eq!(error.reason(), Reason::HookTrap);
    assert!(error.to_string().contains("unreachable"), "{error}");
    assert!(error.to_string().contains("inner"), "{error}");
}

#[tokio::test]
async fn a_start_function_is_bounded_too() {
    let hook = decision("i32.const 512").extra("(func $spin (loop $l (br $l))) (start $spin)").build();
    let error = crate::setup::loader().load(hook).await.unwrap_err();
    assert!(error.to_string().contains("used up its 100000000 units of fuel"), "{error}");
    assert_eq!(error.reason(), Reason::HookModuleInvalid);
}

fn spinning() -> Vec<u8> {
    guest("lifecycle-hook").does("pre-sync", "(loop $l (br $l)) i32.const 0").build()
}

#[tokio::test]
async fn an_effectful_call_may_not_compute_for_long() {
    let module = load(spinning()).await;
    let error = module
        .effectful(tight(), Arc::default(), Idle::shared())
        .pre_sync(context())
        .await
        .outcome
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "pre-sync computed for more than 50ms: raise limits.cpu, or do less in one call"
    );
    assert_eq!(error.reason(), Reason::HookTimeout);
}

#[tokio::test]
async fn waiting_does_not_count_as_computing() {
    // Sleeps twice as long as it may compute.
    let hook = sleeping(100);
    let called =
        load(hook).await.effectful(tight(), Arc::default(), Idle::shared()).pre_sync(context()).await;
    assert_eq!(called.outcome, Ok(()));
    assert!(called.usage.duration >= Duration::from_millis(100));
}

/// Sleeps, and is content.
fn sleeping(millis: u32) -> Vec<u8> {
    guest("lifecycle-hook")
        .imports("time", "sleep-millis", "sleep", "(param i32)")
        .does("pre-sync", &format!("(call $sleep (i32.const {millis})) i32.const 512"))
        .build()
}

#[tokio::test]
async fn a_host_that_blocks_is_not_waited_for() {
    // No epoch ends this: the module is not running. It hears of it in time to say what it makes of it.
    let limits = Effective { timeout: Duration::from_secs(2), ..limits() };
    let called = load(sleeping(u32::MAX))
        .await
        .effectful(limits, Arc::default(), Idle::shared())
        .pre_sync(context())
        .await;
    assert_eq!(called.outcome, Ok(()));
}

/// It hears that time is up, and goes on.
#[tokio::test]
async fn who_does_not_heed_that_time_is_up_is_ended() {
    let hook = guest("lifecycle-hook")
        .imports("time", "sleep-millis", "sleep", "(param i32)")
        .does("pre-sync", "(call $sleep (i32.const 100000)) (loop $l (br $l)) i32.const 0")
        .build();
    let limits = Effective { timeout: Duration::from_millis(300), ..limits() };
    let called = load(hook).await.effectful(limits, Arc::default(), Idle::shared()).pre_sync(context()).await;
    assert_eq!(called.usage.host_calls, [("time.sleep-millis", 1)].into());
    assert_eq!(
        called.outcome.unwrap_err().to_string(),
        "pre-sync did not answer within 300ms: raise limits.timeout, or do less in one call"
    );
}

/// WASI's own waiting has no limit but that of the call.
#[tokio::test]
async fn a_module_that_waits_in_wasi_is_ended_with_its_time() {
    let world =
        "package test:w; world hook { import wasi:clocks/monotonic-clock@0.2.0; import wasi:io/poll@0.2.0;
            export scribe:hooks/settings@0.1.0; export scribe:hooks/lifecycle@0.1.0; }
        package wasi:io@0.2.0 { interface poll { resource pollable { block: func(); } } }
        package wasi:clocks@0.2.0 { interface monotonic-clock {
            use wasi:io/poll@0.2.0.{pollable}; subscribe-duration: func(when: u64) -> pollable; } }";
    let hook = guest("hook")
        .wit(world)
        .imports(
            "wasi:clocks/monotonic-clock@0.2.0",
            "subscribe-duration",
            "subscribe",
            "(param i64) (result i32)",
        )
        .imports("wasi:io/poll@0.2.0", "[method]pollable.block", "block", "(param i32)")
        .does("pre-sync", "(call $block (call $subscribe (i64.const 3600000000000))) i32.const 512");
    let limits = Effective { timeout: Duration::from_millis(300), ..limits() };
    let called =
        load(hook.build()).await.effectful(limits, Arc::default(), Idle::shared()).pre_sync(context()).await;
    let error = called.outcome.unwrap_err();
    assert_eq!(error.reason(), Reason::HookTimeout, "{error}");
    assert_eq!(
        error.to_string(),
        "pre-sync did not answer within 300ms: raise limits.timeout, or do less in one call"
    );
}

#[tokio::test]
async fn a_call_ends_with_its_time() {
    let limits = Effective { timeout: Duration::from_millis(50), ..limits() };
    let called =
        load(spinning()).await.effectful(limits, Arc::default(), Idle::shared()).pre_sync(context()).await;
    let error = called.outcome.unwrap_err();
    assert_eq!(
        error.to_string(),
        "pre-sync did not answer within 50ms: raise limits.timeout, or do less in one call"
    );
}

#[tokio::test]
async fn a_loop_around_the_host_ends_too() {
    let hook = guest("lifecycle-hook")
        .imports("time", "sleep-millis", "sleep", "(param i32)")
        .does("pre-sync", "(loop $l (call $sleep (i32.const 0)) (br $l)) i32.const 0")
        .build();
    let called =
        load(hook).await.effectful(limits(), Arc::default(), Idle::shared()).pre_sync(context()).await;
    let error = called.outcome.unwrap_err();
    assert_eq!(error.reason(), Reason::HookTrap);
    assert_eq!(error.to_string(), "pre-sync trapped: called the host more than 10000 times");
    assert_eq!(called.usage.host_calls, [("time.sleep-millis", 10_001)].into());
}

#[tokio::test]
async fn a_log_that_is_flooded_stays_small() {
    // 9000 lines of 1000 bytes.
    let hook = guest("decision-hook")
        .imports("log", "log", "log", "(param i32 i32 i32 i32 i32)")
        .does(
            "decide",
            "(loop $l
                (call $log (i32.const 1) (i32.const 4096) (i32.const 1000) (i32.const 0) (i32.const 0))
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br_if $l (i32.lt_u (local.get $i) (i32.const 9000))))
             i32.const 512",
        )
        .text(4096, &"x\n\u{1b}[31m".repeat(125));
    let patient = Effective { pure_timeout: Duration::from_secs(10), ..limits() };
    let called = load(hook.build()).await.pure(patient).decide(context()).await;
    assert_eq!(called.outcome, Ok(Verdict::Proceed));
    let bytes: usize = called.log.iter().map(|line| line.message.len()).sum();
    assert!(bytes <= 64 << 10 && bytes > 32 << 10, "{bytes}");
    assert_eq!(called.log.len() as u64 + called.usage.log_lines_dropped, 9000);
    assert!(called.log[0].message.starts_with("x\\n\\u{1b}[31m"), "{}", called.log[0].message);
}

#[tokio::test]
async fn a_list_that_claims_too_much_is_refused() {
    // A log line with 0x7fffffff fields.
    let hook = guest("decision-hook")
        .imports("log", "log", "log", "(param i32 i32 i32 i32 i32)")
        .does("decide", "(call $log (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0x7fffffff)) i32.const 512");
    let error = decide(hook).await;
    assert_eq!(error.reason(), Reason::HookOutput, "{error}");
    assert!(error.to_string().contains("out of bounds"), "{error}");
}

#[tokio::test]
async fn text_that_is_no_text_does_not_reach_the_host() {
    let hook = guest("decision-hook")
        .imports("log", "log", "log", "(param i32 i32 i32 i32 i32)")
        .does("decide", "(call $log (i32.const 1) (i32.const 4096) (i32.const 4) (i32.const 0) (i32.const 0)) i32.const 512")
        .words(4096, &[0xfffe_fdfc]);
    let error = decide(hook).await;
    assert_eq!(error.reason(), Reason::HookOutput, "{error}");
    assert!(error.to_string().contains("utf-8"), "{error}");
}

#[test]
fn one_mebibyte_named_a_thousand_times_is_refused() {
    crate::cancel::run_alone("limits::one_mebibyte_named_a_thousand_times_alone");
}

#[tokio::test]
#[ignore = "another test runs it, in a process of its own"]
async fn one_mebibyte_named_a_thousand_times_alone() {
    // Fields that all lie at the same place: little for the module, a gigabyte for the host.
    let hook = guest("decision-hook")
        .pages(64)
        .imports("log", "log", "log", "(param i32 i32 i32 i32 i32)")
        .does(
            "decide",
            "(loop $l
                (i32.store (i32.add (i32.const 131072) (i32.shl (local.get $i) (i32.const 4))) (i32.const 1048576))
                (i32.store offset=4 (i32.add (i32.const 131072) (i32.shl (local.get $i) (i32.const 4))) (i32.const 1048576))
                (i32.store offset=8 (i32.add (i32.const 131072) (i32.shl (local.get $i) (i32.const 4))) (i32.const 1048576))
                (i32.store offset=12 (i32.add (i32.const 131072) (i32.shl (local.get $i) (i32.const 4))) (i32.const 1048576))
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br_if $l (i32.lt_u (local.get $i) (i32.const 1000))))
             (call $log (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 131072) (i32.const 1000))
             i32.const 512",
        );
    let module = load(hook.build()).await;
    let before = crate::cancel::peak();
    let error = module.pure(limits()).decide(context()).await.outcome.unwrap_err();
    let growth = crate::cancel::peak() - before;
    assert_eq!(error.reason(), Reason::HookOutput);
    assert!(error.to_string().contains("hands over more than 8 MiB at once"), "{error}");
    // Its own memory, and what may be handed over.
    assert!(growth < 32 << 20, "{} MiB more", growth >> 20);
}

/// With one thread for everything, whatever else there is to do is done while a module spins.
#[tokio::test(flavor = "current_thread")]
async fn a_spinning_module_does_not_hold_up_other_work() {
    let module = load(spinning()).await;
    let long = Effective { cpu: Duration::from_millis(500), ..tight() };
    let effectful = module.effectful(long, Arc::default(), Idle::shared());
    let outcome = beside_other_work(effectful.pre_sync(context())).await.outcome;
    assert!(matches!(outcome, Err(CallError::Cpu { .. })));
}

/// Nor one that only computes, as long as its time lasts.
#[tokio::test(flavor = "current_thread")]
async fn a_spinning_pure_call_does_not_hold_up_other_work() {
    let module = load(decision("(loop $l (br $l)) i32.const 0").build()).await;
    let long = Effective { fuel: u64::MAX / 2, pure_timeout: Duration::from_millis(500), ..limits() };
    let pure = module.pure(long);
    let error = beside_other_work(pure.decide(context())).await.outcome.unwrap_err();
    assert_eq!(error.reason(), Reason::HookTimeout, "{error}");
}

async fn beside_other_work<T>(call: impl Future<Output = T>) -> T {
    let is_over = Arc::new(AtomicBool::new(false));
    let turns = Arc::new(AtomicU64::new(0));
    let other = tokio::spawn({
        let (is_over, turns) = (is_over.clone(), turns.clone());
        async move {
            while !is_over.load(Ordering::Relaxed) {
                turns.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        }
    });
    let called = call.await;
    is_over.store(true, Ordering::Relaxed);
    other.await.unwrap();
    // It was let in at every tick, of which there are fifty if none comes late; without that, never.
    assert!(turns.load(Ordering::Relaxed) > 10, "{turns:?}");
    called
}

/// Effectful calls that wait for ever take no place from a release.
#[test]
fn a_release_has_a_place_when_all_others_are_taken() {
    // The places are those of all tests of this process.
    crate::cancel::run_alone("limits::a_release_has_a_place_alone");
}

#[tokio::test]
#[ignore = "another test runs it, in a process of its own"]
async fn a_release_has_a_place_alone() {
    let waiting = load(sleeping(u32::MAX)).await;
    let long = Effective { timeout: Duration::from_secs(600), ..limits() };
    let mut calls = Vec::new();
    for _ in 0..100 {
        let effectful = waiting.effectful(long, Arc::default(), Idle::shared());
        calls.push(tokio::spawn(async move { effectful.pre_sync(context()).await.outcome }));
    }
    let module = load(guest("quiesce-hook").build()).await;
    let effectful = module.effectful(limits(), Arc::default(), Idle::shared());
    let released = effectful.release(context(), None, ReleaseReason::WindowExpired, 1).await;
    assert_eq!(released.outcome, Ok(()));
    let short = Effective { timeout: Duration::from_millis(300), ..limits() };
    let quiesce = module.effectful(short, Arc::default(), Idle::shared()).quiesce(context()).await;
    assert!(matches!(quiesce.outcome, Err(CallError::Unavailable { .. })), "{quiesce:?}");
    calls.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn more_calls_than_places_wait_for_each_other() {
    let module = load(guest("decision-hook").build()).await;
    let calls = (0..200).map(|_| {
        let pure = module.pure(limits());
        async move { pure.decide(context()).await.outcome }
    });
    let outcomes = futures::future::join_all(calls).await;
    assert!(outcomes.iter().all(|outcome| *outcome == Ok(Verdict::Proceed)), "{outcomes:?}");
}

#[tokio::test]
async fn nothing_is_left_of_one_call_for_the_next() {
    // Answers proceed and spoils its memory; had it kept it, it would answer something else.
    let hook = guest("decision-hook")
        .does("decide", "(i32.store (i32.const 1024) (i32.load (i32.const 2048))) (i32.store (i32.const 2048) (i32.const 1)) i32.const 1024");
    let module = load(hook.build()).await;
    for _ in 0..3 {
        assert_eq!(module.pure(limits()).decide(context()).await.outcome, Ok(Verdict::Proceed));
    }
}

#[tokio::test]
async fn a_module_that_exits_is_told_so() {
    let world = "package test:w; world hook { import wasi:cli/exit@0.2.0; export scribe:hooks/settings@0.1.0; export scribe:hooks/decision@0.1.0; }
        package wasi:cli@0.2.0 { interface exit { exit: func(status: result); } }";
    let hook = guest("hook")
        .wit(world)
        .imports("wasi:cli/exit@0.2.0", "exit", "exit", "(param i32)")
        .does("decide", "(call $exit (i32.const 1)) i32.const 512");
    let error = decide(hook).await;
    assert_eq!(error.to_string(), "decide trapped: called exit(1)");
}
