//! The controller and Secrets that are not its own, with exactly the rights that its manifests give it: it may not read them.

use anyhow::{Context, Result, ensure};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{DeleteParams, Patch, PatchParams};
use scribe_crds::names::{OWNER_UID, RELATIONSHIP};
use scribe_crds::v1alpha1::{DestinationStatus, ReplicationDestination};
use scribe_tests::wait::await_condition;
use serde_json::{Value, json};

use crate::world::{LEASE, World};

fn text(secret: &Secret, key: &str) -> String {
    let value = secret.data.as_ref().and_then(|data| data.get(key)).map(|ByteString(bytes)| bytes.clone());
    String::from_utf8(value.unwrap_or_default()).unwrap_or_default()
}

fn owner(secret: &Secret) -> Option<&String> {
    secret.metadata.labels.as_ref()?.get(OWNER_UID)
}

/// The whole life of a destination among Secrets that others made or changed.
#[tokio::test(flavor = "multi_thread")]
async fn secrets_of_others_stay_as_they_are() -> Result<()> {
    let world = World::start(&[LEASE]).await?;
    let secrets = world.api::<Secret>();
    // One that was carried here for the reverse direction, and one that has nothing in common with what is to be written.
    let carried = world.secret("scribe-dst-db-source", &[("source", "mine"), ("address", "far")]).await?;
    let control = "scribe-dst-db-control";
    let unlike = world.secret(control, &[("password", "mine too")]).await?;
    world.destination("db").await?;
    for made in [&carried, &unlike] {
        let name = made.metadata.name.as_deref().context("a name")?;
        world.refused("db", name, &["delete or rename it"]).await?;
        ensure!(secrets.get(name).await? == *made, "Secret {name} was changed");
        secrets.delete(name, &DeleteParams::default()).await?;
    }
    // Both are out of the way: it goes on by itself.
    let seen = world.with_keys("db").await?;
    let ours = secrets.get("scribe-dst-db-source").await?;
    ensure!(owner(&ours).is_some() && text(&ours, "source") != "mine", "{:?}", ours.metadata);
    ensure!(text(&ours, "address") == seen.method_status["address"], "the address is not there");

    // What somebody writes into ours is his, too, and named.
    let pods = world.api::<Pod>();
    await_condition(&pods, "scribe-dst-db", "made", |pod| pod.is_some()).await?;
    let edit = PatchParams { field_manager: Some("kubectl-edit".to_owned()), ..PatchParams::default() };
    let edited: Value = json!({ "stringData": { "token": "edited" } });
    secrets.patch(control, &edit, &Patch::Merge(edited)).await?;
    pods.delete("scribe-dst-db", &DeleteParams::default().grace_period(0)).await?;
    world.refused("db", control, &["kubectl-edit", ".data.token"]).await?;
    ensure!(text(&secrets.get(control).await?, "token") == "edited", "the edit was overwritten");
    secrets.delete(control, &DeleteParams::default()).await?;
    await_condition(&pods, "scribe-dst-db", "made anew", |pod| pod.is_some()).await?;

    // Our address replaces whatever stands in our Secret, and goes into no other.
    let strange = json!({ "stringData": { "address": "elsewhere" } });
    secrets.patch("scribe-dst-db-source", &edit, &Patch::Merge(strange)).await?;
    let rds = world.api::<ReplicationDestination>();
    let port = |port: u16| Patch::Merge(json!({ "spec": { "rsync": { "port": port } } }));
    rds.patch("db", &PatchParams::default(), &port(2022)).await?;
    let moved =
        |status: &DestinationStatus| status.method_status.get("port").is_some_and(|port| port == "2022");
    let seen = world.await_status("db", "at another port", moved).await?;
    let ours = secrets.get("scribe-dst-db-source").await?;
    ensure!(text(&ours, "address") == seen.method_status["address"], "the address is not the destination's");
    ensure!(text(&ours, "port") == "2022", "the port is the old one");
    secrets.delete("scribe-dst-db-source", &DeleteParams::default()).await?;
    let foreign = world.secret("scribe-dst-db-source", &[("password", "mine")]).await?;
    rds.patch("db", &PatchParams::default(), &port(2023)).await?;
    world.refused("db", "scribe-dst-db-source", &["does not belong to this object"]).await?;
    ensure!(secrets.get("scribe-dst-db-source").await? == foreign, "the foreign Secret was changed");

    // And the end of the destination is none of theirs.
    world.remove("db").await?;
    ensure!(secrets.get("scribe-dst-db-source").await? == foreign, "the foreign Secret was changed");
    for name in ["scribe-dst-db", control] {
        ensure!(secrets.get_opt(name).await?.is_none(), "Secret {name} was left behind");
    }
    Ok(())
}

/// The Lease keeps a second controller waiting, but nothing must depend on it: these two hold different ones.
#[tokio::test(flavor = "multi_thread")]
async fn two_controllers_at_once_make_one_set_of_keys() -> Result<()> {
    let world = World::start(&[LEASE, "rival"]).await?;
    let names: Vec<String> = (0..20).map(|number| format!("db{number}")).collect();
    for name in &names {
        world.destination(name).await?;
    }
    for name in &names {
        let keys = world.with_keys(name).await?.key_fingerprints.context("keys")?;
        let secrets = world.api::<Secret>();
        let own = secrets.get(&format!("scribe-dst-{name}")).await?;
        let carried = secrets.get(&format!("scribe-dst-{name}-source")).await?;
        ensure!(
            text(&carried, "relationship") == keys.relationship,
            "{name}: the source's keys are not the recorded ones"
        );
        for half in ["source.pub", "destination.pub"] {
            ensure!(text(&own, half) == text(&carried, half), "{name}: {half} differs between the Secrets");
        }
        let annotations = own.metadata.annotations.unwrap_or_default();
        let relationship = annotations.get(RELATIONSHIP);
        ensure!(relationship == Some(&keys.relationship), "{name}: the own keys are not the recorded ones");
    }
    Ok(())
}
