//! Pure calls: the answer follows from the input, and nothing else happens.

use scribe_hooks::CallError;
use scribe_hooks::contract::points::{Point, TransferOptions, Verdict};
use scribe_hooks::contract::reason::Reason;

use crate::guest::{DATA, guest};
use crate::setup::{context, limits, load, point};

#[tokio::test]
async fn a_verdict_comes_back_with_what_it_cost() {
    let hook = guest("decision-hook")
        .words(DATA, &[2, 90, DATA + 64, 4])
        .text(DATA + 64, "busy")
        .does("decide", &format!("i32.const {DATA}"));
    let called = load(hook.build()).await.pure(limits()).decide(context()).await;
    assert_eq!(called.outcome, Ok(Verdict::Defer { seconds: 90, message: "busy".into() }));
    assert!(called.usage.fuel > 0 && called.usage.fuel < 10_000, "{:?}", called.usage);
    assert_eq!(called.usage.memory, 2 << 16);
}

#[tokio::test]
async fn the_same_call_costs_the_same_fuel() {
    let module = load(guest("retention-hook").build()).await;
    let points: Vec<_> = (0..50).map(|number| point(&format!("p{number}"), number)).collect();
    let first = module.pure(limits()).choose(context(), points.clone(), false).await;
    let second = module.pure(limits()).choose(context(), points, false).await;
    assert_eq!(first.outcome, Ok(Vec::new()));
    assert_eq!(first.usage.fuel, second.usage.fuel);
}

#[tokio::test]
async fn points_are_sorted_before_a_module_sees_them() {
    let hook = guest("retention-hook").does("choose", &first_point());
    let points = vec![point("b", 2), point("z", 1), point("a", 2)];
    let called = load(hook.build()).await.pure(limits()).choose(context(), points, true).await;
    let ids: Vec<_> = called.outcome.unwrap().into_iter().map(|keep| keep.id).collect();
    assert_eq!(ids, ["z"]);
}

/// Writes `ok([{id: points[0].id, reason: ""}])` at 2048. The arguments' record ends with the address of the list of points and its length.
fn first_point() -> String {
    let list = context_bytes();
    format!(
        "(local.set $i (i32.load offset={list} (local.get 0)))
         (i32.store (i32.const 2048) (i32.const 0))
         (i32.store (i32.const 2052) (i32.const 2064))
         (i32.store (i32.const 2056) (i32.const 1))
         (i32.store (i32.const 2064) (i32.load (local.get $i)))
         (i32.store (i32.const 2068) (i32.load offset=4 (local.get $i)))
         (i32.store (i32.const 2072) (i32.const 0))
         (i32.store (i32.const 2076) (i32.const 0))
         i32.const 2048"
    )
}

/// The size of a `context` in memory, by the canonical ABI, as the WIT parser computes it.
fn context_bytes() -> usize {
    let mut resolve = wit_parser::Resolve::default();
    let (package, _) = resolve.push_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../sdk/wit")).unwrap();
    let types = resolve.packages[package].interfaces["types"];
    let context = resolve.interfaces[types].types["context"];
    let mut sizes = wit_parser::SizeAlign::default();
    sizes.fill(&resolve);
    sizes.size(&wit_parser::Type::Id(context)).size_wasm32()
}

#[tokio::test]
async fn options_are_tuned() {
    // result<options>: ok, bandwidth some(512), comparison none, excludes empty, timeout none
    let hook = guest("transfer-hook")
        .words(DATA, &[0, 1, 512, 0, 0, 0, 0, 0])
        .does("tune", &format!("i32.const {DATA}"));
    let called = load(hook.build()).await.pure(limits()).tune(context(), TransferOptions::default()).await;
    assert_eq!(
        called.outcome,
        Ok(TransferOptions { bandwidth_kib: Some(512), ..TransferOptions::default() })
    );
}

#[tokio::test]
async fn an_effect_is_denied_in_a_pure_call_whatever_was_granted() {
    // Emits an event, and answers skip(<what it was told>).
    let world = "package test:w; world hook { import scribe:hooks/events@0.1.0; export scribe:hooks/settings@0.1.0; export scribe:hooks/decision@0.1.0; }";
    let hook = guest("hook")
        .wit(world)
        .imports("events", "emit", "emit", "(param i32 i32 i32 i32 i32 i32)")
        .text(DATA, "Reason")
        .does(
            "decide",
            &format!(
                "(call $emit (i32.const 0) (i32.const {DATA}) (i32.const 6) (i32.const {DATA}) (i32.const 6) (i32.const 2048))
                 (i32.store (i32.const 2048) (i32.const 1))
                 i32.const 2048"
            ),
        );
    let called = load(hook.build()).await.pure(limits()).decide(context()).await;
    let Ok(Verdict::Skip(told)) = called.outcome else { panic!("{:?}", called.outcome) };
    assert_eq!(told, "events.emit: this call is pure, and has no effects");
    assert_eq!(called.usage.host_calls, [("events.emit", 1)].into());
    assert_eq!(called.usage.denied.len(), 1);
}

#[tokio::test]
async fn a_point_that_is_not_exported_is_an_error_with_what_there_is() {
    let module = load(guest("retention-hook").build()).await;
    assert_eq!(module.points(), [Point::Retention]);
    let called = module.pure(limits()).decide(context()).await;
    let error = called.outcome.unwrap_err();
    assert_eq!(error.reason(), Reason::HookModuleInvalid);
    assert_eq!(error.to_string(), "the module does not export scribe:hooks/decision: it has retention");
}

#[tokio::test]
async fn settings_are_judged() {
    // err([{path: none, message: "no"}])
    let hook = guest("decision-hook")
        .words(DATA, &[1, DATA + 64, 1])
        .words(DATA + 64, &[0, 0, 0, DATA + 128, 2])
        .text(DATA + 128, "no")
        .does("validate", &format!("i32.const {DATA}"));
    let module = load(hook.build()).await;
    let problems = module.pure(limits()).validate("{\"a\": 1}".into()).await.outcome.unwrap();
    assert_eq!(problems.len(), 1);
    assert_eq!((problems[0].path.as_deref(), problems[0].message.as_str()), (None, "no"));
    // err([]): refused without a word is not accepted.
    let hook = guest("decision-hook").words(DATA, &[1, 0, 0]).does("validate", &format!("i32.const {DATA}"));
    let module = load(hook.build()).await;
    assert_eq!(module.pure(limits()).validate("{}".into()).await.outcome.unwrap().len(), 1);
}

#[tokio::test]
async fn a_deadline_that_has_passed_is_not_the_modules_limit() {
    let module = load(guest("decision-hook").does("decide", "(loop $l (br $l)) i32.const 0").build()).await;
    let mut late = context();
    late.attempt.deadline = late.attempt.now;
    let error = module.pure(limits()).decide(late).await.outcome.unwrap_err();
    assert!(matches!(error, CallError::Timeout { limit: None, .. }), "{error}");
}
