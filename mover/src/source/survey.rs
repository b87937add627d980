//! One walk over the cut, before the destination is asked for anything: how much there is, and what a destination may be unable to keep.
//!
//! It comes before the handshake because it can take long, and because it can fail: a destination that has said "send" waits for a
//! connection, and counts its claim as dirty. It costs a look at every entry, which rsync is about to take too and then finds in memory.

use crate::abilities::TIME_GRAINS;
use crate::reason::{Failure, Reason};
use rustix::fs::{Access, AtFlags, CWD};
use rustix::io::Errno;
use scribe_mover_contract::peer::Abilities;
use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use tokio::sync::oneshot;

/// What the cut holds.
#[derive(Debug, Default)]
pub struct Survey {
    /// The size of all files, in bytes.
    pub bytes: u64,
    /// What all entries take up on the volume, in bytes. A file with several names counts with each.
    pub allocated: u64,
    /// All entries.
    pub files: u64,
    /// Some entry has both an access control list and a set-id or sticky bit.
    pub has_special_acls: bool,
    found: BTreeMap<Attribute, Found>,
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
    /// A time that needs no finer grain than this, in nanoseconds: one of [`TIME_GRAINS`].
    Times(u64),
    Case,
}

#[derive(Debug)]
struct Found {
    entries: u64,
    first: PathBuf,
}

/// Longer ones are cut: the lists stand in a status.
const MAX_PATH: usize = 100;
/// The kernel's own limit for the names of one entry's extended attributes.
const MAX_XATTR_LIST: usize = 64 * 1024;
/// In nanoseconds.
const SECOND: i64 = 1_000_000_000;

/// Walks over the cut at `data`. Dropped, it ends the walk.
///
/// # Errors
/// Something cannot be read. If `leaves_out`, only rsync knows what has to be readable, and says so later.
pub async fn survey(data: &Path, leaves_out: bool) -> Result<Survey, Failure> {
    let data = data.to_owned();
    let (asker, walked) = oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let survey = Walk::new(&data, leaves_out, &asker).run();
        // Who asked may have gone.
        let _ = asker.send(survey);
    });
    walked
        .await
        .unwrap_or_else(|_| Err(Failure::transient(Reason::InternalError, "the walk over the cut broke off")))
}

impl Survey {
    /// What a destination of those abilities does not keep, for people: each with how many entries have it and one of them.
    pub fn lost(&self, abilities: &Abilities) -> Vec<String> {
        let mut lost: Vec<(&str, u64, &Path)> = Vec::new();
        for (attribute, found) in self.found.iter().filter(|(attribute, _)| !attribute.is_kept(abilities)) {
            match lost.last_mut() {
                // Times, which are counted by their grain.
                Some((words, entries, _)) if *words == attribute.words() => *entries += found.entries,
                _ => lost.push((attribute.words(), found.entries, &found.first)),
            }
        }
        let line =
            |(words, entries, first)| format!("{words}: {entries} entries, for example {}", shown(first));
        lost.into_iter().map(line).collect()
    }
}

impl Attribute {
    fn is_kept(self, by: &Abilities) -> bool {
        match self {
            Self::Owners => by.owners,
            Self::Acls => by.acls,
            Self::UserXattrs => by.user_xattrs,
            Self::FileCapabilities => by.file_capabilities,
            Self::OtherXattrs => false,
            Self::Devices => by.devices,
            Self::HardLinks => by.hard_links,
            Self::Symlinks => by.symlinks,
            Self::Holes => by.holes,
            Self::Times(grain) => by.time_grain <= 1 || grain % by.time_grain == 0,
            Self::Case => by.case_sensitive,
        }
    }

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
            Self::Times(_) => "times to the nanosecond",
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
    leaves_out: bool,
    /// Who waits for the result.
    asker: &'a oneshot::Sender<Result<Survey, Failure>>,
    device: u64,
    /// Room for a list of names, used again and again.
    names: Vec<u8>,
    survey: Survey,
}

