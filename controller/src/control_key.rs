//! The key from which movers' tokens are derived.
//!
//! A token is the HMAC of its owner's uid: the controller can work it out at any time, so that no Secret has to be read back. The
//! key itself is mounted; the controller makes the Secret once, and otherwise never touches it.

use crate::chance::hex;
use anyhow::{Context, bail};
use hmac::{Hmac, Mac};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Client};
use scribe_core::chance::Redacted;
use scribe_crds::names;
use sha2::Sha256;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The name of the key in its Secret, and so of the file.
const SECRET_KEY: &str = "key";
/// Less is not a key but a mistake.
const SHORTEST: usize = 32;

/// The key.
#[derive(Clone)]
pub struct ControlKey(Vec<u8>);

impl ControlKey {
    /// Takes any text of at least 32 bytes; white space around it is not part of it.
    ///
    /// # Errors
    /// Fails if it is too short.
    pub fn new(bytes: &[u8]) -> anyhow::Result<Self> {
        let bytes = bytes.trim_ascii();
        if bytes.len() < SHORTEST {
            bail!("the control key has {} bytes and needs {SHORTEST}", bytes.len());
        }
        Ok(Self(bytes.to_vec()))
    }

    /// The token of the movers of the object with that uid.
    pub fn token(&self, uid: &str) -> Redacted {
        // HMAC takes keys of any length.
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key of any length");
        mac.update(uid.as_bytes());
        Redacted(hex(&mac.finalize().into_bytes()))
    }
}

/// Where the key is.
pub struct Place<'a> {
    /// The file that the Secret is mounted as.
    pub file: &'a Path,
    /// The namespace of the Secret.
    pub namespace: &'a str,
    /// The Secret.
    pub secret: &'a str,
    /// How long to wait for the file if the Secret exists already.
    pub patience: Duration,
}

/// Reads the key, or makes it.
///
/// # Errors
/// Fails if the file cannot be read, if the Secret can neither be made nor appears as the file in time, or if the key is too short.
pub async fn load(client: &Client, place: &Place<'_>) -> anyhow::Result<ControlKey> {
    if let Some(key) = read(place.file).await? {
        return Ok(key);
    }
    let fresh = hex(&rand::random::<[u8; 32]>());
    if make(client, place, &fresh).await? {
        tracing::info!(secret = place.secret, "made the control key");
        return ControlKey::new(fresh.as_bytes());
    }
    tracing::info!(file = %place.file.display(), "waiting for the control key to be mounted");
    let deadline = Instant::now() + place.patience;
    while Instant::now() < deadline {
        // The kubelet does not tell when it has mounted a Secret.
        sleep(Duration::from_secs(1)).await;
        if let Some(key) = read(place.file).await? {
            return Ok(key);
        }
    }
    bail!(
        "Secret {}/{} exists, but did not appear as {} within {} s: mount it there",
        place.namespace,
        place.secret,
        place.file.display(),
        place.patience.as_secs()
    )
}

async fn read(file: &Path) -> anyhow::Result<Option<ControlKey>> {
    match tokio::fs::read(file).await {
        Ok(bytes) => ControlKey::new(&bytes).map(Some).with_context(|| format!("read {}", file.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", file.display())),
    }
}

/// Whether the Secret was made; if not, it is there already.
async fn make(client: &Client, place: &Place<'_>, key: &str) -> anyhow::Result<bool> {
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(place.secret.to_owned()),
            namespace: Some(place.namespace.to_owned()),
            labels: Some(BTreeMap::from([(
                names::MANAGED_BY.to_owned(),
                names::MANAGED_BY_VALUE.to_owned(),
            )])),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(SECRET_KEY.to_owned(), ByteString(key.as_bytes().to_vec()))])),
        // Movers that run keep their token: another key under the same name would lock the controller out.
        immutable: Some(true),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    };
    let params = PostParams { field_manager: Some(names::FIELD_MANAGER.to_owned()), ..PostParams::default() };
    let api: Api<Secret> = Api::namespaced(client.clone(), place.namespace);
    match api.create(&params, &secret).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(false),
        Err(error) => {
            Err(error).with_context(|| format!("create Secret {}/{}", place.namespace, place.secret))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_depends_on_the_key_and_on_the_object() {
        let key = ControlKey::new(&[b'k'; 32]).unwrap();
        let other = ControlKey::new(&[b'l'; 32]).unwrap();
        assert_eq!(key.token("1"), key.token("1"));
        assert_ne!(key.token("1"), key.token("2"));
        assert_ne!(key.token("1"), other.token("1"));
        assert_eq!(key.token("1").0.len(), 64);
    }

    #[test]
    fn a_newline_is_not_part_of_a_key_and_a_short_key_is_none() {
        let text = format!("{}\n", "k".repeat(32));
        assert_eq!(
            ControlKey::new(text.as_bytes()).unwrap().token("1"),
            ControlKey::new(&[b'k'; 32]).unwrap().token("1")
        );
        assert!(ControlKey::new(b"  short  ").is_err());
    }
}
