//! What is mounted where, and bind mounts. The kernel's table is the only truth: it survives a restart of the driver.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::mount::{MountFlags, UnmountFlags, mount_bind, mount_remount, unmount};

/// One line of the mount table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub target: PathBuf,
    /// The device that is mounted, or bound itself: `/dev/loopN` in both cases. Other sources as the kernel names them.
    pub source: PathBuf,
    /// Whether this mount refuses writes (the file system below may still take them elsewhere).
    pub read_only: bool,
}

/// The mount table of this process, in the order in which the mounts were made.
///
/// # Errors
/// When the table cannot be read.
pub fn table() -> anyhow::Result<Vec<Mount>> {
    let text = fs::read_to_string("/proc/self/mountinfo").context("read the mount table")?;
    Ok(text.lines().filter_map(parse).collect())
}

/// The uppermost mount at `path`, which must not be a symbolic link.
///
/// # Errors
/// When the table cannot be read.
pub fn at(path: &Path) -> anyhow::Result<Option<Mount>> {
    Ok(table()?.into_iter().rev().find(|mount| mount.target == path))
}

/// The path as the mount table spells it. `None` where there is nothing.
///
/// # Errors
/// When the path cannot be resolved for another reason than that it does not exist.
pub fn resolve(path: &Path) -> anyhow::Result<Option<PathBuf>> {
    match fs::canonicalize(path) {
        Ok(path) => Ok(Some(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("resolve {}", path.display())),
    }
}

/// Shows `source` at `target` too.
///
/// # Errors
/// When the kernel refuses.
pub fn bind(source: &Path, target: &Path) -> anyhow::Result<()> {
    mount_bind(source, target).with_context(|| format!("bind {} at {}", source.display(), target.display()))
}

/// Makes one bind mount refuse writes, and leaves the others of the same file system as they are.
///
/// # Errors
/// When the kernel refuses.
pub fn make_read_only(target: &Path) -> anyhow::Result<()> {
    mount_remount(target, MountFlags::BIND | MountFlags::RDONLY, "")
        .with_context(|| format!("make {} read-only", target.display()))
}

/// Unmounts everything at `path`, layer by layer.
///
/// # Errors
/// When something still uses it.
pub fn unmount_all(path: &Path) -> anyhow::Result<()> {
    while at(path)?.is_some() {
        unmount_once(path)?;
    }
    Ok(())
}

/// Unmounts the uppermost mount at `path`.
///
/// # Errors
/// When something still uses it.
pub fn unmount_once(path: &Path) -> anyhow::Result<()> {
    unmount(path, UnmountFlags::NOFOLLOW).with_context(|| format!("unmount {}", path.display()))
}

/// Takes one mount away from sight at once; the kernel lets go of it when its last user does.
///
/// # Errors
/// When the kernel refuses.
pub fn detach(path: &Path) -> anyhow::Result<()> {
    unmount(path, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH)
        .with_context(|| format!("detach the mount at {}", path.display()))
}

fn parse(line: &str) -> Option<Mount> {
    // Optional fields of unknown number end with a lone hyphen; see proc_pid_mountinfo(5).
    let (left, right) = line.split_once(" - ")?;
    let left: Vec<&str> = left.split(' ').collect();
    let right: Vec<&str> = right.split(' ').collect();
    let (root, target, options) = (left.get(3)?, left.get(4)?, left.get(5)?);
    let (kind, source) = (right.first()?, right.get(1)?);
    // A device node bound onto a file shows as a path inside the devtmpfs it comes from.
    let source = if *kind == "devtmpfs" && *root != "/" {
        Path::new("/dev").join(unescape(root).strip_prefix("/").ok()?)
    } else {
        unescape(source)
    };
    Some(Mount {
        target: unescape(target),
        source,
        read_only: options.split(',').any(|option| option == "ro"),
    })
}

/// Undoes the kernel's `\ooo` for blanks, tabs, line ends and backslashes.
fn unescape(field: &str) -> PathBuf {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    let bytes = field.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let code = (byte == b'\\')
            .then(|| field.get(at + 1..at + 4))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        out.push(code.unwrap_or(byte));
        at += if code.is_some() { 4 } else { 1 };
    }
    PathBuf::from(OsString::from_vec(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_on_a_loop_device() {
        let mount = parse(r"43 27 7:1 / /tmp/a\040b rw,relatime shared:9 - ext4 /dev/loop1 rw").unwrap();
        assert_eq!(mount.target, Path::new("/tmp/a b"));
        assert_eq!(mount.source, Path::new("/dev/loop1"));
        assert!(!mount.read_only);
    }

    #[test]
    fn a_bound_device_is_its_own_source() {
        let mount = parse("50 27 0:6 /loop12 /p/dev ro,relatime - devtmpfs devtmpfs rw,size=1").unwrap();
        assert_eq!(mount.source, Path::new("/dev/loop12"));
        assert!(mount.read_only);
    }

    #[test]
    fn only_the_mounts_own_options_count() {
        // A read-only file system under a writable mount: what matters for a bind mount is its own flag.
        let mount = parse("43 27 7:1 / /m rw,relatime - ext4 /dev/loop1 ro").unwrap();
        assert!(!mount.read_only);
    }

    #[test]
    fn a_lone_backslash_stays() {
        assert_eq!(unescape(r"a\b\134c"), Path::new(r"a\b\c"));
    }
}
