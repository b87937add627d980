//! Limits on movers, and whose turn it is.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Binding, Node, PersistentVolume, Pod};
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use scribe_crds::names::SIDE;
use scribe_crds::v1alpha1::{Phase, ReplicationSource, SourceStatus};
use scribe_tests::site::synchronizing;
use scribe_tests::wait::{PATIENCE, eventually};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::sources::is_live;
use crate::world::{LEASE, World};

fn waits(status: &SourceStatus) -> bool {
    status.phase == Some(Phase::Waiting) && synchronizing(&status.conditions).0 == "WaitingForSlot"
}

fn has_ended(status: &SourceStatus) -> bool {
    status.current_sync.is_none() && status.last_attempt.is_some()
}

/// How many movers there were at the same time, at most, as the API server tells it.
fn most_at_once(world: &World) -> JoinHandle<usize> {
    let pods = world.api::<Pod>();
    tokio::spawn(async move {
        let mut events = watcher::watcher(pods, watcher::Config::default()).default_backoff().boxed();
        let (mut live, mut most) = (BTreeSet::new(), 0);
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Apply(pod) | Event::InitApply(pod)) if pod.name_any() == "the-end" => break,
                Ok(Event::Apply(pod) | Event::InitApply(pod)) if is_live(&pod) => {
                    live.insert(pod.name_any());
                }
                Ok(Event::Apply(pod) | Event::InitApply(pod) | Event::Delete(pod)) => {
                    live.remove(&pod.name_any());
                }
                Ok(Event::Init | Event::InitDone) | Err(_) => {}
            }
            most = most.max(live.len());
        }
        most
    })
}

async fn the_end(world: &World) -> Result<()> {
    let pod = json!({ "metadata": { "name": "the-end" }, "spec": { "containers": [{ "name": "c", "image": "none" }] } });
    world.api::<Pod>().create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
    Ok(())
}

/// The one mover that has not ended, and the name of its source.
async fn mover(world: &World) -> Result<(String, Pod)> {
    let found = eventually(PATIENCE, "a mover", || async {
        let movers = ListParams::default().labels(&format!("{SIDE}=source"));
        let pods = world.api::<Pod>().list(&movers).await?;
        let pod = pods.into_iter().find(is_live).context("there is none")?;
        let source = pod.owner_references().first().context("an owner")?.name.clone();
        Ok((source, pod))
    });
    found.await.with_context(|| world.log())
}

/// The mover of this source is the one that runs, and comes to a good end.
async fn takes_its_turn(world: &World, source: &str) -> Result<()> {
    let (name, pod) = mover(world).await?;
    ensure!(name == source, "it was the turn of {source}, not of {name}");
    world.end(&pod, 0, json!({})).await?;
    let seen = world.await_source(source, "done", has_ended).await?;
    ensure!(seen.recovery_point.is_some(), "{source}: {seen:?}");
    Ok(())
}

/// With room for one, many sources take turns, in the order of the time that they have left; and a controller that takes another's place
/// counts what that one has left running.
#[tokio::test(flavor = "multi_thread")]
async fn one_at_a_time_and_the_least_time_left_first() -> Result<()> {
    let mut world = World::start_with(&[LEASE, LEASE], &["--max-movers=1"], true).await?;
    let most = most_at_once(&world);
    world.claim("first", "").await?;
    world.source("first", json!({ "rpo": "9h" })).await?;
    mover(&world).await?;
    // In no order of their names, and not in that of their turns.
    let sources = [("a", "4h"), ("b", "2h"), ("c", "3h"), ("d", "1h")];
    for (name, rpo) in sources {
        world.claim(name, "").await?;
        world.source(name, json!({ "rpo": rpo })).await?;
    }
    for (name, _) in sources {
        let seen = world.await_source(name, "waiting for its turn", waits).await?;
        let (_, message) = synchronizing(&seen.conditions);
        ensure!(message.contains("1 of 1 movers of this cluster run"), "{message}");
        ensure!(seen.current_sync.is_none(), "{name} has begun: {seen:?}");
    }
    for name in ["first", "d", "b"] {
        takes_its_turn(&world, name).await?;
    }
    mover(&world).await?;
    let lease = world.leases().get(LEASE).await?;
    let holder = lease.spec.and_then(|spec| spec.holder_identity).context("a holder")?;
    world.controllers[usize::from(holder.starts_with("controller1"))].kill()?;
    world.claim("late", "").await?;
    world.source("late", json!({ "rpo": "8h" })).await?;
    let change = Patch::Merge(json!({ "spec": { "rpo": "5h" } }));
    world.api::<ReplicationSource>().patch("a", &PatchParams::default(), &change).await?;
    let again = |status: &SourceStatus| waits(status) && status.observed_generation == Some(2);
    world.await_source("a", "in the next controller's line", again).await?;
    world.await_source("late", "behind a mover of the controller before", waits).await?;
    for name in ["c", "a", "late"] {
        takes_its_turn(&world, name).await?;
    }
    the_end(&world).await?;
    let most = most.await?;
    ensure!(most == 1, "{most} movers at once");
    Ok(())
}

