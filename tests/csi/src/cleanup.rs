//! Taking down what a driver left behind, for clusters that are gone.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::loops::{self, Loop};
use crate::{mounts, pool};

/// How long the kernel may take to let go of devices that were in use.
const PATIENCE: Duration = Duration::from_secs(20);

/// Unmounts and detaches everything of a state directory: the uses of its volumes, the volumes, the pool. The files stay.
/// Does nothing where nothing is left.
///
/// # Errors
/// When something cannot be unmounted, or the kernel does not let go of a device in time.
pub fn cleanup(state_dir: &Path) -> anyhow::Result<()> {
    let state_dir = match fs::canonicalize(state_dir) {
        Ok(path) => path,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("resolve {}", state_dir.display())),
    };
    let pool_mount = pool::mount_point(&state_dir);
    let all = loops::list()?;
    let volumes = with_loops_on_top(&all, all.iter().filter(|one| one.file.starts_with(&pool_mount)))?;
    release(&volumes)?;
    await_release(&volumes, &pool_mount)?;

    mounts::unmount_all(&pool_mount)?;
    let pools: BTreeSet<PathBuf> = match pool::image_of_pool(&state_dir) {
        image if image.exists() => loops::backed_by(&loops::list()?, &image)?.into_iter().collect(),
        _ => BTreeSet::new(),
    };
    release(&pools)
}

/// The devices, and the loop devices that others (the kubelet does so for block volumes) attached to them.
fn with_loops_on_top<'a>(
    all: &[Loop],
    ours: impl Iterator<Item = &'a Loop>,
) -> anyhow::Result<BTreeSet<PathBuf>> {
    let mut devices = BTreeSet::new();
    for one in ours {
        devices.extend(loops::backed_by(all, &one.device)?);
        devices.insert(one.device.clone());
    }
    Ok(devices)
}

/// Unmounts every use of the devices, the latest first, and detaches them.
fn release(devices: &BTreeSet<PathBuf>) -> anyhow::Result<()> {
    for mount in mounts::table()?.into_iter().rev().filter(|mount| devices.contains(&mount.source)) {
        tracing::info!(target = %mount.target.display(), "unmounting");
        if let Err(error) = mounts::unmount_once(&mount.target) {
            tracing::warn!(error = format!("{error:#}"), "still in use; taking it away from sight");
            mounts::detach(&mount.target)?;
        }
    }
    for device in devices {
        tracing::info!(device = %device.display(), "detaching");
        loops::detach(device)?;
    }
    Ok(())
}

/// The kernel detaches a device when its last user lets go, which may be a moment later, and until then the pool is busy.
fn await_release(devices: &BTreeSet<PathBuf>, pool_mount: &Path) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let attached = loops::list()?;
        let Some(left) =
            attached.iter().find(|one| devices.contains(&one.device) && one.file.starts_with(pool_mount))
        else {
            return Ok(());
        };
        if Instant::now() > deadline {
            bail!("{} is still in use by a process or another mount namespace", left.device.display());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
