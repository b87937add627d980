//! Things die and storage fails; the next replica is whole all the same.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use scribe_crds::names::{OWNER_UID, SIDE, source_cut};
use scribe_crds::snapshots::VolumeSnapshot;
use scribe_crds::v1alpha1::{Phase, ReplicationDestination, ReplicationSource};
use scribe_tests::faults::Fault;
use scribe_tests::fixture::{chown, noise};
use scribe_tests::site::{Site, source_status, status};
use scribe_tests::tree::Ignore;
use scribe_tests::wait::{PATIENCE, await_condition, eventually};
use scribe_tests::world::{CONTROLLER, Pair, SYSTEM, Span, with_pair};
use serde_json::json;

use crate::replicate::equal;
use crate::specs::{APP, destination, prepare, source, with};

const ROOT_KEPT: Ignore = Ignore { owners: false, root: true };
/// Enough to be caught in the middle at [`slow`]'s pace, and not more.
const SIZE: usize = 48 << 20;

pub fn large(root: &Path) -> Result<()> {
    fs::write(root.join("large"), noise(5, SIZE))?;
    chown(root, APP, APP)?;
    chown(&root.join("large"), APP, APP)
}

/// A source whose transfer takes a good while: until [`hurry`], for the next mover.
pub fn slow() -> serde_json::Value {
    with(source("data"), json!({ "rsync": { "bandwidthLimit": "2Mi" } }))
}

/// The next mover of a [`slow`] source is not held back.
async fn hurry(pair: &Pair) -> Result<()> {
    pair.source
        .patch::<ReplicationSource>("db", json!({ "spec": { "rsync": { "bandwidthLimit": null } } }))
        .await
}

/// Waits until the transfer has begun and is not over.
pub async fn await_transfer(pair: &Pair) -> Result<()> {
    let begun = |rs: &ReplicationSource| {
        let status = source_status(rs);
        status.phase == Some(Phase::Transferring)
            && status.progress.is_some_and(|progress| progress.bytes_done > 0)
    };
    pair.source.await_source("db", "in mid-transfer", begun).await?;
    Ok(())
}

