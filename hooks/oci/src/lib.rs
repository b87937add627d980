//! Hook modules in OCI registries, as CNCF Wasm artifacts.
//!
//! An artifact is a manifest of type `application/vnd.oci.image.manifest.v1+json`, a config of type `application/vnd.wasm.config.v0+json`, and one
//! layer of type `application/wasm`. What older tools wrote is read too: config `application/vnd.wasm.config.v1+json`, layer
//! `application/vnd.wasm.content.layer.v1+wasm`.
//!
//! ```text
//! Registry::new(options) ─► resolve(reference, credentials) ─► the manifest's digest, to pin
//!                        ├► verify(reference, digest, credentials, keys) ─► whether one of the keys has signed it
//!                        ├► pull(reference, credentials, most bytes) ─► the module
//!                        └► push(reference, credentials, artifact)
//! ```
//!
//! Signatures are those of `cosign sign --key`, kept beside the artifact under the tag `sha256-….sig`. Where they matter: `resolve`, `verify` the digest, and
//! `pull` that digest. Between a tag that was verified and the same tag a moment later there may be another artifact.
//!
//! Where others name the registries, [`Options::network`] says what may be connected to.
//!
//! Nothing here looks into a module: what was pulled is for `scribe-hooks` to judge.
#![warn(missing_docs)]

mod credentials;
mod error;
mod gate;
mod manifest;
mod registry;
mod session;
mod signature;

pub use credentials::{Credentials, CredentialsError};
pub use error::OciError;
pub use gate::Network;
pub use manifest::{CONFIG_TYPE, LAYER_TYPE, MANIFEST_TYPE, OLD_CONFIG_TYPE, OLD_LAYER_TYPE};
pub use registry::{Artifact, Options, Pulled, Registry, pinned};
pub use signature::{KeyError, PublicKey, SignatureError, verify};
