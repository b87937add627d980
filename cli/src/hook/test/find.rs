//! Finding the cases.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The files among these paths, and all `*.yaml` and `*.yml` in the folders, sorted.
///
/// # Errors
///
/// A path is not there, or a folder has no case.
pub fn cases(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in paths {
        let metadata = fs::metadata(path).with_context(|| format!("look at {}", path.display()))?;
        if metadata.is_dir() {
            let before = found.len();
            below(path, &mut found)?;
            if found.len() == before {
                bail!("{} has no test case: write one as a *.yaml file", path.display());
            }
        } else {
            found.push(path.clone());
        }
    }
    Ok(found)
}

fn below(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    let mut paths =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        // Not through links: one could lead back here.
        let kind =
            fs::symlink_metadata(&path).with_context(|| format!("look at {}", path.display()))?.file_type();
        if kind.is_dir() {
            below(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            found.push(path);
        }
    }
    Ok(())
}
