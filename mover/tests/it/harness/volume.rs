//! A file system of its own for each volume, so that it can be full, and has what real ones have.

use super::{run, text};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted ext4 file system. Unmounted when dropped.
pub struct Volume {
    path: PathBuf,
}

impl Volume {
    pub fn new(folder: &Path, name: &str, mib: u64) -> Self {
        let (image, path) = (folder.join(format!("{name}.img")), folder.join(name));
        std::fs::File::create_new(&image).unwrap().set_len(mib << 20).unwrap();
        run("/sbin/mkfs.ext4", &["-q", "-m", "0", "-I", "256", "-i", "2048", text(&image)]);
        std::fs::create_dir(&path).unwrap();
        run("mount", &["-o", "loop", text(&image), text(&path)]);
        Self { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Lazily: a mover that is being killed may still hold it.
        let _ = Command::new("umount").arg("--lazy").arg(&self.path).status();
    }
}
