//! A Deployment that is scaled down for the cut by the example `scale-deployment`, through a ServiceAccount of its own.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::ListParams;
use scribe_crds::v1alpha1::{QuiesceState, ReplicationSource};
use scribe_tests::cluster::PAUSE_IMAGE;
use scribe_tests::faults::Fault;
use scribe_tests::fixture::ordinary;
use scribe_tests::site::{Site, source_status};
use scribe_tests::wait::{PATIENCE, await_condition, eventually};
use scribe_tests::world::{Pair, Span, with_pair};
use serde_json::{Value, json};

use super::{ALIVE, account, apply, await_state, hooks_ready, kill_the_controllers, worth};
use crate::hooks::module;
use crate::specs::{APP, destination, prepare, source, with};

/// How many pods it has.
const PODS: i32 = 2;
/// What keeps its pods from going.
const HELD: &str = "tests.scribe.dev/held";

/// A Deployment that runs, and what a source is that has it scaled down. The ServiceAccount is left to the test.
async fn running(pair: &Pair, finalizers: &[&str]) -> Result<Value> {
    let site = &pair.source;
    let granted = json!({ "kubernetes": [
        { "apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "scale"], "names": ["web"] },
        { "apiGroups": [""], "resources": ["pods"], "verbs": ["list"], "names": ["*"] },
    ] });
    module(site, "scale-deployment", Some(granted)).await?;
    prepare(pair, "ext4", destination("ext4", "1Gi"), |root| ordinary(root, APP)).await?;
    let container = json!({ "name": "web", "image": PAUSE_IMAGE, "imagePullPolicy": "Never" });
    let labels = json!({ "app": "web" });
    let pods = json!({ "metadata": { "labels": labels, "finalizers": finalizers }, "spec": { "containers": [container] } });
    apply(
        site,
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
            "spec": { "replicas": PODS, "selector": { "matchLabels": labels }, "template": pods }
        }),
    )?;
    is_up(site).await?;
    let hook = json!({
        "module": "scale-deployment", "points": ["Quiesce"], "serviceAccountName": "web-hook",
        "settings": { "kind": "Deployment", "name": "web" }, "quiesce": { "requireConsistency": "Application" }
    });
    Ok(with(source("data"), json!({ "hooks": [hook] })))
}

async fn is_up(site: &Site) -> Result<()> {
    let is = |web: Option<&Deployment>| {
        let status = web.and_then(|web| web.status.as_ref());
        status.is_some_and(|status| status.available_replicas.unwrap_or(0) == PODS)
    };
    await_condition(&site.api::<Deployment>(), "web", "running", is).await.map(drop)
}

/// Waits until so many pods are wanted.
async fn is_scaled(site: &Site, replicas: i32) -> Result<()> {
    let is = |web: Option<&Deployment>| {
        web.and_then(|web| web.spec.as_ref()).is_some_and(|spec| spec.replicas == Some(replicas))
    };
    let awaited = format!("scaled to {replicas}");
    await_condition(&site.api::<Deployment>(), "web", &awaited, is).await.map(drop)
}

