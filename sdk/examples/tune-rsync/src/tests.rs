use scribe_hook_sdk::SyncStats;
use scribe_hook_sdk::testing::{self, Host, assert_schema, context};
use serde_json::{Value, json};

use super::*;

const DEFAULTS: Options =
    Options { bandwidth_kib: Some(9), comparison: None, excludes: Vec::new(), timeout_seconds: Some(7) };

fn tuned(settings: &Value, at: &str) -> Options {
    let _host = Host::new();
    let mut ctx = context(settings);
    ctx.attempt.now = u64::try_from(at.parse::<Timestamp>().unwrap().as_millisecond()).unwrap();
    TuneRsync::tune(&ctx, DEFAULTS).unwrap()
}

#[test]
fn a_window_is_open_by_the_clock_on_the_wall() {
    let settings = json!({
        "timeZone": "Europe/Vienna",
        "windows": [{ "days": ["mon"], "from": "08:00", "to": "18:00", "bandwidthKib": 100 }],
    });
    let limit = |at| tuned(&settings, at).bandwidth_kib;
    // Mondays. There, 8 in the morning is 7 UTC in winter and 6 UTC in summer.
    assert_eq!(limit("2026-01-05T06:59:59Z"), Some(9));
    assert_eq!(limit("2026-01-05T07:00:00Z"), Some(100));
    assert_eq!(limit("2026-07-06T06:00:00Z"), Some(100));
    assert_eq!(limit("2026-07-06T15:59:59Z"), Some(100));
    assert_eq!(limit("2026-07-06T16:00:00Z"), Some(9));
    assert_eq!(limit("2026-07-07T10:00:00Z"), Some(9));
}

#[test]
fn a_window_goes_on_after_midnight() {
    let settings = json!({ "windows": [
        { "days": ["sat"], "from": "22:00", "to": "06:00", "bandwidthKib": 100 },
        { "from": "23:00", "to": "23:30", "bandwidthKib": 50 },
    ] });
    let limit = |at| tuned(&settings, at).bandwidth_kib;
    assert_eq!(limit("2026-01-03T22:00:00Z"), Some(100));
    assert_eq!(limit("2026-01-03T23:00:00Z"), Some(50), "the lower one holds");
    assert_eq!(limit("2026-01-04T05:59:59Z"), Some(100));
    assert_eq!(limit("2026-01-04T06:00:00Z"), Some(9));
    assert_eq!(limit("2026-01-04T22:00:00Z"), Some(9), "that is a Sunday");
}

#[test]
fn what_was_small_is_not_limited() {
    let _host = Host::new();
    let window = json!({ "from": "00:00", "to": "23:59", "bandwidthKib": 100 });
    let mut ctx = context(&json!({ "windows": [window], "unlimitedBelowBytes": 1000 }));
    let limit = |ctx: &Context<Settings>| TuneRsync::tune(ctx, DEFAULTS).unwrap().bandwidth_kib;
    assert_eq!(limit(&ctx), Some(100), "nobody knows yet");
    let stats = |bytes_sent| SyncStats {
        started: 0,
        finished: 0,
        bytes_sent,
        bytes_total: 0,
        files_changed: 0,
        files_deleted: 0,
        mover_exit: Some(0),
    };
    ctx.last.succeeded = Some(stats(999));
    assert_eq!(limit(&ctx), Some(9));
    ctx.last.succeeded = Some(stats(1000));
    assert_eq!(limit(&ctx), Some(100));
}

#[test]
fn files_are_read_on_the_days_for_it() {
    let settings = json!({ "metadata": true, "contentOn": ["sun"] });
    assert_eq!(tuned(&settings, "2026-01-03T12:00:00Z").comparison, Some(Comparison::Metadata));
    assert_eq!(tuned(&settings, "2026-01-04T12:00:00Z").comparison, Some(Comparison::Content));
    assert_eq!(tuned(&json!({}), "2026-01-03T12:00:00Z").comparison, Some(Comparison::Content));
}

#[test]
fn what_is_not_set_stays_as_it_would_be() {
    let options = tuned(&json!({ "excludes": ["/tmp/"] }), "2026-01-03T12:00:00Z");
    assert_eq!(
        options,
        Options { comparison: Some(Comparison::Content), excludes: vec!["/tmp/".to_owned()], ..DEFAULTS }
    );
}

#[test]
fn settings_are_judged() {
    let problems = |settings: Value| {
        let problems = testing::validate::<TuneRsync>(&settings).unwrap_err();
        problems.into_iter().filter_map(|problem| problem.path).collect::<Vec<_>>()
    };
    let window = |from, to, kib| json!({ "from": from, "to": to, "bandwidthKib": kib });
    assert_eq!(
        problems(json!({ "timeZone": "Vienna", "timeoutSeconds": 0 })),
        ["/timeZone", "/timeoutSeconds"]
    );
    assert_eq!(
        problems(json!({ "windows": [window("08:00", "18:00", 1), window("08:00", "8 pm", 1)] })),
        ["/windows/1/to"]
    );
    assert_eq!(
        problems(json!({ "windows": [window("08:00", "08:00", 0)] })),
        ["/windows/0/to", "/windows/0/bandwidthKib"]
    );
    assert_eq!(problems(json!({ "excludes": ["a", ""] })), ["/excludes/1"]);
    assert_eq!(problems(json!({ "contentOn": ["sunday"] })), ["/contentOn/0"]);
}

#[test]
fn the_schema_is_that_of_the_settings() {
    assert_schema::<TuneRsync>(schemars::schema_for!(Settings).as_value());
}
