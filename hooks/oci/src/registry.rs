//! Asking registries.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use oci_client::{Reference, RegistryOperation};

use crate::credentials::Credentials;
use crate::error::{OciError, short};
use crate::gate::Network;
use crate::manifest::{
    CONFIG_TYPE, Component, Config, Descriptor, LAYER_TYPE, MANIFEST_TYPE, MOST_PAYLOAD_BYTES, Manifest,
    module_layer, signatures,
};
use crate::session::{Session, client, sha256};
use crate::signature::{self, PublicKey};

/// How registries are spoken to.
#[derive(Clone, Default)]
pub struct Options {
    /// By HTTP without TLS, to all of them. Whoever is between can then put in what he likes, but for what is named by its digest.
    pub plain_http: bool,
    /// Certificates, as PEM, that are trusted besides those of the system.
    pub certificates: Option<Vec<u8>>,
    /// Who connects to them. With it, nothing else is connected to, wherever a registry leads; and no more is downloaded than is asked for, and 8 MiB for all
    /// that belongs to it. Without it, to anything: for whoever asks with rights of his own. Not with `plain_http`.
    pub network: Option<Arc<dyn Network>>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plain_http, certificates, network } = self;
        f.debug_struct("Options")
            .field("plain_http", plain_http)
            .field("certificates", &certificates.is_some())
            .field("network", &network.is_some())
            .finish()
    }
}

/// A client of registries.
///
/// Each operation has a client of its own, which keeps nothing: what one user was let see is never remembered for another. A registry that is silent for 30 s
/// does not answer; one that is slow may take any time, so whoever waits sets a limit.
#[derive(Clone)]
pub struct Registry {
    options: Options,
}

/// A module that was pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// The digest of the manifest: the artifact under this name is this one and no other.
    pub digest: String,
    /// What the layer holds: the module, unless it is something else under that type.
    pub wasm: Vec<u8>,
}

/// A module that is pushed.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// The component, not compressed.
    pub wasm: Vec<u8>,
    /// What it exports, by full names.
    pub exports: Vec<String>,
    /// What it imports, by full names.
    pub imports: Vec<String>,
    /// When it was made, RFC 3339. The same module with another time is another artifact.
    pub created: String,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
}

impl Registry {
    /// A client of registries.
    ///
    /// # Errors
    ///
    /// The certificates are none, or the system has none.
    pub fn new(options: Options) -> Result<Self, OciError> {
        // Somebody else may have chosen already, and then that one holds.
        let _ = rustls::crypto::ring::default_provider().install_default();
        if options.plain_http && options.network.is_some() {
            return Err(OciError::Client(
                "what is not encrypted cannot be led through a network of one's own".to_owned(),
            ));
        }
        client(&options, None)?;
        Ok(Self { options })
    }

    /// The registry that a reference speaks of, as credentials are looked up by: `registry.example.com:5000`.
    ///
    /// # Errors
    ///
    /// It is not a reference.
    pub fn registry_of(reference: &str) -> Result<String, OciError> {
        Ok(parse(reference)?.resolve_registry().to_owned())
    }

    /// The digest of the manifest that a reference names now.
    ///
    /// # Errors
    ///
    /// There is none, or the registry does not say.
    pub async fn resolve(&self, reference: &str, credentials: &Credentials) -> Result<String, OciError> {
        let image = parse(reference)?;
        let session = Session::open(&self.options, credentials, 0).await?;
        session.manifest(&image, reference).await.map(|(_, digest)| digest)
    }

    /// The module that a reference names, of at most so many bytes. With a digest in the reference it is that very one.
    ///
    /// # Errors
    ///
    /// There is none, it is something else, or what came is not what its digest says.
    pub async fn pull(
        &self,
        reference: &str,
        credentials: &Credentials,
        most: u64,
    ) -> Result<Pulled, OciError> {
        let image = parse(reference)?;
        let session = Session::open(&self.options, credentials, most).await?;
        let (manifest, digest) = session.manifest(&image, reference).await?;
        let layer = module_layer(reference, &manifest)?;
        let wasm = session.blob(&image, reference, &layer, ("the module", most)).await?;
        Ok(Pulled { digest, wasm })
    }