/// Kills every mover of a side, as a lost node would.
async fn kill_movers(site: &Site, side: &str) -> Result<()> {
    let pods = site.api::<Pod>();
    let movers = pods.list(&ListParams::default().labels(&format!("{OWNER_UID},{SIDE}={side}"))).await?;
    ensure!(!movers.items.is_empty(), "there is no {side} mover to kill");
    for name in movers.into_iter().filter_map(|pod| pod.metadata.name) {
        pods.delete(&name, &DeleteParams::default().grace_period(0)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn source_mover_killed_in_mid_transfer() -> Result<()> {
    with_pair(
        "kill-source",
        Span::TwoClusters,
        |pair| async move { killed_in_mid_transfer(pair, "source").await },
    )
    .await
}

#[tokio::test]
async fn destination_mover_killed_in_mid_transfer() -> Result<()> {
    with_pair("kill-dest", Span::TwoClusters, |pair| async move {
        killed_in_mid_transfer(pair, "destination").await
    })
    .await
}

/// The sync goes on by itself, and what had arrived is not sent again.
async fn killed_in_mid_transfer(pair: Pair, side: &str) -> Result<()> {
    let volume = prepare(&pair, "ext4", destination("ext4", "1Gi"), large).await?;
    pair.source.source("db", slow()).await?;
    await_transfer(&pair).await?;
    if side == "destination" {
        let shown = |rd: &ReplicationDestination| {
            let status = status(rd);
            status.phase == Some(Phase::Transferring)
                && status.progress.is_some_and(|progress| progress.bytes_done > 0)
        };
        pair.destination.await_destination("db", "in mid-transfer, and shows how far it is", shown).await?;
    }
    hurry(&pair).await?;
    kill_movers(if side == "source" { &pair.source } else { &pair.destination }, side).await?;
    let synced = pair.source.sync("db", "first").await?;
    let mover = source_status(&synced).latest_mover_status.context("a mover has reported")?;
    let moved = mover.transfer.context("it says what it moved")?;
    ensure!(moved.bytes_sent < SIZE as i64, "all was sent again: {moved:?}");
    ensure!(
        synced.status.is_some_and(|status| status.consecutive_failures == 0),
        "the sync counts as failed"
    );
    equal(&pair, &volume, "restored", ROOT_KEPT).await
}

/// Kills the controller of a cluster and waits until its successor is ready.
async fn kill_controller(site: &Site) -> Result<()> {
    let _nobody_minds = crate::quiesce::ALIVE.write().await;
    let pods: Api<Pod> = Api::namespaced(site.client.clone(), SYSTEM);
    let selector = ListParams::default().labels(&format!("app.kubernetes.io/name={CONTROLLER}"));
    for name in pods.list(&selector).await?.into_iter().filter_map(|pod| pod.metadata.name) {
        // Another test may have killed it meanwhile.
        let _ = pods.delete(&name, &DeleteParams::default().grace_period(0)).await;
        await_condition(&pods, &name, "gone", |pod| pod.is_none()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn controller_killed_in_each_phase() -> Result<()> {
    with_pair("kill-controller", Span::OneCluster, |pair| async move {
        let volume = prepare(&pair, "ext4", destination("ext4", "1Gi"), large).await?;
        let data = pair.source.volume_handle("data").await?;
        let cut = Fault::new(&pair.source.cluster, "CreateVolume", &data, json!({ "hold": true }))?;
        pair.source.source("db", slow()).await?;
        in_phase(&pair, Phase::Cutting).await?;
        kill_controller(&pair.source).await?;
        let stage = hold_the_mover(&pair).await?;
        cut.end()?;
        in_phase(&pair, Phase::Starting).await?;
        kill_controller(&pair.source).await?;
        stage.end()?;
        await_transfer(&pair).await?;
        kill_controller(&pair.source).await?;
        let receiving = pair.destination.volume_handle("scribe-dst-db").await?;
        let snapshot =
            Fault::new(&pair.destination.cluster, "CreateSnapshot", &receiving, json!({ "hold": true }))?;
        in_phase(&pair, Phase::Publishing).await?;
        kill_controller(&pair.source).await?;
        snapshot.end()?;
        pair.source.sync("db", "first").await?;
        let rd = pair
            .destination
            .await_destination("db", "published", |rd| status(rd).latest_image.is_some())
            .await?;
        ensure!(status(&rd).replicas.len() == 1, "one sync made {:?}", status(&rd).replicas);
        let snapshots = pair.destination.api::<VolumeSnapshot>().list(&ListParams::default()).await?;
        ensure!(snapshots.items.len() == 1, "one sync made {} snapshots", snapshots.items.len());
        equal(&pair, &volume, "restored", ROOT_KEPT).await
    })
    .await
}

/// Keeps the source mover from starting: its volume, the cut, is not mounted.
pub async fn hold_the_mover(pair: &Pair) -> Result<Fault> {
    // It is made after it is announced.
    let rs = pair.source.await_source("db", "syncing", |rs| source_status(rs).current_sync.is_some()).await?;
    let sync = source_status(&rs).current_sync.context("a sync runs")?;
    let claims = pair.source.api::<PersistentVolumeClaim>();
    let cut = await_condition(&claims, &source_cut("db", &sync.id), "made", |cut| cut.is_some()).await?;
    let uid = cut.and_then(|cut| cut.metadata.uid).context("a claim has a uid")?;
    // The provisioner names a volume after the uid of its claim.
    Fault::new(&pair.source.cluster, "NodeStageVolume", &format!("pvc-{uid}"), json!({ "hold": true }))
}

pub async fn in_phase(pair: &Pair, phase: Phase) -> Result<()> {
    let there = |rs: &ReplicationSource| source_status(rs).phase == Some(phase);
    pair.source.await_source("db", &format!("in phase {phase:?}"), there).await?;
    Ok(())
}

/// A snapshot that cannot be made at first is published when it can; until then the destination is sealed and nothing is published.
#[tokio::test]
async fn a_snapshot_that_fails_then_succeeds_late() -> Result<()> {
    with_pair("late-snapshot", Span::OneCluster, |pair| async move {
        let volume = prepare(&pair, "ext4", destination("ext4", "1Gi"), large).await?;
        let receiving = pair.destination.volume_handle("scribe-dst-db").await?;
        let fault = json!({ "fail": "the array is busy", "code": "RESOURCE_EXHAUSTED" });
        let fault = Fault::new(&pair.destination.cluster, "CreateSnapshot", &receiving, fault)?;
        pair.source.source("db", source("data")).await?;
        let snapshots = pair.destination.api::<VolumeSnapshot>();
        eventually(PATIENCE, "a failed snapshot", async || {
            let list = snapshots.list(&ListParams::default()).await?;
            let failed = |snapshot: &VolumeSnapshot| {
                snapshot.status.as_ref().is_some_and(|status| status.error.is_some())
            };
            ensure!(list.iter().any(failed), "no snapshot shows an error");
            Ok(())
        })
        .await?;
        let rd = pair.destination.await_destination("db", "there", |_| true).await?;
        ensure!(status(&rd).latest_image.is_none(), "published before it was ready");
        fault.end()?;
        pair.source.sync("db", "first").await?;
        equal(&pair, &volume, "restored", ROOT_KEPT).await
    })
    .await
}
