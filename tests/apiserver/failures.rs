//! What the cluster refuses, lacks or is slow with: said in its own words, and gone on with when it passes.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod, ResourceQuota, Service};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Resource, ResourceExt};
use scribe_crds::names::source_cut;
use scribe_crds::v1alpha1::{DestinationStatus, Phase, ReplicationDestination, SourceStatus};
use scribe_tests::site::synchronizing;
use scribe_tests::wait::await_condition;
use serde_json::{Value, json};

use crate::world::{LEASE, World};

/// Flags with which an attempt follows another soon.
const HASTY: [&str; 3] = ["--retry-base=1s", "--retry-max=1s", "--pending-interval=1s"];

fn says<const N: usize>(reason: &str, words: [&str; N]) -> impl Fn(&SourceStatus) -> bool {
    move |status| {
        let (seen, message) = synchronizing(&status.conditions);
        seen == reason && words.iter().all(|words| message.contains(words))
    }
}

/// A warning about an object, as Kubernetes' own controllers give it.
async fn warn<K: Resource<DynamicType = ()>>(
    world: &World,
    about: &K,
    reason: &str,
    message: &str,
) -> Result<()> {
    let about = about.object_ref(&());
    let event = json!({
        "metadata": { "generateName": "warning-" }, "type": "Warning", "reason": reason, "message": message,
        "involvedObject": about, "lastTimestamp": jiff::Timestamp::now(),
    });
    world.api::<Event>().create(&PostParams::default(), &serde_json::from_value(event)?).await?;
    Ok(())
}

/// The point-in-time copy of the sync that runs.
async fn cut(world: &World, source: &str) -> Result<PersistentVolumeClaim> {
    let begun = |status: &SourceStatus| status.current_sync.as_ref().is_some_and(|sync| sync.cut.is_some());
    let seen = world.await_source(source, "begun", begun).await?;
    let name = source_cut(source, &seen.current_sync.context("a sync")?.id);
    Ok(world.api().get(&name).await?)
}

/// What no controller manager does here: a claim that is deleted and not used goes.
async fn let_go(world: &World, claim: &str) -> Result<()> {
    let free = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    world.api::<PersistentVolumeClaim>().patch(claim, &PatchParams::default(), &free).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_is_named_and_the_sync_goes_on_when_it_is_raised() -> Result<()> {
    let world = World::start_with(&[LEASE], &HASTY, true).await?;
    world.claim("db", "").await?;
    let quotas = world.api::<ResourceQuota>();
    let hard = json!({ "persistentvolumeclaims": "1" });
    let quota = json!({ "metadata": { "name": "few" }, "spec": { "hard": hard } });
    quotas.create(&PostParams::default(), &serde_json::from_value(quota)?).await?;
    let counted = Patch::Merge(json!({ "status": { "hard": hard, "used": hard } }));
    quotas.patch_status("few", &PatchParams::default(), &counted).await?;
    world.source("db", json!({})).await?;
    let refused = says("QuotaExceeded", ["exceeded quota: few", "Attempt 2 of 5"]);
    world.await_source("db", "refused by the quota", refused).await?;
    quotas.delete("few", &DeleteParams::default()).await?;
    world.mover("db").await?;
    Ok(())
}

/// A class that does not exist, or a driver that refuses, is told as soon as the cluster says so, and when the time is over the copy is
/// deleted, and gone, before the next attempt makes another.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_that_cannot_be_made_is_told_in_the_provisioners_words() -> Result<()> {
    let world = World::start_with(&[LEASE], &HASTY, true).await?;
    world.claim("db", "").await?;
    world
        .source(
            "db",
            json!({ "rsync": { "sshKeys": "keys", "storageClassName": "none", "cutTimeout": "5s" } }),
        )
        .await?;
    let first = cut(&world, "db").await?;
    let words = "storageclass.storage.k8s.io \"none\" not found";
    warn(&world, &first, "ProvisioningFailed", words).await?;
    let told = |status: &SourceStatus| synchronizing(&status.conditions).1.contains(words);
    world.await_source("db", "in the provisioner's words", told).await?;
    let given_up = says("CutTimeout", [words, "was not bound within 5s", "It is being deleted"]);
    world.await_source("db", "giving the cut up", given_up).await?;
    let claims = world.api::<PersistentVolumeClaim>();
    let leaving = |claim: Option<&PersistentVolumeClaim>| {
        claim.is_some_and(|claim| claim.metadata.deletion_timestamp.is_some())
    };
    await_condition(&claims, &first.name_any(), "being deleted", leaving).await?;
    let_go(&world, &first.name_any()).await?;
    let again = |status: &SourceStatus| {
        let sync = status.current_sync.as_ref();
        sync.is_some_and(|sync| sync.attempt == 2 && sync.cut.is_some())
    };
    world.await_source("db", "in its second attempt", again).await?;
    let second = cut(&world, "db").await?;
    ensure!(second.uid() != first.uid(), "the same claim");
    Ok(())
}

