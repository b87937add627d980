//! What a replica keeps, compared with its cut by a program that knows nothing of rsync.

use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{Patch, PatchParams};
use scribe_tests::fixture::{chown, many, noise, ordinary, privileged};
use scribe_tests::site::Site;
use scribe_tests::tree::Ignore;
use scribe_tests::world::{Pair, Span, with_pair};
use serde_json::json;

use crate::replicate::equal;
use crate::specs::{APP, destination, prepare, source, with};

/// The root directory belongs to the volume: an unprivileged mover leaves its attributes alone.
const UNPRIVILEGED: Ignore = Ignore { owners: false, root: true };

#[tokio::test]
async fn restricted() -> Result<()> {
    with_pair("restricted", Span::OneCluster, |pair| async move {
        let volume = prepare(&pair, "ext4", destination("ext4", "1Gi"), |root| {
            chown(root, APP, APP)?;
            ordinary(root, APP)
        })
        .await?;
        pair.source.source("db", source("data")).await?;
        pair.source.sync("db", "first").await?;
        equal(&pair, &volume, "restored", UNPRIVILEGED).await
    })
    .await
}

/// OpenShift gives each namespace a uid that no passwd file knows.
#[tokio::test]
async fn as_a_uid_without_a_name() -> Result<()> {
    const UID: u32 = 1_000_660_000;
    with_pair("random-uid", Span::OneCluster, |pair| async move {
        let context = json!({ "rsync": { "moverSecurityContext": { "runAsUser": UID, "runAsGroup": UID, "fsGroup": UID } } });
        let volume = prepare(&pair, "ext4", with(destination("ext4", "1Gi"), context), |root| {
            chown(root, UID, UID)?;
            ordinary(root, UID)
        })
        .await?;
        let context = json!({ "rsync": { "moverSecurityContext": { "runAsUser": UID, "runAsGroup": UID } } });
        pair.source.source("db", with(source("data"), context)).await?;
        pair.source.sync("db", "first").await?;
        equal(&pair, &volume, "restored", UNPRIVILEGED).await
    })
    .await
}

#[tokio::test]
async fn privileged_movers() -> Result<()> {
    with_pair("privileged", Span::OneCluster, |pair| async move {
        for site in [&pair.source, &pair.destination] {
            allow_privileged_movers(site).await?;
        }
        let root = json!({ "rsync": { "moverSecurityContext": { "runAsUser": 0, "runAsGroup": null, "fsGroup": null } } });
        let root_destination = json!({
            "rsync": {
                "capacity": "1Gi", "accessModes": ["ReadWriteOnce"], "storageClassName": "ext4", "serviceType": "NodePort",
                "moverSecurityContext": { "runAsUser": 0 }
            }
        });
        let volume = prepare(&pair, "ext4", root_destination, |root| {
            ordinary(root, APP)?;
            privileged(root)
        })
        .await?;
        pair.source.source("db", with(source("data"), root)).await?;
        pair.source.sync("db", "first").await?;
        equal(&pair, &volume, "restored", Ignore::default()).await
    })
    .await
}

#[tokio::test]
async fn twenty_thousand_files_with_hostile_names() -> Result<()> {
    with_pair("many", Span::OneCluster, |pair| async move {
        let volume = prepare(&pair, "ext4", destination("ext4", "1Gi"), |root| {
            chown(root, APP, APP)?;
            many(root, 20_000, APP)
        })
        .await?;
        pair.source.source("db", source("data")).await?;
        pair.source.sync("db", "first").await?;
        equal(&pair, &volume, "first", UNPRIVILEGED).await?;
        fs::remove_dir_all(volume.path.join("d007"))?;
        volume.flush()?;
        pair.source.sync("db", "second").await?;
        equal(&pair, &volume, "second", UNPRIVILEGED).await
    })
    .await
}

#[tokio::test]
async fn written_just_before_the_cut_on_ext4() -> Result<()> {
    with_pair("torn-ext4", Span::OneCluster, |pair| written_just_before_the_cut(pair, "ext4")).await
}

#[tokio::test]
async fn written_just_before_the_cut_on_xfs() -> Result<()> {
    with_pair("torn-xfs", Span::OneCluster, |pair| written_just_before_the_cut(pair, "xfs")).await
}

/// Data that reached the disk by `fdatasync` is in the cut, while its time stamp may not be: a comparison by size and time would
/// leave the old content in the replica. An application goes on appending meanwhile.
async fn written_just_before_the_cut(pair: Pair, class: &str) -> Result<()> {
    const ROUNDS: u8 = 3;
    let volume = prepare(&pair, class, destination(class, "1Gi"), |root| {
        chown(root, APP, APP)?;
        fs::write(root.join("page"), vec![0; 8192])?;
        fs::write(root.join("log"), "")?;
        chown(&root.join("page"), APP, APP)?;
        chown(&root.join("log"), APP, APP)
    })
    .await?;
    pair.source.source("db", source("data")).await?;
    pair.source.sync("db", "first").await?;
    let page = fs::OpenOptions::new().write(true).open(volume.path.join("page"))?;
    let mut log = fs::OpenOptions::new().append(true).open(volume.path.join("log"))?;
    for round in 1..=ROUNDS {
        page.write_all_at(&vec![round; 8192], 0)?;
        page.sync_data()?;
        let tag = format!("round {round}");
        let acknowledged = fs::metadata(volume.path.join("log"))?.len();
        let sync = pair.source.sync("db", &tag);
        tokio::pin!(sync);
        // The application goes on writing until the sync is published.
        loop {
            log.write_all(&noise(u64::from(round), 512))?;
            log.sync_data()?;
            tokio::select! {
                done = &mut sync => { done?; break }
                () = tokio::task::yield_now() => {}
            }
        }
        let restored = pair.destination.restore("db", &format!("restored-{round}"), class).await?;
        let replica = fs::read(restored.path.join("page"))?;
        ensure!(replica == vec![round; 8192], "round {round}: the replica holds {:?}…", &replica[..4]);
        let kept = fs::read(restored.path.join("log"))?;
        let whole = fs::read(volume.path.join("log"))?;
        ensure!(
            kept.len() as u64 >= acknowledged,
            "round {round}: {} bytes of {acknowledged} acknowledged",
            kept.len()
        );
        ensure!(
            whole.starts_with(&kept),
            "round {round}: the replica's log is no prefix of the application's"
        );
        pair.destination.release(&restored).await?;
    }
    Ok(())
}

async fn allow_privileged_movers(site: &Site) -> Result<()> {
    let annotate = json!({ "metadata": { "annotations": { "scribe.dev/privileged-movers": "true" } } });
    let namespaces: Api<Namespace> = Api::all(site.client.clone());
    let patch = Patch::Merge(annotate);
    namespaces
        .patch(&site.namespace, &PatchParams::default(), &patch)
        .await
        .context("annotate the namespace")?;
    Ok(())
}
