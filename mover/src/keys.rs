//! The keys that are mounted, and their copies that only this mover can read.

use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A key, an address and the like are far smaller.
const MAX_SIZE: u64 = 64 * 1024;

/// The mounted Secret.
#[derive(Clone, Debug)]
pub struct Keys {
    folder: PathBuf,
}

impl Keys {
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// One value of the Secret, without white space around it. The error names the file and never its content.
    ///
    /// # Errors
    /// It is missing, empty or too large.
    pub fn text(&self, name: &str) -> Result<String> {
        let path = self.folder.join(name);
        let size = fs::metadata(&path).with_context(|| format!("find {}", path.display()))?.len();
        ensure!(size <= MAX_SIZE, "{} is too large", path.display());
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let text = text.trim();
        ensure!(!text.is_empty(), "{} is empty", path.display());
        Ok(text.to_owned())
    }

    /// A public key: one line, since it becomes part of a line of a configuration.
    ///
    /// # Errors
    /// Those of [`Keys::text`], and if it is more than one line or not a key.
    pub fn public(&self, name: &str) -> Result<String> {
        let text = self.text(name)?;
        let mut words = text.split_ascii_whitespace();
        let (kind, body) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let plain = |c: char| c.is_ascii_alphanumeric() || "+/=-@.".contains(c);
        ensure!(
            !text.contains('\n') && !body.is_empty() && kind.chars().chain(body.chars()).all(plain),
            "{} is not a public key",
            self.folder.join(name).display()
        );
        Ok(format!("{kind} {body}"))
    }

    /// Copies a private key to where only this user can read it: ssh refuses others.
    ///
    /// # Errors
    /// Those of [`Keys::text`], and if it cannot be written.
    pub fn copy_private(&self, name: &str, to: &Path) -> Result<()> {
        // ssh-keygen's format ends with a newline, and some versions insist on it.
        write_private(to, format!("{}\n", self.text(name)?).as_bytes())
    }
}

/// Writes a file that nobody else can read, in place of an older one.
///
/// # Errors
/// It cannot be written.
pub fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    // Not truncated in place: an old file could have another mode.
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove {}", path.display()));
        }
        _ => {}
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("create {}", path.display()))?;
    file.write_all(content).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_public_key_is_one_line_of_two_words() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::new(folder.path().to_owned());
        let write = |text: &str| fs::write(folder.path().join("k.pub"), text).unwrap();
        write("ssh-ed25519 AAAA+/= comment\n");
        assert_eq!(keys.public("k.pub").unwrap(), "ssh-ed25519 AAAA+/=");
        for bad in ["", "\n", "ssh-ed25519", "ssh-ed25519 AAAA\nssh-rsa BBBB", "a\"b CCCC"] {
            write(bad);
            assert!(keys.public("k.pub").is_err(), "{bad:?}");
        }
    }

    #[test]
    fn private_copies_are_private() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("source"), "secret").unwrap();
        let copy = folder.path().join("copy");
        fs::write(&copy, "older").unwrap();
        Keys::new(folder.path().to_owned()).copy_private("source", &copy).unwrap();
        assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&copy).unwrap(), "secret\n");
    }
}
