//! Reads a tree of files completely, to compare a replica with its source: with nothing of rsync's, and nothing of the mover's.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// Every entry below a directory, and the directory itself as the empty path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree(pub BTreeMap<Vec<u8>, Entry>);

/// All that there is to know about an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Type and permissions, as in `st_mode`.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds and nanoseconds of the last modification.
    pub modified: (i64, i64),
    /// The size of a regular file.
    pub size: u64,
    /// Whether fewer blocks are allocated than the size would need: a file with holes.
    pub sparse: bool,
    /// SHA-256 of a regular file's content, or the target of a symbolic link, or a device's number.
    pub content: Vec<u8>,
    /// The first path (in byte order) of the same file, and its number of links within the tree.
    pub links: (Vec<u8>, u64),
    /// Extended attributes with their values; ACLs are among them as `system.posix_acl_*`.
    pub attributes: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What a comparison leaves out, because a mover without privileges cannot keep it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ignore {
    /// Owner and group of every entry.
    pub owners: bool,
    /// All of the root directory's own attributes.
    pub root: bool,
}

impl Tree {
    /// Reads a whole tree. `/lost+found` at its top belongs to the file system and is left out.
    ///
    /// # Errors
    /// An entry cannot be read, or vanishes meanwhile.
    pub fn read(root: &Path) -> Result<Self> {
        let mut entries = BTreeMap::new();
        let mut inodes: HashMap<(u64, u64), Vec<Vec<u8>>> = HashMap::new();
        let mut pending = vec![Vec::new()];
        while let Some(relative) = pending.pop() {
            let path = root.join(OsStr::from_bytes(&relative));
            let (entry, inode) = read_entry(&path).with_context(|| format!("read {}", path.display()))?;
            if entry.mode & libc_mode::TYPE == libc_mode::DIRECTORY {
                for child in std::fs::read_dir(&path).with_context(|| format!("list {}", path.display()))? {
                    let name = child?.file_name();
                    if relative.is_empty() && name == "lost+found" {
                        continue;
                    }
                    let mut child = relative.clone();
                    if !child.is_empty() {
                        child.push(b'/');
                    }
                    child.extend_from_slice(name.as_bytes());
                    pending.push(child);
                }
            } else {
                inodes.entry(inode).or_default().push(relative.clone());
            }
            entries.insert(relative, entry);
        }
        for names in inodes.values_mut() {
            names.sort();
            for name in names.iter() {
                if let Some(entry) = entries.get_mut(name) {
                    entry.links = (names[0].clone(), names.len() as u64);
                }
            }
        }
        Ok(Self(entries))
    }

    /// The differences to another tree, one line each, at most 20; none if they are equal.
    #[must_use]
    pub fn differences(&self, other: &Tree, ignore: Ignore) -> Vec<String> {
        let mut found = Vec::new();
        for (path, entry) in &self.0 {
            let shown = String::from_utf8_lossy(path);
            match other.0.get(path) {
                None => found.push(format!("{shown:?}: missing on the right")),
                Some(_) if ignore.root && path.is_empty() => {}
                Some(there) => {
                    found.extend(entry.differences(there, ignore).map(|what| format!("{shown:?}: {what}")))
                }
            }
        }
        let extra = other.0.keys().filter(|path| !self.0.contains_key(*path));
        found.extend(extra.map(|path| format!("{:?}: missing on the left", String::from_utf8_lossy(path))));
        found.truncate(20);
        found
    }
}

impl Entry {
    fn differences(&self, other: &Entry, ignore: Ignore) -> impl Iterator<Item = String> {
        let mut found = Vec::new();
        let mut check = |what: &str, left: &dyn std::fmt::Debug, right: &dyn std::fmt::Debug| {
            let (left, right) = (format!("{left:?}"), format!("{right:?}"));
            if left != right {
                found.push(format!("{what} {left} is {right}"));
            }
        };
        check("mode", &format!("{:o}", self.mode), &format!("{:o}", other.mode));
        if !ignore.owners {
            check("uid", &self.uid, &other.uid);
            check("gid", &self.gid, &other.gid);
        }
        check("mtime", &self.modified, &other.modified);
        check("size", &self.size, &other.size);
        check("sparse", &self.sparse, &other.sparse);
        check("content", &self.content, &other.content);
        check("links", &self.links, &other.links);
        check("attributes", &self.attributes, &other.attributes);
        found.into_iter()
    }
}

