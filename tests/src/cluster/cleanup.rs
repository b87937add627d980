//! Removing whatever a cluster left, in whichever state it stopped.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::mount::{UnmountFlags, unmount};

use super::cgroups::Hierarchies;
use super::layout::Layout;
use super::lock::Lock;
use super::{network, processes};
use crate::command::call;

/// How long mounts and loop devices may stay busy after the last process is dead.
const BUSY: Duration = Duration::from_secs(20);

/// containerd's shims listen here, whatever containerd's own folders are.
const SHIM_SOCKETS: &str = "/run/containerd/s";

/// The kubelet links every container's log here, wherever the logs themselves are.
const LOG_LINKS: &str = "/var/log/containers";

/// CNI keeps the result of every pod here until the pod is torn down, which a killed one never is.
const CNI_RESULTS: &str = "/var/lib/cni/results";

/// Removes processes, mounts, loop devices, the network, cgroups and files of the cluster. Nothing there is not an error.
///
/// # Errors
/// Something cannot be removed: the error names it. Another call goes on from there.
pub fn remove(layout: &Layout, network_lock: &Path) -> Result<()> {
    let addresses = network::chosen_addresses(layout).unwrap_or_default();
    processes::kill_all(layout)?;
    let sockets = shim_sockets(layout);
    release_storage(&layout.root)?;
    {
        let _lock = Lock::hold(network_lock)?;
        network::remove(layout, addresses)?;
    }
    remove_cgroups(layout)?;
    for socket in sockets {
        let _ = fs::remove_file(socket);
    }
    remove_log_links(layout);
    remove_cni_results(layout);
    match fs::remove_dir_all(&layout.root) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", layout.root.display()))
        }
        _ => Ok(()),
    }
}

fn remove_cgroups(layout: &Layout) -> Result<()> {
    let hierarchies = Hierarchies::find()?;
    let deadline = Instant::now() + BUSY;
    // The kernel empties the group of a killed process a moment after the process is gone.
    while let Err(error) = hierarchies.remove(&layout.scope()) {
        if Instant::now() >= deadline {
            return Err(error);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Unmounts everything below the folder and detaches the loop devices on its files: a volume is a loop device on a file in
/// a pool that is a mount on another loop device, so one pass cannot do it.
fn release_storage(root: &Path) -> Result<()> {
    let deadline = Instant::now() + BUSY;
    loop {
        let mounts = mounts_below(&read_mounts()?, root);
        let loops = loops_below(root)?;
        if mounts.is_empty() && loops.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!("still in use: mounts {mounts:?}, loop devices {loops:?}");
        }
        for mount in mounts.iter().rev() {
            // Busy ones come free when what they hold is gone, in the next pass.
            let _ = unmount(mount, UnmountFlags::empty());
        }
        for device in &loops {
            let _ = call("losetup", &["-d", &device.to_string_lossy()]);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn read_mounts() -> Result<String> {
    fs::read_to_string("/proc/self/mountinfo").context("read the mount table")
}

/// Mount points below the folder, in the order in which they were mounted.
fn mounts_below(mountinfo: &str, root: &Path) -> Vec<PathBuf> {
    let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape);
    points.filter(|point| point.starts_with(root)).collect()
}

/// The kernel writes blanks and backslashes in paths as three octal digits.
fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let octal =
            tail.get(..3).and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match octal.filter(|_| first == b'\\') {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    PathBuf::from(std::ffi::OsStr::from_bytes(&bytes))
}

fn loops_below(root: &Path) -> Result<Vec<PathBuf>> {
    let blocks = fs::read_dir("/sys/block").context("list the block devices")?;
    let backed_below = |device: &Path| {
        let file = fs::read_to_string(device.join("loop/backing_file")).unwrap_or_default();
        Path::new(file.trim_end()).starts_with(root)
    };
    let devices = blocks.flatten().map(|entry| entry.path()).filter(|device| backed_below(device));
    Ok(devices.filter_map(|device| Some(Path::new("/dev").join(device.file_name()?))).collect())
}

/// The sockets of this cluster's shims, as each shim wrote them down for containerd.
fn shim_sockets(layout: &Layout) -> Vec<PathBuf> {
    let tasks = layout.root.join("containerd/state/io.containerd.runtime.v2.task/k8s.io");
    let Ok(entries) = fs::read_dir(tasks) else { return Vec::new() };
    let bootstraps =
        entries.flatten().filter_map(|entry| fs::read_to_string(entry.path().join("bootstrap.json")).ok());
    let addresses = bootstraps.filter_map(|text| {
        let bootstrap: serde_json::Value = serde_json::from_str(&text).ok()?;
        bootstrap["address"].as_str()?.strip_prefix("unix://").map(PathBuf::from)
    });
    addresses.filter(|path| path.starts_with(SHIM_SOCKETS)).collect()
}

fn remove_log_links(layout: &Layout) {
    let Ok(entries) = fs::read_dir(LOG_LINKS) else { return };
    for link in entries.flatten().map(|entry| entry.path()) {
        if fs::read_link(&link).is_ok_and(|target| target.starts_with(&layout.root)) {
            let _ = fs::remove_file(link);
        }
    }
}

fn remove_cni_results(layout: &Layout) {
    let Ok(entries) = fs::read_dir(CNI_RESULTS) else { return };
    let root = layout.root.to_string_lossy();
    for path in entries.flatten().map(|entry| entry.path()) {
        // Each names the network namespace of its pod, which lies below the cluster's folder.
        if fs::read_to_string(&path).is_ok_and(|text| text.contains(&format!("\"{root}/"))) {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_other_clusters_stay() {
        let table = "1 0 0:1 / /c/west/csi/pool rw - xfs /dev/loop0 rw\n2 0 0:1 / /c/westend rw - tmpfs x rw\n\
                     3 1 0:1 / /c/west/a\\040b rw - tmpfs x rw\n";
        let found = mounts_below(table, Path::new("/c/west"));
        assert_eq!(found, [PathBuf::from("/c/west/csi/pool"), PathBuf::from("/c/west/a b")]);
    }
}
