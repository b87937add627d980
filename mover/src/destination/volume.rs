//! The receiving volume as a whole: room, and making sure that what was written is on it.

use anyhow::{Context, Result};
use std::fs::File;
use std::path::Path;

/// Room on a file system.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Size in bytes.
    pub capacity: u64,
    /// Bytes that this user could still write.
    pub free: u64,
    /// Inodes left.
    pub free_files: u64,
}

/// How much room there is.
///
/// # Errors
/// The volume does not answer.
pub fn room(data: &Path) -> Result<Room> {
    let stat = rustix::fs::statvfs(data).with_context(|| format!("measure {}", data.display()))?;
    Ok(Room {
        capacity: stat.f_blocks.saturating_mul(stat.f_frsize),
        free: stat.f_bavail.saturating_mul(stat.f_frsize),
        free_files: stat.f_favail,
    })
}

/// Whether there is nothing on it but what the file system keeps there for itself.
///
/// # Errors
/// The volume does not answer.
pub fn is_empty(data: &Path) -> Result<bool> {
    let reading = || format!("read {}", data.display());
    for entry in std::fs::read_dir(data).with_context(reading)? {
        let entry = entry.with_context(reading)?;
        if entry.file_name() != "lost+found" || !entry.file_type().with_context(reading)?.is_dir() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes everything that is still in memory to the volume. An error that some earlier write had in the background shows here.
///
/// # Errors
/// The volume did not take it.
pub async fn flush(data: &Path) -> Result<()> {
    let data = data.to_owned();
    tokio::task::spawn_blocking(move || {
        let folder = File::open(&data).with_context(|| format!("open {}", data.display()))?;
        rustix::fs::syncfs(&folder).with_context(|| format!("flush {}", data.display()))
    })
    .await
    .context("wait for the flush")?
}
