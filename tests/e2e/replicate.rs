//! The main job: a claim is replicated, again and again, and each sync sends what changed.

use std::fs;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::DeleteParams;
use scribe_crds::conditions::WITHIN_RPO;
use scribe_crds::snapshots::VolumeSnapshot;
use scribe_crds::v1alpha1::{ReplicationDestination, ReplicationSource, Transfer};
use scribe_tests::fixture::{chown, noise};
use scribe_tests::site::{source_status, status, synchronizing};
use scribe_tests::tree::{Ignore, Tree};
use scribe_tests::wait::await_condition;
use scribe_tests::world::{Pair, Span, with_pair};
use serde_json::{Value, json};

use crate::specs::{APP, destination, prepare, source, with};

const ROOT_KEPT: Ignore = Ignore { owners: false, root: true };

#[tokio::test]
async fn across_two_clusters() -> Result<()> {
    with_pair("clusters", Span::TwoClusters, small_second_sync).await
}

#[tokio::test]
async fn between_two_namespaces() -> Result<()> {
    with_pair("namespaces", Span::OneCluster, small_second_sync).await
}

/// A first sync sends everything, a second one a small fraction, and each replica equals its cut.
async fn small_second_sync(pair: Pair) -> Result<()> {
    const SIZE: usize = 64 << 20;
    let volume = prepare(&pair, "ext4", destination("ext4", "1Gi"), |root| {
        fs::write(root.join("big"), noise(1, SIZE))?;
        fs::write(root.join("small"), "first")?;
        for path in [root.to_path_buf(), root.join("big"), root.join("small")] {
            chown(&path, APP, APP)?;
        }
        Ok(())
    })
    .await?;
    pair.source.source("db", source("data")).await?;
    let first = transfer(&pair.source.sync("db", "first").await?)?;
    ensure!(first.bytes_sent > SIZE as i64, "the first sync sent {first:?}");
    equal(&pair, &volume, "first", ROOT_KEPT).await?;

    let big = fs::OpenOptions::new().write(true).open(volume.path.join("big"))?;
    big.write_all_at(&noise(2, 100_000), 20 << 20)?;
    fs::write(volume.path.join("small"), "second")?;
    fs::write(volume.path.join("new"), "new")?;
    chown(&volume.path.join("new"), APP, APP)?;
    volume.flush()?;
    let second = transfer(&pair.source.sync("db", "second").await?)?;
    ensure!(second.bytes_total >= SIZE as i64, "{second:?}");
    ensure!(second.bytes_sent < SIZE as i64 / 20, "the second sync sent {second:?}");
    equal(&pair, &volume, "second", ROOT_KEPT).await?;

    let seen = pair
        .destination
        .await_destination("db", "holding two replicas", |rd| status(rd).replicas.len() == 2)
        .await?;
    let seen = status(&seen);
    let newest = seen.recovery_point.context("the destination has a recovery point")?;
    let source = pair.source.await_source("db", "at the same recovery point", |rs| {
        source_status(rs).recovery_point.as_ref() == Some(&newest)
    });
    source.await?;
    Ok(())
}

/// Nothing changed: the recovery point moves on, and no new replica is made.
#[tokio::test]
async fn nothing_changed() -> Result<()> {
    with_pair("unchanged", Span::OneCluster, |pair| async move {
        prepare(&pair, "ext4", destination("ext4", "1Gi"), |root| {
            fs::write(root.join("file"), "as it was")?;
            chown(&root.join("file"), APP, APP)
        })
        .await?;
        pair.source.source("db", source("data")).await?;
        pair.source.sync("db", "first").await?;
        let before = status(
            &pair
                .destination
                .await_destination("db", "published", |rd| status(rd).latest_image.is_some())
                .await?,
        );
        let second = source_status(&pair.source.sync("db", "second").await?);
        let told = second.latest_mover_status.context("a mover has reported")?.logs;
        ensure!(told.contains("nothing had changed"), "the source says {told:?}");
        let later = |rd: &_| {
            status(rd).recovery_point.map(|point| point.data_time.0)
                > before.recovery_point.as_ref().map(|point| point.data_time.0)
        };
        let after =
            status(&pair.destination.await_destination("db", "at a later recovery point", later).await?);
        ensure!(after.latest_image == before.latest_image && after.replicas.len() == 1, "{after:?}");
        Ok(())
    })
    .await
}

/// A schedule of every minute and the sync at creation: two syncs without anybody's doing.
#[tokio::test]
async fn on_schedule() -> Result<()> {
    with_pair("schedule", Span::OneCluster, |pair| async move {
        let volume = prepare(&pair, "ext4", destination("ext4", "1Gi"), |root| {
            fs::write(root.join("file"), "at creation")?;
            chown(&root.join("file"), APP, APP)
        })
        .await?;
        let spec = with(
            source("data"),
            json!({ "trigger": { "manual": null, "schedule": "* * * * *", "jitter": "5s" } }),
        );
        let spec = without_nulls(spec);
        pair.source.source("db", spec).await?;
        let first = pair
            .source
            .await_source("db", "synced at its creation", |rs| source_status(rs).recovery_point.is_some())
            .await?;
        let first = source_status(&first);
        pair.source
            .await_source("db", "waiting for its next tick", |rs| source_status(rs).next_sync_time.is_some())
            .await?;
        fs::write(volume.path.join("file"), "at the tick")?;
        chown(&volume.path.join("file"), APP, APP)?;
        volume.flush()?;
        pair.source
            .await_source("db", "synced on schedule", |rs| {
                source_status(rs).recovery_point.map(|point| point.data_time.0)
                    > first.recovery_point.as_ref().map(|point| point.data_time.0)
            })
            .await?;
        // A tick every minute makes an objective of two, which both sides know and judge by.
        let kept = |all: &[Condition]| all.iter().any(|one| one.type_ == WITHIN_RPO && one.status == "True");
        pair.source
            .await_source("db", "within its objective", |rs| kept(&source_status(rs).conditions))
            .await?;
        pair.destination
            .await_destination("db", "within its source's objective", |rd| {
                let status = status(rd);
                status.objective.and_then(|objective| objective.rpo_seconds) == Some(120)
                    && kept(&status.conditions)
            })
            .await?;
        equal(&pair, &volume, "restored", ROOT_KEPT).await
    })
    .await
}

