//! Making, mounting and growing the file systems inside images.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::loops::{SECTOR, run};

/// XFS refuses to be made smaller (xfsprogs 5.19 and later).
const XFS_MINIMUM: u64 = 300 << 20;

/// Below 8 MiB mkfs leaves the journal out, and a copy of a volume in use would not be whole.
const EXT4_MINIMUM: u64 = 16 << 20;

/// What is inside an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// Whatever the user of the raw block volume writes.
    Block,
    /// An ext4 file system.
    Ext4,
    /// An XFS file system.
    Xfs,
}

impl Content {
    /// The file system of that name; ext4 where none is named. `None` for one that is not supported.
    pub fn from_fs_type(fs_type: &str) -> Option<Self> {
        match fs_type {
            "" | "ext4" => Some(Self::Ext4),
            "xfs" => Some(Self::Xfs),
            _ => None,
        }
    }

    /// The name of the content, which for file systems is also what mount calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }

    /// The smallest image that can hold it, in bytes.
    pub const fn minimum(self) -> u64 {
        match self {
            Self::Block => 1 << 20,
            Self::Ext4 => EXT4_MINIMUM,
            Self::Xfs => XFS_MINIMUM,
        }
    }
}

/// Makes the file system in an image of nothing but holes. Nothing to do for block volumes.
///
/// # Errors
/// When mkfs fails.
pub fn make(content: Content, image: &Path) -> anyhow::Result<()> {
    let mut command = match content {
        Content::Block => return Ok(()),
        Content::Ext4 => {
            let mut command = Command::new("mkfs.ext4");
            // The holes read as zeros already; saying so saves writing the inode tables, now and in the background later.
            command.args(["-E", "nodiscard,lazy_itable_init=1,assume_storage_prezeroed=1"]);
            // Small file systems would get smaller blocks, which the loop devices of images do not take.
            command.args(["-q", "-F", "-b", SECTOR]);
            command
        }
        Content::Xfs => {
            let mut command = Command::new("mkfs.xfs");
            command.args(["-q", "-f", "-K", "-s", &format!("size={SECTOR}")]);
            command
        }
    };
    run(command.arg(image))
        .with_context(|| format!("make {} in {}", content.name(), image.display()))
        .map(drop)
}

/// Mounts the device for reading and writing, so that the journal is replayed.
///
/// # Errors
/// When mount fails.
pub fn mount(content: Content, device: &Path, target: &Path, flags: &[String]) -> anyhow::Result<()> {
    let mut options: Vec<&str> = flags.iter().map(String::as_str).collect();
    if content == Content::Xfs {
        // A clone has the uuid of its source, and XFS mounts a uuid once only.
        options.push("nouuid");
    }
    let mut command = Command::new("mount");
    command.args(["-t", content.name()]);
    if !options.is_empty() {
        command.args(["-o", &options.join(",")]);
    }
    run(command.arg(device).arg(target))
        .with_context(|| format!("mount {} at {}", device.display(), target.display()))
        .map(drop)
}

/// Grows an ext4 that is mounted nowhere to the size of its device. Its journal is replayed first. (XFS grows only mounted.)
///
/// # Errors
/// When the file system is damaged or the program that grows it fails.
pub fn grow_unmounted(device: &Path) -> anyhow::Result<()> {
    let checked = Command::new("e2fsck").args(["-f", "-p"]).arg(device).output().context("start e2fsck")?;
    // 1: faults were found and repaired, to which belongs what a power cut leaves behind.
    if !matches!(checked.status.code(), Some(0 | 1)) {
        bail!("e2fsck {}: {}", device.display(), String::from_utf8_lossy(&checked.stdout).trim());
    }
    run(Command::new("resize2fs").arg(device))
        .with_context(|| format!("grow ext4 on {}", device.display()))
        .map(drop)
}

/// Grows the mounted file system to the size of its device. Does nothing to one that fills it.
///
/// # Errors
/// When the program that grows it fails, or, for ext4, when the kernel will not let us; [`can_grow_mounted`] tells.
pub fn grow_mounted(content: Content, device: &Path, mounted: &Path) -> anyhow::Result<()> {
    let mut command = match content {
        Content::Block => return Ok(()),
        Content::Ext4 => {
            let mut command = Command::new("resize2fs");
            command.arg(device);
            command
        }
        Content::Xfs => {
            let mut command = Command::new("xfs_growfs");
            command.arg("-d").arg(mounted);
            command
        }
    };
    run(&mut command).with_context(|| format!("grow {} on {}", content.name(), device.display())).map(drop)
}

/// Whether the kernel lets this process grow a mounted file system: for ext4 it asks for CAP_SYS_RESOURCE, which root lacks in some
/// sandboxes.
///
/// # Errors
/// When the kernel does not say which capabilities there are.
pub fn can_grow_mounted(content: Content) -> anyhow::Result<bool> {
    use rustix::thread::{CapabilitySet, capabilities};

    let ours = capabilities(None).context("ask for the capabilities of this process")?;
    Ok(content != Content::Ext4 || ours.effective.contains(CapabilitySet::SYS_RESOURCE))
}
