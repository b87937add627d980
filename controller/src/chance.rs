//! Real chance, for the core.

use rand::RngExt;
use scribe_core::chance::{Chance, KeyPair, Redacted};
use ssh_key::private::Ed25519Keypair;
use ssh_key::rand_core::OsRng;
use ssh_key::{HashAlg, LineEnding, PrivateKey};
use std::fmt::Write;

const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz";
const LETTERS_AND_DIGITS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// Chance from the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemChance;

fn pick(from: &[u8]) -> char {
    char::from(from[rand::rng().random_range(0..from.len())])
}

impl Chance for SystemChance {
    fn sync_id(&mut self) -> String {
        std::iter::once(pick(LETTERS)).chain((0..7).map(|_| pick(LETTERS_AND_DIGITS))).collect()
    }

    fn relationship(&mut self) -> String {
        hex(&rand::random::<[u8; 16]>())
    }

    fn key_pair(&mut self) -> KeyPair {
        let key = PrivateKey::from(Ed25519Keypair::random(&mut OsRng));
        // Writing 32 bytes that are a key as text: if that failed, ssh-key would be broken, and no sync could be safe.
        let private = key.to_openssh(LineEnding::LF).expect("an ed25519 key can be written");
        let public = key.public_key().to_openssh().expect("an ed25519 key can be written");
        KeyPair {
            private: Redacted(private.to_string()),
            public,
            fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
        }
    }

    fn fraction(&mut self) -> f64 {
        rand::random::<f64>()
    }
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_id_can_be_part_of_a_name() {
        let id = SystemChance.sync_id();
        assert_eq!(id.len(), 8);
        assert!(id.starts_with(|c: char| c.is_ascii_lowercase()));
        assert!(id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()));
        assert_ne!(id, SystemChance.sync_id());
    }

    #[test]
    fn a_key_pair_reads_back() {
        let pair = SystemChance.key_pair();
        let key = PrivateKey::from_openssh(&pair.private.0).unwrap();
        assert_eq!(key.public_key().to_openssh().unwrap(), pair.public);
        assert!(pair.fingerprint.starts_with("SHA256:"));
        assert!(!format!("{pair:?}").contains("PRIVATE KEY"));
    }
}
