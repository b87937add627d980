//! Signatures of key pairs, as `cosign sign --key` makes them: over a text that names the digest of a manifest.
//!
//! Everything here is a function of bytes. Where the text and its signature are kept, `registry` knows.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey, VerificationAlgorithm};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;

use crate::error::short;

/// What stands before the key in a SubjectPublicKeyInfo (RFC 5480: id-ecPublicKey, secp256r1, not compressed). DER has one form for it.
const P256_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// X and Y, and the byte before them that says so.
const P256_BYTES: usize = 65;
/// The same for Ed25519 (RFC 8410).
const ED25519_HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const ED25519_BYTES: usize = 32;

/// What such a text says that it is.
const TYPE: &str = "cosign container image signature";

/// A key whose signatures are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    algorithm: Algorithm,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    EcdsaP256,
    Ed25519,
}

/// A text that holds no key that can be used. Never shows what is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is none.
    #[error(
        "has no `-----BEGIN PUBLIC KEY-----`: write the public key of a pair, like cosign.pub of `cosign generate-key-pair`"
    )]
    None,
    /// There is one that nobody may see.
    #[error("holds a private key: keep that secret, and write the public one (cosign.pub)")]
    Private,
    /// It is damaged.
    #[error("is no PEM: {0}")]
    Pem(String),
    /// It is of another kind.
    #[error(
        "public key {number} is neither ECDSA on P-256 nor Ed25519: `cosign generate-key-pair` makes one that can be used"
    )]
    Algorithm {
        /// Counts from 1.
        number: usize,
    },
}

/// A signature that proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// It is not base64.
    #[error("the signature is not base64")]
    Encoding,
    /// Nobody who is trusted made it.
    #[error("the signature is of none of the keys")]
    Key,
    /// A key is trusted, and what it signed is not the text of a signature.
    #[error("what was signed is no payload of cosign: {0}")]
    Payload(String),
    /// A key is trusted, and what it signed is something else.
    #[error("what was signed is {0}, and not this manifest")]
    Digest(String),
}

impl PublicKey {
    /// All public keys in a text, as PEM: one that is trusted, or several, of which each is.
    ///
    /// # Errors
    ///
    /// There is none, or one that cannot be used.
    pub fn from_pem(pem: &[u8]) -> Result<Vec<Self>, KeyError> {
        const PRIVATE: &[u8] = b"PRIVATE KEY-----";
        if pem.windows(PRIVATE.len()).any(|part| part == PRIVATE) {
            return Err(KeyError::Private);
        }
        let keys = SubjectPublicKeyInfoDer::pem_slice_iter(pem).enumerate().map(|(at, info)| {
            let info = info.map_err(|error| KeyError::Pem(short(&error.to_string())))?;
            Self::from_info(&info).ok_or(KeyError::Algorithm { number: at + 1 })
        });
        let keys: Vec<_> = keys.collect::<Result<_, _>>()?;
        if keys.is_empty() { Err(KeyError::None) } else { Ok(keys) }
    }

    fn from_info(info: &[u8]) -> Option<Self> {
        let of = |algorithm, head: &[u8], length| {
            let bytes = info.strip_prefix(head).filter(|bytes| bytes.len() == length)?;
            Some(Self { algorithm, bytes: bytes.to_vec() })
        };
        of(Algorithm::EcdsaP256, &P256_HEAD, P256_BYTES)
            .or_else(|| of(Algorithm::Ed25519, &ED25519_HEAD, ED25519_BYTES))
    }

    fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &dyn VerificationAlgorithm = match self.algorithm {
            Algorithm::EcdsaP256 => &ECDSA_P256_SHA256_ASN1,
            Algorithm::Ed25519 => &ED25519,
        };
        UnparsedPublicKey::new(algorithm, &self.bytes).verify(message, signature).is_ok()
    }
}

/// The text that is signed. What else is in it is for people.
#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

