//! What a volume holds, as lines that can be compared: everything that is to be kept, and nothing else.

use super::Identity;
use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Describes every entry below `root`. Owners and devices count only where movers as root keep them, and the root's own
/// attributes too.
pub fn describe(root: &Path, identity: Identity) -> Vec<String> {
    let mut paths = vec![];
    walk(root, root, &mut paths);
    paths.sort();
    let mut links: BTreeMap<u64, PathBuf> = BTreeMap::new();
    let mut lines = Vec::new();
    for path in paths {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let first = links.entry(metadata.ino()).or_insert_with(|| path.clone()).clone();
        let link =
            if first == path { String::new() } else { format!(" = {:?}", first.strip_prefix(root).unwrap()) };
        lines.push(format!("{}{link}", describe_entry(root, &path, identity)));
    }
    if identity == Identity::Root {
        lines.push(describe_entry(root, root, identity));
    }
    lines
}

fn walk(root: &Path, folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path == root.join("lost+found") {
            continue;
        }
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            walk(root, &path, paths);
        }
        paths.push(path);
    }
}

/// One line about one entry.
fn describe_entry(root: &Path, path: &Path, identity: Identity) -> String {
    let metadata = fs::symlink_metadata(path).unwrap();
    let kind = metadata.file_type();
    let content = if kind.is_file() {
        let mut hasher = DefaultHasher::new();
        fs::read(path).unwrap().hash(&mut hasher);
        format!("file {} {:x}", metadata.len(), hasher.finish())
    } else if kind.is_symlink() {
        format!("-> {:?}", fs::read_link(path).unwrap())
    } else if kind.is_char_device() || kind.is_block_device() {
        format!("device {:x}", metadata.rdev())
    } else {
        format!("{kind:?}")
    };
    let owner = match identity {
        Identity::Root => format!(" {}:{}", metadata.uid(), metadata.gid()),
        Identity::User(_) => String::new(),
    };
    let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().escape_ascii();
    let (mode, seconds, nanoseconds) = (metadata.mode(), metadata.mtime(), metadata.mtime_nsec());
    format!("{name} {mode:o}{owner} {seconds}.{nanoseconds:09} {content} {:?}", xattrs(path))
}

fn xattrs(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut names = vec![0; 65536];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let text = String::from_utf8(names[..length].to_vec()).unwrap();
    let mut all = Vec::new();
    for name in text.split('\0').filter(|name| !name.is_empty() && !name.starts_with("trusted.")) {
        let mut value = vec![0; 65536];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        all.push((name.to_owned(), value[..length].to_vec()));
    }
    all.sort();
    all
}
