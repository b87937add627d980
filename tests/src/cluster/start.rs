//! Bringing a cluster up, step by step.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use k8s_openapi::api::storage::v1::CSINode;
use kube::{Api, Client};
use tracing::info;

use super::binaries::Binaries;
use super::cgroups::Hierarchies;
use super::components::{Component, Plan};
use super::layout::{Addresses, Layout};
use super::lock::Lock;
use super::pki::{Authority, Identity};
use super::processes;
use super::{
    Cluster, Options, cleanup, client, clusters_dir, configs, network, network_lock, prerequisites, storage,
};
use crate::command::run;
use crate::images;
use crate::wait::{await_condition, eventually};

/// How long one component may take to answer. An API server on a busy machine needs half a minute.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a new cluster must find free, in bytes: its images, and what the e2e tier puts into its volumes.
const ROOM: u64 = 8 << 30;

/// The kubeconfigs that go to components: file, user, group. The controllers of storage act as administrators, since their own
/// rules of access are not what we test.
const CLIENTS: [(&str, &str, Option<&str>); 6] = [
    ("kube-controller-manager", "system:kube-controller-manager", None),
    ("kube-scheduler", "system:kube-scheduler", None),
    ("kube-proxy", "system:kube-proxy", None),
    ("snapshot-controller", "snapshot-controller", Some(ADMINS)),
    ("csi-provisioner", "csi-provisioner", Some(ADMINS)),
    ("csi-snapshotter", "csi-snapshotter", Some(ADMINS)),
];

const ADMINS: &str = "system:masters";

pub(super) async fn up(name: &str, options: &Options) -> Result<Cluster> {
    let clusters = clusters_dir()?;
    let layout = Layout::new(name, &clusters)?;
    ensure!(
        rustix::process::geteuid().is_root(),
        "a cluster needs root: it makes network namespaces, mounts and cgroups"
    );
    prerequisites::ensure_all()?;
    let binaries = Binaries::ensure()?;
    let _lock = Lock::hold(&layout.lock())?;
    let started = Instant::now();
    let (addresses, fresh) = match reusable(&layout).await? {
        Some(addresses) => (addresses, false),
        None => {
            prerequisites::ensure_room(&clusters, ROOM)?;
            (prepare(&layout, &network_lock(&clusters))?, true)
        }
    };
    let cluster = Cluster { layout, addresses, binaries };
    let count = start_missing(&cluster, options).await?;
    await_ready(&cluster, options).await?;
    match (fresh, count) {
        (true, _) => info!("cluster {name} is ready after {:.1} s", started.elapsed().as_secs_f32()),
        (false, 0) => info!("cluster {name} runs already"),
        (false, count) => info!("cluster {name} is ready again, {count} components were started"),
    }
    Ok(cluster)
}

/// The addresses of a cluster whose API server answers: what else is missing can be started beside it.
async fn reusable(layout: &Layout) -> Result<Option<Addresses>> {
    let Some(addresses) = network::chosen_addresses(layout)? else { return Ok(None) };
    let alive = ["etcd", "kube-apiserver", "containerd"]
        .iter()
        .all(|name| processes::running(layout, name).is_some());
    let answers = alive
        && match client(&layout.kubeconfig()).await {
            Ok(client) => healthy(&client).await.is_ok(),
            Err(_) => false,
        };
    Ok(answers.then_some(addresses))
}

/// Removes what was there and makes everything that is no process.
fn prepare(layout: &Layout, network_lock_path: &Path) -> Result<Addresses> {
    if layout.root.exists() || layout.netns().exists() {
        info!("removing what an earlier cluster {} left", layout.name);
        cleanup::remove(layout, network_lock_path)?;
    }
    for folder in ["logs", "pids", "pki", "config", "etcd", "csi", "containerd", "kubelet", "pod-logs"] {
        let folder = layout.root.join(folder);
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    }
    let addresses = {
        let _lock = Lock::hold(network_lock_path)?;
        let addresses = network::choose_addresses(layout)?;
        network::create(layout, addresses)?;
        addresses
    };
    info!("cluster {} has node address {}", layout.name, addresses.node_ip());
    Hierarchies::find()?.create(&layout.scope())?;
    issue_certificates(layout, addresses)?;
    configs::write(layout, addresses)?;
    Ok(addresses)
}

