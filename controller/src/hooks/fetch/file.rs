//! A module in a file that is mounted into the controller.
//!
//! Whoever may make a HookModule names the path. So it is opened beneath the one folder for modules, and nothing that a path or a link can say
//! leads out of that: the kernel sees to it.

use super::FetchError;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The folder for modules, if there is one.
pub struct Files {
    folder: Option<PathBuf>,
}

/// By what a file can be told from another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: Option<SystemTime>,
}

impl Files {
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self { folder }
    }

    /// What is there now.
    pub fn look(&self, path: &str) -> Option<Look> {
        let metadata = open(self.folder.as_ref()?, path).ok()?.metadata().ok()?;
        Some(Look {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: metadata.modified().ok(),
        })
    }

    /// Reads a file, of no more than `most` bytes.
    pub async fn read(&self, path: String, most: u64) -> Result<Vec<u8>, FetchError> {
        let Some(folder) = self.folder.clone() else {
            let words = "this controller has no folder for modules: start it with --hook-modules-dir, or use configMap or https";
            return Err(FetchError::Wrong(words.to_owned()));
        };
        let read = tokio::task::spawn_blocking(move || read(&folder, &path, most)).await;
        read.unwrap_or_else(|error| Err(FetchError::Wrong(error.to_string())))
    }
}

fn open(folder: &Path, path: &str) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags | OFlags::DIRECTORY, Mode::empty())?;
    // A pipe would hold us up for ever.
    let flags = flags | OFlags::NONBLOCK | OFlags::NOCTTY;
    let stay = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(folder, path, flags, Mode::empty(), stay)?.into())
}

fn read(folder: &Path, path: &str, most: u64) -> Result<Vec<u8>, FetchError> {
    let file = open(folder, path).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            return FetchError::Missing(format!("there is no file {path} below --hook-modules-dir"));
        }
        if error.raw_os_error() == Some(rustix::io::Errno::XDEV.raw_os_error()) {
            return FetchError::Wrong(format!("{path} leads out of --hook-modules-dir: use a path below it"));
        }
        FetchError::Wrong(format!("open {path}: {error}"))
    })?;
    let wrong = |error: io::Error| FetchError::Wrong(format!("read {path}: {error}"));
    let metadata = file.metadata().map_err(wrong)?;
    if !metadata.is_file() {
        return Err(FetchError::Wrong(format!("{path} is not a file")));
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(wrong)?;
    if bytes.len() as u64 > most {
        return Err(FetchError::Wrong(format!("{path} is larger than {most} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A folder with a module, and a secret beside it.
    fn folders() -> (tempfile::TempDir, Files) {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("modules");
        std::fs::create_dir_all(folder.join("team")).unwrap();
        std::fs::write(folder.join("team/a.wasm"), "a module").unwrap();
        std::fs::write(parent.path().join("secret"), "a secret").unwrap();
        (parent, Files::new(Some(folder)))
    }

    async fn words(files: &Files, path: &str) -> String {
        files.read(path.to_owned(), 100).await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn a_file_below_the_folder_is_read_and_no_other() {
        let (parent, files) = folders();
        assert_eq!(files.read("team/a.wasm".to_owned(), 100).await.unwrap(), b"a module");
        let inside = parent.path().join("modules");
        symlink("team/a.wasm", inside.join("inner")).unwrap();
        assert_eq!(files.read("inner".to_owned(), 100).await.unwrap(), b"a module");
        symlink("../secret", inside.join("out")).unwrap();
        symlink(parent.path().join("secret"), inside.join("absolute")).unwrap();
        symlink("..", inside.join("up")).unwrap();
        let secret = parent.path().join("secret");
        for path in
            ["out", "absolute", "up/secret", "../secret", "team/../../secret", secret.to_str().unwrap()]
        {
            assert!(words(&files, path).await.contains("leads out of --hook-modules-dir"), "{path}");
        }
    }

    #[tokio::test]
    async fn what_is_no_file_or_too_large_is_told() {
        let (parent, files) = folders();
        assert!(words(&files, "team").await.contains("is not a file"));
        assert!(words(&files, "team/b.wasm").await.contains("there is no file team/b.wasm"));
        let pipe = parent.path().join("modules/pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(words(&files, "pipe").await.contains("is not a file"));
        std::fs::write(parent.path().join("modules/large"), [0; 101]).unwrap();
        assert!(words(&files, "large").await.contains("larger than 100 bytes"));
        assert!(words(&Files::new(None), "a").await.contains("--hook-modules-dir"));
    }

    #[test]
    fn a_file_that_was_replaced_is_another_one() {
        let (parent, files) = folders();
        let before = files.look("team/a.wasm");
        assert!(before.is_some() && files.look("team/a.wasm") == before);
        std::fs::write(parent.path().join("modules/team/new"), "another").unwrap();
        std::fs::rename(parent.path().join("modules/team/new"), parent.path().join("modules/team/a.wasm"))
            .unwrap();
        assert_ne!(files.look("team/a.wasm"), before);
        assert_eq!(files.look("../secret"), None);
    }
}
