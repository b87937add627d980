//! Trees of files to replicate: everything that a file system can hold, and names that a careless program trips over.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags, chownat, lsetxattr, makedev,
    mknodat, utimensat,
};

/// Bytes of a kind that does not compress, the same for the same seed.
#[must_use]
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        // xorshift64: all that is asked of it is that no compressor finds a pattern.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// What an unprivileged mover can read and keep, all owned by `owner`: files of many sizes, holes, hard and symbolic links, modes,
/// times to the nanosecond, ACLs, user attributes, and odd names.
///
/// # Errors
/// The file system is full, or lacks one of these features.
pub fn ordinary(root: &Path, owner: u32) -> Result<()> {
    let at = |name: &str| root.join(name);
    fs::create_dir_all(at("dir/deep/er"))?;
    fs::create_dir_all(at("empty"))?;
    for (name, length) in
        [("empty-file", 0), ("one", 1), ("dir/page", 4096), ("dir/deep/odd", 100_003), ("big", 3 << 20)]
    {
        fs::write(at(name), noise(length as u64 + 7, length))?;
    }
    holes(&at("dir/holes"))?;
    fs::hard_link(at("dir/page"), at("dir/deep/page-again"))?;
    fs::hard_link(at("dir/page"), at("page-third"))?;
    symlink("dir/page", at("link"))?;
    symlink("/etc/passwd", at("absolute-link"))?;
    symlink("no/such/target", at("dangling"))?;
    for (name, mode) in [("one", 0o400), ("dir/deep/odd", 0o751), ("empty", 0o1770), ("big", 0o644)] {
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode))?;
    }
    lsetxattr(at("big"), "user.comment", b"kept \x00 as it is", XattrFlags::empty())
        .context("set a user attribute")?;
    lsetxattr(at("dir"), "user.on-a-directory", b"yes", XattrFlags::empty())
        .context("set a user attribute")?;
    let named = acl(&[
        (USER_OBJ, 6, NO_ID),
        (USER, 4, 4711),
        (GROUP_OBJ, 4, NO_ID),
        (MASK, 6, NO_ID),
        (OTHER, 0, NO_ID),
    ]);
    lsetxattr(at("dir/page"), "system.posix_acl_access", &named, XattrFlags::empty())
        .context("set an ACL")?;
    let inherited = acl(&[(USER_OBJ, 7, NO_ID), (GROUP_OBJ, 5, NO_ID), (OTHER, 0, NO_ID)]);
    lsetxattr(at("dir/deep"), "system.posix_acl_default", &inherited, XattrFlags::empty())
        .context("set a default ACL")?;
    for name in hostile_names() {
        fs::write(root.join(OsStr::from_bytes(&name)), &name)?;
    }
    let mut paths = walk(root)?;
    // Children first: a directory's time changes with every entry made in it.
    paths.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
    for (number, path) in paths.iter().enumerate() {
        chown(path, owner, owner)?;
        let time = Timespec { tv_sec: 1_600_000_000, tv_nsec: 123_456_789 + i64::try_from(number)? };
        let times = Timestamps { last_access: time, last_modification: time };
        utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).context("set the times")?;
    }
    Ok(())
}

/// What only root can keep: foreign owners, devices, file capabilities.
///
/// # Errors
/// The file system is full, or this does not run as root.
pub fn privileged(root: &Path) -> Result<()> {
    let at = |name: &str| root.join(name);
    for (name, uid, gid) in [("owned-by-others", 1234, 5678), ("owned-by-root", 0, 0)] {
        fs::write(at(name), name)?;
        chown(&at(name), uid, gid)?;
    }
    fs::set_permissions(at("owned-by-others"), fs::Permissions::from_mode(0o4750))?;
    mknodat(CWD, at("null-device"), FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(1, 3))?;
    mknodat(CWD, at("pipe"), FileType::Fifo, Mode::from_raw_mode(0o640), 0)?;
    fs::write(at("capable"), "#!")?;
    // struct vfs_cap_data, revision 2: cap_net_bind_service, permitted and effective.
    let capability: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    lsetxattr(at("capable"), "security.capability", &capability, XattrFlags::empty())
        .context("set a capability")?;
    Ok(())
}