/// The right to look at what it does, and, with `patch`, to do it.
fn rights(site: &Site, verbs: &[&str]) -> Result<()> {
    let rules = json!([
        { "apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "watch"] },
        { "apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": verbs },
        { "apiGroups": [""], "resources": ["pods"], "verbs": ["list"] },
    ]);
    account(site, "web-hook", rules)
}

/// A Deployment is scaled down for the cut, and has its pods again after it.
#[tokio::test]
async fn a_deployment_is_scaled_down_for_the_cut() -> Result<()> {
    with_pair("quiesce-scale", Span::OneCluster, |pair| async move {
        let site = &pair.source;
        let spec = running(&pair, &[]).await?;
        let handle = site.volume_handle("data").await?;
        let cut = Fault::new(&site.cluster, "CreateVolume", &handle, json!({ "hold": true }))?;
        site.source("db", with(spec, json!({ "paused": true }))).await?;
        // Before the night in which it matters.
        hooks_ready(site, "HookRightsMissing", "patch deployments/scale.apps web").await?;
        rights(site, &["get", "patch"])?;
        hooks_ready(site, "HooksCanRun", "").await?;
        site.patch::<ReplicationSource>("db", json!({ "spec": { "paused": false } })).await?;
        await_state(site, QuiesceState::Frozen).await?;
        is_scaled(site, 0).await?;
        cut.end()?;
        site.sync("db", "first").await?;
        is_up(site).await?;
        let said = worth(&pair).await?;
        ensure!(said.as_deref() == Some("application"), "the replica says {said:?}");
        Ok(())
    })
    .await
}

/// The pods may go, those that are there and those to come.
async fn let_the_pods_go(site: &Site) -> Result<()> {
    let none = json!({ "spec": { "template": { "metadata": { "finalizers": null } } } });
    site.patch::<Deployment>("web", none).await?;
    let pods = site.api::<Pod>();
    eventually(PATIENCE, "no pod is held", async || {
        let all = pods.list_metadata(&ListParams::default().labels("app=web")).await?;
        let held: Vec<String> =
            all.into_iter().filter(|pod| !pod.finalizers().is_empty()).map(|pod| pod.name_any()).collect();
        for pod in &held {
            site.patch::<Pod>(pod, json!({ "metadata": { "finalizers": null } })).await?;
        }
        ensure!(held.is_empty(), "held until now: {held:?}");
        Ok(())
    })
    .await
}

/// The controller dies while the hook waits for the pods to go, and once more while the release lacks a right: both times it is scaled back,
/// and what is published was made while it was down.
#[tokio::test]
async fn a_deployment_comes_back_although_the_controller_is_killed() -> Result<()> {
    with_pair("quiesce-scale-kill", Span::OneCluster, |pair| async move {
        let site = &pair.source;
        rights(site, &["get", "patch"])?;
        let spec = running(&pair, &[HELD]).await?;
        let handle = site.volume_handle("data").await?;
        let cut = Fault::new(&site.cluster, "CreateVolume", &handle, json!({ "hold": true }))?;
        site.source("db", spec).await?;
        is_scaled(site, 0).await?;
        let quiescing = await_state(site, QuiesceState::Quiescing).await?;
        let first = source_status(&quiescing).current_sync.context("it runs")?;
        kill_the_controllers(site).await?;
        is_scaled(site, PODS).await?;

        let alive = ALIVE.read().await;
        let_the_pods_go(site).await?;
        let frozen = await_state(site, QuiesceState::Frozen).await?;
        let second = source_status(&frozen).current_sync.context("it runs")?;
        ensure!(second.attempt > first.attempt, "attempt {} goes on", second.attempt);
        rights(site, &["get"])?;
        cut.end()?;
        let stands = |rs: &ReplicationSource| {
            let conditions = source_status(rs).conditions;
            conditions.iter().any(|it| it.type_ == "StillFrozen" && it.status == "True")
        };
        let releasing = site.await_source("db", "known to stand still", stands).await?;
        let state = source_status(&releasing).quiesce.map(|quiesce| quiesce.state);
        ensure!(state == Some(QuiesceState::Releasing), "{state:?}");
        drop(alive);
        kill_the_controllers(site).await?;
        // The copy is whole, so what comes after it does not wait.
        site.sync("db", "first").await?;
        is_scaled(site, 0).await?;
        rights(site, &["get", "patch"])?;
        is_up(site).await?;
        let is_over = |rs: &ReplicationSource| {
            let status = source_status(rs);
            status.quiesce.is_none() && !status.conditions.iter().any(|it| it.type_ == "StillFrozen")
        };
        site.await_source("db", "released", is_over).await?;
        let said = worth(&pair).await?;
        ensure!(said.as_deref() == Some("application"), "the replica says {said:?}");
        Ok(())
    })
    .await
}
