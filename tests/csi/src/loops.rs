//! Loop devices: which file is attached to which, asked from the kernel each time.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::Deserialize;

/// The sector size of images' devices in bytes. A file that shares blocks with another takes direct writes of whole blocks only;
/// with smaller sectors at first, a volume would change its sector size with its first snapshot.
pub const SECTOR: &str = "4096";

/// Whether writes to the device are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reads and writes.
    ReadWrite,
    /// Reads only: also raw block users cannot write.
    ReadOnly,
}

/// Whether the device keeps a second copy of the data in the page cache of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caching {
    /// Through the page cache: for the pool, whose own file system caches nothing that its users do not.
    Buffered,
    /// Past it: for images, where a reflink would first have to write out whatever is cached.
    Direct,
}

/// A loop device that is attached to something.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Loop {
    /// `/dev/loopN`.
    #[serde(rename = "name")]
    pub device: PathBuf,
    #[serde(rename = "back-ino")]
    inode: u64,
    #[serde(rename = "back-maj:min")]
    filesystem: String,
    /// The path of the file when it was attached, by the kernel's word.
    #[serde(rename = "back-file")]
    pub file: PathBuf,
}

#[derive(Debug, Deserialize)]
struct Listing {
    loopdevices: Vec<serde_json::Value>,
}

/// For how long a device that was let go is waited for: somebody who only looks at it has it open for a moment.
const LETTING_GO: Duration = Duration::from_secs(2);

/// Every attached loop device of the machine.
///
/// # Errors
/// When losetup fails or says something unknown.
pub fn list() -> anyhow::Result<Vec<Loop>> {
    let text = run(Command::new("losetup").args([
        "--json",
        "--list",
        "--output",
        "NAME,BACK-INO,BACK-MAJ:MIN,BACK-FILE",
    ]))?;
    // Without any device there is no JSON either.
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    read(&text)
}

/// A device that is let go while losetup looks at it is listed without what it was attached to: it is not attached.
fn read(text: &str) -> anyhow::Result<Vec<Loop>> {
    let listing: Listing = serde_json::from_str(text).context("read what losetup lists")?;
    let attached = listing.loopdevices.into_iter().filter(|one| {
        ["back-ino", "back-maj:min", "back-file"]
            .iter()
            .all(|field| one.get(field).is_some_and(|value| !value.is_null()))
    });
    attached.map(|one| serde_json::from_value(one).context("read what losetup lists")).collect()
}

/// The device that is attached to `file`, if there is one.
///
/// # Errors
/// When the file cannot be looked at, or losetup fails.
pub fn find(file: &Path) -> anyhow::Result<Option<PathBuf>> {
    Ok(backed_by(&list()?, file)?.into_iter().next())
}

/// The devices of a listing that are attached to `file`, compared by inode: paths differ between mounts of the same thing.
///
/// # Errors
/// When the file cannot be looked at.
pub fn backed_by(loops: &[Loop], file: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let meta = fs::metadata(file).with_context(|| format!("look at {}", file.display()))?;
    let filesystem = format!("{}:{}", rustix::fs::major(meta.dev()), rustix::fs::minor(meta.dev()));
    let same = |one: &&Loop| one.inode == meta.ino() && one.filesystem.trim() == filesystem;
    Ok(loops.iter().filter(same).map(|one| one.device.clone()).collect())
}

/// Attaches `file`, unless it is attached already.
///
/// # Errors
/// When there is no free loop device or the file cannot be opened.
pub fn attach(file: &Path, access: Access, caching: Caching) -> anyhow::Result<PathBuf> {
    if let Some(device) = find(file)? {
        return Ok(device);
    }
    let mut command = Command::new("losetup");
    command.args(["--find", "--show"]);
    if access == Access::ReadOnly {
        command.arg("--read-only");
    }
    if caching == Caching::Direct {
        command.args(["--direct-io=on", "--sector-size", SECTOR]);
    }
    Ok(PathBuf::from(run(command.arg(file))?.trim()))
}

/// Detaches the device, or has the kernel do so when its last user lets go. One that is about to go must not be found and used anew, so a
/// moment is waited for that.
///
/// # Errors
/// When losetup fails.
pub fn detach(device: &Path) -> anyhow::Result<()> {
    let before = list()?.into_iter().find(|one| one.device == device);
    run(Command::new("losetup").arg("--detach").arg(device))?;
    let patience = Instant::now() + LETTING_GO;
    while let Some(before) = &before
        && Instant::now() < patience
        && list()?.contains(before)
    {
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Makes the device as large as its file has become.
///
/// # Errors
/// When losetup fails.
pub fn refresh_size(device: &Path) -> anyhow::Result<()> {
    run(Command::new("losetup").arg("--set-capacity").arg(device)).map(drop)
}

/// Runs a program to its end and returns what it printed.
///
/// # Errors
/// When it cannot be started or fails; the message carries what it complained about.
pub fn run(command: &mut Command) -> anyhow::Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("start {program}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_losetup_lists() {
        let text = r#"{"loopdevices": [{"name":"/dev/loop1","back-ino":131,"back-maj:min":"       7:0  ",
            "back-file":"/s/pool/volumes/a.img"},
            {"name":"/dev/loop2","back-ino":null,"back-maj:min":null,"back-file":null}]}"#;
        let all = read(text).unwrap();
        assert_eq!(all.len(), 1, "one is being let go");
        assert_eq!(all[0].device, Path::new("/dev/loop1"));
        assert_eq!(all[0].filesystem.trim(), "7:0");
    }
}
