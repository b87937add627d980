//! Controllers that take turns.

use std::collections::BTreeMap;
use std::process::ExitStatus;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret, Service};
use kube::api::ListParams;
use kube::{Resource, ResourceExt};
use rustix::process::{Pid, Signal, kill_process};
use scribe_crds::v1alpha1::ReplicationDestination;
use scribe_tests::wait::{PATIENCE, await_condition};

use crate::world::{LEASE, World};

/// Which of the controllers holds the Lease.
fn holder(lease: &Lease) -> Option<usize> {
    let identity = lease.spec.as_ref()?.holder_identity.as_ref()?;
    identity.strip_prefix("controller")?.split_once('_')?.0.parse().ok()
}

fn signal(world: &World, number: usize, signal: Signal) -> Result<()> {
    let id = i32::try_from(world.controllers[number].id())?;
    kill_process(Pid::from_raw(id).context("a process")?, signal).context("send a signal")
}

async fn exit(world: &mut World, number: usize) -> Result<ExitStatus> {
    let process = &mut world.controllers[number];
    let ended = async {
        loop {
            if let Some(status) = process.try_wait()? {
                return anyhow::Ok(status);
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.with_context(|| format!("controller{number} does not end"))?
}

/// The versions of everything that a controller writes here.
async fn versions(world: &World) -> Result<BTreeMap<String, Option<String>>> {
    async fn add<K>(world: &World, versions: &mut BTreeMap<String, Option<String>>) -> Result<()>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + serde::de::DeserializeOwned
            + std::fmt::Debug,
    {
        let list = world.api::<K>().list_metadata(&ListParams::default()).await?;
        let kind = K::kind(&());
        versions.extend(
            list.iter().map(|object| (format!("{kind} {}", object.name_any()), object.resource_version())),
        );
        Ok(())
    }
    let mut versions = BTreeMap::new();
    add::<ReplicationDestination>(world, &mut versions).await?;
    add::<Secret>(world, &mut versions).await?;
    add::<Service>(world, &mut versions).await?;
    add::<PersistentVolumeClaim>(world, &mut versions).await?;
    add::<Pod>(world, &mut versions).await?;
    Ok(versions)
}

/// The leader is stopped in the middle of its work for longer than its Lease lasts. Another one takes its place; when it comes back, it
/// writes nothing, and ends. And who ends in order makes room at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_stale_leader_does_no_harm() -> Result<()> {
    let mut world = World::start(&[LEASE, LEASE]).await?;
    let leases = world.leases();
    let found = await_condition(&leases, LEASE, "held", |lease| lease.and_then(holder).is_some()).await?;
    let first = found.as_ref().and_then(holder).context("a holder")?;
    let second = 1 - first;
    let names: Vec<String> = (0..10).map(|number| format!("db{number}")).collect();
    for name in &names {
        world.destination(name).await?;
    }
    world.await_status(&names[0], "begun", |status| status.observed_generation.is_some()).await?;
    signal(&world, first, Signal::STOP)?;
    let taken = |lease: Option<&Lease>| lease.and_then(holder) == Some(second);
    await_condition(&leases, LEASE, "taken by the other one", taken).await?;
    for name in &names {
        world.with_keys(name).await?;
        await_condition(&world.api::<Pod>(), &format!("scribe-dst-{name}"), "made", |pod| pod.is_some())
            .await?;
    }
    let last = |rd: Option<&ReplicationDestination>| {
        let status = rd.and_then(|rd| rd.status.as_ref());
        status.is_some_and(|status| status.conditions.iter().any(|one| one.reason == "ClaimPending"))
    };
    for name in &names {
        await_condition(&world.api(), name, "waiting for its claim", last).await?;
    }

    let before = versions(&world).await?;
    signal(&world, first, Signal::CONT)?;
    let status = exit(&mut world, first).await?;
    ensure!(status.code() == Some(1), "the stale leader ended with {status}");
    let after = versions(&world).await?;
    ensure!(before == after, "something was written: {before:#?}\n{after:#?}");

    signal(&world, second, Signal::TERM)?;
    let status = exit(&mut world, second).await?;
    ensure!(status.success(), "the second leader ended with {status}");
    let lease = leases.get(LEASE).await?;
    ensure!(holder(&lease).is_none(), "the Lease was not given back: {:?}", lease.spec);
    Ok(())
}
