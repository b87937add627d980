//! The programs of a cluster and their flags. Pure: what is started, not how.

use std::path::{Path, PathBuf};

use super::binaries::Binaries;
use super::layout::{Addresses, Layout};
use super::storage::DRIVER;

/// One long-running process of the cluster.
#[derive(Debug, Clone)]
pub struct Component {
    /// Names its log, its pid file and its kubeconfig.
    pub name: &'static str,
    pub program: PathBuf,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
}

/// Retries of the CSI sidecars and the snapshot controller: they double from here. A test should not wait minutes for the
/// retry of a fault it injected for a second.
const RETRIES: [&str; 2] = ["--retry-interval-start=100ms", "--retry-interval-max=5s"];

/// What the components of one cluster are made from.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    pub layout: &'a Layout,
    pub addresses: Addresses,
    pub binaries: &'a Binaries,
}

impl Plan<'_> {
    /// The API server and what it needs: they start first.
    #[must_use]
    pub fn api(&self) -> Vec<Component> {
        vec![self.etcd(), self.api_server()]
    }

    /// What makes the API server a cluster, once containerd holds its images.
    #[must_use]
    pub fn node(&self) -> Vec<Component> {
        vec![
            self.controller_manager(),
            self.scheduler(),
            self.kubelet(),
            self.proxy(),
            self.snapshot_controller(),
        ]
    }

    /// The CSI driver and its sidecars.
    #[must_use]
    pub fn csi(&self, driver: &Path) -> Vec<Component> {
        vec![self.csi_driver(driver), self.provisioner(), self.snapshotter()]
    }

    fn etcd(&self) -> Component {
        let mut args = vec![format!("--data-dir={}", path(&self.layout.root.join("etcd")))];
        args.extend(etcd_flags(2379, 2380));
        self.component("etcd", "server", args)
    }

    fn api_server(&self) -> Component {
        let addresses = self.addresses;
        let mut args = api_server_flags(&|file| path(&self.layout.pki(file)), 2379, 6443);
        args.extend([
            format!("--advertise-address={}", addresses.node_ip()),
            format!("--service-cluster-ip-range={}", addresses.service_cidr()),
            "--kubelet-preferred-address-types=InternalIP".into(),
            format!("--kubelet-client-certificate={}", path(&self.layout.pki("api-server-client.crt"))),
            format!("--kubelet-client-key={}", path(&self.layout.pki("api-server-client.key"))),
            format!("--kubelet-certificate-authority={}", path(&self.layout.pki("ca.crt"))),
        ]);
        self.component("kube-apiserver", "kube-apiserver", args)
    }

    fn controller_manager(&self) -> Component {
        let args = vec![
            self.kubeconfig("kube-controller-manager"),
            "--leader-elect=false".into(),
            "--allocate-node-cidrs".into(),
            format!("--cluster-cidr={}", self.addresses.pod_cidr()),
            "--node-cidr-mask-size=24".into(),
            "--use-service-account-credentials".into(),
            format!("--root-ca-file={}", path(&self.layout.pki("ca.crt"))),
            format!("--service-account-private-key-file={}", path(&self.layout.pki("service-account.key"))),
            // Expanding and protecting claims reacts to the second, not to the quarter of a minute.
            "--pvclaimbinder-sync-period=2s".into(),
            "--bind-address=127.0.0.1".into(),
        ];
        self.component("kube-controller-manager", "kube-controller-manager", args)
    }

    fn scheduler(&self) -> Component {
        let args = vec![
            self.kubeconfig("kube-scheduler"),
            "--leader-elect=false".into(),
            "--bind-address=127.0.0.1".into(),
        ];
        self.component("kube-scheduler", "kube-scheduler", args)
    }

    /// Containerd, which needs nothing of the others.
    #[must_use]
    pub fn containerd(&self) -> Component {
        let args = vec!["--config".into(), path(&self.layout.config("containerd.toml"))];
        self.component("containerd", "containerd", args)
    }

    fn kubelet(&self) -> Component {
        let args = vec![
            self.kubeconfig("kubelet"),
            format!("--config={}", path(&self.layout.config("kubelet.yaml"))),
            format!("--root-dir={}", path(&self.layout.kubelet_root())),
            format!("--hostname-override={}", self.layout.node_name()),
            format!("--node-ip={}", self.addresses.node_ip()),
        ];
        self.component("kubelet", "kubelet", args)
    }

    fn proxy(&self) -> Component {
        let args = vec![format!("--config={}", path(&self.layout.config("kube-proxy.yaml")))];
        self.component("kube-proxy", "kube-proxy", args)
    }

    fn snapshot_controller(&self) -> Component {
        let mut args = vec![self.kubeconfig("snapshot-controller"), "--leader-election=false".into()];
        args.extend(["--kube-api-qps=100".into(), "--kube-api-burst=200".into()]);
        args.extend(RETRIES.map(Into::into));
        self.component("snapshot-controller", "snapshot-controller", args)
    }

    fn csi_driver(&self, program: &Path) -> Component {
        let kubelet = self.layout.kubelet_root();
        let flags = [
            ("--endpoint", path(&self.layout.csi_socket())),
            ("--registration-dir", path(&kubelet.join("plugins_registry"))),
            ("--state-dir", path(&self.layout.csi_state())),
            ("--node-id", self.layout.node_name()),
            ("--driver-name", DRIVER.into()),
            ("--pool-size", "20Gi".into()),
        ];
        let args = flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
        Component { program: program.to_path_buf(), ..self.component("csi-driver", "", args) }
    }

    fn provisioner(&self) -> Component {
        let mut args = self.sidecar("csi-provisioner");
        args.extend(["--extra-create-metadata".into(), "--default-fstype=ext4".into()]);
        self.component("csi-provisioner", "csi-provisioner", args)
    }

    fn snapshotter(&self) -> Component {
        let mut args = self.sidecar("csi-snapshotter");
        args.push("--extra-create-metadata".into());
        self.component("csi-snapshotter", "csi-snapshotter", args)
    }

    fn sidecar(&self, name: &str) -> Vec<String> {
        let mut args =
            vec![self.kubeconfig(name), format!("--csi-address={}", path(&self.layout.csi_socket()))];
        args.extend(["--timeout=60s", "--kube-api-qps=100", "--kube-api-burst=200"].map(Into::into));
        args.extend(RETRIES.map(Into::into));
        args
    }

    fn kubeconfig(&self, name: &str) -> String {
        format!("--kubeconfig={}", path(&self.layout.config(&format!("{name}.kubeconfig"))))
    }

    fn component(&self, name: &'static str, program: &str, args: Vec<String>) -> Component {
        Component { name, program: self.binaries.program(program), args, env: Vec::new() }
    }
}

