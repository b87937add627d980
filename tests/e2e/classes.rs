//! Storage that says no: told in its own words, and gone on with when it says yes.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, PostParams};
use scribe_crds::v1alpha1::{Phase, ReplicationDestination, ReplicationSource};
use scribe_tests::cluster::DRIVER;
use scribe_tests::faults::Fault;
use scribe_tests::fixture::chown;
use scribe_tests::site::{source_status, status, synchronizing};
use scribe_tests::tree::Ignore;
use scribe_tests::world::{Span, with_pair};
use serde_json::json;

use crate::replicate::equal;
use crate::specs::{APP, destination, prepare, source, with};

const ROOT_KEPT: Ignore = Ignore { owners: false, root: true };

fn one_file(root: &Path) -> Result<()> {
    fs::write(root.join("file"), "content")?;
    chown(root, APP, APP)?;
    chown(&root.join("file"), APP, APP)
}

/// The driver refuses to clone. That is told while it is tried, and again when the time for the cut is over; a later attempt succeeds.
#[tokio::test]
async fn a_provisioner_that_refuses() -> Result<()> {
    with_pair("refusing", Span::OneCluster, |pair| async move {
        let volume = prepare(&pair, "ext4", destination("ext4", "1Gi"), one_file).await?;
        let handle = pair.source.volume_handle("data").await?;
        let words = "the pool is full to the brim";
        let fault = json!({ "fail": words, "code": "RESOURCE_EXHAUSTED" });
        let fault = Fault::new(&pair.source.cluster, "CreateVolume", &handle, fault)?;
        let impatient = json!({ "rsync": { "cutTimeout": "20s" } });
        pair.source.source("db", with(source("data"), impatient)).await?;
        let told = |rs: &ReplicationSource| {
            let status = source_status(rs);
            status.phase == Some(Phase::Cutting) && synchronizing(&status.conditions).1.contains(words)
        };
        pair.source.await_source("db", "told by its provisioner", told).await?;
        let given_up = |rs: &ReplicationSource| {
            let (reason, message) = synchronizing(&source_status(rs).conditions);
            reason == "CutTimeout" && message.contains(words)
        };
        pair.source.await_source("db", "out of time for its cut", given_up).await?;
        fault.end()?;
        pair.source.sync("db", "first").await?;
        equal(&pair, &volume, "restored", ROOT_KEPT).await
    })
    .await
}

/// The class of the snapshots does not exist: said before anything has arrived, and by the snapshotter afterwards. What has arrived is
/// published when there is such a class.
#[tokio::test]
async fn a_snapshot_class_that_is_missing() -> Result<()> {
    with_pair("no-class", Span::OneCluster, |pair| async move {
        let name = format!("late-{}", pair.destination.namespace);
        let late = json!({ "rsync": { "volumeSnapshotClassName": name, "publishTimeout": "20s" } });
        let volume = prepare(&pair, "ext4", with(destination("ext4", "1Gi"), late), one_file).await?;
        let missing = |rd: &ReplicationDestination| {
            status(rd).conditions.iter().any(|condition| {
                condition.reason == "SnapshotClassMissing" && condition.message.contains(&name)
            })
        };
        pair.destination.await_destination("db", "in want of its class", missing).await?;
        pair.source.source("db", source("data")).await?;
        let failed = |rs: &ReplicationSource| {
            let (_, message) = synchronizing(&source_status(rs).conditions);
            message.contains("PublicationFailed") || message.contains(&name)
        };
        let seen = pair.source.await_source("db", "told that nothing can be published", failed).await?;
        let (_, message) = synchronizing(&source_status(&seen).conditions);
        ensure!(message.contains(&name), "the class is not named: {message}");
        let kind = GroupVersionKind::gvk("snapshot.storage.k8s.io", "v1", "VolumeSnapshotClass");
        let classes: Api<DynamicObject> =
            Api::all_with(pair.destination.client.clone(), &ApiResource::from_gvk(&kind));
        let class = json!({
            "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotClass",
            "metadata": { "name": name }, "driver": DRIVER, "deletionPolicy": "Delete"
        });
        classes.create(&PostParams::default(), &serde_json::from_value(class)?).await?;
        pair.source.sync("db", "first").await?;
        equal(&pair, &volume, "restored", ROOT_KEPT).await?;
        classes.delete(&name, &DeleteParams::default()).await?;
        Ok(())
    })
    .await
}

/// A destination is deleted, its replica stays; a new one of that name offers it before anything has arrived, and goes on with it.
#[tokio::test]
async fn a_destination_made_anew_has_the_replicas_of_the_old_one() -> Result<()> {
    with_pair("anew", Span::OneCluster, |pair| async move {
        let volume = prepare(&pair, "ext4", destination("ext4", "1Gi"), one_file).await?;
        pair.source.source("db", source("data")).await?;
        pair.source.sync("db", "first").await?;
        let destinations = pair.destination.api::<ReplicationDestination>();
        destinations.delete("db", &DeleteParams::default()).await?;
        scribe_tests::wait::await_condition(&destinations, "db", "gone", |rd| rd.is_none()).await?;
        pair.destination.destination("db", destination("ext4", "1Gi")).await?;
        let offers = |rd: &ReplicationDestination| status(rd).latest_image.is_some();
        pair.destination.await_destination("db", "with the old replica", offers).await?;
        equal(&pair, &volume, "old", ROOT_KEPT).await?;
        pair.destination.carry_secret("db", &pair.source, "new-keys").await?;
        let keys = json!({ "spec": { "rsync": { "sshKeys": "new-keys" } } });
        pair.source.patch::<ReplicationSource>("db", keys).await?;
        fs::write(volume.path.join("more"), "content")?;
        chown(&volume.path.join("more"), APP, APP)?;
        volume.flush()?;
        pair.source.sync("db", "second").await?;
        let both = |rd: &ReplicationDestination| status(rd).replicas.len() == 2;
        pair.destination.await_destination("db", "with both replicas", both).await?;
        equal(&pair, &volume, "new", ROOT_KEPT).await
    })
    .await
}
