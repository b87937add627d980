//! Hooks: the modules of `sdk/examples`, as their authors build them, in a controller as it is shipped.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::PostParams;
use scribe_crds::snapshots::VolumeSnapshot;
use scribe_crds::v1alpha1::{HookModule, ReplicationDestination};
use scribe_tests::cluster::repository;
use scribe_tests::fixture::{chown, ordinary};
use scribe_tests::site::{Site, status};
use scribe_tests::wait::await_condition_within;
use scribe_tests::world::{Span, with_pair};
use serde_json::{Value, json};

use crate::specs::{APP, destination, prepare, source, with};

/// How long a module may take to be compiled. One in Python takes its time, and another test may have the controller killed meanwhile.
const COMPILED: Duration = Duration::from_mins(10);

/// An example, in a ConfigMap, of which a HookModule with these capabilities is made. It is waited for until hooks can be made from it.
pub async fn module(site: &Site, name: &str, capabilities: Option<Value>) -> Result<()> {
    let path = repository().join("target/hooks").join(format!("{name}.wasm"));
    let wasm = fs::read(&path).with_context(|| format!("{}: cargo xtask hooks makes it", path.display()))?;
    let map = ConfigMap {
        binary_data: Some([(format!("{name}.wasm.gz"), ByteString(gzip(&wasm)?))].into()),
        metadata: kube::core::ObjectMeta { name: Some(name.to_owned()), ..Default::default() },
        ..ConfigMap::default()
    };
    site.api::<ConfigMap>().create(&PostParams::default(), &map).await?;
    let object = json!({
        "apiVersion": "scribe.dev/v1alpha1", "kind": "HookModule", "metadata": { "name": name },
        "spec": {
            "configMap": { "name": name, "key": format!("{name}.wasm.gz") }, "capabilities": capabilities
        }
    });
    site.api::<HookModule>().create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    await_ready(site, name).await
}

/// Waits until hooks can be made from a HookModule.
pub async fn await_ready(site: &Site, name: &str) -> Result<()> {
    let is_ready = |module: Option<&HookModule>| {
        let status = module.and_then(|module| module.status.as_ref());
        status.is_some_and(|status| {
            status.conditions.iter().any(|it| it.type_ == "Ready" && it.status == "True")
        })
    };
    await_condition_within(COMPILED, &site.api::<HookModule>(), name, "ready", is_ready).await?;
    Ok(())
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut packed = Vec::new();
    flate2::read::GzEncoder::new(bytes, flate2::Compression::best()).read_to_end(&mut packed)?;
    Ok(packed)
}

/// A hook in Rust says what a transfer leaves out.
#[tokio::test]
async fn a_rust_hook_tunes_the_transfer() -> Result<()> {
    with_pair("hook-tune", Span::OneCluster, |pair| async move {
        module(&pair.source, "tune-rsync", None).await?;
        let volume = prepare(&pair, "ext4", destination("ext4", "1Gi"), |root| ordinary(root, APP)).await?;
        let cache = volume.path.join("cache");
        fs::create_dir(&cache)?;
        fs::write(cache.join("scratch"), "not worth a copy")?;
        chown(&cache, APP, APP)?;
        chown(&cache.join("scratch"), APP, APP)?;
        volume.flush()?;
        let hooks = json!({ "hooks": [
            { "module": "tune-rsync", "points": ["Transfer"], "settings": { "excludes": ["/cache/"] } }
        ] });
        pair.source.source("db", with(source("data"), hooks)).await?;
        let synced = pair.source.sync("db", "first").await?;
        let record = synced.status.and_then(|status| status.hooks.into_iter().next()?.transfer);
        ensure!(record.as_ref().is_some_and(|record| record.excludes == ["/cache/"]), "{record:?}");
        let restored = pair.destination.restore("db", "first", "ext4").await?;
        ensure!(!restored.path.join("cache").exists(), "what the hook leaves out was sent");
        let names = |path| -> Result<Vec<_>> {
            let entries = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name()));
            let mut names = entries.collect::<Result<Vec<_>>>()?;
            names.retain(|name| name != "cache" && name != "lost+found");
            names.sort();
            Ok(names)
        };
        ensure!(names(&volume.path)? == names(&restored.path)?, "something else is missing");
        Ok(())
    })
    .await
}

/// A hook in JavaScript says which replicas stay: the newest, and those with a label.
#[tokio::test]
async fn a_javascript_hook_keeps_what_is_labelled() -> Result<()> {
    with_pair("hook-keep", Span::OneCluster, |pair| async move {
        module(&pair.destination, "keep-by-label", None).await?;
        let settings = json!({ "newest": 1, "labels": [{ "key": "tier", "value": "gold" }] });
        let hooks = json!({ "hooks": [
            { "module": "keep-by-label", "points": ["Retention"], "settings": settings }
        ] });
        let target = with(destination("ext4", "1Gi"), hooks);
        let volume = prepare(&pair, "ext4", target, |root| ordinary(root, APP)).await?;
        pair.source.source("db", source("data")).await?;
        let mut replicas = Vec::new();
        for tag in ["first", "second", "third"] {
            fs::write(volume.path.join("tag"), tag)?;
            chown(&volume.path.join("tag"), APP, APP)?;
            volume.flush()?;
            pair.source.sync("db", tag).await?;
            let rd = pair.destination.api::<ReplicationDestination>().get("db").await?;
            let newest = status(&rd).latest_image.context("it is published")?.name;
            if tag == "first" {
                let gold = json!({ "metadata": { "labels": { "tier": "gold" } } });
                pair.destination.patch::<VolumeSnapshot>(&newest, gold).await?;
            }
            replicas.push(newest);
        }
        let kept = |rd: &ReplicationDestination| {
            let replicas = status(rd).replicas;
            replicas.into_iter().map(|it| (it.name, it.kept_because)).collect::<BTreeMap<_, _>>()
        };
        let wanted = [&replicas[0], &replicas[2]];
        let is_pruned = |rd: &ReplicationDestination| kept(rd).keys().collect::<Vec<_>>() == wanted;
        let rd = pair.destination.await_destination("db", "left with two replicas", is_pruned).await?;
        let why = kept(&rd);
        ensure!(why[&replicas[0]].contains("labelled tier"), "{why:?}");
        ensure!(why[&replicas[2]].contains("newest"), "{why:?}");
        Ok(())
    })
    .await
}
