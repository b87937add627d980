//! The Debian packages that the cluster, the images and the tests need on this machine.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use tracing::info;

use crate::command::{call, run};

/// The one list of packages: continuous integration and a developer's machine install the same.
pub const PACKAGES: &[&str] = &[
    "acl",
    "attr",
    "catatonit",
    "conntrack",
    "containernetworking-plugins",
    "e2fsprogs",
    "ethtool",
    "iproute2",
    "iptables",
    "libnss-wrapper",
    "mmdebstrap",
    "nftables",
    "openssh-client",
    "openssh-server",
    "rsync",
    "runc",
    "skopeo",
    "umoci",
    "util-linux",
    "xfsprogs",
];

/// Older ones accept what the mover relies on being refused; bookworm has it in its security suite only.
const MIN_RSYNC: (u32, u32) = (3, 5);

/// Installs what is missing. Costs nothing, and needs no network, where nothing is.
///
/// # Errors
/// Something is missing and cannot be installed here: the error names it and says what to do.
pub fn ensure_all() -> Result<()> {
    ensure_packages()?;
    ensure_rsync()?;
    ensure_go()
}

/// The Debian packages alone, for those who build no cluster.
///
/// # Errors
/// Those of [`ensure_all`].
pub fn ensure_packages() -> Result<()> {
    ensure_installed(PACKAGES)
}

/// These Debian packages, which not everybody needs.
///
/// # Errors
/// Those of [`ensure_all`].
pub fn ensure_installed(packages: &[&'static str]) -> Result<()> {
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    ensure!(
        Path::new("/etc/debian_version").exists(),
        "not a Debian system; install what these packages hold: {list}"
    );
    ensure!(rustix::process::geteuid().is_root(), "packages are missing; as root: apt-get install {list}");
    info!("installing {list}");
    install(&missing)
}

/// That a folder's file system has room: programs that run out of it in the middle seldom say so, they wait.
///
/// # Errors
/// Fewer than `bytes` are free.
pub fn ensure_room(folder: &Path, bytes: u64) -> Result<()> {
    let stat = rustix::fs::statvfs(folder).with_context(|| format!("measure {}", folder.display()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    ensure!(
        free >= bytes,
        "{} has {:.1} GiB free, {:.1} GiB are needed: free some (old build folders, `cargo xtask cluster down --all`)",
        folder.display(),
        gib(free),
        gib(bytes),
    );
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

fn missing(wanted: &[&'static str]) -> Vec<&'static str> {
    // dpkg-query ends with 1 as soon as one package is unknown, and still prints the others.
    let output = Command::new("dpkg-query")
        .args(["-W", "-f", "${Package} ${db:Status-Status}\n"])
        .args(wanted)
        .output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    not_installed(wanted, &text)
}

fn not_installed(wanted: &[&'static str], dpkg: &str) -> Vec<&'static str> {
    let installed =
        |package: &str| dpkg.lines().any(|line| line.split_once(' ') == Some((package, "installed")));
    wanted.iter().copied().filter(|package| !installed(package)).collect()
}

fn install(packages: &[&str]) -> Result<()> {
    call("apt-get", &["update"]).context("refresh the package lists")?;
    let _no_daemons = ServicesStayDown::new()?;
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive")
        .args(["install", "-y", "--no-install-recommends"])
        .args(packages);
    run(&mut apt).context("install the packages")?;
    if packages.contains(&"openssh-server") && Path::new("/run/systemd/system").exists() {
        call("systemctl", &["disable", "ssh.service"])
            .context("keep the system's sshd from starting at boot")?;
    }
    Ok(())
}

/// While this lives, packages do not start the daemons they bring: the mover runs its own sshd, the system's is not wanted.
struct ServicesStayDown {
    ours: bool,
}

impl ServicesStayDown {
    const POLICY: &str = "/usr/sbin/policy-rc.d";

    fn new() -> Result<Self> {
        let mut options = fs::OpenOptions::new();
        match options.write(true).create_new(true).mode(0o755).open(Self::POLICY) {
            Ok(mut file) => {
                file.write_all(b"#!/bin/sh\nexit 101\n")
                    .with_context(|| format!("write {}", Self::POLICY))?;
                Ok(Self { ours: true })
            }
            // Container images bring one that says the same; an administrator's own policy stays in force.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(Self { ours: false }),
            Err(error) => Err(error).with_context(|| format!("create {}", Self::POLICY)),
        }
    }
}

impl Drop for ServicesStayDown {
    fn drop(&mut self) {
        if self.ours {
            let _ = fs::remove_file(Self::POLICY);
        }
    }
}

fn ensure_rsync() -> Result<()> {
    let text = call("rsync", &["--version"])?;
    let found = rsync_version(&text).with_context(|| format!("read the version of rsync from {text:?}"))?;
    if found < MIN_RSYNC {
        bail!(
            "rsync is {}.{}, 3.5 is needed: add Debian's security suite and upgrade rsync",
            found.0,
            found.1
        );
    }
    Ok(())
}

fn rsync_version(text: &str) -> Option<(u32, u32)> {
    let version = text.split_whitespace().skip_while(|word| *word != "version").nth(1)?;
    let mut numbers = version.trim_start_matches('v').split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn ensure_go() -> Result<()> {
    call("go", &["version"]).context("Go is needed to build the cluster's programs: https://go.dev/dl")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_installed_packages_count() {
        let dpkg = "acl installed\nrunc config-files\n";
        assert_eq!(not_installed(&["acl", "runc", "umoci"], dpkg), ["runc", "umoci"]);
    }

    #[test]
    fn a_full_disk_is_told_with_the_way_out() {
        let folder = std::env::temp_dir();
        ensure_room(&folder, 0).unwrap();
        let told = ensure_room(&folder, u64::MAX).unwrap_err().to_string();
        assert!(told.contains("GiB free") && told.contains("cluster down --all"), "{told}");
    }

    #[test]
    fn rsync_versions_are_compared_as_numbers() {
        assert_eq!(rsync_version("rsync  version 3.2.7  protocol version 31"), Some((3, 2)));
        assert_eq!(rsync_version("rsync  version v3.10.0 protocol"), Some((3, 10)));
        assert_eq!(rsync_version("nothing"), None);
    }
}
