//! Applications that are brought to rest for the cut, and go on whatever happens.

use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use scribe_crds::snapshots::VolumeSnapshot;
use scribe_crds::v1alpha1::{QuiesceState, ReplicationDestination, ReplicationSource};
use scribe_tests::cluster::PAUSE_IMAGE;
use scribe_tests::faults::Fault;
use scribe_tests::fixture::ordinary;
use scribe_tests::images::{POSTGRES_IMAGE, WORKLOAD_IMAGE};
use scribe_tests::kubectl::Kubectl;
use scribe_tests::site::{Site, source_status, status};
use scribe_tests::wait::{await_condition, eventually};
use scribe_tests::world::{CONTROLLER, Pair, SYSTEM, Span, with_pair};
use serde_json::{Value, json};

use crate::hooks::module;
use crate::specs::{APP, destination, prepare, source, with};

/// How long the application may stand still.
const WINDOW: Duration = Duration::from_secs(60);
/// The uid of PostgreSQL.
const POSTGRES: u32 = 999;
/// The sum of all that pgbench moved, seen from each of its tables: equal, unless a transaction is there by half.
const BALANCES: &str = "SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT coalesce(sum(delta), 0) FROM pgbench_history) \
    AND (SELECT sum(bbalance) FROM pgbench_branches) = (SELECT coalesce(sum(delta), 0) FROM pgbench_history)";

/// PostgreSQL on a claim, with a second container that may freeze the claim's file system.
fn postgres(pod: &str, claim: &str) -> Value {
    let start = "if [ ! -s \"$PGDATA/PG_VERSION\" ]; then initdb --username=postgres --auth=trust --data-checksums >&2; fi
        exec postgres -c listen_addresses= -c unix_socket_directories=/tmp -c max_wal_size=256MB";
    let mounts = json!([{ "name": "data", "mountPath": "/volume" }, { "name": "tmp", "mountPath": "/tmp" }]);
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": pod, "labels": { "app": pod } },
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "securityContext": { "fsGroup": POSTGRES, "fsGroupChangePolicy": "OnRootMismatch" },
            "containers": [{
                "name": "postgres", "image": POSTGRES_IMAGE, "imagePullPolicy": "Never",
                "command": ["sh", "-euc", start],
                "env": [
                    { "name": "PGDATA", "value": "/volume/pgdata" }, { "name": "PGHOST", "value": "/tmp" },
                    { "name": "PGUSER", "value": "postgres" }, { "name": "PGDATABASE", "value": "postgres" }
                ],
                "readinessProbe": { "exec": { "command": ["pg_isready", "-q"] }, "periodSeconds": 1 },
                "securityContext": { "runAsUser": POSTGRES, "runAsGroup": POSTGRES },
                "volumeMounts": mounts
            }, {
                "name": "freezer", "image": WORKLOAD_IMAGE, "imagePullPolicy": "Never",
                "command": ["sleep", "infinity"],
                "securityContext": { "capabilities": { "add": ["SYS_ADMIN"] } },
                "volumeMounts": mounts
            }],
            "volumes": [
                { "name": "data", "persistentVolumeClaim": { "claimName": claim } },
                { "name": "tmp", "emptyDir": {} }
            ]
        }
    })
}

/// Starts such a pod, and waits until the database answers.
async fn start(site: &Site, pod: &str, claim: &str) -> Result<()> {
    apply(site, postgres(pod, claim))?;
    let is_ready = |pod: Option<&Pod>| {
        let status = pod.and_then(|pod| pod.status.as_ref());
        let conditions = status.and_then(|status| status.conditions.as_ref());
        conditions.is_some_and(|all| all.iter().any(|it| it.type_ == "Ready" && it.status == "True"))
    };
    await_condition(&site.api::<Pod>(), pod, "ready", is_ready).await?;
    Ok(())
}

fn apply(site: &Site, mut object: Value) -> Result<()> {
    object["metadata"]["namespace"] = json!(site.namespace);
    Kubectl::of(&site.cluster).apply(&object.to_string())
}

/// A ServiceAccount with these rights in the namespace.
pub fn account(site: &Site, name: &str, rules: Value) -> Result<()> {
    let (api, meta) = ("rbac.authorization.k8s.io/v1", json!({ "name": name }));
    apply(site, json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta }))?;
    apply(site, json!({ "apiVersion": api, "kind": "Role", "metadata": meta, "rules": rules }))?;
    let subject = json!({ "kind": "ServiceAccount", "name": name, "namespace": site.namespace });
    let role = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name });
    apply(
        site,
        json!({ "apiVersion": api, "kind": "RoleBinding", "metadata": meta, "roleRef": role, "subjects": [subject] }),
    )
}

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

