//! What is replicated, and how it changes from run to run: the same on both sides of the comparison.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use clap::ValueEnum;
use scribe_tests::fixture::{chown, noise};

/// Files by number and size, as a volume has them: most are small, and a few hold most of the bytes. 200 files, 20 MiB: what is measured is
/// what each sync costs, and not how long it takes to read a volume.
const SIZES: [(usize, usize); 3] = [(180, 16 << 10), (18, 256 << 10), (2, 6_600 << 10)];
const PER_FOLDER: usize = 100;
/// What the third case adds in each run, in bytes.
const LARGE: usize = 1 << 30;
const PIECE: usize = 64 << 20;

/// What changes before a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Case {
    /// Nothing at all.
    Nothing,
    /// One small file has new content.
    OneFile,
    /// A new file of 1 GiB that does not compress, in place of the one before.
    #[value(name = "1GiB")]
    Large,
}

impl Case {
    pub const ALL: [Self; 3] = [Self::Nothing, Self::OneFile, Self::Large];

    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "sync/nothing",
            Self::OneFile => "sync/one-file",
            Self::Large => "sync/1GiB",
        }
    }
}

/// Fills an empty volume; everything belongs to `owner`.
///
/// # Errors
/// The volume is full.
pub fn fill(root: &Path, owner: u32) -> Result<()> {
    let sizes = SIZES.iter().flat_map(|&(count, size)| std::iter::repeat_n(size, count));
    for (number, size) in sizes.enumerate() {
        let folder = root.join(format!("folder-{:02}", number / PER_FOLDER));
        if number % PER_FOLDER == 0 {
            fs::create_dir(&folder).with_context(|| format!("create {}", folder.display()))?;
            chown(&folder, owner, owner)?;
        }
        let path = folder.join(format!("file-{number:04}"));
        fs::write(&path, noise(number as u64, size)).with_context(|| format!("write {}", path.display()))?;
        chown(&path, owner, owner)?;
    }
    chown(root, owner, owner)
}

/// Makes the change of a case; every run has another one.
///
/// # Errors
/// The volume is full.
pub fn change(root: &Path, case: Case, run: usize, owner: u32) -> Result<()> {
    match case {
        Case::Nothing => Ok(()),
        Case::OneFile => {
            let path = root.join("folder-00/file-0000");
            fs::write(&path, noise(1_000_000 + run as u64, SIZES[0].1)).context("change a file")
        }
        Case::Large => {
            // A run before this one may not have been the one with the number before.
            for entry in fs::read_dir(root)?.flatten().filter(|entry| is_large(&entry.file_name())) {
                fs::remove_file(entry.path()).context("remove the large file of the run before")?;
            }
            let path = root.join(format!("large-{run}"));
            let mut file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
            for piece in 0..LARGE / PIECE {
                file.write_all(&noise((2_000_000 + run * 1000 + piece) as u64, PIECE))
                    .context("write the large file")?;
            }
            chown(&path, owner, owner)
        }
    }
}

fn is_large(name: &std::ffi::OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with("large-"))
}
