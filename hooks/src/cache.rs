//! Compiled modules on disk.
//!
//! Machine code that is read back is run. So it is only read from a directory that nobody else can write to, and only if it carries our seal: an
//! HMAC over its name and content. What was torn by a crash or a full disk has none.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use hmac::{Hmac, Mac};
use rand::Rng;
use sha2::Sha256;

const KEY_FILE: &str = "key";
const SUFFIX: &str = ".compiled";
const SEAL_BYTES: usize = 32;

/// A directory of compiled modules. Clones share it; two processes must not.
pub struct Cache {
    directory: PathBuf,
    key: [u8; 32],
    most: u64,
    known: Mutex<HashMap<String, Known>>,
}

struct Known {
    bytes: u64,
    used: SystemTime,
}

/// The directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// It cannot be made, read or written.
    #[error("{action} {}", path.display())]
    Io {
        /// What was done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// What came of it.
        #[source]
        source: io::Error,
    },
    /// Somebody else could have written to it.
    #[error("{} is not a directory of our own: it needs our user as its owner, and mode 0700", .0.display())]
    NotOurs(PathBuf),
}

impl Cache {
    /// Opens or makes the directory. Holds at most `most` bytes; what was used longest ago goes first.
    ///
    /// `key` seals what is written. Without one, a key is made and kept in the directory.
    ///
    /// # Errors
    ///
    /// The directory cannot be used, or is not ours alone.
    pub fn open(directory: impl Into<PathBuf>, most: u64, key: Option<[u8; 32]>) -> Result<Self, CacheError> {
        let directory = directory.into();
        let failed = |action, path: &Path| {
            let path = path.to_owned();
            move |source| CacheError::Io { action, path, source }
        };
        match DirBuilder::new().mode(0o700).recursive(true).create(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed("make", &directory)(error));
            }
            _ => {}
        }
        // Not what a link leads to: whoever made the link can change it.
        let metadata = fs::symlink_metadata(&directory).map_err(failed("look at", &directory))?;
        let is_ours = metadata.uid() == rustix::process::geteuid().as_raw();
        if !metadata.is_dir() || !is_ours || metadata.permissions().mode() & 0o077 != 0 {
            return Err(CacheError::NotOurs(directory));
        }
        let key = match key {
            Some(key) => key,
            None => own_key(&directory.join(KEY_FILE)).map_err(failed("keep a key in", &directory))?,
        };
        let cache = Self { known: Mutex::new(HashMap::new()), directory, key, most };
        cache.look().map_err(failed("read", &cache.directory))?;
        Ok(cache)
    }

    /// Finds what is there, and clears away what a death left half written.
    fn look(&self) -> io::Result<()> {
        let mut known = self.known();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name == KEY_FILE {
                continue;
            }
            let metadata = entry.metadata()?;
            match name.strip_suffix(SUFFIX) {
                Some(digest) if metadata.is_file() => {
                    let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                    known.insert(digest.to_owned(), Known { bytes: metadata.len(), used });
                }
                _ if metadata.is_file() => fs::remove_file(entry.path())?,
                _ => {}
            }
        }
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}{SUFFIX}"))
    }

    fn seal(&self, name: &str, content: &[u8]) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.key).unwrap_or_else(|_| unreachable!("HMAC takes any key"));
        mac.update(name.as_bytes());
        mac.update(&[0]);
        mac.update(content);
        mac
    }

    /// What was kept under that name, if it is what we wrote. Blocks.
    pub(crate) fn get(&self, name: &str) -> Option<Vec<u8>> {
        if !self.known().contains_key(name) {
            return None;
        }
        let read = || -> io::Result<Vec<u8>> {
            let mut file = OpenOptions::new().read(true).write(true).open(self.path(name))?;
            let mut content = Vec::with_capacity(usize::try_from(file.metadata()?.len()).unwrap_or(0));
            file.read_to_end(&mut content)?;
            // So that the order of use survives a restart. No harm if it does not.
            let _ = file.set_modified(SystemTime::now());
            Ok(content)
        };
        let sealed = read().ok().and_then(|mut content| {
            let seal = content.split_off(content.len().checked_sub(SEAL_BYTES)?);
            self.seal(name, &content).verify_slice(&seal).ok()?;
            Some(content)
        });
        if sealed.is_none() {
            tracing::warn!(name, "a compiled module is not as it was written, and is made again");
            self.remove(name);
        } else if let Some(known) = self.known().get_mut(name) {
            known.used = SystemTime::now();
        }
        sealed
    }

    /// Keeps it under that name. Blocks.
    ///
    /// # Errors
    ///
    /// It was not kept, and nothing is half written.
    pub(crate) fn put(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let bytes = (content.len() + SEAL_BYTES) as u64;
        if bytes > self.most {
            return Err(io::Error::other(format!("{bytes} bytes are more than the whole cache may hold")));
        }
        self.make_room(bytes);
        let mut file = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o600))
            .prefix("new-")
            .tempfile_in(&self.directory)?;
        file.write_all(content)?;
        file.write_all(&self.seal(name, content).finalize().into_bytes())?;
        file.persist(self.path(name))?;
        self.known().insert(name.to_owned(), Known { bytes, used: SystemTime::now() });
        Ok(())
    }

    fn make_room(&self, bytes: u64) {
        loop {
            let oldest = {
                let known = self.known();
                let held: u64 = known.values().map(|known| known.bytes).sum();
                if held + bytes <= self.most {
                    return;
                }
                known.iter().min_by_key(|(_, known)| known.used).map(|(name, _)| name.clone())
            };
            match oldest {
                Some(name) => self.remove(&name),
                None => return,
            }
        }
    }

    /// Forgets it.
    pub(crate) fn remove(&self, name: &str) {
        self.known().remove(name);
        if let Err(error) = fs::remove_file(self.path(name))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(name, error = %error, "a compiled module could not be deleted");
        }
    }
}

