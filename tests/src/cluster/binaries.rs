//! The programs of the cluster: built once from the Go modules that `tests/cluster/go.mod` names, then taken from the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use tracing::info;

use super::layout::{cache_dir, repository};
use super::lock::Lock;
use crate::command::{call, run};

/// What the cache must hold to be complete. `server` is etcd: Go names a program after its folder.
const PROGRAMS: &[&str] = &[
    "containerd",
    "containerd-shim-runc-v2",
    "csi-provisioner",
    "csi-snapshotter",
    "ctr",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
    "server",
    "snapshot-controller",
];

/// The module that carries the VolumeSnapshot CRDs, and those that we install.
const CRD_MODULE: &str = "github.com/kubernetes-csi/external-snapshotter/client/v8";
const CRDS: &[&str] = &["volumesnapshotclasses", "volumesnapshotcontents", "volumesnapshots"];

/// A complete set of programs and the CRDs that belong to them.
#[derive(Debug, Clone)]
pub struct Binaries {
    root: PathBuf,
}

impl Binaries {
    /// Takes the set from the cache, or builds it: about eight minutes on two cores.
    ///
    /// # Errors
    /// Go is missing or cannot build; nothing half-built stays in the cache.
    pub fn ensure() -> Result<Self> {
        let module = repository().join("tests/cluster");
        let root = cache_dir()?.join("binaries").join(key(&module)?);
        if root.exists() {
            return Ok(Self { root });
        }
        let parent = root.parent().context("the cache folder has no parent")?;
        fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        let _lock = Lock::hold(&root.with_extension("lock"))?;
        if !root.exists() {
            build(&module, &root)?;
        }
        Ok(Self { root })
    }

    /// The path of one program.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin().join(name)
    }

    /// The folder with all programs, for a PATH.
    #[must_use]
    pub fn bin(&self) -> PathBuf {
        self.root.join("bin")
    }

    /// The CustomResourceDefinitions of the snapshot API, as YAML.
    ///
    /// # Errors
    /// The cache cannot be read.
    pub fn snapshot_crds(&self) -> Result<Vec<String>> {
        let read = |crd: &&str| {
            let path = self.root.join("crds").join(format!("{crd}.yaml"));
            fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
        };
        CRDS.iter().map(read).collect()
    }
}

/// Kubernetes learns its version from the linker; without it, charts that ask for a minimum refuse the cluster.
fn linker_flags(module: &Path) -> Result<String> {
    let path = module.join("go.mod");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let version =
        kubernetes_version(&text).with_context(|| format!("find k8s.io/kubernetes in {}", path.display()))?;
    let packages = ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"];
    let set = packages.map(|package| format!("-X {package}.gitVersion={version}"));
    Ok(format!("-ldflags=-s -w {}", set.join(" ")))
}

fn kubernetes_version(go_mod: &str) -> Option<&str> {
    go_mod.lines().find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes ")?.split(' ').next())
}

fn key(module: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    for file in ["go.mod", "go.sum"] {
        let path = module.join(file);
        hash.update(fs::read(&path).with_context(|| format!("read {}", path.display()))?);
    }
    hash.update(linker_flags(module)?);
    hash.update(call("go", &["version"]).context("ask Go for its version")?);
    Ok(format!("{:x}", hash.finalize())[..16].to_owned())
}

fn build(module: &Path, root: &Path) -> Result<()> {
    let started = Instant::now();
    info!("building the cluster's programs (once; about eight minutes on two cores)");
    // Renamed when complete, so that a build that was killed is never taken for a whole one.
    let temporary = root.with_extension(format!("building-{}", std::process::id()));
    let bin = temporary.join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("create {}", bin.display()))?;
    let result = build_into(module, &temporary, &bin);
    if let Err(error) = result {
        let _ = fs::remove_dir_all(&temporary);
        return Err(error);
    }
    fs::rename(&temporary, root).with_context(|| format!("put {} in place", root.display()))?;
    info!("built the cluster's programs in {} s", started.elapsed().as_secs());
    Ok(())
}

fn build_into(module: &Path, temporary: &Path, bin: &Path) -> Result<()> {
    let mut go = Command::new("go");
    go.current_dir(module).args(["build", "-trimpath", "-buildvcs=false"]);
    go.arg(linker_flags(module)?).arg("-o").arg(bin).arg("tool");
    run(&mut go).context("build the cluster's programs")?;
    for program in PROGRAMS {
        ensure!(
            bin.join(program).exists(),
            "go built no {program}: is its `tool` line in tests/cluster/go.mod?"
        );
    }
    let folder =
        run(Command::new("go").current_dir(module).args(["list", "-m", "-f", "{{.Dir}}", CRD_MODULE]))
            .context("find the VolumeSnapshot CRDs")?;
    let crds = temporary.join("crds");
    fs::create_dir_all(&crds).with_context(|| format!("create {}", crds.display()))?;
    for crd in CRDS {
        let source = Path::new(folder.trim()).join(format!("config/crd/snapshot.storage.k8s.io_{crd}.yaml"));
        fs::copy(&source, crds.join(format!("{crd}.yaml")))
            .with_context(|| format!("copy {}", source.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_that_of_the_module() {
        let go_mod = "\tk8s.io/kubelet v0.36.3 // indirect\n\tk8s.io/kubernetes v1.36.3 // indirect\n";
        assert_eq!(kubernetes_version(go_mod), Some("v1.36.3"));
    }
}