impl<'a> Walk<'a> {
    fn new(data: &'a Path, leaves_out: bool, asker: &'a oneshot::Sender<Result<Survey, Failure>>) -> Self {
        let names = vec![0; MAX_XATTR_LIST];
        Self { data, leaves_out, asker, device: 0, names, survey: Survey::default() }
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
            Err(error) if self.leaves_out && is_denied(&error) => return Ok(()),
            Err(error) => return Err(self.unreadable(folder, &error)),
        };
        for entry in entries {
            // A thread cannot be cancelled, and the mover must not outlive its order to end.
            if self.asker.is_closed() {
                return Err(Failure::transient(Reason::InternalError, "nobody waits for the walk any more"));
            }
            let path = entry.map_err(|error| self.unreadable(folder, &error))?.path();
            let metadata = match fs::symlink_metadata(&path) {
                Ok(metadata) => metadata,
                Err(error) if is_passing(&error) => continue,
                Err(error) if self.leaves_out && is_denied(&error) => continue,
                Err(error) => return Err(self.unreadable(&path, &error)),
            };
            if folder == self.data && metadata.is_dir() && path.ends_with("lost+found") {
                continue;
            }
            self.see(&path, &metadata);
            if metadata.is_file() && !self.leaves_out {
                self.check_readable(&path)?;
            }
            if metadata.is_dir() && metadata.dev() == self.device {
                folders.push(path);
            }
        }
        Ok(())
    }

    /// Opening it would cost more: some storage fetches the content then.
    fn check_readable(&self, path: &Path) -> Result<(), Failure> {
        let access = rustix::fs::accessat(CWD, path, Access::READ_OK, AtFlags::empty());
        match access.map_err(io::Error::from) {
            Err(error) if is_denied(&error) => Err(self.unreadable(path, &error)),
            // What else can be wrong with it shows when it is read.
            _ => Ok(()),
        }
    }

    fn see(&mut self, path: &Path, metadata: &Metadata) {
        let kind = metadata.file_type();
        let allocated = metadata.blocks().saturating_mul(512);
        self.survey.files += 1;
        self.survey.allocated = self.survey.allocated.saturating_add(allocated);
        self.find(Attribute::Owners, path);
        self.find(Attribute::Times(needed_grain(metadata)), path);
        if metadata.is_file() {
            self.survey.bytes = self.survey.bytes.saturating_add(metadata.len());
            self.find_if(allocated < metadata.len(), Attribute::Holes, path);
        }
        self.find_if(kind.is_block_device() || kind.is_char_device(), Attribute::Devices, path);
        self.find_if(!metadata.is_dir() && metadata.nlink() > 1, Attribute::HardLinks, path);
        self.find_if(kind.is_symlink(), Attribute::Symlinks, path);
        // Where it is mounted is no name of its own.
        let name = path.file_name().filter(|_| path != self.data).unwrap_or_default();
        self.find_if(name.to_string_lossy().chars().any(char::is_uppercase), Attribute::Case, path);
        self.see_xattrs(path, metadata.mode() & 0o7000 != 0);
    }

    fn see_xattrs(&mut self, path: &Path, is_special: bool) {
        // A file system without them is one where none get lost.
        let length = rustix::fs::llistxattr(path, &mut self.names[..]).unwrap_or(0);
        let names = String::from_utf8_lossy(&self.names[..length]).into_owned();
        for name in names.split('\0').filter(|name| !name.is_empty()) {
            self.survey.has_special_acls |= is_special && name == "system.posix_acl_access";
            if let Some(attribute) = xattr(name) {
                self.find(attribute, path);
            }
        }
    }

    fn find_if(&mut self, is_there: bool, attribute: Attribute, path: &Path) {
        if is_there {
            self.find(attribute, path);
        }
    }

    fn find(&mut self, attribute: Attribute, path: &Path) {
        let first = || path.strip_prefix(self.data).unwrap_or(path).to_owned();
        let found =
            self.survey.found.entry(attribute).or_insert_with(|| Found { entries: 0, first: first() });
        found.entries += 1;
    }

    fn unreadable(&self, path: &Path, error: &io::Error) -> Failure {
        let relative = path.strip_prefix(self.data).unwrap_or(path);
        let what = format!("cannot read {:?}: {error}", shown(relative));
        if is_denied(error) {
            let ways = "run the mover as the owner of the data (moverSecurityContext.runAsUser), or as root in a \
                namespace that allows it";
            return Failure::permanent(Reason::NeedsPrivilege, format!("{what}; {ways}"));
        }
        Failure::transient(Reason::SourceReadError, what)
    }
}

fn is_denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// What rsync judges by itself: gone in the meantime (a live source), or a path that is longer than the kernel takes.
fn is_passing(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::NAMETOOLONG | Errno::NOTDIR))
}

fn xattr(name: &str) -> Option<Attribute> {
    match name {
        "security.capability" => Some(Attribute::FileCapabilities),
        "system.posix_acl_access" | "system.posix_acl_default" => Some(Attribute::Acls),
        // Of the node that the volume is mounted on, not of the data: labelled anew at every mount.
        "security.selinux" => None,
        _ if name.starts_with("user.") => Some(Attribute::UserXattrs),
        _ => Some(Attribute::OtherXattrs),
    }
}

