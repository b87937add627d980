//! The pause of everything at once.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret};
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use scribe_crds::names::{OWNER_UID, PAUSE_ALL};
use scribe_crds::v1alpha1::{DestinationStatus, Phase, ReplicationSource, SourceStatus};
use scribe_tests::site::synchronizing;
use serde_json::json;

use crate::world::{LEASE, World};

/// While the controller's namespace is annotated, nothing is begun; afterwards it goes on by itself.
#[tokio::test(flavor = "multi_thread")]
async fn everything_is_paused_and_goes_on() -> Result<()> {
    let world = World::start(&[LEASE]).await?;
    world.annotate_home(json!({ PAUSE_ALL: "storage is being moved" })).await?;
    world.destination("db").await?;
    let paused = |status: &DestinationStatus| status.phase == Some(Phase::Paused);
    let seen = world.await_status("db", "paused", paused).await?;
    let (reason, message) = synchronizing(&seen.conditions);
    ensure!(reason == "Paused" && message.contains("annotation scribe.dev/pause-all"), "{reason}: {message}");
    let made = world.api::<Secret>().list_metadata(&ListParams::default().labels(OWNER_UID)).await?;
    ensure!(made.items.is_empty(), "{:?} was made", made.items);
    world.annotate_home(json!({ PAUSE_ALL: null })).await?;
    world.with_keys("db").await?;
    Ok(())
}

/// What runs is finished; what is due next waits until the pause is over, and then needs nobody to come about.
#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_finished_while_everything_is_paused() -> Result<()> {
    let world = World::start(&[LEASE]).await?;
    world.claim("db", "").await?;
    world.source("db", json!({})).await?;
    let mover = world.mover("db").await?;
    world.annotate_home(json!({ PAUSE_ALL: "" })).await?;
    world.end(&mover, 0, json!({})).await?;
    let finished =
        |status: &SourceStatus| status.recovery_point.is_some() && status.phase == Some(Phase::Paused);
    world.await_source("db", "finished and paused", finished).await?;
    let again = Patch::Merge(json!({ "spec": { "trigger": { "manual": "two" } } }));
    world.api::<ReplicationSource>().patch("db", &PatchParams::default(), &again).await?;
    let looked = |status: &SourceStatus| status.observed_generation == Some(2);
    let seen = world.await_source("db", "looked at again", looked).await?;
    ensure!(seen.phase == Some(Phase::Paused) && seen.current_sync.is_none(), "{seen:?}");
    // No controller manager frees the first cut, for which the next sync waits.
    let claims = world.api::<PersistentVolumeClaim>();
    let cuts = claims.list(&ListParams::default().labels(OWNER_UID)).await?;
    for cut in cuts {
        let free = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
        claims.patch(&cut.name_any(), &PatchParams::default(), &free).await?;
    }
    world.annotate_home(json!({ PAUSE_ALL: null })).await?;
    let goes_on = |status: &SourceStatus| {
        status.current_sync.as_ref().is_some_and(|sync| sync.tag.as_deref() == Some("two"))
    };
    world.await_source("db", "going on", goes_on).await?;
    Ok(())
}
