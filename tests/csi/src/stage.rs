//! Volumes on the node: staging, publishing, growing. Whether something is done already is read from the kernel's mount
//! and loop tables, so that a restarted driver goes on where it was.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tonic::Status;

use crate::call::{Driver, internal};
use crate::filesystem::{self, Content};
use crate::loops::{self, Access, Caching};
use crate::mounts::{self, Mount};
use crate::pool::Shelf;
use crate::request::{Capability, Kind};
use crate::volume::Volume;

/// One use of a staged volume.
#[derive(Debug)]
pub struct Publication {
    /// The volume.
    pub id: String,
    /// Where it was staged.
    pub staging: PathBuf,
    /// Where it is to appear.
    pub target: PathBuf,
    /// How it is to be used.
    pub capability: Capability,
    /// Whether this use may not write.
    pub read_only: bool,
}

/// How full a volume is. `None` where only the size is known, as for block devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// The size in bytes.
    pub bytes: u64,
    /// What the file system says.
    pub filesystem: Option<FilesystemUsage>,
}

/// How full a file system is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilesystemUsage {
    /// Bytes that unprivileged users can still write.
    pub bytes_available: u64,
    /// Bytes in use.
    pub bytes_used: u64,
    /// Files that can exist.
    pub inodes: u64,
    /// Files that can still be made.
    pub inodes_free: u64,
}

impl Driver {
    /// Attaches the volume and, for file systems, makes the file system at the first time, mounts it at `staging` and grows it
    /// to the size of the volume.
    ///
    /// # Errors
    /// `NOT_FOUND`; `INVALID_ARGUMENT` for a use that does not suit the volume; `INTERNAL` if something else is mounted there.
    pub fn stage(&self, id: &str, staging: &Path, capability: &Capability) -> Result<(), Status> {
        let _held = self.locks.hold(&[id]);
        let mut volume = self.volume(id)?;
        suits(&volume, capability)?;
        self.format(&mut volume).map_err(internal)?;
        let image = self.pool.image(Shelf::Volumes, id);
        let Kind::Mount { flags, .. } = &capability.kind else {
            let access = if capability.readers_only { Access::ReadOnly } else { Access::ReadWrite };
            return loops::attach(&image, access, Caching::Direct).map(drop).map_err(internal);
        };
        // Read-write for readers too: a copy of a volume in use has a journal to replay.
        let device = loops::attach(&image, Access::ReadWrite, Caching::Direct).map_err(internal)?;
        self.mount_staged(&mut volume, &device, staging, flags).map_err(internal)
    }

    /// Unmounts the volume from `staging`, and detaches it when nothing else uses it.
    ///
    /// # Errors
    /// `FAILED_PRECONDITION` while it is still published.
    pub fn unstage(&self, id: &str, staging: &Path) -> Result<(), Status> {
        let _held = self.locks.hold(&[id]);
        let staging = mounts::resolve(staging).map_err(internal)?;
        let device = self.device(id).map_err(internal)?;
        if let Some(device) = &device
            && let Some(other) =
                uses(device).map_err(internal)?.iter().find(|m| Some(&m.target) != staging.as_ref())
        {
            let message = format!("volume {id} is still published at {}", other.target.display());
            return Err(Status::failed_precondition(message));
        }
        if let Some(staging) = staging {
            mounts::unmount_all(&staging).map_err(internal)?;
        }
        device.map_or(Ok(()), |device| loops::detach(&device)).map_err(internal)
    }