/// The few constants of `st_mode` that are needed here.
mod libc_mode {
    pub const TYPE: u32 = 0o170_000;
    pub const DIRECTORY: u32 = 0o040_000;
    pub const REGULAR: u32 = 0o100_000;
    pub const SYMLINK: u32 = 0o120_000;
}

fn read_entry(path: &Path) -> Result<(Entry, (u64, u64))> {
    let meta = std::fs::symlink_metadata(path)?;
    let kind = meta.mode() & libc_mode::TYPE;
    let content = match kind {
        libc_mode::REGULAR => hash(path)?,
        libc_mode::SYMLINK => std::fs::read_link(path)?.as_os_str().as_bytes().to_vec(),
        libc_mode::DIRECTORY => Vec::new(),
        _ => meta.rdev().to_be_bytes().to_vec(),
    };
    let regular = kind == libc_mode::REGULAR;
    let entry = Entry {
        mode: meta.mode(),
        uid: meta.uid(),
        gid: meta.gid(),
        modified: (meta.mtime(), meta.mtime_nsec()),
        size: if regular { meta.size() } else { 0 },
        // A file system may allocate a little more than it must; a hole that counts is larger than that.
        sparse: regular && meta.blocks() * 512 + 65_536 < meta.size(),
        content,
        links: (Vec::new(), 0),
        attributes: attributes(path)?,
    };
    Ok((entry, (meta.dev(), meta.ino())))
}

fn hash(path: &Path) -> Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(hash.finalize().to_vec());
        }
        hash.update(&buffer[..read]);
    }
}

fn attributes(path: &Path) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut names = vec![0; 65_536];
    let length = rustix::fs::llistxattr(path, &mut names).context("list attributes")?;
    let mut attributes = BTreeMap::new();
    // As what XFS stores its access control lists, which have a name of their own already.
    let is_stored_acl = |name: &[u8]| name.starts_with(b"trusted.SGI_ACL_");
    let names = names[..length].split(|byte| *byte == 0);
    for name in names.filter(|name| !name.is_empty() && !is_stored_acl(name)) {
        let mut value = vec![0; 65_536];
        let length =
            rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value).context("read an attribute")?;
        value.truncate(length);
        attributes.insert(name.to_vec(), value);
    }
    Ok(attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_difference_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let (left, right) = (folder.path().join("l"), folder.path().join("r"));
        for side in [&left, &right] {
            std::fs::create_dir(side).unwrap();
            std::fs::write(side.join("a"), "same").unwrap();
            std::fs::hard_link(side.join("a"), side.join("b")).unwrap();
            let file = File::create(side.join("a")).unwrap();
            file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        }
        let ignore = Ignore { root: true, ..Ignore::default() };
        let differences = |left: &Path, right: &Path| {
            Tree::read(left).unwrap().differences(&Tree::read(right).unwrap(), ignore)
        };
        assert_eq!(differences(&left, &right), Vec::<String>::new());
        std::fs::remove_file(right.join("b")).unwrap();
        std::fs::copy(left.join("a"), right.join("b")).unwrap();
        let file = File::options().write(true).open(right.join("b")).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        assert!(differences(&left, &right).iter().all(|line| line.contains("links")), "a broken hard link");
        assert!(!differences(&left, &right).is_empty(), "a broken hard link");
        std::fs::write(right.join("c\n"), "").unwrap();
        assert!(differences(&left, &right).iter().any(|line| line.contains("missing on the left")));
    }
}
