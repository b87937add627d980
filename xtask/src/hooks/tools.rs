//! What other languages need on this machine: pinned, in the cache, and made there once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use scribe_tests::cluster::{Lock, cache_dir, ensure_installed};
use sha2::{Digest, Sha256};

/// A set of tools in the cache, of the name `NAME-KEY`: taken from there, or made by `make` in an empty folder. What was not completed is
/// never taken for whole.
///
/// Tools that know their own path must not be moved: so a mark inside tells that they are complete.
pub fn cached(name: &str, pins: &[&Path], make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let mut hash = Sha256::new();
    for pin in pins {
        let content = fs::read(pin).with_context(|| format!("read {}", pin.display()))?;
        hash.update(content.len().to_le_bytes());
        hash.update(content);
    }
    let root = cache_dir()?.join("hooks").join(format!("{name}-{:.16}", format!("{:x}", hash.finalize())));
    let complete = root.join("complete");
    if complete.exists() {
        return Ok(root);
    }
    let _lock = Lock::hold(&root.with_extension("lock"))?;
    if !complete.exists() {
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).with_context(|| format!("create {}", root.display()))?;
        make(&root).with_context(|| format!("make {}", root.display()))?;
        fs::write(&complete, "").with_context(|| format!("write {}", complete.display()))?;
    }
    Ok(root)
}

/// Sees that a command works that comes with these Debian packages, if with nothing else.
pub fn ensure(command: &[&str], packages: &[&'static str]) -> Result<()> {
    if works(command) {
        return Ok(());
    }
    let line = command.join(" ");
    ensure_installed(packages).with_context(|| format!("`{line}` does not work"))?;
    if !works(command) {
        bail!("`{line}` does not work, though {} is installed", packages.join(" and "));
    }
    Ok(())
}

fn works(command: &[&str]) -> bool {
    let Some((program, arguments)) = command.split_first() else { return false };
    let quiet = || Stdio::null();
    let status =
        Command::new(program).args(arguments).stdin(quiet()).stdout(quiet()).stderr(quiet()).status();
    status.is_ok_and(|status| status.success())
}
