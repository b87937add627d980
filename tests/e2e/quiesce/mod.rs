//! Applications that are brought to rest for the cut, and go on whatever happens.

mod postgres;
mod scale;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use scribe_crds::snapshots::VolumeSnapshot;
use scribe_crds::v1alpha1::{QuiesceState, ReplicationDestination, ReplicationSource};
use scribe_tests::kubectl::Kubectl;
use scribe_tests::site::{Site, source_status, status};
use scribe_tests::wait::{PATIENCE, eventually};
use scribe_tests::world::{CONTROLLER, Pair, SYSTEM};
use serde_json::{Value, json};

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

/// Waits until the application is in that state, in an attempt that goes on.
async fn await_state(site: &Site, state: QuiesceState) -> Result<ReplicationSource> {
    let is = |rs: &ReplicationSource| source_status(rs).quiesce.is_some_and(|quiesce| quiesce.state == state);
    site.await_source("db", &format!("{state:?}"), is).await
}

/// What the newest replica says that it is worth.
async fn worth(pair: &Pair) -> Result<Option<String>> {
    let rd = pair.destination.api::<ReplicationDestination>().get("db").await?;
    let newest = status(&rd).latest_image.context("it is published")?.name;
    let replica = pair.destination.api::<VolumeSnapshot>().get(&newest).await?;
    Ok(replica.metadata.annotations.and_then(|mut all| all.remove("scribe.dev/consistency")))
}

/// Held by whoever needs the controller alive for a while. The clusters are shared, and some tests kill it.
pub static ALIVE: tokio::sync::RwLock<()> = tokio::sync::RwLock::const_new(());

/// SIGKILL for every controller of a cluster, as the kernel gives it to whoever has used up the memory. One that another test has just killed is
/// waited for.
async fn kill_the_controllers(site: &Site) -> Result<()> {
    let _nobody_minds = ALIVE.write().await;
    eventually(PATIENCE, "a controller to kill", async || {
        ensure!(kill_those_that_run(site).await? > 0, "none runs");
        Ok(())
    })
    .await
}

/// How many there were.
async fn kill_those_that_run(site: &Site) -> Result<u32> {
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
    Ok(killed)
}