/// `count` small files in directories of 500, with names of every sort.
///
/// # Errors
/// The file system is full.
pub fn many(root: &Path, count: usize, owner: u32) -> Result<()> {
    let odd = hostile_names();
    for number in 0..count {
        let folder = root.join(format!("d{:03}", number / 500));
        if number % 500 == 0 {
            fs::create_dir_all(&folder)?;
            chown(&folder, owner, owner)?;
        }
        let mut name = odd[number % odd.len()].clone();
        name.truncate(200);
        name.extend_from_slice(number.to_string().as_bytes());
        let path = folder.join(OsStr::from_bytes(&name));
        fs::write(&path, number.to_string())?;
        chown(&path, owner, owner)?;
    }
    Ok(())
}

/// Names that are legal and that a shell, a parser or a protocol may trip over.
#[must_use]
pub fn hostile_names() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = [
        "-rf",
        "--delete",
        " leading space",
        "trailing space ",
        "new\nline",
        "tab\there",
        "quote'\"`",
        "$(touch x)",
        "a;b|c&d",
        "*?[x]",
        "back\\slash",
        "#hash",
        "~tilde",
        "...",
        "%41%s%n",
        "\u{1b}[31mred",
        "emoji-\u{1f980}",
        "\u{202e}reversed",
        ".partial",
        ".~tmp~",
        ".file.aBcDeF",
        "CON",
        "lost+found-not",
        "*deleting x",
        ">f+++++++++ x",
        "\\#012",
        "{a,b}",
        "!excl",
    ]
    .iter()
    .map(|name| name.as_bytes().to_vec())
    .collect();
    names.push(b"latin1-\xe4\xf6\xfc".to_vec());
    names.push(b"bad-utf8-\xff\xfe\x80".to_vec());
    names.push(b"\x01\x02\x7f".to_vec());
    names.push(vec![b'x'; 255]);
    names
}

/// A file of 8 MiB with data in its first and its sixth MiB only.
fn holes(path: &Path) -> Result<()> {
    let mut file = File::create(path)?;
    file.write_all(&noise(1, 65_536))?;
    file.seek(SeekFrom::Start(5 << 20))?;
    file.write_all(&noise(2, 65_536))?;
    file.set_len(8 << 20)?;
    Ok(())
}

const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;
const NO_ID: u32 = u32::MAX;

/// A POSIX ACL as the kernel's `system.posix_acl_*` attributes hold it: version 2, then tag, permissions and id of each entry.
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&permissions.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    bytes
}

/// Sets owner and group, of a symbolic link itself and not of its target.
///
/// # Errors
/// This does not run as root.
pub fn chown(path: &Path, uid: u32, gid: u32) -> Result<()> {
    chownat(CWD, path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::SYMLINK_NOFOLLOW)
        .with_context(|| format!("chown {}", path.display()))
}

/// Every path below a directory, but not the file system's own `lost+found`.
fn walk(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut pending = vec![root.to_path_buf()];
    while let Some(folder) = pending.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path == root.join("lost+found") {
                continue;
            }
            if path.is_dir() && !path.is_symlink() {
                pending.push(path.clone());
            }
            found.push(path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Ignore, Tree};

    #[test]
    fn the_same_fixture_twice_is_the_same_tree() {
        let (left, right) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for side in [&left, &right] {
            ordinary(side.path(), 65_532).unwrap();
        }
        let (left, right) = (Tree::read(left.path()).unwrap(), Tree::read(right.path()).unwrap());
        let ignore = Ignore { root: true, ..Ignore::default() };
        assert_eq!(left.differences(&right, ignore), Vec::<String>::new());
        assert!(left.0.values().any(|entry| entry.sparse), "the fixture has holes");
        assert!(left.0.values().any(|entry| entry.links.1 == 3), "the fixture has hard links");
        assert!(left.0.len() > 40);
    }
}