/// PostgreSQL under load on the claim `data`, a destination, and what a source is with a hook that freezes the file system.
async fn frozen_by_a_hook(pair: &Pair) -> Result<(Load, Value)> {
    let site = &pair.source;
    let granted = json!({ "exec": [
        { "podSelector": { "app": "db" }, "containers": ["postgres"], "commands": [["psql", "**"]] },
        { "podSelector": { "app": "db" }, "containers": ["freezer"], "commands": [["bash", "-c", "**"], ["fsfreeze", "**"]] },
    ] });
    module(site, "postgres-quiesce", Some(granted)).await?;
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
    let mover = json!({ "runAsUser": POSTGRES, "runAsGroup": POSTGRES, "fsGroup": POSTGRES });
    let receiving = with(destination("ext4", "1Gi"), json!({ "rsync": { "moverSecurityContext": mover } }));
    pair.destination.destination("db", receiving).await?;
    pair.destination.carry_secret("db", site, "keys").await?;
    let load = Load::start(site)?;
    let settings = json!({
        "mode": "fsfreeze", "podSelector": "app=db", "freezeContainer": "freezer", "directory": "/volume",
        "maxSeconds": WINDOW.as_secs()
    });
    let hook = json!({
        "module": "postgres-quiesce", "points": ["Quiesce"], "serviceAccountName": "db-hook", "settings": settings,
        "quiesce": { "maxWindow": format!("{}s", WINDOW.as_secs()), "requireConsistency": "Filesystem" }
    });
    let mover = json!({ "runAsUser": POSTGRES, "runAsGroup": POSTGRES });
    let sending = json!({ "hooks": [hook], "rsync": { "moverSecurityContext": mover } });
    Ok((load, with(source("data"), sending)))
}

/// Waits for what the condition about hooks says.
async fn hooks_ready(site: &Site, reason: &str, words: &str) -> Result<()> {
    let says = |rs: &ReplicationSource| {
        let conditions = source_status(rs).conditions;
        conditions
            .iter()
            .any(|it| it.type_ == "HooksReady" && it.reason == reason && it.message.contains(words))
    };
    site.await_source("db", reason, says).await.map(drop)
}

async fn await_frozen(site: &Site) -> Result<ReplicationSource> {
    let is_frozen = |rs: &ReplicationSource| {
        source_status(rs).quiesce.is_some_and(|quiesce| quiesce.state == QuiesceState::Frozen)
    };
    site.await_source("db", "at rest", is_frozen).await
}

/// The published replica says what it is worth, and a database starts from it that has every transaction whole.
async fn is_sound(pair: &Pair, worth: &str) -> Result<()> {
    let rd = pair.destination.api::<ReplicationDestination>().get("db").await?;
    let image = status(&rd).latest_image.context("it is published")?;
    let snapshot = pair.destination.api::<VolumeSnapshot>().get(&image.name).await?;
    let said = snapshot.metadata.annotations.and_then(|mut all| all.remove("scribe.dev/consistency"));
    ensure!(said.as_deref() == Some(worth), "the replica says {said:?}");
    let size = snapshot.status.and_then(|status| status.restore_size).context("it has a size")?;
    pair.destination.claim_from(&image.name, "restored", "ext4", &size.0).await?;
    start(&pair.destination, "restored", "restored").await?;
    ensure!(query(&pair.destination, "restored", BALANCES).await? == "t", "a transaction is there by half");
    run(&pair.destination, "restored", &["pg_amcheck", "--install-missing", "--all", "--heapallindexed"])
        .await?;
    Ok(())
}

/// The file system of a database under load is frozen for the cut, goes on right after it while the transfer is still to come, and the
/// replica is sound.
#[tokio::test]
async fn postgres_is_frozen_for_the_cut_and_no_longer() -> Result<()> {
    with_pair("quiesce", Span::OneCluster, |pair| async move {
        let (_load, spec) = frozen_by_a_hook(&pair).await?;
        pair.source.source("db", spec).await?;
        let synced = pair.source.sync("db", "first").await?;
        let status = source_status(&synced);
        ensure!(status.quiesce.is_none(), "{:?}", status.quiesce);
        is_sound(&pair, "filesystem").await?;
        let before = transactions(&pair.source).await?;
        eventually(WINDOW, "the database goes on", || async {
            let now = transactions(&pair.source).await?;
            ensure!(now > before, "{now} transactions, as before");
            Ok(())
        })
        .await
    })
    .await
}

