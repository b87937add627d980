//! What a sync is not let do, and how its user lets it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use scribe_crds::conditions::DEGRADED;
use scribe_crds::names::ADMIT_SYNC;
use scribe_crds::v1alpha1::{Guard, ReplicationDestination, ReplicationSource};
use scribe_tests::fixture::chown;
use scribe_tests::site::{source_status, status, synchronizing};
use scribe_tests::tree::{Ignore, Tree};
use scribe_tests::world::{Pair, Span, with_pair};
use serde_json::json;

use crate::specs::{APP, destination, prepare, source, with};

fn write(root: &Path, name: &str, text: &str) -> Result<()> {
    fs::write(root.join(name), text)?;
    chown(&root.join(name), APP, APP)
}

/// An emptied source is refused: the replicas stay as they were, and none is pruned. Then its user says that it is meant.
#[tokio::test]
async fn an_emptied_source() -> Result<()> {
    with_pair("guards", Span::TwoClusters, |pair| async move {
        let spec = with(destination("ext4", "1Gi"), json!({ "retain": { "last": 2 } }));
        let volume = prepare(&pair, "ext4", spec, |root| {
            chown(root, APP, APP)?;
            write(root, "file", "first")
        })
        .await?;
        pair.source.source("db", source("data")).await?;
        pair.source.sync("db", "first").await?;
        write(&volume.path, "other", "second")?;
        volume.flush()?;
        pair.source.sync("db", "second").await?;
        let before = Tree::read(&volume.path)?;
        for name in ["file", "other"] {
            fs::remove_file(volume.path.join(name))?;
        }
        volume.flush()?;
        let refused = refused(&pair, "third").await?;

        let (source, at) = (&pair.source, &pair.destination);
        at.patch::<ReplicationDestination>("db", json!({ "spec": { "retain": { "last": 1 } } })).await?;
        let kept = |rd: &ReplicationDestination| {
            let status = status(rd);
            status.observed_generation == rd.metadata.generation
                && status.guarded.is_some_and(|guarded| guarded.sync_id == refused)
                && degraded(&status.conditions) == Some("SyncGuarded")
        };
        let rd = at.await_destination("db", "told that its source was refused", kept).await?;
        ensure!(status(&rd).replicas.len() == 2, "a replica was pruned: {:?}", status(&rd).replicas);
        let restored = at.restore("db", "restored", "ext4").await?;
        let ignore = Ignore { owners: false, root: true };
        let differences = before.differences(&Tree::read(&restored.path)?, ignore);
        ensure!(differences.is_empty(), "the replica has changed:\n{}", differences.join("\n"));
        at.release(&restored).await?;

        let admit = json!({ "metadata": { "annotations": { ADMIT_SYNC: refused } } });
        source.patch::<ReplicationSource>("db", admit).await?;
        source.sync("db", "fourth").await.context("sync what was admitted")?;
        let followed = |rd: &ReplicationDestination| {
            let status = status(rd);
            status.guarded.is_none() && status.replicas.len() == 1
        };
        at.await_destination("db", "pruned again", followed).await?;
        let restored = at.restore("db", "emptied", "ext4").await?;
        let differences = Tree::read(&volume.path)?.differences(&Tree::read(&restored.path)?, ignore);
        ensure!(
            differences.is_empty(),
            "what was admitted is not what is there:\n{}",
            differences.join("\n")
        );
        at.release(&restored).await
    })
    .await
}

/// Starts a sync that a guard has to refuse. Its id, as the condition tells it.
async fn refused(pair: &Pair, tag: &str) -> Result<String> {
    let trigger = json!({ "spec": { "trigger": { "manual": tag } } });
    pair.source.patch::<ReplicationSource>("db", trigger).await?;
    let is_refused = |rs: &ReplicationSource| {
        let status = source_status(rs);
        status.current_sync.is_none() && synchronizing(&status.conditions).0 == "SyncGuarded"
    };
    let rs = pair.source.await_source("db", "refused by a guard", is_refused).await?;
    let status = source_status(&rs);
    let guarded = status.guarded.context("the source remembers what was refused")?;
    ensure!(guarded.guard == Guard::EmptySource, "{guarded:?}");
    let (_, message) = synchronizing(&status.conditions);
    ensure!(message.contains(&format!("{ADMIT_SYNC}={}", guarded.sync_id)), "no way out: {message}");
    Ok(guarded.sync_id)
}

fn degraded(conditions: &[Condition]) -> Option<&str> {
    let condition = conditions.iter().find(|condition| condition.type_ == DEGRADED)?;
    (condition.status == "True").then_some(condition.reason.as_str())
}
