//! Hooks that are asked before a sync begins and told when it fails.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use scribe_crds::v1alpha1::{FailureReaction, HookModule, ReplicationSource};
use scribe_tests::cluster::HOST;
use scribe_tests::fixture::ordinary;
use scribe_tests::site::{Site, source_status};
use scribe_tests::wait::PATIENCE;
use scribe_tests::world::{Span, with_pair};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::hooks::{await_ready, module};
use crate::quiesce::account;
use crate::specs::{APP, destination, prepare, source, with};

/// Takes one request, as a pager would, and answers that all is well.
async fn page(listener: &TcpListener) -> Result<(String, Value)> {
    let (mut stream, _) = listener.accept().await?;
    let mut seen = Vec::new();
    loop {
        let mut bytes = [0; 4096];
        let read = stream.read(&mut bytes).await?;
        ensure!(read > 0, "half a request: {}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&bytes[..read]);
        let text = String::from_utf8_lossy(&seen);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        if let Ok(body) = serde_json::from_str(body) {
            let head = head.to_owned();
            stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await?;
            return Ok((head, body));
        }
    }
}

/// An attempt fails, and a hook in Rust POSTs that to a pager, with a token that it never sees.
#[tokio::test]
async fn a_failure_is_told_to_a_pager() -> Result<()> {
    with_pair("hook-notify", Span::OneCluster, |pair| async move {
        let site = &pair.source;
        let listener = TcpListener::bind((HOST, 0)).await.context("listen where pods reach this machine")?;
        let pager = format!("http://{}", listener.local_addr()?);
        let secret: Secret = serde_json::from_value(json!({
            "metadata": { "name": "pager" }, "stringData": { "authorization": "Bearer 4711" }
        }))?;
        site.api::<Secret>().create(&PostParams::default(), &secret).await?;
        let granted = json!({ "http": {
            "allow": [pager], "privateRanges": [format!("{HOST}/32")],
            "secrets": [{ "name": "token", "secret": "pager", "key": "authorization", "to": [pager] }]
        } });
        module(site, "notify-http", Some(granted)).await?;
        account(
            site,
            "notify",
            json!([
                { "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["pager"], "verbs": ["get"] }
            ]),
        )?;
        prepare(&pair, "ext4", destination("ext4", "1Gi"), |root| ordinary(root, APP)).await?;
        let hook = json!({
            "module": "notify-http", "points": ["Failure"], "serviceAccountName": "notify",
            "settings": { "url": format!("{pager}/alerts"), "secretHeaders": { "Authorization": "token" } }
        });
        // The port where nobody discards anything.
        let nobody =
            json!({ "hooks": [hook], "rsync": { "address": site.cluster.node_ip().to_string(), "port": 9 } });
        site.source("db", with(source("data"), nobody)).await?;
        let (head, body) =
            tokio::time::timeout(PATIENCE, page(&listener)).await.context("nobody was told")??;
        ensure!(head.starts_with("POST /alerts HTTP/1.1"), "{head}");
        ensure!(head.to_ascii_lowercase().contains("authorization: bearer 4711"), "{head}");
        ensure!(body["code"] == "DestinationUnreachable" && body["name"] == "db", "{body}");
        let is_recorded = |rs: &ReplicationSource| {
            let record = source_status(rs).hooks.into_iter().next().and_then(|hook| hook.reaction);
            record.is_some_and(|record| record.reaction == Some(FailureReaction::Default))
        };
        site.await_source("db", "told, and the answer recorded", is_recorded).await?;
        Ok(())
    })
    .await
}

/// A sync is published, and the same hook POSTs that to what watches. It needs no ServiceAccount: it asks for nothing of Kubernetes.
#[tokio::test]
async fn a_published_sync_is_told_to_a_watcher() -> Result<()> {
    with_pair("hook-watch", Span::OneCluster, |pair| async move {
        let site = &pair.source;
        let listener = TcpListener::bind((HOST, 0)).await.context("listen where pods reach this machine")?;
        let watcher = format!("http://{}", listener.local_addr()?);
        let granted =
            json!({ "http": { "allow": [watcher], "privateRanges": [format!("{HOST}/32")] } });
        module(site, "notify-http", Some(granted)).await?;
        prepare(&pair, "ext4", destination("ext4", "1Gi"), |root| ordinary(root, APP)).await?;
        let hook = json!({
            "module": "notify-http", "points": ["Lifecycle"], "settings": { "successUrl": format!("{watcher}/db") }
        });
        site.source("db", with(source("data"), json!({ "hooks": [hook] }))).await?;
        let (head, body) =
            tokio::time::timeout(PATIENCE, page(&listener)).await.context("nobody was told")??;
        ensure!(head.starts_with("POST /db HTTP/1.1"), "{head}");
        ensure!(body["name"] == "db" && body["bytesTotal"].as_u64() > Some(0), "{body}");
        let is_told = |rs: &ReplicationSource| {
            let status = source_status(rs);
            status.last_manual_sync.as_deref() == Some("first") && status.post_sync.is_none()
        };
        site.await_source("db", "published, and that it was told is recorded", is_told).await?;
        Ok(())
    })
    .await
}

/// A module from the image that is mounted into the controller.
async fn from_file(site: &Site, name: &str) -> Result<()> {
    let object = json!({
        "apiVersion": "scribe.dev/v1alpha1", "kind": "HookModule", "metadata": { "name": name },
        "spec": { "file": { "path": format!("{name}.wasm") } }
    });
    site.api::<HookModule>().create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    await_ready(site, name).await
}

/// A hook in Python says that now is not the time, and, when its settings allow it, that it is.
#[tokio::test]
async fn a_python_hook_keeps_to_its_windows() -> Result<()> {
    with_pair("hook-window", Span::OneCluster, |pair| async move {
        let site = &pair.source;
        from_file(site, "change-window").await?;
        prepare(&pair, "ext4", destination("ext4", "1Gi"), |root| ordinary(root, APP)).await?;
        // Of all days but today and its neighbours.
        let today = jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC).weekday();
        let day = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
            [(usize::try_from(today.to_monday_zero_offset())? + 3) % 7];
        let hooks = |always: &[&str]| {
            let window = json!({ "days": [day], "from": "01:00", "to": "02:00" });
            let settings =
                json!({ "timeZone": "UTC", "windows": [window], "outside": "defer", "always": always });
            json!([{ "module": "change-window", "points": ["Decision"], "settings": settings }])
        };
        site.source("db", with(source("data"), json!({ "hooks": hooks(&[]) }))).await?;
        let waits = |rs: &ReplicationSource| {
            let conditions = source_status(rs).conditions;
            conditions.iter().any(|it| it.type_ == "Synchronizing" && it.reason == "HookDeferred")
        };
        let seen = site.await_source("db", "put off", waits).await?;
        ensure!(source_status(&seen).current_sync.is_none(), "it began all the same");
        let changed = json!({ "spec": { "hooks": hooks(&["manual"]) } });
        site.patch::<ReplicationSource>("db", changed).await?;
        site.sync("db", "second").await?;
        Ok(())
    })
    .await
}
