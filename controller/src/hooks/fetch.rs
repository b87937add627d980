//! Reads a module from where its HookModule says that it is.

mod config_map;
mod dial;
mod file;
mod https;
mod oci;

pub use dial::Dialer;
pub use https::{Https, HttpsError};
pub use oci::Oci;

use file::{Files, Look};
use kube::Client;
use scribe_crds::v1alpha1::{HookModuleSpec, OciModule};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::path::PathBuf;
use url::Url;

/// Where a module is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In a ConfigMap.
    ConfigMap {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The key in `binaryData`.
        key: String,
        /// What it has to be, in hexadecimal.
        sha256: Option<String>,
    },
    /// At a server.
    Https {
        /// Where.
        url: Url,
        /// What it has to be, in hexadecimal.
        sha256: String,
    },
    /// In a registry.
    Oci {
        /// The namespace of its Secrets.
        namespace: String,
        /// Where, and how.
        module: OciModule,
    },
    /// Below the folder for modules.
    File {
        /// Where.
        path: String,
        /// What it has to be, in hexadecimal.
        sha256: Option<String>,
    },
}

impl Source {
    /// As a spec says; or what is wrong with the spec. The schema refuses most of that, but an older one may still be installed.
    pub fn of(namespace: &str, spec: &HookModuleSpec) -> Result<Self, String> {
        match (&spec.config_map, &spec.https, &spec.oci, &spec.file) {
            (Some(source), None, None, None) => Ok(Self::ConfigMap {
                namespace: namespace.to_owned(),
                name: source.name.clone(),
                key: source.key.clone(),
                sha256: source.sha256.clone(),
            }),
            (None, Some(source), None, None) => {
                let url = Url::parse(&source.url).map_err(|error| format!("spec.https.url: {error}"))?;
                let has_user = !url.username().is_empty() || url.password().is_some();
                if url.scheme() != "https" || has_user || url.host().is_none() {
                    return Err("spec.https.url: write it as https://host/path, without a user".to_owned());
                }
                Ok(Self::Https { url, sha256: source.sha256.clone() })
            }
            (None, None, Some(module), None) => {
                Ok(Self::Oci { namespace: namespace.to_owned(), module: module.clone() })
            }
            (None, None, None, Some(source)) => {
                Ok(Self::File { path: source.path.clone(), sha256: source.sha256.clone() })
            }
            _ => Err("spec: set exactly one of configMap, https, oci and file".to_owned()),
        }
    }
}

/// Why a module could not be read. The text stands in the status.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// It is not there.
    #[error("{0}")]
    Missing(String),
    /// It is there, and not what it should be.
    #[error("{0}")]
    Wrong(String),
    /// The API server could not be asked.
    #[error("read {what}: {why}")]
    Api {
        /// What was read.
        what: String,
        /// In the API server's words, or what kept it from answering.
        why: String,
    },
    /// The server could not be asked, or did not answer well.
    #[error("download {url}: {source}")]
    Https {
        /// Without what follows a question mark.
        url: String,
        /// Why not.
        source: HttpsError,
    },
}

impl FetchError {
    /// Whether it is not there at all.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing(_))
    }
}

/// What was read, if it is what it has to be.
fn pinned(bytes: Vec<u8>, sha256: Option<&str>, field: &str) -> Result<Vec<u8>, FetchError> {
    match sha256.map(|wanted| (wanted, digest(&bytes))) {
        Some((wanted, found)) if found != wanted => Err(FetchError::Wrong(format!(
            "its SHA-256 is {found}, which is not {field}: if that is meant, set it to this"
        ))),
        _ => Ok(bytes),
    }
}

/// The SHA-256, in hexadecimal.
fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Reads modules.
pub struct Fetcher {
    client: Client,
    https: Https,
    oci: Oci,
    files: Files,
    most: u64,
}

impl Fetcher {
    /// `folder`: where modules can be mounted. No more than `most` bytes are read.
    pub fn new(client: Client, https: Https, oci: Oci, folder: Option<PathBuf>, most: u64) -> Self {
        Self { client, https, oci, files: Files::new(folder), most }
    }

    /// Reads a module.
    ///
    /// # Errors
    /// Says why it could not be read, and what to do.
    pub async fn fetch(&self, source: &Source) -> Result<Vec<u8>, FetchError> {
        match source {
            Source::ConfigMap { namespace, name, key, sha256 } => {
                let bytes = config_map::read(&self.client, namespace, name, key).await?;
                pinned(bytes, sha256.as_deref(), "spec.configMap.sha256")
            }
            Source::Https { url, sha256 } => self.https.read(url, sha256, self.most).await,
            Source::Oci { namespace, module } => self.oci.read(namespace, module, self.most).await,
            Source::File { path, sha256 } => {
                let bytes = self.files.read(path.clone(), self.most).await?;
                pinned(bytes, sha256.as_deref(), "spec.file.sha256")
            }
        }
    }

    /// By what a file can be told from another one, without reading it. `None`: it is no file, or none is there.
    pub fn look(&self, source: &Source) -> Option<Look> {
        match source {
            Source::File { path, .. } => self.files.look(path),
            Source::ConfigMap { .. } | Source::Https { .. } | Source::Oci { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pinned_is_that_or_nothing() {
        // What `printf hook | sha256sum` prints.
        let sha256 = "0648298b48be031996277ae472115a46e7964d2ac3882e61b84351f3c3f8a547";
        assert_eq!(pinned(b"hook".to_vec(), Some(sha256), "spec.file.sha256").unwrap(), b"hook");
        assert_eq!(pinned(b"hook".to_vec(), None, "spec.file.sha256").unwrap(), b"hook");
        let told = pinned(b"other".to_vec(), Some(sha256), "spec.file.sha256").unwrap_err().to_string();
        assert!(told.contains("spec.file.sha256") && told.contains(&digest(b"other")), "{told}");
    }
}
