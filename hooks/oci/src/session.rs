//! One operation on a registry: a client of its own, and what all operations consist of.

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::manifest::OciDescriptor;
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};

use crate::credentials::Credentials;
use crate::error::{OciError, short};
use crate::gate::{Gate, Refusal};
use crate::manifest::{ACCEPTED, Descriptor, MOST_MANIFEST_BYTES};
use crate::registry::Options;

/// How long nothing may come, and how long connecting may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// What may come besides the content: handshakes, tokens, manifests, and what a registry has to say.
const BESIDES_BYTES: u64 = 8 << 20;

/// One operation. What one user was let see is not there for the next.
pub struct Session {
    pub client: Client,
    pub auth: RegistryAuth,
    gate: Option<Gate>,
}

impl Session {
    /// Begins an operation that downloads no more than `most` bytes of content.
    pub async fn open(options: &Options, credentials: &Credentials, most: u64) -> Result<Self, OciError> {
        let gate = match &options.network {
            None => None,
            Some(network) => {
                let open = Gate::open(Arc::clone(network), most.saturating_add(BESIDES_BYTES)).await;
                Some(open.map_err(|error| OciError::Client(format!("listen on loopback: {error}")))?)
            }
        };
        let client = client(options, gate.as_ref())?;
        Ok(Self { client, auth: credentials.auth(), gate })
    }

    /// Why something failed. Where it was the gate that ended it, the client does not know why.
    pub fn failed(&self, reference: &str, error: &OciDistributionError) -> OciError {
        let named = reference.to_owned();
        match self.gate.as_ref().and_then(Gate::refusal) {
            None => OciError::of(reference, error),
            Some(Refusal::Denied(detail)) => OciError::Denied { reference: named, detail },
            Some(Refusal::Unreachable(detail)) => OciError::Unavailable { reference: named, detail },
            Some(Refusal::TooMuch(most)) => {
                OciError::TooLarge { reference: named, what: "what the registry sends", most }
            }
        }
    }

    /// A manifest, and its digest.
    pub async fn manifest(&self, image: &Reference, reference: &str) -> Result<(Vec<u8>, String), OciError> {
        let pulled = self.client.pull_manifest_raw(image, &self.auth, &ACCEPTED).await;
        let (manifest, digest) = pulled.map_err(|error| self.failed(reference, &error))?;
        if manifest.len() as u64 > MOST_MANIFEST_BYTES {
            let (reference, what, most) = (reference.to_owned(), "the manifest", MOST_MANIFEST_BYTES);
            return Err(OciError::TooLarge { reference, what, most });
        }
        Ok((manifest.to_vec(), digest))
    }

    /// The content of a blob of at most so many bytes, with the digest that its descriptor has.
    pub async fn blob(
        &self,
        image: &Reference,
        reference: &str,
        blob: &Descriptor,
        (what, most): (&'static str, u64),
    ) -> Result<Vec<u8>, OciError> {
        let too_large = || OciError::TooLarge { reference: reference.to_owned(), what, most };
        if blob.size > most {
            return Err(too_large());
        }
        let descriptor = OciDescriptor {
            media_type: blob.media_type.clone(),
            digest: blob.digest.clone(),
            size: i64::try_from(blob.size).unwrap_or(i64::MAX),
            ..OciDescriptor::default()
        };
        let pulled = self.client.pull_blob_stream(image, &descriptor).await;
        let mut stream = pulled.map_err(|error| self.failed(reference, &error))?.stream;
        let mut content = Vec::new();
        // The end of the stream is an error if the digest is not that of the descriptor.
        while let Some(chunk) = stream.try_next().await.map_err(|error| {
            let (reference, detail) = (reference.to_owned(), short(&error.to_string()));
            if detail.to_lowercase().contains("digest") {
                OciError::Digest { reference, detail }
            } else {
                OciError::Unavailable { reference, detail }
            }
        })? {
            if (content.len() + chunk.len()) as u64 > most {
                return Err(too_large());
            }
            content.extend_from_slice(&chunk);
        }
        // Whatever the client has looked at, this is what everything rests on.
        let found = sha256(&content);
        if found != blob.digest {
            let detail = format!("{what} has digest {found}, and its manifest says {}", short(&blob.digest));
            return Err(OciError::Digest { reference: reference.to_owned(), detail });
        }
        Ok(content)
    }
}

/// A client that keeps nothing from one operation to the next.
pub fn client(options: &Options, gate: Option<&Gate>) -> Result<Client, OciError> {
    let Options { plain_http, certificates, network: _ } = options;
    let config = ClientConfig {
        protocol: if *plain_http { ClientProtocol::Http } else { ClientProtocol::Https },
        extra_root_certificates: certificates.as_deref().map_or(Ok(Vec::new()), parse_certificates)?,
        // Chunks are what registries differ in.
        use_monolithic_push: true,
        platform_resolver: None,
        read_timeout: Some(PATIENCE),
        connect_timeout: Some(PATIENCE),
        user_agent: concat!("scribe/", env!("CARGO_PKG_VERSION")),
        https_proxy: gate.map(Gate::url),
        // Also where a registry sends it on without TLS: the gate then says no.
        http_proxy: gate.map(Gate::url),
        ..ClientConfig::default()
    };
    Client::try_from(config).map_err(|error| OciError::Client(short(&error.to_string())))
}

/// Each of them by itself: of several in one, a client might see the first alone, and of none say nothing.
fn parse_certificates(pem: &[u8]) -> Result<Vec<Certificate>, OciError> {
    let certificates = CertificateDer::pem_slice_iter(pem).map(|certificate| {
        let data = certificate
            .map_err(|error| {
                OciError::Client(format!("a certificate is no PEM: {}", short(&error.to_string())))
            })?
            .to_vec();
        Ok(Certificate { encoding: CertificateEncoding::Der, data })
    });
    let certificates: Vec<_> = certificates.collect::<Result<_, OciError>>()?;
    if certificates.is_empty() {
        return Err(OciError::Client(
            "there is no `-----BEGIN CERTIFICATE-----` among the certificates".to_owned(),
        ));
    }
    Ok(certificates)
}

/// `sha256:` and the digest.
pub fn sha256(content: &[u8]) -> String {
    let hex: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
