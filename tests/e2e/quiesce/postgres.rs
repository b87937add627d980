//! PostgreSQL under pgbench, brought to rest by the example `postgres-quiesce`.

use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::DeleteParams;
use scribe_crds::snapshots::VolumeSnapshot;
use scribe_crds::v1alpha1::{HookModule, Phase, QuiesceState, ReplicationDestination, ReplicationSource};
use scribe_tests::faults::Fault;
use scribe_tests::kubectl::Kubectl;
use scribe_tests::postgres::{UID, start};
use scribe_tests::site::{Site, source_status, status};
use scribe_tests::wait::{await_condition, eventually};
use scribe_tests::world::{Pair, Span, with_pair};
use serde_json::{Value, json};

use super::{ALIVE, account, await_state, kill_the_controllers, worth};
use crate::hooks::module;
use crate::specs::{destination, source, with};

/// How long the application may stand still.
const WINDOW: Duration = Duration::from_secs(60);
/// The sum of all that pgbench moved, seen from each of its tables: equal, unless a transaction is there by half.
const BALANCES: &str = "SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT coalesce(sum(delta), 0) FROM pgbench_history) \
    AND (SELECT sum(bbalance) FROM pgbench_branches) = (SELECT coalesce(sum(delta), 0) FROM pgbench_history)";

/// Runs a program beside the database, as long as it takes.
async fn run(site: &Site, pod: &str, program: &[&str]) -> Result<String> {
    let (kubectl, namespace) = (Kubectl::of(&site.cluster), site.namespace.clone());
    let mut arguments = vec!["exec".to_owned(), "--namespace".into(), namespace, pod.into()];
    arguments
        .extend(["--container", "postgres", "--"].into_iter().chain(program.iter().copied()).map(Into::into));
    let run = move || kubectl.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    Ok(tokio::task::spawn_blocking(run).await??.trim().to_owned())
}

async fn query(site: &Site, pod: &str, sql: &str) -> Result<String> {
    run(site, pod, &["timeout", "10", "psql", "--quiet", "--no-align", "--tuples-only", "--command", sql])
        .await
}

/// How many transactions pgbench has made.
async fn transactions(site: &Site) -> Result<u64> {
    Ok(query(site, "db", "SELECT count(*) FROM pgbench_history").await?.parse()?)
}

/// pgbench at work, until this is dropped.
struct Load(Child);

impl Load {
    fn start(site: &Site) -> Result<Self> {
        let pgbench = ["pgbench", "--client=2", "--time=600", "--rate=50", "--no-vacuum"];
        let mut arguments =
            vec!["exec", "--namespace", &site.namespace, "db", "--container", "postgres", "--"];
        arguments.extend(pgbench);
        let mut command = Kubectl::of(&site.cluster).command(&arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(command.spawn().context("start pgbench")?))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the hook may do, in either mode.
fn granted() -> Value {
    json!({ "exec": [
        { "podSelector": { "app": "db" }, "containers": ["postgres"], "commands": [["psql", "**"], ["sync", "**"]] },
        { "podSelector": { "app": "db" }, "containers": ["freezer"], "commands": [["bash", "-c", "**"], ["flock", "-n", "*", "fsfreeze", "**"]] },
    ] })
}

/// PostgreSQL under load on the claim `data`, a destination, and what a source is with the hook in this mode.
async fn under_load(pair: &Pair, mode: Value) -> Result<(Load, Value)> {
    let site = &pair.source;
    module(site, "postgres-quiesce", Some(granted())).await?;
    account(
        site,
        "db-hook",
        json!([
            { "apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"] },
            { "apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get", "create"] },
        ]),
    )?;
    site.claim("data", "ext4", "1Gi").await?;
    start(site, "db", "data").await?;
    run(site, "db", &["pgbench", "--initialize", "--quiet", "--scale=2"]).await?;
    let mover = json!({ "runAsUser": UID, "runAsGroup": UID, "fsGroup": UID });
    let receiving = with(destination("ext4", "1Gi"), json!({ "rsync": { "moverSecurityContext": mover } }));
    pair.destination.destination("db", receiving).await?;
    pair.destination.carry_secret("db", site, "keys").await?;
    let load = Load::start(site)?;
    let settings = json!({ "podSelector": "app=db", "directory": "/volume", "maxSeconds": WINDOW.as_secs() });
    let hook = json!({
        "module": "postgres-quiesce", "points": ["Quiesce"], "serviceAccountName": "db-hook",
        "settings": with(settings, mode),
        "quiesce": { "maxWindow": format!("{}s", WINDOW.as_secs()), "requireConsistency": "Filesystem" }
    });
    let mover = json!({ "runAsUser": UID, "runAsGroup": UID });
    let sending = json!({ "hooks": [hook], "rsync": { "moverSecurityContext": mover } });
    Ok((load, with(source("data"), sending)))
}

/// Nothing is written while it is at rest.
fn fsfreeze() -> Value {
    json!({ "mode": "fsfreeze", "freezeContainer": "freezer" })
}

/// The transactions of pgbench go on.
async fn goes_on(site: &Site) -> Result<()> {
    let before = transactions(site).await?;
    eventually(WINDOW, "the database goes on", || async {
        let now = transactions(site).await?;
        ensure!(now > before, "{now} transactions, as before");
        Ok(())
    })
    .await
}