/// SIGKILL for every controller of a cluster, as the kernel gives it to whoever has used up the memory.
async fn kill_the_controllers(site: &Site) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(site.client.clone(), SYSTEM);
    let selector = ListParams::default().labels(&format!("app.kubernetes.io/name={CONTROLLER}"));
    let uids: Vec<String> =
        pods.list(&selector).await?.into_iter().filter_map(|pod| pod.metadata.uid).collect();
    let mut killed = 0;
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path();
        let Some(pid) = path.file_name().and_then(|name| name.to_str()?.parse::<i32>().ok()) else {
            continue;
        };
        // Processes end while one looks at them.
        let Ok(groups) = std::fs::read_to_string(path.join("cgroup")) else { continue };
        let Ok(program) = std::fs::read_to_string(path.join("comm")) else { continue };
        let groups = groups.replace('_', "-");
        if program.starts_with("scribe-control") && uids.iter().any(|uid| groups.contains(uid.as_str())) {
            let pid = rustix::process::Pid::from_raw(pid).context("no pid is 0")?;
            rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
            killed += 1;
        }
    }
    ensure!(killed > 0, "there is no controller to kill");
    Ok(())
}

/// The controller dies while the file system is frozen: it thaws with it, what was cut meanwhile is discarded, and the sync is made anew.
#[tokio::test]
async fn postgres_goes_on_although_the_controller_is_killed() -> Result<()> {
    with_pair("quiesce-kill", Span::OneCluster, |pair| async move {
        let site = &pair.source;
        let (_load, spec) = frozen_by_a_hook(&pair).await?;
        let handle = site.volume_handle("data").await?;
        let cut = Fault::new(&site.cluster, "CreateVolume", &handle, json!({ "hold": true }))?;
        site.source("db", spec).await?;
        let frozen = await_frozen(site).await?;
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

/// A Deployment is scaled down for the cut, and has its pods again after it.
#[tokio::test]
async fn a_deployment_is_scaled_down_for_the_cut() -> Result<()> {
    with_pair("quiesce-scale", Span::OneCluster, |pair| async move {
        let site = &pair.source;
        let granted = json!({ "kubernetes": [
            { "apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "scale"], "names": ["web"] },
            { "apiGroups": [""], "resources": ["pods"], "verbs": ["list"], "names": ["*"] },
        ] });
        module(site, "scale-deployment", Some(granted)).await?;
        prepare(&pair, "ext4", destination("ext4", "1Gi"), |root| ordinary(root, APP)).await?;
        let container = json!({ "name": "web", "image": PAUSE_IMAGE, "imagePullPolicy": "Never" });
        let labels = json!({ "app": "web" });
        apply(site, json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
            "spec": {
                "replicas": 2, "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": { "containers": [container] } }
            }
        }))?;
        let has = |count: i32| move |web: Option<&Deployment>| {
            let status = web.and_then(|web| web.status.as_ref());
            status.is_some_and(|status| status.available_replicas.unwrap_or(0) == count)
        };
        await_condition(&site.api::<Deployment>(), "web", "running", has(2)).await?;
        let handle = site.volume_handle("data").await?;
        let cut = Fault::new(&site.cluster, "CreateVolume", &handle, json!({ "hold": true }))?;
        let hook = json!({
            "module": "scale-deployment", "points": ["Quiesce"], "serviceAccountName": "web-hook",
            "settings": { "kind": "Deployment", "name": "web" }, "quiesce": { "requireConsistency": "Application" }
        });
        site.source("db", with(source("data"), json!({ "hooks": [hook], "paused": true }))).await?;
        // Before the night in which it matters.
        hooks_ready(site, "HookRightsMissing", "patch deployments/scale.apps web").await?;
        let scaling = json!([
            { "apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "watch"] },
            { "apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["get", "patch"] },
            { "apiGroups": [""], "resources": ["pods"], "verbs": ["list"] },
        ]);
        account(site, "web-hook", scaling)?;
        hooks_ready(site, "HooksCanRun", "").await?;
        site.patch::<ReplicationSource>("db", json!({ "spec": { "paused": false } })).await?;
        await_frozen(site).await?;
        let web = site.api::<Deployment>().get("web").await?;
        ensure!(web.spec.and_then(|spec| spec.replicas) == Some(0), "it was not scaled down");
        cut.end()?;
        site.sync("db", "first").await?;
        await_condition(&site.api::<Deployment>(), "web", "running again", has(2)).await?;
        let rd = pair.destination.api::<ReplicationDestination>().get("db").await?;
        let newest = status(&rd).latest_image.context("it is published")?.name;
        let replica = pair.destination.api::<VolumeSnapshot>().get(&newest).await?;
        let said = replica.metadata.annotations.and_then(|mut all| all.remove("scribe.dev/consistency"));
        ensure!(said.as_deref() == Some("application"), "the replica says {said:?}");
        Ok(())
    })
    .await
}
