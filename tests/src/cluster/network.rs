//! The cluster's network namespace and its cable to the bridge that all clusters share.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::layout::{Addresses, Layout};
use crate::command::call;

/// Takes the lowest index that no other cluster of this machine uses. The caller holds the lock of the shared network.
///
/// # Errors
/// All indexes are taken, or the state folder cannot be written.
pub fn choose_addresses(layout: &Layout) -> Result<Addresses> {
    for index in 1..=Addresses::MAX_INDEX {
        let addresses = Addresses::new(index)?;
        // The veth counts, not a file: another user's clusters may lie in a cache folder that we do not know.
        if !Path::new("/sys/class/net").join(addresses.veth()).exists() {
            let file = layout.index_file();
            fs::write(&file, index.to_string()).with_context(|| format!("write {}", file.display()))?;
            return Ok(addresses);
        }
    }
    bail!("{} clusters run on this machine already", Addresses::MAX_INDEX)
}

/// The addresses chosen when the cluster started; `None` without a cluster.
///
/// # Errors
/// The index file is there and cannot be read or parsed.
pub fn chosen_addresses(layout: &Layout) -> Result<Option<Addresses>> {
    let path = layout.index_file();
    match fs::read_to_string(&path) {
        Ok(text) => {
            let index = text.trim().parse().with_context(|| format!("parse {}", path.display()))?;
            Addresses::new(index).map(Some)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

/// Makes the bridge, the namespace and the veth between them. The caller holds the lock of the shared network.
///
/// # Errors
/// A step fails: the error names it. What was made stays for [`remove`].
pub fn create(layout: &Layout, addresses: Addresses) -> Result<()> {
    ensure_bridge()?;
    let (scope, veth) = (layout.scope(), addresses.veth());
    let node = format!("{}/16", addresses.node_ip());
    let host = Addresses::HOST.to_string();
    let ip = |args: &[&str]| call("ip", args);
    let inside = |args: &[&str]| call("ip", &[&["-n", scope.as_str()], args].concat());
    ip(&["netns", "add", &scope]).context("make the network namespace")?;
    ip(&["link", "add", &veth, "type", "veth", "peer", "name", "eth0", "netns", &scope])
        .context("make the veth")?;
    ip(&["link", "set", &veth, "master", Addresses::BRIDGE, "up"]).context("join the bridge")?;
    inside(&["link", "set", "lo", "up"])?;
    inside(&["addr", "add", &node, "dev", "eth0"])?;
    inside(&["link", "set", "eth0", "up"])?;
    inside(&["route", "add", "default", "via", &host])?;
    enter(layout, &["sysctl", "-q", "-w", "net.ipv4.ip_forward=1"])
        .context("let the node forward for its pods")?;
    // With these the host, and a controller that runs on it, reaches pods and services by their own addresses.
    for range in [addresses.pod_cidr(), addresses.service_cidr()] {
        ip(&["route", "replace", &range, "via", &addresses.node_ip().to_string()])?;
    }
    Ok(())
}

fn ensure_bridge() -> Result<()> {
    let bridge = Addresses::BRIDGE;
    if Path::new("/sys/class/net").join(bridge).exists() {
        return Ok(());
    }
    call("ip", &["link", "add", bridge, "type", "bridge"]).context("make the bridge")?;
    call("ip", &["addr", "add", &format!("{}/16", Addresses::HOST), "dev", bridge])?;
    call("ip", &["link", "set", bridge, "up"])?;
    Ok(())
}

/// Removes the namespace, the veth, and the bridge when no other cluster hangs on it. Nothing there is not an error.
/// The caller holds the lock of the shared network.
///
/// # Errors
/// Something is there and cannot be removed.
pub fn remove(layout: &Layout, addresses: Option<Addresses>) -> Result<()> {
    let links = Path::new("/sys/class/net");
    // The routes lead to the bridge and would outlive the veth.
    for range in addresses.into_iter().flat_map(|addresses| [addresses.pod_cidr(), addresses.service_cidr()])
    {
        if !call("ip", &["route", "show", &range])?.is_empty() {
            call("ip", &["route", "del", &range]).context("remove the route to the pods")?;
        }
    }
    if let Some(veth) = addresses.map(Addresses::veth).filter(|veth| links.join(veth).exists()) {
        // Deleted by hand: a dead namespace takes its end along only when the last process has let go of it.
        call("ip", &["link", "del", &veth]).context("remove the veth")?;
    }
    if layout.netns().exists() {
        call("ip", &["netns", "del", &layout.scope()]).context("remove the network namespace")?;
    }
    let ports = links.join(Addresses::BRIDGE).join("brif");
    let unused = fs::read_dir(&ports).is_ok_and(|mut ports| ports.next().is_none());
    if unused {
        call("ip", &["link", "del", Addresses::BRIDGE]).context("remove the bridge")?;
    }
    Ok(())
}

/// Runs a program in the cluster's network namespace and in the host's mount namespace.
/// `ip netns exec` would make a mount namespace of its own, and containerd would not see the kubelet's mounts.
///
/// # Errors
/// The program cannot be started or fails.
pub fn enter(layout: &Layout, command: &[&str]) -> Result<String> {
    let netns = format!("--net={}", layout.netns().display());
    call("nsenter", &[&[netns.as_str()], command].concat())
}