/// A node on which pods can be scheduled.
async fn node(world: &World, name: &str) -> Result<()> {
    let nodes = world.all::<Node>();
    nodes
        .create(&PostParams::default(), &serde_json::from_value(json!({ "metadata": { "name": name } }))?)
        .await?;
    // The API server marks each new one as not ready.
    let ready = Patch::Merge(json!({ "spec": { "taints": null } }));
    nodes.patch(name, &PatchParams::default(), &ready).await?;
    Ok(())
}

async fn schedule(world: &World, pod: &Pod, node: &str) -> Result<()> {
    let name = pod.name_any();
    let binding = json!({ "metadata": { "name": name }, "target": { "kind": "Node", "name": node } });
    let binding: Binding = serde_json::from_value(binding)?;
    let _: kube::core::Status =
        world.api::<Pod>().create_subresource("binding", &name, &PostParams::default(), &binding).await?;
    Ok(())
}

/// The alternatives that a pod leaves to the scheduler.
fn terms(pod: &Pod) -> Value {
    let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.clone());
    let affinity = serde_json::to_value(affinity).unwrap_or_default();
    affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"].clone()
}

/// With room for one on each node: a pod counts on every node until it has one, the next keeps away from that, and one whose volume can be
/// reached from nowhere else waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_are_full_are_kept_away_from() -> Result<()> {
    let world = World::start_with(&[LEASE], &["--max-movers-per-node=1"], true).await?;
    node(&world, "n1").await?;
    node(&world, "n2").await?;
    let volume = json!({
        "metadata": { "name": "on-n1" },
        "spec": {
            "accessModes": ["ReadWriteOnce"], "capacity": { "storage": "1Gi" }, "hostPath": { "path": "/none" },
            "nodeAffinity": { "required": { "nodeSelectorTerms": [
                { "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["n1"] }] }
            ] } },
        }
    });
    world.all::<PersistentVolume>().create(&PostParams::default(), &serde_json::from_value(volume)?).await?;
    world.claim("a", "").await?;
    world.source("a", json!({})).await?;
    let a = world.mover("a").await?;
    world.claim("b", "").await?;
    world.source("b", json!({})).await?;
    let seen = world.await_source("b", "waiting for a node", waits).await?;
    let (_, message) = synchronizing(&seen.conditions);
    ensure!(message.contains("1 of 1 movers of each of 2 nodes run"), "{message}");
    schedule(&world, &a, "n1").await?;
    let b = world.mover("b").await?;
    let away =
        json!([{ "matchFields": [{ "key": "metadata.name", "operator": "NotIn", "values": ["n1"] }] }]);
    ensure!(terms(&b) == away, "{}", terms(&b));
    schedule(&world, &b, "n2").await?;

    world.claim("c", "on-n1").await?;
    world.source("c", json!({})).await?;
    let seen = world.await_source("c", "waiting for its node", waits).await?;
    let (_, message) = synchronizing(&seen.conditions);
    ensure!(message.contains("1 of 1 movers of node n1 run"), "{message}");
    // Room on another node is of no use to it.
    world.end(&b, 0, json!({})).await?;
    world.await_source("b", "done", has_ended).await?;
    ensure!(world.movers("c").await?.is_empty(), "there is no room on n1");
    world.end(&a, 0, json!({})).await?;
    let c = world.mover("c").await?;
    ensure!(terms(&c) == Value::Null, "{}", terms(&c));
    Ok(())
}
