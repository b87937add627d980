//! What Scribe shows of itself and leaves alone: metrics, addresses, objects that are another's.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use scribe_crds::v1alpha1::{ReplicationDestination, ReplicationSource};
use scribe_tests::site::{Site, source_status, status, synchronizing};
use scribe_tests::wait::{PATIENCE, await_condition, eventually};
use scribe_tests::world::{CONTROLLER, SYSTEM, Span, with_pair};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::faults::large;
use crate::specs::{destination, prepare, source, with};

/// The text of the controller's metrics.
async fn metrics(site: &Site) -> Result<String> {
    let pods: Api<Pod> = Api::namespaced(site.client.clone(), SYSTEM);
    let list =
        pods.list(&ListParams::default().labels(&format!("app.kubernetes.io/name={CONTROLLER}"))).await?;
    let mut addresses = list.into_iter().filter_map(|pod| pod.status.and_then(|status| status.pod_ip));
    let address = addresses.next_back().context("the controller has an address")?;
    let mut connection = tokio::net::TcpStream::connect((address.as_str(), 8080)).await?;
    connection.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// Both sides export the recovery point, the source its objective, and the series go with their object.
#[tokio::test]
async fn metrics_come_and_go() -> Result<()> {
    with_pair("metrics", Span::OneCluster, |pair| async move {
        prepare(&pair, "ext4", destination("ext4", "1Gi"), large).await?;
        pair.source.source("db", with(source("data"), json!({ "rpo": "10m" }))).await?;
        let synced = source_status(&pair.source.sync("db", "first").await?);
        let point = synced.recovery_point.context("a recovery point")?.data_time.0.as_second();
        let series = |name: &str, namespace: &str, side: &str| {
            format!("scribe_replication_{name}{{name=\"db\",namespace=\"{namespace}\",side=\"{side}\"}}")
        };
        let (from, to) = (&pair.source.namespace, &pair.destination.namespace);
        let expected = [
            format!("{} {point}\n", series("recovery_point_timestamp_seconds", from, "source")),
            format!("{} {point}\n", series("recovery_point_timestamp_seconds", to, "destination")),
            format!("{} 600\n", series("rpo_objective_seconds", from, "source")),
        ];
        eventually(PATIENCE, "the metrics of a synced pair", async || {
            let text = metrics(&pair.source).await?;
            let missing: Vec<&String> =
                expected.iter().filter(|line| !text.contains(line.as_str())).collect();
            ensure!(missing.is_empty(), "missing {missing:?} in:\n{}", lines_about(&text, from, to));
            Ok(())
        })
        .await?;
        let sources = pair.source.api::<ReplicationSource>();
        sources.delete("db", &DeleteParams::default()).await?;
        await_condition(&sources, "db", "gone", |rs| rs.is_none()).await?;
        eventually(PATIENCE, "the source's series gone", async || {
            let text = metrics(&pair.source).await?;
            ensure!(!text.contains(from.as_str()), "still there:\n{}", lines_about(&text, from, from));
            ensure!(text.contains(to.as_str()), "the destination's series are gone as well");
            Ok(())
        })
        .await
    })
    .await
}

fn lines_about(text: &str, from: &str, to: &str) -> String {
    text.lines().filter(|line| line.contains(from) || line.contains(to)).collect::<Vec<_>>().join("\n")
}

/// A load balancer's address is published when there is one, and said to be pending until then.
#[tokio::test]
async fn the_address_of_a_load_balancer() -> Result<()> {
    with_pair("balancer", Span::OneCluster, |pair| async move {
        let site = &pair.destination;
        let spec = with(
            destination("ext4", "1Gi"),
            json!({ "rsync": { "serviceType": "LoadBalancer", "port": 2222 } }),
        );
        site.destination("db", spec).await?;
        let pending =
            |rd: &ReplicationDestination| synchronizing(&status(rd).conditions).0 == "AddressPending";
        let seen = site.await_destination("db", "in want of an address", pending).await?;
        ensure!(!status(&seen).method_status.contains_key("address"), "{:?}", status(&seen).method_status);
        let given = json!({ "status": { "loadBalancer": { "ingress": [{ "ip": "192.0.2.7" }] } } });
        let services = site.api::<Service>();
        services.patch_status("scribe-dst-db", &PatchParams::default(), &Patch::Merge(given)).await?;
        site.await_destination("db", "at the load balancer's address", |rd| {
            let method = status(rd).method_status;
            method.get("address").is_some_and(|ip| ip == "192.0.2.7")
                && method.get("port").is_some_and(|port| port == "2222")
        })
        .await?;
        Ok(())
    })
    .await
}

/// An `external` object is a storage vendor's: no status, no finalizer, no children, even while others are served.
#[tokio::test]
async fn external_is_left_alone() -> Result<()> {
    with_pair("external", Span::OneCluster, |pair| async move {
        let external = json!({ "external": { "provider": "storage.example.com/mirror" } });
        pair.destination.destination("vendor", external.clone()).await?;
        pair.source.source("vendor", with(json!({ "sourcePVC": "data" }), external)).await?;
        prepare(&pair, "ext4", destination("ext4", "1Gi"), large).await?;
        pair.source.source("db", source("data")).await?;
        pair.source.sync("db", "first").await?;
        let rs = pair.source.api::<ReplicationSource>().get("vendor").await?;
        let rd = pair.destination.api::<ReplicationDestination>().get("vendor").await?;
        ensure!(rs.status.is_none() && rd.status.is_none(), "Scribe wrote a status");
        ensure!(
            rs.metadata.finalizers.is_none() && rd.metadata.finalizers.is_none(),
            "Scribe set a finalizer"
        );
        Ok(())
    })
    .await
}