/// Looks whether one of these keys has signed the manifest with that digest (`sha256:…`): `payload` is the text, `signature` what stands beside it in
/// base64.
///
/// # Errors
///
/// It has not. Nothing is believed of the text before its signature was.
pub fn verify(
    keys: &[PublicKey],
    payload: &[u8],
    signature: &str,
    manifest: &str,
) -> Result<(), SignatureError> {
    let signature = BASE64_STANDARD.decode(signature.trim()).map_err(|_| SignatureError::Encoding)?;
    if !keys.iter().any(|key| key.has_signed(payload, &signature)) {
        return Err(SignatureError::Key);
    }
    let wrong = |why: &str| SignatureError::Payload(short(why));
    let Payload { critical } = serde_json::from_slice(payload).map_err(|error| wrong(&error.to_string()))?;
    if critical.kind != TYPE {
        return Err(wrong(&format!("its type is `{}`, and not `{TYPE}`", critical.kind)));
    }
    if critical.image.digest != manifest {
        return Err(SignatureError::Digest(short(&critical.image.digest)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made by OpenSSL 3.0: what we verify is not what we signed ourselves.
    const DIGEST: &str = "sha256:e59625a822497c164d60705eb3fd6975c375ca213b8140137a826a77790986a9";
    const PAYLOAD: &str = r#"{"critical":{"identity":{"docker-reference":"registry.example.com/hooks/x"},"image":{"docker-manifest-digest":"sha256:e59625a822497c164d60705eb3fd6975c375ca213b8140137a826a77790986a9"},"type":"cosign container image signature"},"optional":null}"#;
    const P256: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEN3BMAwMWaXP+tqcIQWrlphDdfMbx
mcwqzI5ahhLAa2OFMlQvg+qW+fECTbYsCcFmpR/B1tpYdf+dLDQFsJlw1w==
-----END PUBLIC KEY-----
";
    const P256_SIGNATURE: &str =
        "MEUCIQCbpq464mArHrqRfGRPJjDiHNOyKRUJwikZJEDxU4JAQgIgP17hxxVJxEYweXgWeEzZq3DqneaWIvgzvQU5Wg+FzM8=";
    const ED25519: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAcUYconxQ68o6B3R/bl3/dW3RsftbwsTebd6zKWU8Bj4=
-----END PUBLIC KEY-----
";
    const ED25519_SIGNATURE: &str =
        "Joi9GL6iQjV0/JV/B5IdVKnWhgYuc+0klI0jjrfyRnAyNxWX41Rg0s8u1E9frgIBsqJEzqoezbCOwZxqAfqdCQ==";
    const P384: &str = "-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAElLPGWRDZSn1ey3h77JD/HklOGCfjRYCG
wVxbBwRpOj/RS5U4AZrQ6UclkzhKYJQ861pwciYuaxhBjx2Xcsn4YzL9vOxtmsQ8
bxghZf1CN9QtJEhMFzZioRlwyyHs/gVe
-----END PUBLIC KEY-----
";

    fn keys(pem: &str) -> Vec<PublicKey> {
        PublicKey::from_pem(pem.as_bytes()).unwrap()
    }

    #[test]
    fn what_a_key_has_signed_is_believed() {
        for (pem, signature) in [(P256, P256_SIGNATURE), (ED25519, ED25519_SIGNATURE)] {
            assert_eq!(verify(&keys(pem), PAYLOAD.as_bytes(), signature, DIGEST), Ok(()));
            // One of several will do.
            let both = keys(&format!("# Ours.\n{ED25519}\n{P256}"));
            assert_eq!((both.len(), verify(&both, PAYLOAD.as_bytes(), signature, DIGEST)), (2, Ok(())));
        }
    }

    #[test]
    fn what_another_key_has_signed_is_not() {
        for (pem, signature) in [(P256, ED25519_SIGNATURE), (ED25519, P256_SIGNATURE)] {
            assert_eq!(verify(&keys(pem), PAYLOAD.as_bytes(), signature, DIGEST), Err(SignatureError::Key));
        }
        assert_eq!(verify(&[], PAYLOAD.as_bytes(), P256_SIGNATURE, DIGEST), Err(SignatureError::Key));
    }

    #[test]
    fn a_signature_of_another_manifest_or_text_is_none_of_this() {
        let other = "sha256:0000";
        assert_eq!(
            verify(&keys(P256), PAYLOAD.as_bytes(), P256_SIGNATURE, other),
            Err(SignatureError::Digest(DIGEST.into()))
        );
        let forged = PAYLOAD.replace(DIGEST, other);
        assert_eq!(verify(&keys(P256), forged.as_bytes(), P256_SIGNATURE, other), Err(SignatureError::Key));
    }

    #[test]
    fn a_signature_that_is_damaged_is_none() {
        for (signature, error) in [
            ("!", SignatureError::Encoding),
            ("", SignatureError::Key),
            (&P256_SIGNATURE.replacen("pq4", "pq5", 1), SignatureError::Key),
            ("AAAA", SignatureError::Key),
        ] {
            assert_eq!(verify(&keys(P256), PAYLOAD.as_bytes(), signature, DIGEST), Err(error), "{signature}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused_with_the_way_out() {
        let said = |pem: &str| PublicKey::from_pem(pem.as_bytes()).unwrap_err().to_string();
        for pem in ["", "ssh-ed25519 AAAA", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
        {
            assert!(said(pem).contains("has no `-----BEGIN PUBLIC KEY-----`"), "{pem}");
        }
        assert!(said(&format!("{P256}{P384}")).starts_with("public key 2 is neither ECDSA on P-256 nor"));
        // The same curve, but the point compressed: cosign does not write it so.
        let compressed = "-----BEGIN PUBLIC KEY-----\nMDkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDIgADN3BMAwMWaXP+tqcIQWrlphDdfMbx\nmcwqzI5ahhLAa2M=\n-----END PUBLIC KEY-----\n";
        assert!(said(compressed).starts_with("public key 1 is neither"));
        assert!(said(&P256.replace("MFkw", "M!kw")).starts_with("is no PEM"));
        let private = "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nc2VjcmV0\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n";
        assert!(said(private).starts_with("holds a private key") && !said(private).contains("c2VjcmV0"));
    }
}
