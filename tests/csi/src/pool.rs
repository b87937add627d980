//! The pool: an XFS file system with reflinks on a loop device, and in it everything that the driver knows.
//!
//! A volume or snapshot is two files: `<id>.img` and, written last and removed first, `<id>.json`. An image without its
//! record is what a killed creation or deletion left, and nobody was ever told about it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::loops::{self, Access, Caching, run};
use crate::mounts;

/// The two kinds of things in the pool, each in a folder of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shelf {
    /// Volumes.
    Volumes,
    /// Snapshots.
    Snapshots,
}

impl Shelf {
    const ALL: [Self; 2] = [Self::Volumes, Self::Snapshots];

    const fn folder(self) -> &'static str {
        match self {
            Self::Volumes => "volumes",
            Self::Snapshots => "snapshots",
        }
    }
}

/// A mounted pool.
#[derive(Debug)]
pub struct Pool {
    root: PathBuf,
}

/// Where a state directory keeps the pool's image.
pub fn image_of_pool(state_dir: &Path) -> PathBuf {
    state_dir.join("pool.img")
}

/// Where a state directory has its pool mounted.
pub fn mount_point(state_dir: &Path) -> PathBuf {
    state_dir.join("pool")
}

impl Pool {
    /// Makes the pool where there is none, mounts it where it is not mounted, and clears what killed operations left.
    /// `state_dir` must exist and be spelled without symbolic links; `size` (bytes) counts only when the pool is made.
    ///
    /// # Errors
    /// When a file system, a loop device or a mount cannot be made, which all need root.
    pub fn open(state_dir: &Path, size: u64) -> anyhow::Result<Self> {
        let image = image_of_pool(state_dir);
        if !image.try_exists().context("look for the pool's image")? {
            make_image(&image, size)?;
        }
        let root = mount_point(state_dir);
        if mounts::at(&root)?.is_none() {
            fs::create_dir_all(&root).with_context(|| format!("make {}", root.display()))?;
            let device = loops::attach(&image, Access::ReadWrite, Caching::Buffered)?;
            run(Command::new("mount").args(["-t", "xfs", "-o", "nouuid"]).arg(&device).arg(&root))
                .context("mount the pool")?;
        }
        let pool = Self { root };
        for shelf in Shelf::ALL {
            let folder = pool.folder(shelf);
            fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
            pool.sweep(shelf)?;
        }
        Ok(pool)
    }

    /// A pool in any folder, for tests that make no reflinks and no mounts.
    #[cfg(test)]
    pub fn in_plain_folder(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Where the image of `id` is, or would be.
    pub fn image(&self, shelf: Shelf, id: &str) -> PathBuf {
        self.folder(shelf).join(format!("{id}.img"))
    }

    /// The record of `id`, if there is such a volume or snapshot. An id that this driver never gives out has none.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn read<T: DeserializeOwned>(&self, shelf: Shelf, id: &str) -> anyhow::Result<Option<T>> {
        if !is_id(id) {
            return Ok(None);
        }
        let path = self.record(shelf, id);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("understand {}", path.display()))
                .map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }

    /// Writes the record of `id`: whole, or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write<T: Serialize>(&self, shelf: Shelf, id: &str, record: &T) -> anyhow::Result<()> {
        ensure!(is_id(id), "{id:?} cannot be the name of a file");
        let path = self.record(shelf, id);
        let fresh = path.with_extension("json.new");
        let text = serde_json::to_vec_pretty(record).context("write a record as JSON")?;
        let mut file = File::create(&fresh).with_context(|| format!("create {}", fresh.display()))?;
        file.write_all(&text)
            .and_then(|()| file.sync_all())
            .with_context(|| format!("write {}", fresh.display()))?;
        fs::rename(&fresh, &path).with_context(|| format!("put {} in place", path.display()))
    }

    /// Every record, in the order of the ids.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn list<T: DeserializeOwned>(&self, shelf: Shelf) -> anyhow::Result<Vec<T>> {
        let mut ids: Vec<String> = self
            .files(shelf)?
            .iter()
            .filter_map(|name| Some(name.strip_suffix(".json")?.to_owned()))
            .collect();
        ids.sort_unstable();
        // One that is deleted meanwhile is simply no longer in the list.
        ids.iter().filter_map(|id| self.read(shelf, id).transpose()).collect()
    }

    /// Makes the image of `id` anew: a reflink of `source`, or nothing but holes. In both cases at least `size` bytes.
    ///
    /// Guarantees: all that was written to the source's loop device and answered before the call is in the copy, and nothing
    /// is in it without everything that was answered before. The kernel locks both files and writes out the
    /// source's cached pages first, so the copy is what a power cut at that one moment would have left.
    ///
    /// # Errors
    /// When the pool is full or the source is gone.
    pub fn make_image(&self, shelf: Shelf, id: &str, source: Option<&Path>, size: u64) -> anyhow::Result<()> {
        ensure!(is_id(id), "{id:?} cannot be the name of a file");
        let path = self.image(shelf, id);
        let image = File::create(&path).with_context(|| format!("create {}", path.display()))?;
        if let Some(source) = source {
            let source_file = File::open(source).with_context(|| format!("open {}", source.display()))?;
            rustix::fs::ioctl_ficlone(&image, &source_file)
                .with_context(|| format!("reflink {} to {}", source.display(), path.display()))?;
        }
        let cloned = image.metadata().with_context(|| format!("look at {}", path.display()))?.len();
        image.set_len(cloned.max(size)).with_context(|| format!("size {}", path.display()))
    }

    /// Removes the record and the image of `id`, as far as they exist.
    ///
    /// # Errors
    /// When a file that exists cannot be removed.
    pub fn remove(&self, shelf: Shelf, id: &str) -> anyhow::Result<()> {
        if !is_id(id) {
            return Ok(());
        }
        remove_file(&self.record(shelf, id))?;
        remove_file(&self.image(shelf, id))
    }

    /// The space that nothing has used yet, in bytes.
    ///
    /// # Errors
    /// When the file system does not answer.
    pub fn free(&self) -> anyhow::Result<u64> {
        let stat = rustix::fs::statvfs(&self.root).context("ask how full the pool is")?;
        Ok(stat.f_bavail * stat.f_frsize)
    }

    /// The size of the whole pool in bytes.
    ///
    /// # Errors
    /// When the file system does not answer.
    pub fn size(&self) -> anyhow::Result<u64> {
        let stat = rustix::fs::statvfs(&self.root).context("ask how large the pool is")?;
        Ok(stat.f_blocks * stat.f_frsize)
    }

    fn folder(&self, shelf: Shelf) -> PathBuf {
        self.root.join(shelf.folder())
    }

    fn record(&self, shelf: Shelf, id: &str) -> PathBuf {
        self.folder(shelf).join(format!("{id}.json"))
    }

    fn files(&self, shelf: Shelf) -> anyhow::Result<Vec<String>> {
        let folder = self.folder(shelf);
        let entries = fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))?;
        entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<_>>()
            .with_context(|| format!("list {}", folder.display()))
    }

    fn sweep(&self, shelf: Shelf) -> anyhow::Result<()> {
        let files = self.files(shelf)?;
        for name in &files {
            let orphan = name
                .strip_suffix(".img")
                .is_some_and(|id| !files.iter().any(|other| *other == format!("{id}.json")));
            if orphan || name.ends_with(".json.new") {
                tracing::info!(file = %name, "removing what a killed operation left");
                remove_file(&self.folder(shelf).join(name))?;
            }
        }
        Ok(())
    }
}

