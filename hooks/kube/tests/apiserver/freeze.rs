//! What is frozen, written down and undone.

use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, CustomResource, CustomResourceExt};
use schemars::JsonSchema;
use scribe_hooks::Host;
use scribe_hooks_contract::effects::{Command, ExecError, FreezeError, Target};
use scribe_hooks_contract::grants::{ExecPermit, Grants};
use scribe_hooks_contract::undo::{Change, Place, Undo};
use scribe_hooks_kube::{Call, JournalError, UndoError, UndoOutcome};
use scribe_tests::wait::await_condition;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::world::{World, everything, read};

async fn lost(world: &World, entry: &Undo) -> Result<Option<String>, UndoError> {
    world.platform.lost(&world.acting, &world.namespace, entry).await
}

async fn undo(world: &World, entry: &Undo) -> Result<UndoOutcome, UndoError> {
    world.platform.undo(&world.acting, &world.namespace, entry).await
}

#[tokio::test]
async fn a_scale_is_written_down_made_and_undone_once() {
    let world = World::start(everything()).await;
    let set = world.make_stateful_set("db", 3).await;
    let host = world.host();
    assert_eq!(host.freeze_scale_down(world.stateful_set("db"), 0).await, Ok(()));
    assert_eq!(world.replicas("db").await, 0);
    let entries = world.journal.entries();
    let Change::Scale { workload, set: 0, restore: 3 } = &entries[0].change else {
        panic!("{entries:?}");
    };
    assert_eq!(Some(&workload.uid), set.metadata.uid.as_ref());
    // What is so already is not changed. It is to stay so, and that is looked at.
    assert_eq!(host.freeze_scale_down(world.stateful_set("db"), 0).await, Ok(()));
    let again = world.journal.entries().remove(1);
    assert!(matches!(again.change, Change::Scale { set: 0, restore: 0, .. }), "{again:?}");
    assert_eq!(lost(&world, &again).await, Ok(None));
    assert_eq!(undo(&world, &again).await, Ok(UndoOutcome::AsBefore));
    assert_eq!(lost(&world, &entries[0]).await, Ok(None));
    let error = host.freeze_scale_down(world.stateful_set("db"), 5).await.unwrap_err();
    assert!(matches!(&error, FreezeError::Failed(why) if why.contains("has 0 replicas")), "{error:?}");

    assert_eq!(undo(&world, &entries[0]).await, Ok(UndoOutcome::Undone));
    assert_eq!(world.replicas("db").await, 3);
    assert_eq!(undo(&world, &entries[0]).await, Ok(UndoOutcome::AsBefore));
    for entry in [&entries[0], &again] {
        let words = lost(&world, entry).await.unwrap().unwrap();
        assert!(words.contains("has 3 replicas now"), "{words}");
    }
    assert!(matches!(undo(&world, &again).await, Ok(UndoOutcome::ChangedSince(_))), "it is left alone");
}

#[tokio::test]
async fn nothing_is_changed_that_was_not_written_down() {
    let world = World::start(everything()).await;
    world.make_stateful_set("db", 3).await;
    for (refusal, expected) in [
        (JournalError::Closed, FreezeError::WindowClosed),
        (
            JournalError::Failed("disk full".into()),
            FreezeError::Failed("what undoes it cannot be written down: disk full".into()),
        ),
    ] {
        *world.journal.refuses.lock().unwrap() = Some(refusal);
        let host = world.host();
        assert_eq!(host.freeze_scale_down(world.stateful_set("db"), 0).await, Err(expected.clone()));
        let annotated = host.freeze_annotate(world.stateful_set("db"), "k".into(), "v".into()).await;
        assert_eq!(annotated, Err(expected));
    }
    let host = world.platform.host(Call {
        acting: world.acting.clone(),
        subject: world.subject(),
        module: "mysql".into(),
        journal: None,
    });
    let frozen = host.freeze_scale_down(world.stateful_set("db"), 0).await;
    assert_eq!(frozen, Err(FreezeError::WindowClosed));
    *world.journal.refuses.lock().unwrap() = None;
    let large = "x".repeat(20_000);
    let frozen = world.host().freeze_annotate(world.stateful_set("db"), "k".into(), large).await;
    assert!(matches!(frozen, Err(FreezeError::Failed(_))), "{frozen:?}");
    let set = world.api::<StatefulSet>().get("db").await.unwrap();
    assert_eq!((set.metadata.annotations, world.replicas("db").await), (None, 3));
}

