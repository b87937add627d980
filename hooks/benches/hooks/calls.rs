//! Calls, one at a time: a fresh instance and one function of it.

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use scribe_hooks::Pure;
use scribe_hooks::contract::context::{
    Attempt, Context, CopyMethod, LastSync, ObjectRef, Replication, Role, Trigger,
};
use scribe_hooks::contract::limits::Effective;
use scribe_hooks::contract::retention::ReplicaPoint;

use crate::{Numbers, Setting, loader};

/// One retention hook in each language: its module, and the settings with which it keeps [`KEPT`].
const HOOKS: [(&str, &str, &str); 3] = [
    ("rust", "keep-last", r#"{"last": 20}"#),
    ("javascript", "keep-by-label", r#"{"newest": 20}"#),
    ("python", "keep-last-python", r#"{"last": 20}"#),
];
const POINTS: u64 = 50;
const KEPT: usize = 20;
/// Calls before those that count.
const WARM_UP: usize = 200;
const NOW: u64 = 1_700_000_000_000;
const HOUR: u64 = 3_600_000;

/// How long it takes to load each module for the first time, in seconds.
pub async fn compile(setting: &Setting) -> Numbers {
    let loader = loader(&setting.cache, true);
    let mut numbers = Numbers::new();
    for (language, module, _) in HOOKS {
        let bytes = fs::read(setting.folder.join(format!("{module}.wasm"))).unwrap();
        let began = Instant::now();
        loader.load(bytes).await.unwrap();
        numbers.insert(format!("compile-{language}"), vec![began.elapsed().as_secs_f64()]);
    }
    numbers
}

/// How long `choose` and `describe` take, in microseconds. The latter does nothing: it is what an instance costs.
pub async fn choose(setting: &Setting) -> Numbers {
    let loader = loader(&setting.cache, false);
    let mut numbers = Numbers::new();
    for (language, module, settings) in HOOKS {
        let bytes = fs::read(setting.folder.join(format!("{module}.wasm"))).unwrap();
        let pure = loader.load(bytes).await.unwrap().pure(Effective::default());
        let calls = setting.calls;
        // In a task, as in the controller.
        let task = tokio::spawn(async move {
            let context = context(settings);
            (describes(&pure, calls).await, chooses(&pure, &context, calls).await)
        });
        let (describes, chooses) = task.await.unwrap();
        numbers.insert(format!("describe-{language}"), describes);
        numbers.insert(format!("choose-{language}"), chooses);
    }
    numbers
}

async fn describes(pure: &Pure, calls: usize) -> Vec<f64> {
    let mut times = Vec::with_capacity(WARM_UP + calls);
    for _ in 0..WARM_UP + calls {
        let began = Instant::now();
        let called = pure.describe().await;
        times.push(micros(began));
        called.outcome.unwrap();
    }
    times.split_off(WARM_UP)
}

async fn chooses(pure: &Pure, context: &Context, calls: usize) -> Vec<f64> {
    let points = points();
    let mut times = Vec::with_capacity(WARM_UP + calls);
    for _ in 0..WARM_UP + calls {
        let (context, points) = (context.clone(), points.clone());
        let began = Instant::now();
        let called = pure.choose(context, points, false).await;
        times.push(micros(began));
        assert_eq!(called.outcome.unwrap().len(), KEPT);
    }
    times.split_off(WARM_UP)
}

fn micros(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e6
}

fn points() -> Vec<ReplicaPoint> {
    let point = |number: u64| ReplicaPoint {
        id: format!("shop-db-{number:010}"),
        created: NOW - (POINTS - number) * HOUR,
        size_bytes: Some(10 << 30),
        labels: BTreeMap::from([
            ("app.kubernetes.io/name".to_owned(), "db".to_owned()),
            ("tier".to_owned(), if number.is_multiple_of(7) { "gold" } else { "silver" }.to_owned()),
        ]),
        pinned: number == 3,
        in_use: number == 49,
        ready: true,
    };
    (0..POINTS).map(point).collect()
}

fn context(settings: &str) -> Context {
    let object = |kind: &str, name: &str| ObjectRef {
        api_version: if kind == "PersistentVolumeClaim" { "v1" } else { "scribe.dev/v1alpha1" }.to_owned(),
        kind: kind.to_owned(),
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        uid: Some("7f0d4a0e-58a4-4c43-a0d6-6a3f1b1d5d11".to_owned()),
    };
    Context {
        replication: Replication {
            object: object("ReplicationDestination", "db"),
            role: Role::Destination,
            generation: 4,
            source_pvc: None,
            destination_pvc: Some(object("PersistentVolumeClaim", "db-data")),
            copy_method: CopyMethod::Snapshot,
            labels: BTreeMap::from([("app.kubernetes.io/name".to_owned(), "db".to_owned())]),
        },
        attempt: Attempt {
            attempt_id: "a1".to_owned(),
            number: 1,
            trigger: Trigger::Schedule,
            now: NOW,
            deadline: NOW + HOUR,
        },
        last: LastSync::default(),
        settings_json: settings.to_owned(),
    }
}