fn own_key(path: &Path) -> io::Result<[u8; 32]> {
    let mut key = [0; 32];
    if let Ok(mut file) = fs::File::open(path)
        && file.read_exact(&mut key).is_ok()
    {
        return Ok(key);
    }
    rand::rng().fill_bytes(&mut key);
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o600))
        .prefix("new-")
        .tempfile_in(directory)?;
    file.write_all(&key)?;
    file.persist(path)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(directory: &Path, most: u64) -> Cache {
        Cache::open(directory.join("cache"), most, None).unwrap()
    }

    #[test]
    fn what_was_kept_is_found_again_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        cache(directory.path(), 1000).put("a", b"code").unwrap();
        assert_eq!(cache(directory.path(), 1000).get("a").as_deref(), Some(&b"code"[..]));
        assert_eq!(cache(directory.path(), 1000).get("b"), None);
    }

    #[test]
    fn what_is_not_as_it_was_written_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let cache = cache(directory.path(), 1000);
        for spoil in [
            |content: &mut Vec<u8>| content[0] ^= 1,
            |content: &mut Vec<u8>| content.truncate(3),
            |content: &mut Vec<u8>| content.clear(),
            |content: &mut Vec<u8>| content.push(0),
        ] {
            cache.put("a", b"code").unwrap();
            let mut content = fs::read(cache.path("a")).unwrap();
            spoil(&mut content);
            fs::write(cache.path("a"), content).unwrap();
            assert_eq!(cache.get("a"), None);
            assert!(!cache.path("a").exists());
        }
    }

    #[test]
    fn one_modules_code_does_not_pass_for_anothers() {
        let directory = tempfile::tempdir().unwrap();
        let cache = cache(directory.path(), 1000);
        cache.put("a", b"code").unwrap();
        cache.put("b", b"other").unwrap();
        fs::copy(cache.path("a"), cache.path("b")).unwrap();
        assert_eq!(cache.get("b"), None);
    }

    #[test]
    fn what_another_key_sealed_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache");
        Cache::open(&path, 1000, Some([1; 32])).unwrap().put("a", b"code").unwrap();
        assert_eq!(Cache::open(&path, 1000, Some([2; 32])).unwrap().get("a"), None);
    }

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let directory = tempfile::tempdir().unwrap();
        let cache = cache(directory.path(), 250);
        cache.put("a", &[0; 64]).unwrap();
        cache.put("b", &[0; 64]).unwrap();
        assert!(cache.get("a").is_some());
        cache.put("c", &[0; 64]).unwrap();
        assert_eq!(
            [cache.get("a").is_some(), cache.get("b").is_some(), cache.get("c").is_some()],
            [true, false, true]
        );
        assert!(cache.put("d", &[0; 300]).is_err());
        assert!(cache.get("a").is_some(), "what does not fit pushes nothing out");
    }

    #[test]
    fn only_a_directory_of_our_own_is_used() {
        let directory = tempfile::tempdir().unwrap();
        let open = directory.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, Permissions::from_mode(0o770)).unwrap();
        assert!(matches!(Cache::open(&open, 1000, None), Err(CacheError::NotOurs(_))));
        let ours = directory.path().join("ours");
        Cache::open(&ours, 1000, None).unwrap().put("a", b"code").unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&ours, &link).unwrap();
        assert!(matches!(Cache::open(&link, 1000, None), Err(CacheError::NotOurs(_))));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&ours), 0o700);
        assert!(fs::read_dir(&ours).unwrap().all(|entry| mode(&entry.unwrap().path()) == 0o600));
    }

    #[test]
    fn what_a_death_left_half_written_is_cleared_away() {
        let directory = tempfile::tempdir().unwrap();
        let path = cache(directory.path(), 1000).directory;
        fs::write(path.join("new-half"), b"x").unwrap();
        let again = cache(directory.path(), 1000);
        assert!(!path.join("new-half").exists());
        assert!(again.known().is_empty());
    }
}