#[tokio::test]
async fn what_others_have_changed_since_is_left_alone() {
    let world = World::start(everything()).await;
    world.make_stateful_set("db", 3).await;
    let host = world.host();
    host.freeze_scale_down(world.stateful_set("db"), 1).await.unwrap();
    host.freeze_annotate(world.stateful_set("db"), "k".into(), "ours".into()).await.unwrap();
    host.kube_scale(world.stateful_set("db"), 7).await.unwrap();
    host.kube_annotate(world.stateful_set("db"), "k".into(), Some("theirs".into())).await.unwrap();
    for entry in world.journal.entries() {
        let outcome = undo(&world, &entry).await.unwrap();
        assert!(matches!(outcome, UndoOutcome::ChangedSince(_)), "{outcome:?}");
        assert!(!outcome.to_string().contains("theirs"), "{outcome}");
    }
    assert_eq!(world.replicas("db").await, 7);
}

#[tokio::test]
async fn annotations_are_put_back_in_reverse() {
    let world = World::start(everything()).await;
    world.make::<ConfigMap>(json!({ "metadata": { "name": "a", "annotations": { "k": "0" } } })).await;
    let host = world.host();
    let target = || world.permit("v1", "ConfigMap", "a");
    for value in ["1", "2"] {
        host.freeze_annotate(target(), "k".into(), value.into()).await.unwrap();
    }
    host.freeze_annotate(target(), "new".into(), "1".into()).await.unwrap();
    for entry in world.journal.entries().iter().rev() {
        assert_eq!(undo(&world, entry).await, Ok(UndoOutcome::Undone));
    }
    let annotations = world.api::<ConfigMap>().get("a").await.unwrap().metadata.annotations.unwrap();
    assert_eq!(annotations.into_iter().collect::<Vec<_>>(), [("k".to_owned(), "0".to_owned())]);
}

#[tokio::test]
async fn a_cron_job_is_suspended_unless_it_was() {
    let world = World::start(everything()).await;
    for (name, suspend) in [("runs", false), ("rests", true)] {
        let template =
            json!({ "spec": { "restartPolicy": "Never", "containers": [{ "name": "a", "image": "a" }] } });
        let spec = json!({ "schedule": "@daily", "suspend": suspend, "jobTemplate": { "spec": { "template": template } } });
        world.make::<CronJob>(json!({ "metadata": { "name": name }, "spec": spec })).await;
        let permit = world.permit("batch/v1", "CronJob", name);
        world.host().freeze_suspend_cronjob(permit).await.unwrap();
    }
    let is_suspended =
        async |name: &str| world.api::<CronJob>().get(name).await.unwrap().spec.suspend.unwrap();
    assert!(is_suspended("runs").await);
    let entries = world.journal.entries();
    assert_eq!(entries.len(), 1, "what rested before rests afterwards");
    assert_eq!(undo(&world, &entries[0]).await, Ok(UndoOutcome::Undone));
    assert!(!is_suspended("runs").await && is_suspended("rests").await);
}