/// How many sessions hold the database in backup mode.
async fn backups(site: &Site) -> Result<String> {
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_backup_start%' \
        AND pid <> pg_backend_pid()";
    query(site, "db", sessions).await
}

/// The published replica says what it is worth, and a database starts from it that has every transaction whole.
async fn is_sound(pair: &Pair, consistency: &str) -> Result<()> {
    let said = worth(pair).await?;
    ensure!(said.as_deref() == Some(consistency), "the replica says {said:?}");
    let rd = pair.destination.api::<ReplicationDestination>().get("db").await?;
    let image = status(&rd).latest_image.context("it is published")?;
    let snapshot = pair.destination.api::<VolumeSnapshot>().get(&image.name).await?;
    let size = snapshot.status.and_then(|status| status.restore_size).context("it has a size")?;
    pair.destination.claim_from(&image.name, "restored", "ext4", &size.0).await?;
    start(&pair.destination, "restored", "restored").await?;
    ensure!(query(&pair.destination, "restored", BALANCES).await? == "t", "a transaction is there by half");
    run(&pair.destination, "restored", &["pg_amcheck", "--install-missing", "--all", "--heapallindexed"])
        .await?;
    Ok(())
}

/// The file system of a database under load is frozen for the cut and goes on right after it, while the transfer takes its time; and the
/// replica is sound.
#[tokio::test]
async fn postgres_is_frozen_for_the_cut_and_no_longer() -> Result<()> {
    with_pair("quiesce", Span::OneCluster, |pair| async move {
        let site = &pair.source;
        let (_load, spec) = under_load(&pair, fsfreeze()).await?;
        // The volume has some 80 MiB.
        site.source("db", with(spec, json!({ "rsync": { "bandwidthLimit": "8Mi" } }))).await?;
        let is_released = |rs: &ReplicationSource| {
            let status = source_status(rs);
            status.quiesce.is_none() && status.phase == Some(Phase::Transferring)
        };
        site.await_source("db", "released, and transferring", is_released).await?;
        goes_on(site).await?;
        site.sync("db", "first").await?;
        is_sound(&pair, "filesystem").await
    })
    .await
}

/// In backup mode a database goes on writing while it is cut, here as a snapshot. That its HookModule is deleted meanwhile keeps nobody from
/// ending it.
#[tokio::test]
async fn postgres_leaves_backup_mode_although_its_module_is_deleted() -> Result<()> {
    with_pair("quiesce-backup", Span::OneCluster, |pair| async move {
        let site = &pair.source;
        let (_load, spec) = under_load(&pair, json!({ "mode": "backup" })).await?;
        let handle = site.volume_handle("data").await?;
        let cut = Fault::new(&site.cluster, "CreateSnapshot", &handle, json!({ "hold": true }))?;
        let method = json!({ "copyMethod": "Snapshot", "volumeSnapshotClassName": "scribe-test" });
        let alive = ALIVE.read().await;
        site.source("db", with(spec, json!({ "rsync": method }))).await?;
        await_state(site, QuiesceState::Frozen).await?;
        ensure!(backups(site).await? == "1", "it is not in backup mode");
        goes_on(site).await?;
        site.api::<HookModule>().delete("postgres-quiesce", &DeleteParams::default()).await?;
        site.api::<ConfigMap>().delete("postgres-quiesce", &DeleteParams::default()).await?;
        await_condition(&site.api::<HookModule>(), "postgres-quiesce", "gone", |module| module.is_none())
            .await?;
        cut.end()?;
        let is_over = |rs: &ReplicationSource| source_status(rs).quiesce.is_none();
        site.await_source("db", "released", is_over).await?;
        ensure!(backups(site).await? == "0", "it still is in backup mode");
        drop(alive);
        // A hook that is missing holds up what comes next, and nothing that is there already.
        module(site, "postgres-quiesce", Some(granted())).await?;
        site.sync("db", "first").await?;
        is_sound(&pair, "filesystem").await
    })
    .await
}

/// The controller dies while the file system is frozen: it thaws with it, what was cut meanwhile is discarded, and the sync is made anew.
#[tokio::test]
async fn postgres_goes_on_although_the_controller_is_killed() -> Result<()> {
    with_pair("quiesce-kill", Span::OneCluster, |pair| async move {
        let site = &pair.source;
        let (_load, spec) = under_load(&pair, fsfreeze()).await?;
        let handle = site.volume_handle("data").await?;
        let cut = Fault::new(&site.cluster, "CreateVolume", &handle, json!({ "hold": true }))?;
        site.source("db", spec).await?;
        let frozen = await_state(site, QuiesceState::Frozen).await?;
        let first = source_status(&frozen).current_sync.context("it runs")?;
        kill_the_controllers(site).await?;
        let since = Timestamp::now();
        let write = "CREATE TABLE IF NOT EXISTS alive(); SELECT 'yes'";
        eventually(WINDOW, "the database can be written again", || async {
            ensure!(query(site, "db", write).await? == "yes", "it does not answer");
            Ok(())
        })
        .await?;
        let took = Timestamp::now().duration_since(since);
        println!("writable {} ms after the controller was killed", took.as_millis());
        cut.end()?;
        let synced = site.sync("db", "first").await?;
        let status = source_status(&synced);
        ensure!(status.quiesce.is_none(), "{:?}", status.quiesce);
        println!("attempt {} of {} was frozen when the controller was killed", first.attempt, first.id);
        is_sound(&pair, "filesystem").await
    })
    .await
}
