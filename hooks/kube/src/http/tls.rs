//! TLS, by rustls.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use scribe_hooks_contract::effects::HttpError;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Host;

use crate::cause::chain;

/// Roots that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// They are not what they should be.
    #[error("the extra authorities are not certificates in PEM: {0}")]
    NotPem(String),
    /// There is not one among them.
    #[error("the extra authorities hold no certificate")]
    Empty,
    /// The crypto library does not do what is needed.
    #[error("set up TLS")]
    Tls(#[source] rustls::Error),
}

pub(super) fn config(extra_roots: Option<&[u8]>) -> Result<ClientConfig, RootsError> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::warn!(error = error as &dyn std::error::Error, "read the certificates of this machine");
    }
    // An old one that cannot be read must not spoil the others.
    roots.add_parsable_certificates(native.certs);
    if let Some(pem) = extra_roots {
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| RootsError::NotPem(error.to_string()))?;
            roots.add(certificate).map_err(|error| RootsError::NotPem(error.to_string()))?;
        }
        if roots.len() == before {
            return Err(RootsError::Empty);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = builder.map_err(RootsError::Tls)?.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Shakes hands, and is sure that it is that host.
pub(super) async fn connect(
    config: &Arc<ClientConfig>,
    host: &Host<String>,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, HttpError> {
    let name = match host {
        Host::Domain(name) => ServerName::try_from(name.clone())
            .map_err(|_| HttpError::Tls(format!("{name} is no name for a certificate")))?,
        Host::Ipv4(address) => ServerName::from(std::net::IpAddr::from(*address)),
        Host::Ipv6(address) => ServerName::from(std::net::IpAddr::from(*address)),
    };
    let shaken = TlsConnector::from(config.clone()).connect(name, stream).await;
    shaken.map_err(|error| HttpError::Tls(chain(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_refused() {
        assert!(matches!(config(Some(b"")), Err(RootsError::Empty)));
        let odd = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(config(Some(odd)), Err(RootsError::NotPem(_))));
        assert!(config(None).is_ok());
    }
}
