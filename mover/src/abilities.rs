//! What the receiving file system can keep, found out by trying it.
//!
//! The tries are made in a hidden folder on the volume, only once a session has begun (the volume is recorded as dirty then, and no
//! snapshot is being cut), and the folder is gone before rsync starts: nothing of ours is ever inside a replica.

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use scribe_mover_contract::peer::Abilities;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;

/// What the name of the folder begins with; the instance of the mover, 16 digits, follows.
const PREFIX: &str = ".scribe-probe-";
/// A hole has to be larger than any file system's block to show.
const HOLE: u64 = 4 << 20;
/// With digits in every place.
const NANOSECONDS: i64 = 123_456_789;

/// The grains of time stamps that a probe can find, in nanoseconds: each divides the next.
pub const TIME_GRAINS: [u64; 11] =
    [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000, 2_000_000_000];

/// Finds out what the file system at `volume` keeps.
///
/// # Errors
/// The volume cannot be written to at all. A full one is not an error: the transfer may be what makes room, so what
/// cannot be tried is assumed to work, and rsync reports what does not.
pub fn probe(volume: &Path, instance: &str) -> io::Result<Abilities> {
    let before = fs::metadata(volume)?;
    remove_leftovers(volume)?;
    let folder = volume.join(format!("{PREFIX}{instance}"));
    let probed = fs::create_dir(&folder).and_then(|()| probe_in(&folder));
    let removed = match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    };
    restore_times(volume, &before);
    match probed {
        Err(error) if is_full(&error) => removed.map(|()| assumed()),
        result => removed.and(result),
    }
}

/// Coming and going of the folder shows in the root's times, which would make every sync one that changed something. Whoever may
/// not set them does not keep them either.
fn restore_times(volume: &Path, before: &fs::Metadata) {
    let last_access = Timespec { tv_sec: before.atime(), tv_nsec: before.atime_nsec() };
    let last_modification = Timespec { tv_sec: before.mtime(), tv_nsec: before.mtime_nsec() };
    let _ =
        rustix::fs::utimensat(CWD, volume, &Timestamps { last_access, last_modification }, AtFlags::empty());
}

/// A mover that was killed during its tries leaves its folder behind.
fn remove_leftovers(volume: &Path) -> io::Result<()> {
    for entry in fs::read_dir(volume)? {
        let entry = entry?;
        let name = entry.file_name();
        let instance = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let is_ours =
            instance.is_some_and(|rest| rest.len() == 16 && rest.bytes().all(|b| b.is_ascii_hexdigit()));
        if is_ours && entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

fn is_full(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::DQUOT))
}

fn assumed() -> Abilities {
    let root = rustix::process::getuid().is_root();
    Abilities {
        acls: true,
        user_xattrs: true,
        file_capabilities: root,
        owners: root,
        devices: root,
        hard_links: true,
        symlinks: true,
        holes: true,
        time_grain: 1,
        case_sensitive: true,
    }
}

fn probe_in(folder: &Path) -> io::Result<Abilities> {
    let file = folder.join("file");
    File::create_new(&file)?;
    let set =
        |name: &str, value: &[u8]| worked(rustix::fs::lsetxattr(&file, name, value, XattrFlags::empty()));
    Ok(Abilities {
        acls: set("system.posix_acl_access", &acl())?,
        user_xattrs: set("user.scribe", b"1")?,
        file_capabilities: set("security.capability", &CAPABILITY)?,
        devices: worked(rustix::fs::mknodat(
            CWD,
            folder.join("null"),
            FileType::CharacterDevice,
            Mode::RUSR,
            rustix::fs::makedev(1, 3),
        ))?,
        hard_links: worked(rustix::fs::linkat(CWD, &file, CWD, folder.join("link"), AtFlags::empty()))?,
        symlinks: can(symlink("target", folder.join("symlink")))?,
        holes: keeps_holes(&folder.join("holes"))?,
        time_grain: time_grain(&file)?,
        case_sensitive: is_case_sensitive(folder)?,
        // The last one, since the file is somebody else's afterwards.
        owners: worked(rustix::fs::chownat(
            CWD,
            &file,
            Some(Uid::from_raw(12_345)),
            Some(Gid::from_raw(12_345)),
            AtFlags::SYMLINK_NOFOLLOW,
        ))?,
    })
}

