//! Every way to make the copy, at the source and at the destination.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};
use scribe_crds::names;
use scribe_crds::snapshots::{VolumeSnapshot, VolumeSnapshotContent};
use scribe_crds::v1alpha1::{Consistency, ReplicationDestination};
use scribe_tests::fixture::{chown, noise, ordinary};
use scribe_tests::site::{Site, source_status, status};
use scribe_tests::tree::{Ignore, Tree};
use scribe_tests::wait::{PATIENCE, await_condition, eventually};
use scribe_tests::world::{Pair, Span, with_pair};
use serde_json::json;

use crate::replicate::equal;
use crate::specs::{APP, destination, prepare, source, with};

/// Of the root itself a restricted mover keeps nothing, and of its owner neither.
const ROOT_KEPT: Ignore = Ignore { owners: false, root: true };

/// From a class that waits for a pod, into another class, in another access mode; the cut under a class that retains.
#[tokio::test]
async fn a_snapshot_where_the_class_waits_for_a_pod() -> Result<()> {
    with_pair("cut-waits", Span::OneCluster, |pair| async move {
        let target = json!({ "rsync": { "accessModes": ["ReadWriteMany"] } });
        snapshot(&pair, "ext4", with(destination("xfs", "1Gi"), target), "scribe-test-retain", "xfs").await
    })
    .await
}

/// From a class that binds at once.
#[tokio::test]
async fn a_snapshot_where_the_class_binds_at_once() -> Result<()> {
    with_pair("cut-binds", Span::OneCluster, |pair| async move {
        let target = destination("ext4-immediate", "1Gi");
        snapshot(&pair, "ext4-immediate", target, "scribe-test", "ext4-immediate").await
    })
    .await
}

async fn snapshot(
    pair: &Pair,
    class: &str,
    target: serde_json::Value,
    snapshot_class: &str,
    restore_class: &str,
) -> Result<()> {
    let volume = prepare(pair, class, target, |root| ordinary(root, APP)).await?;
    let method = json!({ "rsync": { "copyMethod": "Snapshot", "volumeSnapshotClassName": snapshot_class } });
    pair.source.source("db", with(source("data"), method)).await?;
    for tag in ["first", "second"] {
        fs::write(volume.path.join("tag"), tag)?;
        chown(&volume.path.join("tag"), APP, APP)?;
        volume.flush()?;
        pair.source.sync("db", tag).await?;
        let restored = pair.destination.restore("db", tag, restore_class).await?;
        let differences = Tree::read(&volume.path)?.differences(&Tree::read(&restored.path)?, ROOT_KEPT);
        ensure!(differences.is_empty(), "the replica differs from its cut:\n{}", differences.join("\n"));
        pair.destination.release(&restored).await?;
    }
    no_cut_is_left(&pair.source).await
}

/// Neither the copies nor what stands for them in the storage system.
async fn no_cut_is_left(site: &Site) -> Result<()> {
    let ours = ListParams::default().labels(&format!("{}=source", names::SIDE));
    eventually(PATIENCE, "no cut is left", async || {
        let claims = site.api::<PersistentVolumeClaim>().list_metadata(&ours).await?;
        let snapshots = site.api::<VolumeSnapshot>().list_metadata(&ours).await?;
        let contents: Api<VolumeSnapshotContent> = Api::all(site.client.clone());
        let contents = contents.list(&ListParams::default()).await?;
        let is_of_cut = |content: &&VolumeSnapshotContent| {
            let snapshot = &content.spec.volume_snapshot_ref;
            snapshot.namespace.as_deref() == Some(&site.namespace)
                && snapshot.name.as_deref().is_some_and(|name| name.starts_with("scribe-src-"))
        };
        let names =
            claims.iter().map(ResourceExt::name_any).chain(snapshots.iter().map(ResourceExt::name_any));
        let left: Vec<String> =
            names.chain(contents.iter().filter(is_of_cut).map(ResourceExt::name_any)).collect();
        ensure!(left.is_empty(), "left: {left:?}");
        Ok(())
    })
    .await
}

