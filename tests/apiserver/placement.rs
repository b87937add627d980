//! Where a clone is made.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{Patch, PatchParams, PostParams};
use scribe_crds::names::{SELECTED_NODE, source_cut};
use scribe_crds::v1alpha1::ReplicationSource;
use scribe_tests::site::source_status;
use scribe_tests::wait::await_condition;
use serde_json::json;

use crate::world::{LEASE, World};

/// The controller finds the node on which a claim is in use, and no pod but one that runs says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_in_use_is_cloned_for_its_node() -> Result<()> {
    let world = World::start(&[LEASE]).await?;
    let (claims, pods) = (world.api::<PersistentVolumeClaim>(), world.api::<Pod>());
    let create = PostParams::default();
    let claim = json!({
        "metadata": { "name": "data" },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } }
    });
    claims.create(&create, &serde_json::from_value(claim)?).await?;
    let bound = json!({ "status": { "phase": "Bound", "capacity": { "storage": "1Gi" } } });
    claims.patch_status("data", &PatchParams::default(), &Patch::Merge(bound)).await?;
    for (name, node, claim, phase) in [
        ("ended", "node-1", "data", "Succeeded"),
        ("other", "node-2", "other", "Running"),
        ("user", "node-3", "data", "Running"),
    ] {
        let pod = json!({
            "metadata": { "name": name },
            "spec": {
                "nodeName": node, "containers": [{ "name": "app", "image": "none" }],
                "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": claim } }]
            }
        });
        pods.create(&create, &serde_json::from_value(pod)?).await?;
        let status = Patch::Merge(json!({ "status": { "phase": phase } }));
        pods.patch_status(name, &PatchParams::default(), &status).await?;
    }
    let source = json!({
        "apiVersion": "scribe.dev/v1alpha1", "kind": "ReplicationSource", "metadata": { "name": "db" },
        "spec": { "sourcePVC": "data", "trigger": { "manual": "first" }, "rsync": { "sshKeys": "keys" } }
    });
    let sources = world.api::<ReplicationSource>();
    sources.create(&create, &serde_json::from_value(source)?).await?;
    let has_cut = |rs: Option<&ReplicationSource>| {
        rs.and_then(|rs| source_status(rs).current_sync).is_some_and(|sync| sync.cut.is_some())
    };
    let seen = await_condition(&sources, "db", "syncing, with a cut", has_cut).await?;
    let sync = seen.and_then(|rs| source_status(&rs).current_sync).context("it was there")?;
    let cut = claims.get(&source_cut("db", &sync.id)).await?;
    let node = cut.metadata.annotations.as_ref().and_then(|all| all.get(SELECTED_NODE));
    ensure!(node.map(String::as_str) == Some("node-3"), "the cut is made for {node:?}");
    Ok(())
}
