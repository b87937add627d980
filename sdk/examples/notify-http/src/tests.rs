use scribe_hook_sdk::failure::Phase;
use scribe_hook_sdk::http::{Error, Response};
use scribe_hook_sdk::testing::{Call, Host, assert_schema, context, validate};
use serde_json::{Value, json};

use super::*;

fn ctx(after: u32) -> Context<Settings> {
    let headers = json!({ "Authorization": "token" });
    context(&json!({ "url": "https://pager.example.com/notify", "secretHeaders": headers, "after": after }))
}

fn report() -> Report {
    Report {
        phase: Phase::Publish,
        code: "DestinationFull".to_owned(),
        message: "the \"claim\" is full".to_owned(),
        mover_exit: Some(11),
        retryable: true,
    }
}

fn answered(status: u16) -> Result<Response, Error> {
    Ok(Response { status, headers: Vec::new(), body: Vec::new() })
}

#[test]
fn a_failure_is_told_and_changes_nothing() {
    let host = Host::new();
    host.http(answered(204));
    assert_eq!(NotifyHttp::on_failure(&ctx(1), &report()), Ok(Reaction::Default));
    let [Call::Http(request)] = &host.calls()[..] else { panic!("{:?}", host.calls()) };
    assert_eq!((request.method.as_str(), request.url.as_str()), ("POST", "https://pager.example.com/notify"));
    assert_eq!(request.secret_headers, [("Authorization".to_owned(), "token".to_owned())]);
    assert_eq!(
        serde_json::from_slice::<Value>(&request.body).unwrap(),
        json!({
            "kind": "ReplicationSource", "namespace": "default", "name": "db", "role": "source",
            "phase": "publish", "code": "DestinationFull", "message": "the \"claim\" is full",
            "attemptId": "00000000-0000-0000-0000-000000000001", "attempt": 1,
            "consecutiveFailures": 1, "retryable": true,
        })
    );
}

#[test]
fn it_waits_for_as_many_failures_as_it_was_told() {
    let host = Host::new();
    let mut ctx = ctx(3);
    ctx.last.consecutive_failures = 2;
    assert_eq!(NotifyHttp::on_failure(&ctx, &report()), Ok(Reaction::Default));
    assert_eq!(host.calls(), []);
    ctx.last.consecutive_failures = 3;
    host.http(answered(200));
    assert_eq!(NotifyHttp::on_failure(&ctx, &report()), Ok(Reaction::Default));
}

#[test]
fn what_was_not_taken_is_an_error() {
    let host = Host::new();
    host.http(answered(503));
    let error = NotifyHttp::on_failure(&ctx(1), &report()).unwrap_err();
    assert_eq!(error, HookError::failed("https://pager.example.com/notify answered 503"));
    host.http(Err(Error::TimedOut));
    NotifyHttp::on_failure(&ctx(1), &report()).unwrap_err();
}

#[test]
fn a_success_is_told_where_that_is_wanted() {
    let host = Host::new();
    let stats = SyncStats {
        started: 1_000,
        finished: 3_000,
        bytes_sent: 7,
        bytes_total: 70,
        files_changed: 1,
        files_deleted: 2,
        mover_exit: Some(0),
    };
    assert_eq!(NotifyHttp::post_sync(&ctx(1), &stats), Ok(()));
    assert_eq!(host.calls(), []);
    let ctx = context(&json!({ "successUrl": "https://watch.example.com/db" }));
    host.http(answered(200));
    assert_eq!(NotifyHttp::post_sync(&ctx, &stats), Ok(()));
    let [Call::Http(request)] = &host.calls()[..] else { panic!("{:?}", host.calls()) };
    assert_eq!((request.method.as_str(), request.url.as_str()), ("POST", "https://watch.example.com/db"));
    assert_eq!(
        serde_json::from_slice::<Value>(&request.body).unwrap(),
        json!({
            "kind": "ReplicationSource", "namespace": "default", "name": "db", "role": "source",
            "attemptId": "00000000-0000-0000-0000-000000000001", "started": 1_000, "finished": 3_000,
            "bytesSent": 7, "bytesTotal": 70, "filesChanged": 1, "filesDeleted": 2,
        })
    );
    assert_eq!(NotifyHttp::on_failure(&ctx, &report()), Ok(Reaction::Default), "no url: not told");
    host.http(answered(500));
    NotifyHttp::post_sync(&ctx, &stats).unwrap_err();
}

#[test]
fn settings_are_judged() {
    let problems = validate::<NotifyHttp>(&json!({ "url": "pager", "after": 0 })).unwrap_err();
    assert_eq!(
        problems.iter().filter_map(|problem| problem.path.as_deref()).collect::<Vec<_>>(),
        ["/url", "/after"]
    );
    let problems =
        validate::<NotifyHttp>(&json!({ "url": "https://x/", "secretHeaders": { "A": 1 } })).unwrap_err();
    assert_eq!(problems[0].path.as_deref(), Some("/secretHeaders/A"));
    let problems = validate::<NotifyHttp>(&json!({})).unwrap_err();
    assert_eq!(problems[0].path.as_deref(), Some("/url"));
    let problems = validate::<NotifyHttp>(&json!({ "successUrl": "watch" })).unwrap_err();
    assert_eq!(problems[0].path.as_deref(), Some("/successUrl"));
}

#[test]
fn the_schema_is_that_of_the_settings() {
    assert_schema::<NotifyHttp>(schemars::schema_for!(Settings).as_value());
}
