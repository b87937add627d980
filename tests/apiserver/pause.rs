//! The pause of everything at once.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use scribe_crds::names::{OWNER_UID, PAUSE_ALL};
use scribe_crds::v1alpha1::{DestinationStatus, Phase};
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
