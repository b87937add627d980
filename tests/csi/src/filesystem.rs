//! Making, mounting and growing the file systems inside images.

use std::path::Path;
use std::process::Command;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::loops::run;

/// XFS refuses to be made smaller (xfsprogs 5.19 and later).
const XFS_MINIMUM: u64 = 300 << 20;

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
            Self::Ext4 => 4 << 20,
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
            command.args(["-q", "-F", "-E", "nodiscard,lazy_itable_init=1,assume_storage_prezeroed=1"]);
            command
        }
        Content::Xfs => {
            let mut command = Command::new("mkfs.xfs");
            command.args(["-q", "-f", "-K"]);
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

/// Grows the mounted file system to the size of its device. Does nothing to one that fills it.
///
/// # Errors
/// When the program that grows it fails.
pub fn grow(content: Content, device: &Path, mounted: &Path) -> anyhow::Result<()> {
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