fn issue_certificates(layout: &Layout, addresses: Addresses) -> Result<()> {
    let authority = Authority::create(&layout.root.join("pki"))?;
    let node = layout.node_name();
    let node_ip = IpAddr::from(addresses.node_ip());
    let api_addresses = [node_ip, addresses.api_service_ip().into(), IpAddr::from([127, 0, 0, 1])];
    let api_names = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "localhost",
    ];
    authority.server("api-server", &api_addresses, &api_names)?;
    authority.server("kubelet-server", &[node_ip, IpAddr::from([127, 0, 0, 1])], &[&node])?;
    authority.service_account_key()?;
    authority.client(Identity { file: "api-server-client", user: "kube-apiserver", group: Some(ADMINS) })?;
    let url = addresses.api_url();
    let node_user = format!("system:node:{node}");
    let kubelet = ("kubelet", node_user.as_str(), Some("system:nodes"));
    for (file, user, group) in CLIENTS.into_iter().chain([kubelet]) {
        let path = layout.config(&format!("{file}.kubeconfig"));
        authority.kubeconfig(Identity { file, user, group }, &url, &layout.name, &path)?;
    }
    let admin = Identity { file: "admin", user: "admin", group: Some(ADMINS) };
    authority.kubeconfig(admin, &url, &layout.name, &layout.kubeconfig())
}

/// Starts what does not run, in the order in which one needs the other; returns how many that were.
async fn start_missing(cluster: &Cluster, options: &Options) -> Result<usize> {
    let plan = cluster.plan();
    let mut count = start_components(cluster, &plan.api())?;
    count += start_components(cluster, &[plan.containerd()])?;
    let client = client(&cluster.kubeconfig()).await?;
    await_component(cluster, "kube-apiserver", "the API server answers", || healthy(&client)).await?;
    if count > 0 {
        info!("the API server answers");
        storage::install_snapshot_crds(&client, &cluster.binaries).await?;
        storage::install_classes(&client).await?;
        await_component(cluster, "containerd", "containerd answers", || async { ctr(cluster, &["version"]) })
            .await?;
        let pause = images::pause()?;
        cluster.import_image(&pause)?;
        info!("containerd answers and holds the pause image");
    }
    let node = start_components(cluster, &plan.node())?;
    let csi = start_csi(cluster, &plan, options)?;
    Ok(count + node + csi)
}

fn start_csi(cluster: &Cluster, plan: &Plan<'_>, options: &Options) -> Result<usize> {
    let Some(driver) = &options.csi_driver else { return Ok(0) };
    let socket = cluster.layout.csi_socket();
    let folder = socket.parent().context("the CSI socket has no folder")?;
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    let program = cluster.layout.root.join("scribe-test-csi");
    if processes::running(&cluster.layout, "csi-driver").is_none() {
        // A copy of its own, so that the next build of the driver does not pull the file from under the running one.
        fs::copy(driver, &program).with_context(|| format!("copy {}", driver.display()))?;
        // The sidecars give up at their first call after the driver they knew has gone, in a pod to be started again.
        for sidecar in ["csi-provisioner", "csi-snapshotter"] {
            processes::stop(&cluster.layout, sidecar)?;
        }
    }
    start_components(cluster, &plan.csi(&program))
}

fn start_components(cluster: &Cluster, components: &[Component]) -> Result<usize> {
    let path = format!(
        "{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        cluster.binaries.bin().display()
    );
    let missing =
        components.iter().filter(|component| processes::running(&cluster.layout, component.name).is_none());
    let mut count = 0;
    for component in missing {
        processes::start(&cluster.layout, component, &path)?;
        info!("started {}", component.name);
        count += 1;
    }
    Ok(count)
}

