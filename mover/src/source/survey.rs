//! One walk over the cut, before anything is sent: how much there is, and what of it the destination cannot keep.
//!
//! It costs a look at every entry, which rsync is about to take too and then finds in memory.

use crate::reason::{Failure, Reason};
use rustix::io::Errno;
use scribe_mover_contract::peer::Abilities;
use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What the cut holds.
#[derive(Debug, Default)]
pub struct Survey {
    /// The size of all files, in bytes.
    pub bytes: u64,
    /// All entries.
    pub files: u64,
    /// Some entry has both an access control list and a set-id or sticky bit.
    pub has_special_acls: bool,
    lost: BTreeMap<Attribute, Lost>,
}

/// What a destination may be unable to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Attribute {
    Owners,
    Acls,
    UserXattrs,
    FileCapabilities,
    OtherXattrs,
    Devices,
    HardLinks,
    Symlinks,
    Holes,
    Times,
    Case,
}

#[derive(Debug)]
struct Lost {
    entries: u64,
    first: PathBuf,
}

/// Longer ones are cut: the lists stand in a status.
const MAX_PATH: usize = 100;
/// The kernel's own limit for the names of one entry's extended attributes.
const MAX_XATTR_LIST: usize = 64 * 1024;

/// Walks over the cut at `data`.
///
/// # Errors
/// A folder cannot be read.
pub async fn survey(data: &Path, abilities: &Abilities) -> Result<Survey, Failure> {
    let (data, abilities) = (data.to_owned(), abilities.clone());
    let walked = tokio::task::spawn_blocking(move || Walk::new(&data, &abilities).run()).await;
    walked.unwrap_or_else(|error| {
        Err(Failure::transient(Reason::InternalError, format!("walk over the cut: {error}")))
    })
}

impl Survey {
    /// What is not kept, for people: each with how many entries have it and one of them.
    pub fn lost(&self) -> Vec<String> {
        let line = |(attribute, lost): (&Attribute, &Lost)| {
            format!("{}: {} entries, for example {}", attribute.words(), lost.entries, shown(&lost.first))
        };
        self.lost.iter().map(line).collect()
    }
}

impl Attribute {
    fn words(self) -> &'static str {
        match self {
            Self::Owners => "owners and groups",
            Self::Acls => "access control lists",
            Self::UserXattrs => "extended attributes (user.*)",
            Self::FileCapabilities => "file capabilities (security.capability)",
            Self::OtherXattrs => "extended attributes of other namespaces",
            Self::Devices => "device nodes",
            Self::HardLinks => "hard links",
            Self::Symlinks => "symbolic links",
            Self::Holes => "holes in files",
            Self::Times => "times to the nanosecond",
            Self::Case => "names that differ only in case",
        }
    }
}

/// A path as it may stand in a status: on one line, with a bound.
fn shown(path: &Path) -> String {
    if path.as_os_str().is_empty() {
        return "/".to_owned();
    }
    let text: String = path.to_string_lossy().escape_debug().collect();
    if text.chars().count() <= MAX_PATH {
        return text;
    }
    text.chars().take(MAX_PATH).chain("…".chars()).collect()
}

struct Walk<'a> {
    data: &'a Path,
    abilities: &'a Abilities,
    device: u64,
    /// Room for a list of names, used again and again.
    names: Vec<u8>,
    survey: Survey,
}

impl<'a> Walk<'a> {
    fn new(data: &'a Path, abilities: &'a Abilities) -> Self {
        Self { data, abilities, device: 0, names: vec![0; MAX_XATTR_LIST], survey: Survey::default() }
    }

    fn run(mut self) -> Result<Survey, Failure> {
        let root = fs::symlink_metadata(self.data).map_err(|error| self.unreadable(self.data, &error))?;
        self.device = root.dev();
        self.see(self.data, &root);
        let mut folders = vec![self.data.to_owned()];
        while let Some(folder) = folders.pop() {
            self.enter(&folder, &mut folders)?;
        }
        Ok(self.survey)
    }