/// Makes the pool's own image under another name first: one that a killed mkfs left is never taken for a pool.
fn make_image(image: &Path, size: u64) -> anyhow::Result<()> {
    let fresh = image.with_extension("img.new");
    let file = File::create(&fresh).with_context(|| format!("create {}", fresh.display()))?;
    file.set_len(size).with_context(|| format!("size {}", fresh.display()))?;
    run(Command::new("mkfs.xfs").args(["-q", "-f", "-m", "reflink=1"]).arg(&fresh))
        .context("make the pool")?;
    fs::rename(&fresh, image).with_context(|| format!("put {} in place", image.display()))
}

fn remove_file(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Whether `id` is one that this driver gives out: safe as the name of a file, and no longer than CSI allows.
fn is_id(id: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !id.is_empty() && id.len() <= 128 && !id.starts_with('.') && id.chars().all(plain)
}

/// The id for a name: the name itself where it may be one, or else its digest. Being the same each time, it makes a repeated
/// creation find what the first one made.
pub fn id_for(name: &str) -> String {
    use sha2::{Digest, Sha256};

    const DIGEST: &str = "sha256-";
    if is_id(name) && !name.starts_with(DIGEST) {
        return name.to_owned();
    }
    let digest = Sha256::digest(name.as_bytes());
    digest.iter().fold(DIGEST.to_owned(), |id, byte| format!("{id}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_paths_become_digests() {
        assert_eq!(id_for("pvc-1"), "pvc-1");
        for name in ["../x", "a/b", "", ".hidden", "sha256-x", &"n".repeat(129)] {
            let id = id_for(name);
            assert!(is_id(&id) && id.starts_with("sha256-"), "{name:?} became {id:?}");
        }
    }

    #[test]
    fn a_foreign_id_has_no_record() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("volumes")).unwrap();
        fs::write(root.path().join("secret.json"), "{}").unwrap();
        let pool = Pool::in_plain_folder(root.path());
        assert!(pool.read::<serde_json::Value>(Shelf::Volumes, "../secret").unwrap().is_none());
        pool.remove(Shelf::Volumes, "../secret").unwrap();
        assert!(root.path().join("secret.json").exists());
    }

    #[test]
    fn leftovers_of_killed_operations_go() {
        let root = tempfile::tempdir().unwrap();
        let pool = Pool::in_plain_folder(root.path());
        fs::create_dir(root.path().join("volumes")).unwrap();
        pool.make_image(Shelf::Volumes, "whole", None, 10).unwrap();
        pool.write(Shelf::Volumes, "whole", &1).unwrap();
        pool.make_image(Shelf::Volumes, "half", None, 10).unwrap();
        fs::write(root.path().join("volumes/other.json.new"), "{").unwrap();
        pool.sweep(Shelf::Volumes).unwrap();
        let mut left = pool.files(Shelf::Volumes).unwrap();
        left.sort_unstable();
        assert_eq!(left, ["whole.img", "whole.json"]);
    }
}