async fn await_ready(cluster: &Cluster, options: &Options) -> Result<()> {
    let client = client(&cluster.kubeconfig()).await?;
    let node = cluster.layout.node_name();
    let nodes: Api<Node> = Api::all(client.clone());
    let ready = async {
        await_condition(&nodes, &node, "Ready", |node| node.is_some_and(is_ready)).await.map(|_| ())
    };
    with_log(cluster, "kubelet", ready).await?;
    info!("node {node} is ready");
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
    let account = async {
        await_condition(&accounts, "default", "there", |account| account.is_some()).await.map(|_| ())
    };
    with_log(cluster, "kube-controller-manager", account).await?;
    if options.csi_driver.is_some() {
        let csi_nodes: Api<CSINode> = Api::all(client);
        let registered = async {
            await_condition(&csi_nodes, &node, "listing the CSI driver", |csi| csi.is_some_and(has_driver))
                .await
                .map(|_| ())
        };
        with_log(cluster, "csi-driver", registered).await?;
        info!("the CSI driver is registered");
    }
    await_steady(cluster, options)
}

/// A component that fails at start does so at once; all must have lived until here.
fn await_steady(cluster: &Cluster, options: &Options) -> Result<()> {
    let wanted = |name: &str| options.csi_driver.is_some() || !name.starts_with("csi-");
    match cluster.components().into_iter().find(|status| status.pid.is_none() && wanted(status.name)) {
        Some(dead) => bail!("{} has ended\n{}", dead.name, processes::log_tail(&cluster.layout, dead.name)),
        None => Ok(()),
    }
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| {
        all.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    })
}

fn has_driver(node: &CSINode) -> bool {
    node.spec.drivers.iter().any(|driver| driver.name == storage::DRIVER)
}

async fn healthy(client: &Client) -> Result<()> {
    let request = http_get("/readyz")?;
    client.request_text(request).await.context("ask the API server whether it is ready")?;
    Ok(())
}

fn http_get(path: &str) -> Result<http::Request<Vec<u8>>> {
    http::Request::get(path).body(Vec::new()).with_context(|| format!("build a request for {path}"))
}

/// Polls until the component answers; gives up at once when its process has ended.
async fn await_component<F: Future<Output = Result<()>>>(
    cluster: &Cluster,
    component: &str,
    awaited: &str,
    probe: impl Fn() -> F,
) -> Result<()> {
    let ended = async {
        while processes::running(&cluster.layout, component).is_some() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let answers = eventually(PATIENCE, awaited, probe);
    let outcome = tokio::select! {
        result = answers => result,
        () = ended => Err(anyhow::anyhow!("{component} has ended")),
    };
    with_log(cluster, component, async { outcome }).await
}

async fn with_log(cluster: &Cluster, component: &str, step: impl Future<Output = Result<()>>) -> Result<()> {
    step.await.with_context(|| {
        format!(
            "cluster {} does not come up\n{}",
            cluster.name(),
            processes::log_tail(&cluster.layout, component)
        )
    })
}

fn ctr(cluster: &Cluster, args: &[&str]) -> Result<()> {
    run(ctr_command(&cluster.layout, &cluster.binaries).args(args)).map(|_| ())
}

fn ctr_command(layout: &Layout, binaries: &Binaries) -> Command {
    let mut command = Command::new(binaries.program("ctr"));
    command.arg("-a").arg(layout.containerd_socket()).args(["-n", "k8s.io"]);
    command
}

pub(super) fn import_image(layout: &Layout, binaries: &Binaries, archive: &Path) -> Result<()> {
    let archive: PathBuf = archive.canonicalize().with_context(|| format!("find {}", archive.display()))?;
    run(ctr_command(layout, binaries).args(["images", "import"]).arg(&archive))
        .with_context(|| format!("import {} into cluster {}", archive.display(), layout.name))?;
    Ok(())
}
