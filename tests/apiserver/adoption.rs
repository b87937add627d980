//! What a destination leaves behind, and who finds it.

use anyhow::{Result, ensure};
use kube::ResourceExt;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use scribe_crds::names;
use scribe_crds::snapshots::VolumeSnapshot;
use scribe_crds::v1alpha1::DestinationStatus;
use scribe_tests::wait::await_condition;
use serde_json::json;

use crate::world::{LEASE, World};

/// A replica that a destination called `db`, which is gone, has published.
async fn replica(world: &World, name: &str, data_time: &str, sync: &str) -> Result<()> {
    let snapshot = json!({
        "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
        "metadata": {
            "name": name,
            "labels": {
                names::MANAGED_BY: names::MANAGED_BY_VALUE, names::SIDE: "destination", names::SYNC: sync,
                names::OWNER_UID: "6b0c4a7e-0000-4000-8000-000000000000",
            },
            "annotations": {
                names::DATA_TIME: data_time, names::SYNC_ID: sync, names::SOURCE_UID: "claim",
                names::CONSISTENCY: "crash", names::COMPARISON: "Content", names::DESTINATION: "default/db",
                names::PUBLISHED: data_time,
            }
        },
        "spec": { "volumeSnapshotClassName": "cheap", "source": { "persistentVolumeClaimName": "a-claim-of-then" } }
    });
    let api = world.api::<VolumeSnapshot>();
    api.create(&PostParams::default(), &serde_json::from_value(snapshot)?).await?;
    let ready = Patch::Merge(json!({ "status": { "readyToUse": true, "creationTime": data_time } }));
    api.patch_status(name, &PatchParams::default(), &ready).await?;
    Ok(())
}

/// A new destination of the same name takes over what is ready, shows it and offers the newest; a copy that somebody made of one stays his.
/// And it says that the class keeps what is pruned.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_destination_takes_over_what_the_last_one_left() -> Result<()> {
    let world = World::start(&[LEASE]).await?;
    let class = json!({
        "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotClass", "metadata": { "name": "cheap" },
        "driver": "csi.example.com", "deletionPolicy": "Retain"
    });
    let kind =
        ApiResource::from_gvk(&GroupVersionKind::gvk("snapshot.storage.k8s.io", "v1", "VolumeSnapshotClass"));
    let class: DynamicObject = serde_json::from_value(class)?;
    world.all_of(&kind).create(&PostParams::default(), &class).await?;
    replica(&world, "db-20260101t000000z", "2026-01-01T00:00:00Z", "first").await?;
    replica(&world, "db-20260102t000000z", "2026-01-02T00:00:00Z", "second").await?;
    replica(&world, "copy-of-db", "2026-01-02T00:00:00Z", "second").await?;
    world.destination("db").await?;
    let adopted = |status: &DestinationStatus| status.replicas.len() == 2;
    let seen = world.await_status("db", "with the replicas", adopted).await?;
    let newest = seen.latest_image.map(|image| image.name);
    ensure!(newest.as_deref() == Some("db-20260102t000000z"), "{newest:?}");
    let told = |status: &DestinationStatus| {
        status.conditions.iter().any(|condition| condition.reason == "SnapshotClassRetains")
    };
    world.await_status("db", "warning of the class", told).await?;
    world.remove("db").await?;
    let api = world.api::<VolumeSnapshot>();
    for (name, is_adopted) in
        [("db-20260101t000000z", true), ("db-20260102t000000z", true), ("copy-of-db", false)]
    {
        let seen = await_condition(&api, name, "left", |snapshot| snapshot.is_some()).await?;
        let annotated = seen.is_some_and(|snapshot| snapshot.annotations().contains_key(names::ADOPTED_FROM));
        ensure!(annotated == is_adopted, "{name}");
    }
    // And so does the one after that.
    world.destination("db").await?;
    world.await_status("db", "with the replicas again", adopted).await?;
    Ok(())
}