/// The claim is read beside the pod that uses it, which goes on writing; when that rests, the replica equals it.
#[tokio::test]
async fn directly_beside_who_writes() -> Result<()> {
    with_pair("direct-source", Span::OneCluster, |pair| async move {
        let volume = prepare(&pair, "ext4", destination("ext4", "1Gi"), |root| {
            ordinary(root, APP)?;
            fs::write(root.join("busy"), noise(3, 8 << 20))?;
            chown(&root.join("busy"), APP, APP)
        })
        .await?;
        let method = json!({ "rsync": { "copyMethod": "Direct", "bandwidthLimit": "4Mi" } });
        let is_over = Arc::new(AtomicBool::new(false));
        let writer = std::thread::spawn({
            let (root, stop) = (volume.path.clone(), is_over.clone());
            move || write_on(&root, &stop)
        });
        pair.source.source("db", with(source("data"), method)).await?;
        let first = pair.source.sync("db", "first").await;
        is_over.store(true, Ordering::Relaxed);
        writer.join().unwrap()?;
        let told = source_status(&first?).latest_mover_status.context("a mover has reported")?.logs;
        ensure!(told.contains("changed while they were read") && told.contains("busy"), "{told}");
        let rd = pair.destination.api::<ReplicationDestination>().get("db").await?;
        let replica = status(&rd).replicas.first().cloned().context("a replica")?;
        ensure!(replica.consistency == Consistency::None, "{replica:?}");

        volume.flush()?;
        pair.source.sync("db", "second").await?;
        no_cut_is_left(&pair.source).await?;
        equal(&pair, &volume, "restored", ROOT_KEPT).await
    })
    .await
}

/// An application: it overwrites what is there, and makes files and takes them away.
fn write_on(root: &Path, stop: &AtomicBool) -> Result<()> {
    let busy = fs::OpenOptions::new().write(true).open(root.join("busy"))?;
    for round in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        busy.write_all_at(&noise(round, 4096), (round % 2048) * 4096)?;
        let passing = root.join(format!("passing-{}", round % 7));
        if round % 2 == 0 {
            fs::write(&passing, round.to_string())?;
            chown(&passing, APP, APP)?;
        } else if passing.exists() {
            fs::remove_file(&passing)?;
        }
    }
    Ok(())
}

/// The claim of the destination is the replica: overwritten in place, and kept when its object goes, which then says what it holds.
#[tokio::test]
async fn a_claim_that_is_itself_the_replica() -> Result<()> {
    with_pair("direct-target", Span::TwoClusters, |pair| async move {
        let target = with(destination("ext4", "1Gi"), json!({ "rsync": { "copyMethod": "Direct" } }));
        let volume = prepare(&pair, "ext4", target, |root| ordinary(root, APP)).await?;
        pair.source.source("db", source("data")).await?;
        for tag in ["first", "second"] {
            fs::write(volume.path.join("tag"), tag)?;
            chown(&volume.path.join("tag"), APP, APP)?;
            volume.flush()?;
            pair.source.sync("db", tag).await?;
        }
        let at = &pair.destination;
        let rd = at.await_destination("db", "published", |rd| status(rd).latest_image.is_some()).await?;
        let seen = status(&rd);
        let image = seen.latest_image.context("it is published")?;
        ensure!(image.kind == "PersistentVolumeClaim", "{image:?}");
        ensure!(
            at.api::<VolumeSnapshot>().list(&ListParams::default()).await?.items.is_empty(),
            "a snapshot"
        );
        let source =
            source_status(&pair.source.api::<scribe_crds::v1alpha1::ReplicationSource>().get("db").await?);
        ensure!(source.recovery_point == seen.recovery_point, "{source:?}");

        // Also where the collector is told to take what it owns first.
        let rds = at.api::<ReplicationDestination>();
        rds.delete("db", &DeleteParams::foreground()).await?;
        await_condition(&rds, "db", "gone", |rd| rd.is_none()).await?;
        let claim = at.api::<PersistentVolumeClaim>().get(&image.name).await?;
        ensure!(claim.metadata.deletion_timestamp.is_none(), "the claim is going");
        let data_time = seen.recovery_point.context("a recovery point")?.data_time.0.to_string();
        ensure!(claim.annotations().get(names::DATA_TIME) == Some(&data_time), "{:?}", claim.annotations());
        let kept = at.hold(&image.name).await?;
        let differences = Tree::read(&volume.path)?.differences(&Tree::read(&kept.path)?, ROOT_KEPT);
        ensure!(differences.is_empty(), "the claim differs from its cut:\n{}", differences.join("\n"));
        Ok(())
    })
    .await
}