    /// Shows a staged volume at the target path of a pod.
    ///
    /// # Errors
    /// `NOT_FOUND`; `INVALID_ARGUMENT` for a use that does not suit the volume; `FAILED_PRECONDITION` if it is not staged, or
    /// another pod has it to itself; `ALREADY_EXISTS` if the target shows it in another way.
    pub fn publish(&self, publication: &Publication) -> Result<(), Status> {
        let Publication { id, staging, target, capability, .. } = publication;
        let _held = self.locks.hold(&[id]);
        let volume = self.volume(id)?;
        suits(&volume, capability)?;
        let not_staged = || Status::failed_precondition(format!("volume {id} is not staged"));
        let device = self.device(id).map_err(internal)?.ok_or_else(not_staged)?;
        let uses = uses(&device).map_err(internal)?;
        // Staging a block volume attaches it, and leaves nothing at the staging path.
        let staging = mounts::resolve(staging).map_err(internal)?;
        let mounted = staging.filter(|staging| uses.iter().any(|mount| mount.target == *staging));
        let source = match capability.kind {
            Kind::Block => device.clone(),
            Kind::Mount { .. } => mounted.clone().ok_or_else(not_staged)?,
        };
        // A repeated call finds its own bind mount, and for block volumes also one that the kubelet makes of it.
        let shown = mounts::resolve(target).map_err(internal)?;
        let repeated = uses.iter().any(|mount| Some(&mount.target) == shown.as_ref());
        let other = uses.iter().find(|mount| Some(&mount.target) != mounted.as_ref());
        if let Some(other) = other.filter(|_| capability.single_writer && !repeated) {
            let message = format!("another pod has volume {id} to itself, at {}", other.target.display());
            return Err(Status::failed_precondition(message));
        }
        let target = make_target(&capability.kind, target).map_err(internal)?;
        let read_only = publication.read_only || capability.readers_only;
        show(&device, &source, &target, read_only)
    }

    /// Takes a volume away from the target path of a pod, and the path itself too.
    ///
    /// # Errors
    /// When something still uses it.
    pub fn unpublish(&self, id: &str, target: &Path) -> Result<(), Status> {
        let _held = self.locks.hold(&[id]);
        let Some(target) = mounts::resolve(target).map_err(internal)? else { return Ok(()) };
        mounts::unmount_all(&target).map_err(internal)?;
        let removed = if target.is_dir() { fs::remove_dir(&target) } else { fs::remove_file(&target) };
        removed.with_context(|| format!("remove {}", target.display())).map_err(internal)
    }

    /// Gives the volume at `path` the size that its image has by now. Returns that size in bytes.
    ///
    /// # Errors
    /// `NOT_FOUND` if there is no such volume, or it is not at `path`.
    pub fn grow_on_node(&self, id: &str, path: &Path) -> Result<u64, Status> {
        let _held = self.locks.hold(&[id]);
        let mut volume = self.volume(id)?;
        let (device, mounted) = self.mounted_at(id, path)?;
        loops::refresh_size(&device).map_err(internal)?;
        if volume.is_to_grow() {
            if !filesystem::can_grow_mounted(volume.content).map_err(internal)? {
                let message = "ext4 grows while mounted only with CAP_SYS_RESOURCE; it grows when the volume is staged next";
                return Err(Status::failed_precondition(message));
            }
            filesystem::grow_mounted(volume.content, &device, &mounted).map_err(internal)?;
            self.grown(&mut volume).map_err(internal)?;
        }
        Ok(volume.capacity)
    }

    /// How full the volume at `path` is.
    ///
    /// # Errors
    /// `NOT_FOUND` if there is no such volume, or it is not at `path`.
    pub fn usage(&self, id: &str, path: &Path) -> Result<Usage, Status> {
        let volume = self.volume(id)?;
        let (_, mounted) = self.mounted_at(id, path)?;
        if volume.content == Content::Block {
            return Ok(Usage { bytes: volume.capacity, filesystem: None });
        }
        let stat = rustix::fs::statvfs(&mounted)
            .with_context(|| format!("ask how full {} is", mounted.display()))
            .map_err(internal)?;
        let filesystem = FilesystemUsage {
            bytes_available: stat.f_bavail * stat.f_frsize,
            bytes_used: stat.f_blocks.saturating_sub(stat.f_bfree) * stat.f_frsize,
            inodes: stat.f_files,
            inodes_free: stat.f_ffree,
        };
        Ok(Usage { bytes: stat.f_blocks * stat.f_frsize, filesystem: Some(filesystem) })
    }

    /// Makes the file system of a new volume. The record says so only afterwards: when killed in between, it is made again, in
    /// an image that is emptied first.
    fn format(&self, volume: &mut Volume) -> anyhow::Result<()> {
        if volume.filesystem_size > 0 || volume.content == Content::Block {
            return Ok(());
        }
        self.pool.make_image(Shelf::Volumes, &volume.id, None, volume.capacity)?;
        filesystem::make(volume.content, &self.pool.image(Shelf::Volumes, &volume.id))?;
        self.grown(volume)
    }