    fn enter(&mut self, folder: &Path, folders: &mut Vec<PathBuf>) -> Result<(), Failure> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if is_passing(&error) => return Ok(()),
            Err(error) => return Err(self.unreadable(folder, &error)),
        };
        for entry in entries {
            let path = entry.map_err(|error| self.unreadable(folder, &error))?.path();
            let metadata = match fs::symlink_metadata(&path) {
                Ok(metadata) => metadata,
                Err(error) if is_passing(&error) => continue,
                Err(error) => return Err(self.unreadable(&path, &error)),
            };
            if folder == self.data && metadata.is_dir() && path.ends_with("lost+found") {
                continue;
            }
            self.see(&path, &metadata);
            if metadata.is_dir() && metadata.dev() == self.device {
                folders.push(path);
            }
        }
        Ok(())
    }

    fn see(&mut self, path: &Path, metadata: &Metadata) {
        self.survey.files += 1;
        if metadata.is_file() {
            self.survey.bytes += metadata.len();
        }
        let kind = metadata.file_type();
        let able = self.abilities;
        let has_hole = metadata.is_file() && metadata.blocks() * 512 < metadata.len();
        self.lose(!able.owners, Attribute::Owners, path);
        self.lose(
            !able.devices && (kind.is_block_device() || kind.is_char_device()),
            Attribute::Devices,
            path,
        );
        self.lose(!able.hard_links && !metadata.is_dir() && metadata.nlink() > 1, Attribute::HardLinks, path);
        self.lose(!able.symlinks && kind.is_symlink(), Attribute::Symlinks, path);
        self.lose(!able.holes && has_hole, Attribute::Holes, path);
        self.lose(
            able.time_grain > 1 && !is_multiple(metadata.mtime_nsec(), able.time_grain),
            Attribute::Times,
            path,
        );
        if !able.case_sensitive {
            let name = path.file_name().unwrap_or_default();
            self.lose(name.to_string_lossy().chars().any(char::is_uppercase), Attribute::Case, path);
        }
        self.see_xattrs(path, metadata.mode() & 0o7000 != 0);
    }

    fn see_xattrs(&mut self, path: &Path, is_special: bool) {
        // A file system without them is one where none get lost.
        let length = rustix::fs::llistxattr(path, &mut self.names[..]).unwrap_or(0);
        let names = String::from_utf8_lossy(&self.names[..length]).into_owned();
        for name in names.split('\0').filter(|name| !name.is_empty()) {
            self.survey.has_special_acls |= is_special && name == "system.posix_acl_access";
            if let Some(attribute) = self.lost_xattr(name) {
                self.lose(true, attribute, path);
            }
        }
    }

    fn lost_xattr(&self, name: &str) -> Option<Attribute> {
        let (able, attribute) = match name {
            "security.capability" => (self.abilities.file_capabilities, Attribute::FileCapabilities),
            "system.posix_acl_access" | "system.posix_acl_default" => (self.abilities.acls, Attribute::Acls),
            // Of the node that the volume is mounted on, not of the data: labelled anew at every mount.
            "security.selinux" => (true, Attribute::OtherXattrs),
            _ if name.starts_with("user.") => (self.abilities.user_xattrs, Attribute::UserXattrs),
            _ => (false, Attribute::OtherXattrs),
        };
        (!able).then_some(attribute)
    }

    fn lose(&mut self, is_lost: bool, attribute: Attribute, path: &Path) {
        if !is_lost {
            return;
        }
        let first = || path.strip_prefix(self.data).unwrap_or(path).to_owned();
        let lost = self.survey.lost.entry(attribute).or_insert_with(|| Lost { entries: 0, first: first() });
        lost.entries += 1;
    }

    fn unreadable(&self, path: &Path, error: &io::Error) -> Failure {
        let relative = path.strip_prefix(self.data).unwrap_or(path);
        let what = format!("cannot read {:?}: {error}", shown(relative));
        if error.kind() == io::ErrorKind::PermissionDenied {
            let ways = "run the mover as the owner of the data (moverSecurityContext.runAsUser), or as root in a \
                namespace that allows it";
            return Failure::permanent(Reason::NeedsPrivilege, format!("{what}; {ways}"));
        }
        Failure::transient(Reason::SourceReadError, what)
    }
}

/// What rsync judges by itself: gone in the meantime (a live source), or a path that is longer than the kernel takes.
fn is_passing(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::NAMETOOLONG | Errno::NOTDIR))
}

fn is_multiple(nanoseconds: i64, grain: u64) -> bool {
    i64::try_from(grain).is_ok_and(|grain| nanoseconds % grain == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_gets_lost_is_counted_with_an_example() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), "12345").unwrap();
        fs::hard_link(folder.path().join("a"), folder.path().join("b")).unwrap();
        fs::create_dir(folder.path().join("lost+found")).unwrap();
        let all = Abilities {
            acls: true,
            user_xattrs: true,
            file_capabilities: true,
            owners: true,
            devices: true,
            hard_links: true,
            symlinks: true,
            holes: true,
            time_grain: 1,
            case_sensitive: true,
        };
        let kept = survey(folder.path(), &all).await.unwrap();
        assert_eq!((kept.files, kept.bytes, kept.lost()), (3, 10, vec![]));
        let poor = Abilities { hard_links: false, ..all };
        let lost = survey(folder.path(), &poor).await.unwrap().lost();
        assert_eq!(lost.len(), 1);
        assert!(lost[0].starts_with("hard links: 2 entries, for example "), "{lost:?}");
        let poor = Abilities { hard_links: true, owners: false, ..poor };
        let lost = survey(folder.path(), &poor).await.unwrap().lost();
        assert_eq!(lost, ["owners and groups: 3 entries, for example /"]);
    }

    #[test]
    fn odd_and_long_names_are_shown_on_one_bounded_line() {
        assert_eq!(shown(Path::new("a\nb")), "a\\nb");
        assert_eq!(shown(Path::new("")), "/");
        assert!(shown(Path::new(&"x".repeat(1000))).chars().count() <= MAX_PATH + 1);
    }
}