#[tokio::test]
async fn what_is_gone_is_undone() {
    let world = World::start(everything()).await;
    world.make_stateful_set("db", 3).await;
    world.host().freeze_scale_down(world.stateful_set("db"), 0).await.unwrap();
    let entry = world.journal.entries().remove(0);
    world.delete::<StatefulSet>("db").await;
    assert!(matches!(undo(&world, &entry).await, Ok(UndoOutcome::Gone(_))));
    world.make_stateful_set("db", 0).await;
    assert!(matches!(undo(&world, &entry).await, Ok(UndoOutcome::Gone(_))));
    assert_eq!(world.replicas("db").await, 0, "it is another one");

    let place = Place { pod: "db-0".into(), uid: "u".into(), container: "db".into() };
    let command = Change::Command {
        place: place.clone(),
        argv: vec!["true".into()],
        stdin: String::new(),
        timeout_seconds: 1,
    };
    for change in [command, Change::Session { place }] {
        let outcome = undo(&world, &Undo { id: "1".into(), change }).await;
        assert!(matches!(outcome, Ok(UndoOutcome::Gone(_))), "{outcome:?}");
    }
}

#[tokio::test]
async fn an_undo_that_is_not_allowed_stays_due() {
    let world = World::start(json!([])).await;
    let change = Change::Scale {
        workload: read(
            json!({ "group": "apps", "version": "v1", "resource": "statefulsets", "name": "db", "uid": "u" }),
        ),
        set: 0,
        restore: 3,
    };
    let error = undo(&world, &Undo { id: "1".into(), change }).await.unwrap_err();
    assert!(matches!(&error, UndoError::Denied(why) if why.contains("db-hook")), "{error:?}");
    let change = Change::CronJob {
        target: read(json!({ "version": "v1", "resource": "../secrets", "name": "a", "uid": "u" })),
    };
    assert!(matches!(undo(&world, &Undo { id: "1".into(), change }).await, Err(UndoError::Failed(_))));
}

/// A call may be cancelled at any moment. Whenever that is: after the undo all is as before, and stays so.
#[tokio::test]
async fn a_freeze_that_is_dropped_at_any_moment_is_undone() {
    let world = World::start(everything()).await;
    let host = world.host();
    for polls in 0..40 {
        let name = format!("db-{polls}");
        world.make_stateful_set(&name, 3).await;
        let known = world.journal.entries().len();
        {
            let mut freeze = std::pin::pin!(host.freeze_scale_down(world.stateful_set(&name), 0));
            // Each is dropped after another number of steps, from before the first request to after the last.
            for _ in 0..polls {
                if futures::poll!(&mut freeze).is_ready() {
                    break;
                }
                tokio::time::sleep(Duration::from_micros(500)).await;
            }
        }
        for entry in world.journal.entries().split_off(known) {
            let outcome = undo(&world, &entry).await.unwrap();
            assert!(matches!(outcome, UndoOutcome::Undone | UndoOutcome::AsBefore), "{outcome:?}");
        }
    }
    for polls in 0..40 {
        assert_eq!(world.replicas(&format!("db-{polls}")).await, 3, "after {polls} steps");
    }
    assert!(!world.journal.entries().is_empty());
}

fn exec_permit() -> ExecPermit {
    let grants: Grants = read(
        json!({ "exec": [{ "podSelector": { "app": "db" }, "containers": ["db"], "commands": [["true"]] }] }),
    );
    let target = Target { pod: Some("db-0".into()), ..Target::default() };
    grants.permit_exec(&target, &[&command()]).unwrap()
}

fn command() -> Command {
    Command { argv: vec!["true".into()], stdin: Vec::new(), timeout_seconds: 10, max_output: 100 }
}

