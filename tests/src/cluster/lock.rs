//! A lock file: one process at a time works on a cluster, on the shared bridge, or on an entry of the cache.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use anyhow::{Context, Result};
use tracing::info;

/// Held until dropped, and let go by the kernel when the process dies.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Waits until nobody else holds the lock, and says so when it has to wait.
    ///
    /// # Errors
    /// The file cannot be created or locked.
    pub fn hold(path: &Path) -> Result<Self> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        }
        let mut options = File::options();
        let file = options
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                info!("waiting for another process that holds {}", path.display());
                file.lock().with_context(|| format!("lock {}", path.display()))?;
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("lock {}", path.display()));
            }
        }
        Ok(Self { _file: file })
    }
}
