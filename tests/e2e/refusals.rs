//! What goes wrong for good, and how the user learns of it: a reason in the condition, and nothing published.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use scribe_crds::v1alpha1::ReplicationSource;
use scribe_tests::command::run;
use scribe_tests::fixture::{chown, noise};
use scribe_tests::site::{source_status, status, synchronizing};
use scribe_tests::world::{Pair, Span, with_pair};
use serde_json::{Value, json};

use crate::specs::{APP, destination, prepare, source, with};

fn one_file(root: &Path) -> Result<()> {
    fs::write(root.join("file"), "content")?;
    chown(root, APP, APP)?;
    chown(&root.join("file"), APP, APP)
}

/// The source ends in `reason`, by its condition, and its destination has published nothing.
async fn ends_in(pair: &Pair, name: &str, reason: &str) -> Result<String> {
    let failed = |rs: &ReplicationSource| {
        let status = source_status(rs);
        status.current_sync.is_none() && synchronizing(&status.conditions).0 == reason
    };
    let seen = pair.source.await_source(name, &format!("failed with {reason}"), failed).await?;
    let seen = source_status(&seen);
    ensure!(seen.recovery_point.is_none(), "{:?}", seen.recovery_point);
    ensure!(seen.consecutive_failures > 0, "the failure was not counted");
    Ok(synchronizing(&seen.conditions).1)
}

async fn nothing_published(pair: &Pair) -> Result<()> {
    let rd = pair.destination.await_destination("db", "there", |_| true).await?;
    let seen = status(&rd);
    ensure!(seen.latest_image.is_none() && seen.replicas.is_empty(), "something was published: {seen:?}");
    Ok(())
}

/// A pair of keys, private and public, as nobody else has it.
fn other_keys() -> Result<(String, String)> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("key");
    run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(&path))?;
    Ok((fs::read_to_string(&path)?, fs::read_to_string(path.with_extension("pub"))?))
}

async fn spoil_secret(pair: &Pair, change: &[(&str, &str)]) -> Result<()> {
    let data: serde_json::Map<String, Value> =
        change.iter().map(|(key, text)| ((*key).to_owned(), json!(STANDARD.encode(text)))).collect();
    pair.source.patch::<Secret>("keys", json!({ "data": data })).await
}

#[tokio::test]
async fn wrong_host_key() -> Result<()> {
    with_pair("host-key", Span::TwoClusters, |pair| async move {
        prepare(&pair, "ext4", destination("ext4", "1Gi"), one_file).await?;
        spoil_secret(&pair, &[("destination.pub", &other_keys()?.1)]).await?;
        pair.source.source("db", source("data")).await?;
        ends_in(&pair, "db", "HostKeyMismatch").await?;
        nothing_published(&pair).await
    })
    .await
}

#[tokio::test]
async fn wrong_client_key() -> Result<()> {
    with_pair("client-key", Span::TwoClusters, |pair| async move {
        prepare(&pair, "ext4", destination("ext4", "1Gi"), one_file).await?;
        let (private, public) = other_keys()?;
        spoil_secret(&pair, &[("source", &private), ("source.pub", &public)]).await?;
        pair.source.source("db", source("data")).await?;
        ends_in(&pair, "db", "ClientKeyRejected").await?;
        nothing_published(&pair).await
    })
    .await
}

#[tokio::test]
async fn a_second_source() -> Result<()> {
    with_pair("second", Span::OneCluster, |pair| async move {
        prepare(&pair, "ext4", destination("ext4", "1Gi"), one_file).await?;
        pair.source.source("db", source("data")).await?;
        pair.source.sync("db", "first").await?;
        pair.source.claim("other", "ext4", "1Gi").await?;
        let other = pair.source.hold("other").await?;
        fs::write(other.path.join("intruder"), "other data")?;
        other.flush()?;
        pair.source.source("intruder", source("other")).await?;
        ends_in(&pair, "intruder", "OtherSourcePinned").await?;
        let rd = pair.destination.await_destination("db", "there", |_| true).await?;
        ensure!(status(&rd).replicas.len() == 1, "the intruder published something");
        // And the first one goes on.
        pair.source.sync("db", "second").await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn unreachable_address() -> Result<()> {
    with_pair("unreachable", Span::TwoClusters, |pair| async move {
        prepare(&pair, "ext4", destination("ext4", "1Gi"), one_file).await?;
        let nobody =
            json!({ "rsync": { "address": pair.destination.cluster.node_ip().to_string(), "port": 9 } });
        pair.source.source("db", with(source("data"), nobody)).await?;
        let message = ends_in(&pair, "db", "DestinationUnreachable").await?;
        ensure!(
            message.contains(&pair.destination.cluster.node_ip().to_string()),
            "the address is not named: {message}"
        );
        nothing_published(&pair).await
    })
    .await
}

/// A sync that is too large fails; when the source fits again, the next one succeeds.
#[tokio::test]
async fn full_destination() -> Result<()> {
    with_pair("full", Span::OneCluster, |pair| async move {
        let volume = prepare(&pair, "ext4", destination("ext4", "100Mi"), |root| {
            one_file(root)?;
            fs::write(root.join("large"), noise(3, 160 << 20))?;
            chown(&root.join("large"), APP, APP)
        })
        .await?;
        pair.source.source("db", source("data")).await?;
        ends_in(&pair, "db", "DestinationFull").await?;
        nothing_published(&pair).await?;
        fs::remove_file(volume.path.join("large"))?;
        volume.flush()?;
        pair.source.sync("db", "second").await?;
        Ok(())
    })
    .await
}

/// The keys were never carried over: said in words, and mended by carrying them.
#[tokio::test]
async fn missing_keys() -> Result<()> {
    with_pair("keys", Span::OneCluster, |pair| async move {
        pair.source.claim("data", "ext4", "1Gi").await?;
        let volume = pair.source.hold("data").await?;
        one_file(&volume.path)?;
        volume.flush()?;
        pair.destination.destination("db", destination("ext4", "1Gi")).await?;
        pair.source.source("db", source("data")).await?;
        let missing =
            |rs: &ReplicationSource| synchronizing(&source_status(rs).conditions).0 == "KeysMissing";
        let seen = pair.source.await_source("db", "in want of its keys", missing).await?;
        let message = synchronizing(&source_status(&seen).conditions).1;
        ensure!(message.contains("keys"), "the Secret is not named: {message}");
        pair.destination.carry_secret("db", &pair.source, "keys").await?;
        pair.source.sync("db", "second").await.context("sync once the keys are there")?;
        Ok(())
    })
    .await
}
