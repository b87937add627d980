//! The configuration files of containerd, CNI, the kubelet and kube-proxy.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::layout::{Addresses, Layout};

/// The name of the image that holds a pod's namespaces open.
pub const PAUSE_IMAGE: &str = "localhost/scribe-pause:1";

/// Where Debian's containernetworking-plugins puts its programs.
const CNI_PROGRAMS: &str = "/usr/lib/cni";

/// Writes all of them.
///
/// # Errors
/// A file cannot be written.
pub fn write(layout: &Layout, addresses: Addresses) -> Result<()> {
    let cni = layout.config("cni");
    fs::create_dir_all(&cni).with_context(|| format!("create {}", cni.display()))?;
    write_file(&layout.config("containerd.toml"), &containerd(layout))?;
    write_file(&cni.join("10-pods.conflist"), &format!("{:#}", cni_network(layout, addresses)))?;
    // Both read JSON as well as YAML.
    write_file(&layout.config("kubelet.yaml"), &format!("{:#}", kubelet(layout)))?;
    write_file(&layout.config("kube-proxy.yaml"), &format!("{:#}", kube_proxy(layout, addresses)))
}

fn write_file(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

fn containerd(layout: &Layout) -> String {
    let dir = layout.root.join("containerd");
    format!(
        r#"version = 3
root = "{dir}/root"
state = "{dir}/state"

[grpc]
  address = "{socket}"

[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{PAUSE_IMAGE}"

[plugins."io.containerd.cri.v1.runtime"]
  # Without CAP_SYS_RESOURCE no process may make itself less likely to be killed, and runc fails when told to try.
  restrict_oom_score_adj = true
  # Below our own folder, where the clean-up finds them.
  netns_mounts_under_state_dir = true

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  SystemdCgroup = false
  Root = "{dir}/runc"

[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["{CNI_PROGRAMS}"]
  conf_dir = "{cni}"
"#,
        dir = dir.display(),
        socket = layout.containerd_socket().display(),
        cni = layout.config("cni").display(),
    )
}

fn cni_network(layout: &Layout, addresses: Addresses) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": true,
                "ipMasq": true,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "dataDir": layout.root.join("cni"),
                    "ranges": [[{"subnet": addresses.pod_cidr()}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

fn kubelet(layout: &Layout) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": layout.pki("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": layout.pki("kubelet-server.crt"),
        "tlsPrivateKeyFile": layout.pki("kubelet-server.key"),
        "containerRuntimeEndpoint": format!("unix://{}", layout.containerd_socket().display()),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", layout.scope()),
        "failCgroupV1": false,
        "failSwapOn": false,
        "podLogsDir": layout.pod_logs(),
        "volumePluginDir": layout.kubelet_root().join("volume-plugins"),
        // Signals that are not named here are not watched. The disk's is not: it is the host's, not only ours, and one moment of
        // pressure keeps all new pods off the node for five minutes. `up` looks for room, and a full disk says so itself.
        "evictionHard": {"memory.available": "50Mi"},
        // Images come by import only: one that was collected as unused would be gone for good.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "maxPods": 200,
        "kubeAPIQPS": 100,
        "kubeAPIBurst": 200,
        "syncFrequency": "10s",
        "nodeStatusUpdateFrequency": "5s",
        "crashLoopBackOff": {"maxContainerRestartPeriod": "5s"},
    })
}

fn kube_proxy(layout: &Layout, addresses: Addresses) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "hostnameOverride": layout.node_name(),
        "clusterCIDR": addresses.pod_cidr(),
        "clientConnection": {"kubeconfig": layout.config("kube-proxy.kubeconfig")},
        // Connection tracking limits are the host's, and not writable from a network namespace.
        "conntrack": {"maxPerCore": 0, "min": 0},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_disk_evicts_nobody() {
        let layout = Layout::new("west", Path::new("/c")).unwrap();
        let text = kubelet(&layout).to_string();
        assert!(!text.contains("nodefs") && !text.contains("imagefs"), "{text}");
    }

    #[test]
    fn every_path_lies_below_the_cluster() {
        let layout = Layout::new("west", Path::new("/c")).unwrap();
        let addresses = Addresses::new(3).unwrap();
        let text = format!("{}{}{}", containerd(&layout), kubelet(&layout), cni_network(&layout, addresses));
        let foreign: Vec<&str> = text
            .split('"')
            .filter(|word| word.starts_with('/') && !word.starts_with("/c/west/"))
            .filter(|word| ![CNI_PROGRAMS, "/scribe-west"].contains(word))
            .collect();
        assert!(foreign.is_empty(), "{foreign:?}");
        assert!(text.contains("10.100.3.0/24"));
    }
}