/// A mover that does not start has its time, and a sync a number of movers; then it waits for its trigger, and says why it failed.
#[tokio::test(flavor = "multi_thread")]
async fn a_mover_that_does_not_start_is_given_up_in_the_schedulers_words() -> Result<()> {
    let flags = ["--mover-start-timeout=1s", "--max-attempts=2"];
    let world = World::start_with(&[LEASE], &[HASTY.as_slice(), &flags].concat(), true).await?;
    world.claim("db", "").await?;
    world.source("db", json!({ "rsync": { "sshKeys": "keys", "cutTimeout": "2s" } })).await?;
    let cut = cut(&world, "db").await?;
    world.bind(&cut.name_any()).await?;
    let words = "0/3 nodes are available: 3 Insufficient memory";
    let status = json!({ "conditions": [
        { "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words }
    ] });
    for attempt in 1..=2 {
        let name = scribe_crds::names::source_pod("db", &sync(&world).await?, attempt);
        await_condition(&world.api::<Pod>(), &name, "made", |pod| pod.is_some()).await?;
        let change = Patch::Merge(json!({ "status": status }));
        world.api::<Pod>().patch_status(&name, &PatchParams::default(), &change).await?;
        await_condition(&world.api::<Pod>(), &name, "given up", |pod| pod.is_none()).await?;
    }
    let failed = |status: &SourceStatus| {
        status.phase == Some(Phase::Failed)
            && says("MoverStartTimeout", [words, "given up after 2 attempts"])(status)
    };
    let seen = world.await_source("db", "given up", failed).await?;
    ensure!(seen.consecutive_failures == 1 && seen.current_sync.is_none(), "{seen:?}");
    Ok(())
}

/// The id of the sync that runs, or ran last.
async fn sync(world: &World) -> Result<String> {
    let begun = |status: &SourceStatus| status.current_sync.is_some();
    Ok(world.await_source("db", "begun", begun).await?.current_sync.context("a sync")?.id)
}

/// The controller starts without the snapshot API, says what it lacks, and goes on as soon as that is there.
#[tokio::test(flavor = "multi_thread")]
async fn snapshots_that_come_later_are_noticed() -> Result<()> {
    let mut world = World::start_with(&[LEASE], &HASTY, false).await?;
    world.destination("db").await?;
    let reason = |status: &DestinationStatus| synchronizing(&status.conditions).0;
    let lacks = |status: &DestinationStatus| reason(status) == "SnapshotsUnavailable";
    let seen = world.await_status("db", "in want of snapshots", lacks).await?;
    let (_, message) = synchronizing(&seen.conditions);
    ensure!(message.contains("install the snapshot CRDs"), "{message}");
    // Nothing else is unfinished, for which it would be looked at again.
    world.bind("scribe-dst-db").await?;
    let pods = world.api::<Pod>();
    await_condition(&pods, "scribe-dst-db", "made", |pod| pod.is_some()).await?;
    let runs = Patch::Merge(json!({ "status": { "phase": "Running" } }));
    pods.patch_status("scribe-dst-db", &PatchParams::default(), &runs).await?;
    world.install_snapshots().await?;
    world.await_status("db", "with snapshots", |status| reason(status) != "SnapshotsUnavailable").await?;
    ensure!(world.controllers[0].try_wait()?.is_none(), "the controller has ended");
    Ok(())
}

/// Without an address the source is told none; it is noticed when the cloud has one.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_balancer_that_takes_its_time_is_waited_for() -> Result<()> {
    let world = World::start_with(&[LEASE], &HASTY, true).await?;
    let object = json!({
        "apiVersion": "scribe.dev/v1alpha1", "kind": "ReplicationDestination", "metadata": { "name": "db" },
        "spec": { "rsync": { "capacity": "1Gi", "accessModes": ["ReadWriteOnce"], "serviceType": "LoadBalancer" } }
    });
    let destinations = world.api::<ReplicationDestination>();
    destinations.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    let services = world.api::<Service>();
    await_condition(&services, "scribe-dst-db", "made", |service| service.is_some()).await?;
    let with_keys = |status: &DestinationStatus| status.key_fingerprints.is_some();
    let seen = world.await_status("db", "with keys", with_keys).await?;
    ensure!(!seen.method_status.contains_key("address"), "{:?}", seen.method_status);
    let given: Value = json!({ "status": { "loadBalancer": { "ingress": [{ "ip": "192.0.2.7" }] } } });
    services.patch_status("scribe-dst-db", &PatchParams::default(), &Patch::Merge(given)).await?;
    let seen = world.with_keys("db").await?;
    ensure!(seen.method_status["address"] == "192.0.2.7", "{:?}", seen.method_status);
    Ok(())
}