/// Flags of an etcd that listens on loopback and may lose everything at a power cut.
#[must_use]
pub fn etcd_flags(client: u16, peer: u16) -> Vec<String> {
    let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
    vec![
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        "--unsafe-no-fsync".into(),
        "--log-level=warn".into(),
    ]
}

/// Flags that an API server needs with or without a cluster around it. `pki` gives the path of a file of the authority.
#[must_use]
pub fn api_server_flags(pki: &dyn Fn(&str) -> String, etcd: u16, port: u16) -> Vec<String> {
    vec![
        format!("--etcd-servers=http://127.0.0.1:{etcd}"),
        format!("--secure-port={port}"),
        "--authorization-mode=Node,RBAC".into(),
        "--allow-privileged".into(),
        format!("--client-ca-file={}", pki("ca.crt")),
        format!("--tls-cert-file={}", pki("api-server.crt")),
        format!("--tls-private-key-file={}", pki("api-server.key")),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        format!("--service-account-key-file={}", pki("service-account.pub")),
        format!("--service-account-signing-key-file={}", pki("service-account.key")),
        "--profiling=false".into(),
        // Deleted objects and namespaces of a test should not wait for a slow client's share.
        "--max-requests-inflight=1000".into(),
        "--max-mutating-requests-inflight=500".into(),
    ]
}

/// A path as a flag's value. The layout only makes paths from UTF-8 names below the cache folder.
fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