    /// Looks whether one of these keys has signed the manifest with that digest, which [`Registry::resolve`] or [`Registry::pull`] answered. The signature
    /// is looked for in the repository that the reference names.
    ///
    /// # Errors
    ///
    /// None of them has, or the registry does not say.
    pub async fn verify(
        &self,
        reference: &str,
        digest: &str,
        credentials: &Credentials,
        keys: &[PublicKey],
    ) -> Result<(), OciError> {
        let image = parse(reference)?;
        let session = Session::open(&self.options, credentials, 0).await?;
        let unsigned = |detail| OciError::Unsigned { reference: pinned(reference, digest), detail };
        let tag = format!("{}.sig", digest.replacen(':', "-", 1));
        let place =
            Reference::with_tag(image.registry().to_owned(), image.repository().to_owned(), tag.clone());
        let found = session.manifest(&place, &place.whole()).await;
        let manifest = match found {
            Ok((manifest, _)) => manifest,
            Err(OciError::NotFound { .. }) => {
                return Err(unsigned(format!(
                    "there is no {tag}: sign it with `cosign sign --key cosign.key`, from version 3 on with --new-bundle-format=false"
                )));
            }
            Err(error) => return Err(error),
        };
        let mut why = "it holds no signature".to_owned();
        for (layer, signature) in signatures(&place.whole(), &manifest)? {
            let most = ("the payload of a signature", MOST_PAYLOAD_BYTES);
            let payload = session.blob(&place, &place.whole(), &layer, most).await?;
            match signature::verify(keys, &payload, &signature, digest) {
                Ok(()) => return Ok(()),
                Err(error) => why = error.to_string(),
            }
        }
        Err(unsigned(format!("{tag}: {why}")))
    }

    /// Pushes a module, and answers the digest of its manifest.
    ///
    /// # Errors
    ///
    /// The registry does not take it. What was sent until then may be there, but no name leads to it.
    pub async fn push(
        &self,
        reference: &str,
        credentials: &Credentials,
        artifact: Artifact,
    ) -> Result<String, OciError> {
        let image = parse(reference)?;
        let session = Session::open(&self.options, credentials, 0).await?;
        let failed = |error| session.failed(reference, &error);
        let Artifact { wasm, exports, imports, created, annotations } = artifact;
        let layer = describe(LAYER_TYPE, &wasm);
        let config = Config {
            created: &created,
            architecture: "wasm",
            os: "wasip2",
            layer_digests: vec![&layer.digest],
            component: Component { exports: &exports, imports: &imports },
        };
        let json = |error: serde_json::Error| OciError::Protocol {
            reference: reference.to_owned(),
            detail: error.to_string(),
        };
        let config_bytes = serde_json::to_vec(&config).map_err(json)?;
        let config = describe(CONFIG_TYPE, &config_bytes);
        let manifest = Manifest {
            schema_version: 2,
            media_type: MANIFEST_TYPE,
            config: config.clone(),
            layers: vec![layer.clone()],
            annotations: &annotations,
        };
        let manifest = serde_json::to_vec(&manifest).map_err(json)?;
        session.client.auth(&image, &session.auth, RegistryOperation::Push).await.map_err(failed)?;
        session.client.push_blob(&image, wasm, &layer.digest).await.map_err(failed)?;
        session.client.push_blob(&image, config_bytes, &config.digest).await.map_err(failed)?;
        let digest = sha256(&manifest);
        let media_type =
            MANIFEST_TYPE.parse().map_err(|_| OciError::Client("a media type is none".to_owned()))?;
        // Last, so that a name never leads to what is not all there.
        session.client.push_manifest_raw(&image, manifest, media_type).await.map_err(failed)?;
        Ok(digest)
    }
}

/// The same reference with that digest, which never comes to mean anything else. A tag stays in it: it says what was meant.
pub fn pinned(reference: &str, digest: &str) -> String {
    let name = reference.split_once('@').map_or(reference, |(name, _)| name);
    format!("{name}@{digest}")
}

fn parse(reference: &str) -> Result<Reference, OciError> {
    let why = |why: &str| OciError::Reference { reference: short(reference), why: why.to_owned() };
    // Without it a name would silently be meant in a registry that nobody has named.
    let registry = reference.split_once('/').map_or("", |(registry, _)| registry);
    if !registry.contains(['.', ':']) && registry != "localhost" {
        return Err(why("it names no registry"));
    }
    reference.parse().map_err(|error: oci_client::ParseError| why(&error.to_string()))
}

fn describe(media_type: &str, content: &[u8]) -> Descriptor {
    Descriptor { media_type: media_type.to_owned(), digest: sha256(content), size: content.len() as u64 }
}