/// The coarsest grain that still keeps the entry's time.
fn needed_grain(metadata: &Metadata) -> u64 {
    let kept_by = |grain: &&u64| {
        i64::try_from(**grain).is_ok_and(|grain| match grain {
            ..SECOND => metadata.mtime_nsec() % grain == 0,
            _ => metadata.mtime_nsec() == 0 && metadata.mtime() % (grain / SECOND) == 0,
        })
    };
    TIME_GRAINS.iter().rfind(kept_by).copied().unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Abilities = Abilities {
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

    #[tokio::test]
    async fn what_gets_lost_is_counted_with_an_example() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), "12345").unwrap();
        fs::hard_link(folder.path().join("a"), folder.path().join("b")).unwrap();
        fs::create_dir(folder.path().join("lost+found")).unwrap();
        let survey = survey(folder.path(), false).await.unwrap();
        assert_eq!((survey.files, survey.bytes, survey.lost(&ALL)), (3, 10, vec![]));
        let poor = Abilities { hard_links: false, ..ALL };
        let lost = survey.lost(&poor);
        assert_eq!(lost.len(), 1);
        assert!(lost[0].starts_with("hard links: 2 entries, for example "), "{lost:?}");
        let poor = Abilities { owners: false, ..ALL };
        assert_eq!(survey.lost(&poor), ["owners and groups: 3 entries, for example /"]);
    }

    #[tokio::test]
    async fn each_attribute_is_lost_by_who_cannot_keep_it_and_by_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::File::create_new(at("holes")).unwrap().set_len(8 << 20).unwrap();
        std::os::unix::fs::symlink("holes", at("symlink")).unwrap();
        fs::write(at("Upper"), "").unwrap();
        let survey = survey(folder.path(), false).await.unwrap();
        for (poor, line) in [
            (Abilities { holes: false, ..ALL }, "holes in files: 1 entries, for example holes"),
            (Abilities { symlinks: false, ..ALL }, "symbolic links: 1 entries, for example symlink"),
            (
                Abilities { case_sensitive: false, ..ALL },
                "names that differ only in case: 1 entries, for example Upper",
            ),
        ] {
            assert_eq!(survey.lost(&poor), [line]);
        }
        let others = Abilities { acls: false, user_xattrs: false, file_capabilities: false, ..ALL };
        assert_eq!(survey.lost(&Abilities { devices: false, hard_links: false, ..others }), [""; 0]);
        assert!(survey.allocated < survey.bytes, "{survey:?}");
    }

    #[tokio::test]
    async fn times_are_lost_at_the_grains_that_are_too_coarse() {
        let folder = tempfile::tempdir().unwrap();
        let set = |path: &Path, seconds: i64, nanoseconds: i64| {
            let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
            let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
            rustix::fs::utimensat(CWD, path, &times, AtFlags::empty()).unwrap();
        };
        for (name, seconds, nanoseconds) in [
            ("nanoseconds", 2, 123_456_789),
            ("hundreds", 2, 123_456_700),
            ("milliseconds", -2, 123_000_000),
            ("odd", -1, 0),
            ("even", 2, 0),
        ] {
            fs::write(folder.path().join(name), "").unwrap();
            set(&folder.path().join(name), seconds, nanoseconds);
        }
        set(folder.path(), 0, 0);
        let survey = survey(folder.path(), false).await.unwrap();
        for (time_grain, entries, example) in [
            (1, 0, ""),
            (10, 1, "nanoseconds"),
            (100, 1, "nanoseconds"),
            (1_000, 2, "nanoseconds"),
            (1_000_000, 2, "nanoseconds"),
            (10_000_000, 3, "nanoseconds"),
            (1_000_000_000, 3, "nanoseconds"),
            (2_000_000_000, 4, "nanoseconds"),
        ] {
            let expected: Vec<_> = (entries > 0)
                .then(|| format!("times to the nanosecond: {entries} entries, for example {example}"))
                .into_iter()
                .collect();
            assert_eq!(survey.lost(&Abilities { time_grain, ..ALL }), expected, "{time_grain}");
        }
    }

    #[test]
    fn a_walk_that_nobody_waits_for_ends() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), "").unwrap();
        let (asker, walked) = oneshot::channel();
        assert_eq!(Walk::new(folder.path(), false, &asker).run().unwrap().files, 2);
        drop(walked);
        let end = Walk::new(folder.path(), false, &asker).run().unwrap_err();
        assert_eq!(end.message, "nobody waits for the walk any more");
    }

    #[test]
    fn odd_and_long_names_are_shown_on_one_bounded_line() {
        assert_eq!(shown(Path::new("a\nb")), "a\\nb");
        assert_eq!(shown(Path::new("")), "/");
        assert!(shown(Path::new(&"x".repeat(1000))).chars().count() <= MAX_PATH + 1);
    }
}
