//! Chance, as an argument.

/// Where random values come from.
pub trait Chance {
    /// A new sync id: eight characters of `a-z` and `0-9`, the first one a letter.
    fn sync_id(&mut self) -> String;
    /// A new relationship id: 32 hexadecimal digits.
    fn relationship(&mut self) -> String;
    /// A new pair of ed25519 keys in OpenSSH's format.
    fn key_pair(&mut self) -> KeyPair;
    /// A number from 0 (inclusive) to 1 (exclusive), for jitter.
    fn fraction(&mut self) -> f64;
}

/// A pair of ssh keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPair {
    /// The private key, as in an OpenSSH file.
    pub private: Redacted,
    /// The public key, as a line of `authorized_keys`.
    pub public: String,
    /// The public key's fingerprint, `SHA256:…`.
    pub fingerprint: String,
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Redacted(pub String);

impl std::fmt::Debug for Redacted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(redacted)")
    }
}
