//! Where a cluster keeps its files, and which addresses are its own. Nothing here touches the system.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

/// The name that the cluster's only node has when the cluster is called `west`: `west-node`.
const NODE_SUFFIX: &str = "-node";

/// `sun_path` holds 108 bytes with its final zero.
const MAX_SOCKET_PATH: usize = 107;

/// The address at which pods of every cluster reach this machine.
pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);

/// The folder for everything that may be thrown away: `$XDG_CACHE_HOME/scribe`, or `~/.cache/scribe`.
///
/// # Errors
/// Neither `XDG_CACHE_HOME` nor `HOME` is set.
pub fn cache_dir() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()) {
        return Ok(PathBuf::from(dir).join("scribe"));
    }
    let home =
        std::env::var_os("HOME").context("find the cache folder: neither XDG_CACHE_HOME nor HOME is set")?;
    Ok(PathBuf::from(home).join(".cache/scribe"))
}

/// The repository that this harness was built from.
#[must_use]
pub fn repository() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_path_buf()
}

/// The files of one cluster. All of them are below `root`, except the lock, which outlives `down`.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The cluster's name, a DNS label of at most 20 characters.
    pub name: String,
    /// The folder that holds all state of the cluster.
    pub root: PathBuf,
}

impl Layout {
    /// The layout of the cluster `name` below the folder `clusters`.
    ///
    /// # Errors
    /// The name is not a short DNS label, or a socket below this folder would have too long a path.
    pub fn new(name: &str, clusters: &Path) -> Result<Self> {
        let label = name.len() <= 20
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.ends_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        ensure!(label, "cluster name {name:?}: use at most 20 of a-z, 0-9 and -, starting with a letter");
        let layout = Self { name: name.to_owned(), root: clusters.join(name) };
        let longest = layout.csi_socket();
        if longest.as_os_str().len() > MAX_SOCKET_PATH {
            bail!("{} is too long for a socket: choose a shorter XDG_CACHE_HOME", longest.display());
        }
        Ok(layout)
    }

    /// Held while `up` or `down` work on the cluster.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.root.with_extension("lock")
    }

    #[must_use]
    pub fn node_name(&self) -> String {
        format!("{}{NODE_SUFFIX}", self.name)
    }

    /// The name of the network namespace, and of the cgroup in every hierarchy.
    #[must_use]
    pub fn scope(&self) -> String {
        format!("scribe-{}", self.name)
    }

    #[must_use]
    pub fn netns(&self) -> PathBuf {
        Path::new("/run/netns").join(self.scope())
    }

    /// The number from which all addresses of the cluster derive.
    #[must_use]
    pub fn index_file(&self) -> PathBuf {
        self.root.join("index")
    }

    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    #[must_use]
    pub fn log(&self, component: &str) -> PathBuf {
        self.logs().join(format!("{component}.log"))
    }

    #[must_use]
    pub fn pid_file(&self, component: &str) -> PathBuf {
        self.root.join("pids").join(component)
    }

    #[must_use]
    pub fn pki(&self, file: &str) -> PathBuf {
        self.root.join("pki").join(file)
    }

    #[must_use]
    pub fn config(&self, file: &str) -> PathBuf {
        self.root.join("config").join(file)
    }

    /// The administrator's kubeconfig; its address can be reached from the host.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.root.join("kubeconfig")
    }

    #[must_use]
    pub fn containerd_socket(&self) -> PathBuf {
        self.root.join("containerd/containerd.sock")
    }

    #[must_use]
    pub fn pod_logs(&self) -> PathBuf {
        self.root.join("pod-logs")
    }

    #[must_use]
    pub fn kubelet_root(&self) -> PathBuf {
        self.root.join("kubelet")
    }

    #[must_use]
    pub fn csi_socket(&self) -> PathBuf {
        self.kubelet_root().join("plugins").join(super::storage::DRIVER).join("csi.sock")
    }

    #[must_use]
    pub fn csi_state(&self) -> PathBuf {
        self.root.join("csi")
    }
}

/// The addresses of one cluster: every cluster of this machine has an index of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    index: u8,
}

impl Addresses {
    /// How many clusters can live side by side.
    pub const MAX_INDEX: u8 = 99;
    /// The bridge that joins all clusters, and its address on the host.
    pub const BRIDGE: &str = "scribe0";
    /// The host's address on the bridge.
    pub const HOST: Ipv4Addr = HOST;

    /// # Errors
    /// The index is not between 1 and [`Self::MAX_INDEX`].
    pub fn new(index: u8) -> Result<Self> {
        ensure!(
            (1..=Self::MAX_INDEX).contains(&index),
            "cluster index {index} is not in 1..={}",
            Self::MAX_INDEX
        );
        Ok(Self { index })
    }

    #[must_use]
    pub fn node_ip(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 99, self.index, 1)
    }

    #[must_use]
    pub fn pod_cidr(self) -> String {
        format!("10.100.{}.0/24", self.index)
    }

    #[must_use]
    pub fn service_cidr(self) -> String {
        format!("10.101.{}.0/24", self.index)
    }

    /// The address of the service `kubernetes`, always the first of the range.
    #[must_use]
    pub fn api_service_ip(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 101, self.index, 1)
    }

    #[must_use]
    pub fn api_url(self) -> String {
        format!("https://{}:6443", self.node_ip())
    }

    /// The host's end of the cable; the other end is `eth0` in the namespace.
    #[must_use]
    pub fn veth(self) -> String {
        format!("scribe-v{}", self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        let clusters = Path::new("/c");
        assert!(Layout::new("west", clusters).is_ok());
        for bad in ["", "West", "-a", "a-", "a/b", "..", "a234567890123456789012"] {
            assert!(Layout::new(bad, clusters).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_folder_too_deep_for_sockets_is_refused() {
        let deep = PathBuf::from(format!("/{}", "x".repeat(90)));
        assert!(Layout::new("west", &deep).is_err());
    }

    #[test]
    fn clusters_share_no_address() {
        let (one, two) = (Addresses::new(1).unwrap(), Addresses::new(2).unwrap());
        assert_ne!(one.node_ip(), two.node_ip());
        assert_ne!(one.pod_cidr(), two.pod_cidr());
        assert_ne!(one.service_cidr(), two.service_cidr());
        assert!(Addresses::new(0).is_err() && Addresses::new(100).is_err());
        assert!(Addresses::new(99).unwrap().veth().len() <= 15, "longer than an interface name may be");
    }
}
