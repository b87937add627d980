//! A real one-node Kubernetes per name, from host processes in a network namespace of their own.
//!
//! `up` is idempotent: it starts what is missing, and begins anew where a killed cluster left only pieces. Everything that a cluster
//! made is found again from its name alone, so `down` also removes one that died half-way.

mod binaries;
mod cgroups;
mod cleanup;
mod components;
mod configs;
mod layout;
mod lock;
mod network;
mod pki;
mod prerequisites;
mod processes;
mod start;
mod storage;

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

pub use binaries::Binaries;
pub use components::{api_server_flags, etcd_flags};
pub use configs::PAUSE_IMAGE;
pub use layout::{HOST, cache_dir, repository};
pub use lock::Lock;
pub use pki::{Authority, Identity};
pub use prerequisites::{PACKAGES, ensure_all as ensure_prerequisites, ensure_installed, ensure_packages};
pub use storage::{DRIVER, install_snapshot_crds};

use components::{Component, Plan};
use layout::{Addresses, Layout};

/// What a cluster is started with.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The program of the CSI driver for tests. Without it the cluster has storage classes that nobody serves.
    pub csi_driver: Option<PathBuf>,
}

/// A cluster that is up, or was when this was made. Dropping it leaves the cluster running.
#[derive(Debug, Clone)]
pub struct Cluster {
    layout: Layout,
    addresses: Addresses,
    binaries: Binaries,
}

/// Whether one component runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentStatus {
    pub name: &'static str,
    /// Its process id; `None` if it is dead or was never started.
    pub pid: Option<u32>,
}

impl Cluster {
    /// Starts the cluster of that name and waits until its node is ready. A healthy one is left as it is.
    ///
    /// # Errors
    /// A prerequisite is missing, or a component does not come up: the error holds the end of its log.
    pub async fn up(name: &str, options: &Options) -> Result<Self> {
        start::up(name, options).await
    }

    /// The cluster of that name, which is up.
    ///
    /// # Errors
    /// There is none.
    pub fn attach(name: &str) -> Result<Self> {
        let layout = Layout::new(name, &clusters_dir()?)?;
        let addresses = network::chosen_addresses(&layout)?;
        let addresses = addresses
            .with_context(|| format!("there is no cluster {name}: `cargo xtask cluster up --name {name}`"))?;
        let cluster = Self { layout, addresses, binaries: Binaries::ensure()? };
        ensure!(
            processes::running(&cluster.layout, "kube-apiserver").is_some(),
            "cluster {name} does not run"
        );
        Ok(cluster)
    }

    /// Removes the cluster of that name with everything it made. None there is not an error.
    ///
    /// # Errors
    /// Something cannot be removed.
    pub fn down(name: &str) -> Result<()> {
        let clusters = clusters_dir()?;
        let layout = Layout::new(name, &clusters)?;
        let _lock = Lock::hold(&layout.lock())?;
        cleanup::remove(&layout, &network_lock(&clusters)).with_context(|| format!("remove cluster {name}"))
    }

    /// The names of the clusters on this machine, running or not.
    ///
    /// # Errors
    /// The state folder cannot be read.
    pub fn names() -> Result<Vec<String>> {
        let clusters = clusters_dir()?;
        let Ok(entries) = fs::read_dir(&clusters) else { return Ok(Vec::new()) };
        let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let mut names: Vec<String> =
            folders.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        Ok(names)
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.layout.name
    }

    /// The address under which the host and other clusters reach the node and its NodePorts.
    #[must_use]
    pub fn node_ip(&self) -> Ipv4Addr {
        self.addresses.node_ip()
    }

    /// The administrator's kubeconfig, usable from the host.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.layout.kubeconfig()
    }

    /// The programs the cluster was started from; `kubectl` is one of them.
    #[must_use]
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// The network namespace of the node, for `nsenter --net=`.
    #[must_use]
    pub fn netns(&self) -> PathBuf {
        self.layout.netns()
    }

    /// The log of a component.
    #[must_use]
    pub fn log(&self, component: &str) -> PathBuf {
        self.layout.log(component)
    }

    /// The folder in which the kubelet keeps the logs of containers, by namespace, pod and container.
    #[must_use]
    pub fn pod_logs(&self) -> PathBuf {
        self.layout.pod_logs()
    }

    /// The folder in which the CSI driver keeps its volumes.
    #[must_use]
    pub fn csi_state(&self) -> PathBuf {
        self.layout.csi_state()
    }

    /// Where the node has a volume mounted for a pod.
    #[must_use]
    pub fn volume_path(&self, pod_uid: &str, volume: &str) -> PathBuf {
        let volumes = self.layout.kubelet_root().join("pods").join(pod_uid).join("volumes/kubernetes.io~csi");
        volumes.join(volume).join("mount")
    }

    /// A client with the administrator's rights.
    ///
    /// # Errors
    /// The kubeconfig cannot be read.
    pub async fn client(&self) -> Result<Client> {
        client(&self.kubeconfig()).await
    }

    /// Loads an OCI archive into the node. Pods use it with `imagePullPolicy: Never` or `IfNotPresent`.
    ///
    /// # Errors
    /// The archive is none, or containerd refuses it.
    pub fn import_image(&self, archive: &Path) -> Result<()> {
        start::import_image(&self.layout, &self.binaries, archive)
    }

    /// Every component and whether it runs.
    #[must_use]
    pub fn components(&self) -> Vec<ComponentStatus> {
        let plan = self.plan();
        let all = plan
            .api()
            .into_iter()
            .chain([plan.containerd()])
            .chain(plan.node())
            .chain(plan.csi(Path::new("")));
        let status = |component: Component| ComponentStatus {
            name: component.name,
            pid: processes::running(&self.layout, component.name),
        };
        all.map(status).collect()
    }

    /// Kills a component as a crash would. `up` starts it again.
    ///
    /// # Errors
    /// It does not die.
    pub fn kill(&self, component: &str) -> Result<()> {
        processes::stop(&self.layout, component)
    }

    fn plan(&self) -> Plan<'_> {
        Plan { layout: &self.layout, addresses: self.addresses, binaries: &self.binaries }
    }
}

/// A client from a kubeconfig file.
///
/// # Errors
/// The file cannot be read or is none.
pub async fn client(kubeconfig: &Path) -> Result<Client> {
    let shown = kubeconfig.display();
    let parsed = Kubeconfig::read_from(kubeconfig).with_context(|| format!("read {shown}"))?;
    let config = Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default()).await;
    Client::try_from(config.with_context(|| format!("use {shown}"))?)
        .with_context(|| format!("make a client from {shown}"))
}

fn clusters_dir() -> Result<PathBuf> {
    Ok(cache_dir()?.join("clusters"))
}

/// Held while the bridge, or the choice of addresses, is in flux: all clusters share them.
fn network_lock(clusters: &Path) -> PathBuf {
    clusters.join("network.lock")
}
