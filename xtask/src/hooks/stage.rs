//! Where hooks are built that cargo does not build: a copy of their sources, so that the tools leave nothing beside these; and whether there
//! is anything to build.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use scribe_tests::cluster::repository;
use sha2::{Digest, Sha256};

use super::{Hook, folder};

/// A copy of a hook's sources, and what they hash to.
pub struct Stage {
    /// The folder of the copy.
    pub folder: PathBuf,
    /// Of the sources, of the contract, and of the tools.
    key: String,
    module: PathBuf,
}

impl Stage {
    /// Copies what has changed. `tools` stands for all that the module depends on besides.
    pub fn of(hook: &Hook, tools: &str) -> Result<Self> {
        let sources = files(&hook.sources())?;
        let mut hash = Sha256::new();
        hash.update(tools);
        hash.update(hook.world());
        for path in files(&wit())?.iter().chain(&sources) {
            let content = fs::read(path).with_context(|| format!("read {}", path.display()))?;
            hash.update(path.file_name().unwrap_or_default().as_encoded_bytes());
            hash.update([0]);
            hash.update(content.len().to_le_bytes());
            hash.update(content);
        }
        let stage = Self {
            folder: folder().join("work").join(hook.name),
            key: format!("{:x}", hash.finalize()),
            module: hook.module(),
        };
        stage.copy(&sources).with_context(|| format!("copy the sources of {}", hook.name))?;
        Ok(stage)
    }

    /// Whether the module is the one of these sources.
    pub fn is_built(&self) -> bool {
        self.module.exists() && fs::read_to_string(self.mark()).is_ok_and(|key| key == self.key)
    }

    /// Has the module built into a file of that name, and puts it in place when it is whole.
    pub fn build(&self, build: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let temporary = self.folder.join("module.wasm");
        build(&temporary)?;
        let wasm = fs::read(&temporary).with_context(|| format!("read {}", temporary.display()))?;
        write(&self.module, &wasm)?;
        // After it: whatever dies between the two has it built again.
        write(&self.mark(), self.key.as_bytes())
    }

    fn mark(&self) -> PathBuf {
        self.module.with_extension("key")
    }

    /// A file that is gone from the sources must not stay in the copy, where it might be imported.
    fn copy(&self, sources: &[PathBuf]) -> Result<()> {
        let _ = fs::remove_dir_all(&self.folder);
        fs::create_dir_all(&self.folder)?;
        for source in sources {
            fs::copy(source, self.folder.join(source.file_name().context("a source has no name")?))?;
        }
        Ok(())
    }
}

/// The contract.
pub fn wit() -> PathBuf {
    repository().join("sdk/wit")
}

/// Writes a file that is never seen half written.
pub fn write(path: &Path, content: &[u8]) -> Result<()> {
    let temporary = path.with_extension(format!("writing-{}", std::process::id()));
    let result = fs::write(&temporary, content).and_then(|()| fs::rename(&temporary, path));
    if result.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    result.with_context(|| format!("write {}", path.display()))
}

/// The files of a folder, sorted. Folders in it are what tools have left there.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let list = || -> std::io::Result<Vec<PathBuf>> {
        let entries = fs::read_dir(folder)?.collect::<std::io::Result<Vec<_>>>()?;
        let mut files: Vec<PathBuf> =
            entries.into_iter().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
        files.sort();
        Ok(files)
    };
    list().with_context(|| format!("list {}", folder.display()))
}