    /// Mounts the volume at `staging`, and grows its file system before or after, whichever it can.
    fn mount_staged(
        &self,
        volume: &mut Volume,
        device: &Path,
        staging: &Path,
        flags: &[String],
    ) -> anyhow::Result<()> {
        fs::create_dir_all(staging).with_context(|| format!("make {}", staging.display()))?;
        let staging = fs::canonicalize(staging).with_context(|| format!("resolve {}", staging.display()))?;
        match mounts::at(&staging)? {
            Some(mount) if mount.source == device => {}
            Some(mount) => bail!("{} is mounted at {}", mount.source.display(), staging.display()),
            None => {
                if volume.is_to_grow() && volume.content == Content::Ext4 && uses(device)?.is_empty() {
                    filesystem::grow_unmounted(device)?;
                    self.grown(volume)?;
                }
                filesystem::mount(volume.content, device, &staging, flags)?;
            }
        }
        // Also where it was mounted already: the call that mounted it may have been killed before it came to this.
        if volume.is_to_grow() && filesystem::can_grow_mounted(volume.content)? {
            loops::refresh_size(device)?;
            filesystem::grow_mounted(volume.content, device, &staging)?;
            self.grown(volume)?;
        }
        Ok(())
    }

    fn grown(&self, volume: &mut Volume) -> anyhow::Result<()> {
        volume.filesystem_size = volume.capacity;
        self.pool.write(Shelf::Volumes, &volume.id, volume)
    }

    /// The device that the volume is attached to. None for a volume that is deleted by now.
    fn device(&self, id: &str) -> anyhow::Result<Option<PathBuf>> {
        match self.pool.read::<Volume>(Shelf::Volumes, id)? {
            Some(volume) => loops::find(&self.pool.image(Shelf::Volumes, &volume.id)),
            None => Ok(None),
        }
    }

    /// The volume's device, and `path` as the mount table spells it.
    fn mounted_at(&self, id: &str, path: &Path) -> Result<(PathBuf, PathBuf), Status> {
        let absent = || Status::not_found(format!("volume {id} is not at {}", path.display()));
        let device = self.device(id).map_err(internal)?.ok_or_else(absent)?;
        let path = mounts::resolve(path).map_err(internal)?.ok_or_else(absent)?;
        let here = uses(&device).map_err(internal)?.into_iter().any(|mount| mount.target == path);
        if here { Ok((device, path)) } else { Err(absent()) }
    }
}

fn suits(volume: &Volume, capability: &Capability) -> Result<(), Status> {
    if capability.suits(volume.content) {
        return Ok(());
    }
    let message = format!("volume {} holds {} and cannot be used so", volume.id, volume.content.name());
    Err(Status::invalid_argument(message))
}

/// Every mount of the device's file system, or of the device itself.
fn uses(device: &Path) -> anyhow::Result<Vec<Mount>> {
    Ok(mounts::table()?.into_iter().filter(|mount| mount.source == device).collect())
}

/// Makes what the volume is bound onto, where it is missing, and spells its path as the mount table does.
fn make_target(kind: &Kind, target: &Path) -> anyhow::Result<PathBuf> {
    let made = match kind {
        Kind::Mount { .. } => fs::create_dir_all(target),
        Kind::Block => target
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| OpenOptions::new().create_new(true).write(true).open(target).map(drop)),
    };
    match made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("make {}", target.display()))
        }
        _ => fs::canonicalize(target).with_context(|| format!("resolve {}", target.display())),
    }
}

fn show(device: &Path, source: &Path, target: &Path, read_only: bool) -> Result<(), Status> {
    match mounts::at(target).map_err(internal)? {
        None => mounts::bind(source, target).map_err(internal)?,
        Some(mount) if mount.source != device => {
            let message = format!("{} is mounted at {}", mount.source.display(), target.display());
            return Err(Status::internal(message));
        }
        Some(mount) if mount.read_only && !read_only => {
            return Err(Status::already_exists("the target shows the volume read-only"));
        }
        // Writable although this use is not to be: the call that bound it was killed before it came to what follows.
        Some(_) => {}
    }
    if read_only { mounts::make_read_only(target).map_err(internal) } else { Ok(()) }
}