/// Old replicas go, except one that is pinned and one that a claim is being made from, for as long as they are.
#[tokio::test]
async fn old_replicas_are_pruned() -> Result<()> {
    with_pair("retain", Span::OneCluster, |pair| async move {
        let spec = with(destination("ext4", "1Gi"), json!({ "retain": { "last": 1 } }));
        let volume = prepare(&pair, "ext4", spec, |root| chown(root, APP, APP)).await?;
        pair.source.source("db", source("data")).await?;
        let at = &pair.destination;
        let pin = |value: Value| json!({ "metadata": { "annotations": { "scribe.dev/pinned": value } } });
        let first = replica(&pair, &volume, "first").await?;
        at.patch::<VolumeSnapshot>(&first, pin(json!(""))).await?;
        let second = replica(&pair, &volume, "second").await?;
        // No pod uses it, so it stays pending.
        at.claim_from(&second, "restoring", "ext4", "1Gi").await?;
        let third = replica(&pair, &volume, "third").await?;
        let fourth = replica(&pair, &volume, "fourth").await?;
        let kept = |names: &[&String]| {
            let names: Vec<String> = names.iter().map(|&name| name.clone()).collect();
            move |rd: &ReplicationDestination| {
                status(rd).replicas.iter().map(|replica| replica.name.clone()).eq(names.iter().cloned())
            }
        };
        let rd = at.await_destination("db", "rid of the third", kept(&[&fourth, &second, &first])).await?;
        let why: Vec<String> =
            status(&rd).replicas.iter().map(|replica| replica.kept_because.clone()).collect();
        ensure!(why == ["last 1", "claim restoring is being made from it", "pinned"], "{why:?}");
        await_condition(&at.api::<VolumeSnapshot>(), &third, "gone", |snapshot| snapshot.is_none()).await?;

        at.patch::<VolumeSnapshot>(&first, pin(Value::Null)).await?;
        at.await_destination("db", "rid of the first", kept(&[&fourth, &second])).await?;
        at.api::<PersistentVolumeClaim>().delete("restoring", &DeleteParams::default()).await?;
        at.await_destination("db", "holding the newest alone", kept(&[&fourth])).await?;
        equal(&pair, &volume, "restored", ROOT_KEPT).await
    })
    .await
}

/// Changes the source's volume and syncs. The name of the replica.
async fn replica(pair: &Pair, volume: &scribe_tests::site::Volume, tag: &str) -> Result<String> {
    fs::write(volume.path.join("file"), tag)?;
    chown(&volume.path.join("file"), APP, APP)?;
    volume.flush()?;
    pair.source.sync("db", tag).await?;
    let rd = pair.destination.api::<ReplicationDestination>().get("db").await?;
    Ok(status(&rd).latest_image.context("nothing is published")?.name)
}

/// While it is paused nothing starts; afterwards it does.
#[tokio::test]
async fn paused_starts_nothing() -> Result<()> {
    with_pair("paused", Span::OneCluster, |pair| async move {
        prepare(&pair, "ext4", destination("ext4", "1Gi"), |root| chown(root, APP, APP)).await?;
        pair.source.source("db", with(source("data"), json!({ "paused": true }))).await?;
        let paused = pair
            .source
            .await_source("db", "paused", |rs| synchronizing(&source_status(rs).conditions).0 == "Paused")
            .await?;
        ensure!(source_status(&paused).current_sync.is_none(), "a paused source started a sync");
        pair.source.patch::<ReplicationSource>("db", json!({ "spec": { "paused": false } })).await?;
        pair.source.sync("db", "first").await?;
        Ok(())
    })
    .await
}

fn transfer(rs: &ReplicationSource) -> Result<Transfer> {
    let mover = source_status(rs).latest_mover_status.context("a mover has reported")?;
    mover.transfer.context("it says what it moved")
}

/// The newest replica, restored under a name, equals the source's volume, which nobody has written since the cut.
pub async fn equal(
    pair: &Pair,
    volume: &scribe_tests::site::Volume,
    name: &str,
    ignore: Ignore,
) -> Result<()> {
    let restored = pair.destination.restore("db", name, "ext4").await?;
    let differences = Tree::read(&volume.path)?.differences(&Tree::read(&restored.path)?, ignore);
    ensure!(differences.is_empty(), "the replica differs from its cut:\n{}", differences.join("\n"));
    pair.destination.release(&restored).await
}

fn without_nulls(mut value: serde_json::Value) -> serde_json::Value {
    if let Some(object) = value.as_object_mut() {
        object.retain(|_, value| !value.is_null());
        for value in object.values_mut() {
            *value = without_nulls(value.take());
        }
    }
    value
}