/// As far as one gets without a kubelet.
#[tokio::test]
async fn a_command_needs_a_pod_that_runs_and_the_right() {
    let world = World::start(everything()).await;
    let host = world.host();
    let run = || host.exec(exec_permit(), command());
    assert!(matches!(run().await, Err(ExecError::NoSuchTarget(_))));
    world
        .make::<k8s_openapi::api::core::v1::Pod>(json!({
            "metadata": { "name": "db-0", "labels": { "app": "db" } },
            "spec": { "containers": [{ "name": "db", "image": "db" }], "automountServiceAccountToken": false },
        }))
        .await;
    assert!(matches!(run().await, Err(ExecError::NotRunning(_))));
    let status = json!({ "status": { "phase": "Running", "containerStatuses": [{
        "name": "db", "image": "db", "imageID": "db", "ready": true, "restartCount": 0,
        "state": { "running": { "startedAt": "2026-01-01T00:00:00Z" } } }] } });
    let pods = world.api::<k8s_openapi::api::core::v1::Pod>();
    pods.patch_status("db-0", &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    let error = run().await.unwrap_err();
    assert!(matches!(&error, ExecError::Denied(why) if why.contains("pods/exec")), "{error:?}");
    world.allow(json!([{ "apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get", "create"] }])).await;
    let error = run().await.unwrap_err();
    assert!(matches!(&error, ExecError::Unavailable(why) if why.contains("host")), "{error:?}");
    // What undoes it is written down, though it could not be done.
    let frozen = host.freeze_exec_with_undo(exec_permit(), command(), command()).await;
    assert!(matches!(frozen, Err(FreezeError::Failed(_))), "{frozen:?}");
    let held = host.freeze_hold_session(exec_permit(), command(), "ready".into()).await;
    assert!(matches!(held, Err(FreezeError::Failed(_))), "{held:?}");
    let entries = world.journal.entries();
    assert!(matches!(entries[0].change, Change::Command { .. }), "{entries:?}");
    assert!(matches!(entries[1].change, Change::Session { .. }), "{entries:?}");
    assert!(!world.platform.sessions().holds(&entries[1].id));
    assert_eq!(undo(&world, &entries[1]).await, Ok(UndoOutcome::Undone));
}

#[derive(CustomResource, Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[kube(group = "test.scribe.dev", version = "v1", kind = "Ledger", namespaced, status = "LedgerStatus")]
struct LedgerSpec {}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
struct LedgerStatus {
    #[serde(default)]
    undo: Vec<Undo>,
}

#[tokio::test]
async fn a_status_takes_the_log_as_it_is() {
    let world = World::start(everything()).await;
    let definitions: Api<CustomResourceDefinition> = Api::all(world.admin.clone());
    definitions.create(&PostParams::default(), &Ledger::crd()).await.unwrap();
    await_condition(&definitions, "ledgers.test.scribe.dev", "served", |definition| {
        let conditions =
            definition.and_then(|definition| definition.status.as_ref()).map(|status| &status.conditions);
        conditions
            .into_iter()
            .flatten()
            .flatten()
            .any(|one| one.type_ == "Established" && one.status == "True")
    })
    .await
    .unwrap();
    let target =
        json!({ "group": "apps", "version": "v1", "resource": "statefulsets", "name": "db", "uid": "u" });
    let place = json!({ "pod": "db-0", "uid": "u", "container": "db" });
    let changes = [
        json!({ "scale": { "workload": target, "set": 0, "restore": 3 } }),
        json!({ "annotation": { "target": target, "key": "k", "set": "v" } }),
        json!({ "cronJob": { "target": target } }),
        json!({ "command": { "place": place, "argv": ["true"], "stdin": "x", "timeoutSeconds": 5 } }),
        json!({ "session": { "place": place } }),
    ];
    let log: Vec<Undo> = changes
        .into_iter()
        .enumerate()
        .map(|(number, change)| read(json!({ "id": number.to_string(), "change": change })))
        .collect();
    let api = world.api::<Ledger>();
    // An API server that has just begun to serve a kind may need another moment.
    scribe_tests::wait::eventually(Duration::from_secs(60), "a ledger is made", async || {
        let ledger = Ledger::new("a", LedgerSpec {});
        api.create(&PostParams::default(), &ledger).await.map(drop).map_err(anyhow::Error::from)
    })
    .await
    .unwrap();
    let status = json!({ "status": LedgerStatus { undo: log.clone() } });
    let params = PatchParams {
        field_validation: Some(kube::api::ValidationDirective::Strict),
        ..PatchParams::default()
    };
    api.patch_status("a", &params, &Patch::Merge(&status)).await.unwrap();
    assert_eq!(api.get("a").await.unwrap().status.unwrap().undo, log);
}
