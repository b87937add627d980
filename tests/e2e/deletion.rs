//! An object may be deleted at any time; nothing but published replicas stays.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret, Service};
use kube::api::{DeleteParams, ListParams};
use scribe_crds::names::{MANAGED_BY, MANAGED_BY_VALUE};
use scribe_crds::snapshots::VolumeSnapshot;
use scribe_crds::v1alpha1::{Phase, ReplicationDestination, ReplicationSource};
use scribe_tests::faults::Fault;
use scribe_tests::site::{Site, status};
use scribe_tests::wait::{PATIENCE, await_condition, eventually};
use scribe_tests::world::{Pair, Span, with_pair};
use serde_json::json;

use crate::faults::{await_transfer, hold_the_mover, in_phase, large, slow};
use crate::specs::{destination, prepare, source, with};

async fn names<K>(site: &Site) -> Result<Vec<String>>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
    K::DynamicType: Default,
{
    let ours = ListParams::default().labels(&format!("{MANAGED_BY}={MANAGED_BY_VALUE}"));
    let list = site.api::<K>().list(&ours).await?;
    Ok(list.into_iter().filter_map(|object| object.meta().name.clone()).collect())
}

/// Nothing of Scribe's is left in a namespace but so many snapshots.
async fn only_snapshots_are_left(site: &Site, snapshots: usize) -> Result<()> {
    eventually(PATIENCE, "nothing is left behind", async || {
        let mut left = names::<Pod>(site).await?;
        left.extend(names::<PersistentVolumeClaim>(site).await?);
        left.extend(names::<Service>(site).await?);
        left.extend(names::<Secret>(site).await?);
        ensure!(left.is_empty(), "left behind: {left:?}");
        let kept = site.api::<VolumeSnapshot>().list(&ListParams::default()).await?.items.len();
        ensure!(kept == snapshots, "{kept} snapshots are left, not {snapshots}");
        Ok(())
    })
    .await
}

async fn delete_source(pair: &Pair) -> Result<()> {
    let sources = pair.source.api::<ReplicationSource>();
    sources.delete("db", &DeleteParams::default()).await?;
    await_condition(&sources, "db", "gone", |rs| rs.is_none()).await?;
    only_snapshots_are_left(&pair.source, 0).await
}

async fn delete_destination(pair: &Pair, kept: usize) -> Result<()> {
    let destinations = pair.destination.api::<ReplicationDestination>();
    destinations.delete("db", &DeleteParams::foreground()).await?;
    await_condition(&destinations, "db", "gone", |rd| rd.is_none()).await?;
    only_snapshots_are_left(&pair.destination, kept).await
}

#[tokio::test]
async fn while_the_cut_is_made() -> Result<()> {
    with_pair("delete-cutting", Span::OneCluster, |pair| async move {
        prepare(&pair, "ext4", destination("ext4", "1Gi"), large).await?;
        let data = pair.source.volume_handle("data").await?;
        let fault = Fault::new(&pair.source.cluster, "CreateVolume", &data, json!({ "hold": true }))?;
        pair.source.source("db", source("data")).await?;
        in_phase(&pair, Phase::Cutting).await?;
        delete_source(&pair).await?;
        fault.end()?;
        delete_destination(&pair, 0).await
    })
    .await
}

#[tokio::test]
async fn while_the_mover_starts() -> Result<()> {
    with_pair("delete-starting", Span::OneCluster, |pair| async move {
        prepare(&pair, "ext4", destination("ext4", "1Gi"), large).await?;
        let data = pair.source.volume_handle("data").await?;
        let cut = Fault::new(&pair.source.cluster, "CreateVolume", &data, json!({ "hold": true }))?;
        pair.source.source("db", source("data")).await?;
        in_phase(&pair, Phase::Cutting).await?;
        let stage = hold_the_mover(&pair).await?;
        cut.end()?;
        in_phase(&pair, Phase::Starting).await?;
        let sources = pair.source.api::<ReplicationSource>();
        sources.delete("db", &DeleteParams::default()).await?;
        stage.end()?;
        await_condition(&sources, "db", "gone", |rs| rs.is_none()).await?;
        only_snapshots_are_left(&pair.source, 0).await?;
        delete_destination(&pair, 0).await
    })
    .await
}

#[tokio::test]
async fn source_in_mid_transfer() -> Result<()> {
    with_pair("delete-source", Span::OneCluster, |pair| async move {
        prepare(&pair, "ext4", destination("ext4", "1Gi"), large).await?;
        pair.source.source("db", slow()).await?;
        await_transfer(&pair).await?;
        delete_source(&pair).await?;
        delete_destination(&pair, 0).await
    })
    .await
}

#[tokio::test]
async fn destination_in_mid_transfer() -> Result<()> {
    with_pair("delete-dest", Span::TwoClusters, |pair| async move {
        prepare(&pair, "ext4", destination("ext4", "1Gi"), large).await?;
        pair.source.source("db", slow()).await?;
        await_transfer(&pair).await?;
        delete_destination(&pair, 0).await?;
        delete_source(&pair).await
    })
    .await
}

#[tokio::test]
async fn while_it_is_published() -> Result<()> {
    with_pair("delete-publishing", Span::OneCluster, |pair| async move {
        prepare(&pair, "ext4", destination("ext4", "1Gi"), large).await?;
        let receiving = pair.destination.volume_handle("scribe-dst-db").await?;
        // A final error: after one that leaves open whether the cut goes on, the snapshotter itself holds the snapshot until it knows.
        let fault = json!({ "fail": "the array is broken", "code": "INTERNAL" });
        let fault = Fault::new(&pair.destination.cluster, "CreateSnapshot", &receiving, fault)?;
        pair.source.source("db", source("data")).await?;
        in_phase(&pair, Phase::Publishing).await?;
        delete_source(&pair).await?;
        delete_destination(&pair, 0).await?;
        fault.end()
    })
    .await
}

/// Published replicas outlive their destination, even a deletion in the foreground.
#[tokio::test]
async fn replicas_stay_unless_told_otherwise() -> Result<()> {
    with_pair("delete-retain", Span::OneCluster, |pair| async move {
        prepare(&pair, "ext4", destination("ext4", "1Gi"), large).await?;
        pair.source.source("db", source("data")).await?;
        pair.source.sync("db", "first").await?;
        pair.destination.await_destination("db", "published", |rd| status(rd).latest_image.is_some()).await?;
        delete_destination(&pair, 1).await?;
        delete_source(&pair).await
    })
    .await
}

#[tokio::test]
async fn replicas_go_with_their_destination() -> Result<()> {
    with_pair("delete-all", Span::OneCluster, |pair| async move {
        let spec = with(destination("ext4", "1Gi"), json!({ "deletionPolicy": "Delete" }));
        prepare(&pair, "ext4", spec, large).await?;
        pair.source.source("db", source("data")).await?;
        pair.source.sync("db", "first").await?;
        pair.destination.await_destination("db", "published", |rd| status(rd).latest_image.is_some()).await?;
        delete_destination(&pair, 0).await
    })
    .await
}