/// Whether it worked; every way in which a file system says that it cannot is a "no", but a full one has not said anything.
fn worked(result: rustix::io::Result<()>) -> io::Result<bool> {
    can(result.map_err(io::Error::from))
}

fn can(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Err(error) if is_full(&error) => Err(error),
        result => Ok(result.is_ok()),
    }
}

/// An access list with an entry for a named user, as the kernel takes it: without one it would only be a mode.
fn acl() -> Vec<u8> {
    const VERSION: u32 = 2;
    const NO_ID: u32 = u32::MAX;
    // Owner, a named user, group, mask, others.
    const ENTRIES: [(u16, u16, u32); 5] =
        [(1, 6, NO_ID), (2, 4, 12_345), (4, 4, NO_ID), (16, 4, NO_ID), (32, 0, NO_ID)];
    let mut bytes = VERSION.to_le_bytes().to_vec();
    for (tag, permissions, id) in ENTRIES {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

/// `cap_net_raw` permitted, in the second revision of the format.
const CAPABILITY: [u8; 20] = {
    let mut bytes = [0; 20];
    bytes[3] = 2;
    bytes[5] = 0x20;
    bytes
};

fn keeps_holes(path: &Path) -> io::Result<bool> {
    let file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all_at(b"1", HOLE)?;
    file.sync_all()?;
    Ok(file.metadata()?.blocks() * 512 < HOLE)
}

fn time_grain(path: &Path) -> io::Result<u64> {
    // An odd second, for those that count in twos.
    let time = Timespec { tv_sec: 1_000_000_001, tv_nsec: NANOSECONDS };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::empty())?;
    let kept = fs::metadata(path)?;
    Ok(grain(kept.mtime() == time.tv_sec, kept.mtime_nsec()))
}

fn grain(second_kept: bool, nanoseconds: i64) -> u64 {
    if !second_kept {
        return 2_000_000_000;
    }
    let mut grain = 1;
    while grain < 1_000_000_000 && NANOSECONDS / grain * grain != nanoseconds {
        grain *= 10;
    }
    u64::try_from(grain).unwrap_or(1)
}

fn is_case_sensitive(folder: &Path) -> io::Result<bool> {
    File::create_new(folder.join("case"))?;
    Ok(!folder.join("CASE").try_exists()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_leaves_nothing_behind() {
        let volume = tempfile::tempdir().unwrap();
        fs::create_dir(volume.path().join(format!("{PREFIX}0123456789abcdef"))).unwrap();
        fs::create_dir(volume.path().join(format!("{PREFIX}of-a-user"))).unwrap();
        let before = fs::metadata(volume.path()).unwrap().modified().unwrap();
        let abilities = probe(volume.path(), "fedcba9876543210").unwrap();
        assert_eq!(fs::metadata(volume.path()).unwrap().modified().unwrap(), before);
        assert!(abilities.hard_links && abilities.symlinks && abilities.case_sensitive);
        let left: Vec<_> =
            fs::read_dir(volume.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, [".scribe-probe-of-a-user"]);
    }

    #[test]
    fn the_grain_of_times_is_what_was_lost() {
        assert_eq!(grain(true, 123_456_789), 1);
        assert_eq!(grain(true, 123_456_700), 100);
        assert_eq!(grain(true, 123_000_000), 1_000_000);
        assert_eq!(grain(true, 0), 1_000_000_000);
        assert_eq!(grain(false, 0), 2_000_000_000);
        let mut found = vec![grain(true, NANOSECONDS)];
        found.extend((1..=9).map(|digits| {
            let unit = 10_i64.pow(digits);
            grain(true, NANOSECONDS / unit * unit)
        }));
        found.push(grain(false, 0));
        assert_eq!(found, TIME_GRAINS);
    }
}
