//! A module at a server.
//!
//! Whoever may make a HookModule names the address, and the controller stands where they may not: so addresses are judged by [`Dialer`]. Nothing of an answer is told but its status and its digest.

use super::{Dialer, FetchError, digest};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::header::{HOST, LOCATION, USER_AGENT};
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls_platform_verifier::Verifier;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::Url;

/// How long it may take to be connected.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a server may be silent.
const SILENCE: Duration = Duration::from_secs(15);
/// How long a module may take from beginning to end.
const TOTAL: Duration = Duration::from_mins(2);
/// Redirects that are followed.
const REDIRECTS: u32 = 3;

/// Why a module could not be downloaded.
#[derive(Debug, thiserror::Error)]
pub enum HttpsError {
    /// It took too long.
    #[error("it took longer than {} s", .0.as_secs())]
    Late(Duration),
    /// No address of the host may be dialled.
    #[error("{0}")]
    Denied(String),
    /// There is no such host, or it cannot be reached.
    #[error("connect: {0}")]
    Connect(#[source] std::io::Error),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] hyper::Error),
    /// The request cannot be made.
    #[error("the address cannot be asked for: {0}")]
    Request(String),
    /// It answered something else than yes.
    #[error("the server answered {0}")]
    Status(hyper::StatusCode),
    /// It sends elsewhere.
    #[error(
        "the server redirects to another host, or without end: set spec.https.url to where the module is"
    )]
    Redirect,
    /// It is too large.
    #[error("it is larger than {0} bytes")]
    TooLarge(u64),
    /// It is another one.
    #[error("its SHA-256 is {0}, which is not spec.https.sha256: if that is meant, set it to this")]
    Digest(String),
}

/// The trust in certificates cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file with certificates cannot be used.
    #[error("read the certificates in {path}")]
    File {
        /// The file.
        path: String,
        /// Why not.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The certificates of the system cannot be used.
    #[error("set up TLS")]
    Tls(#[from] rustls::Error),
}

/// Downloads modules.
pub struct Https {
    tls: TlsConnector,
    dialer: Dialer,
}

impl Https {
    /// Trusts the system's authorities and those in `authorities`, a file of PEM certificates.
    ///
    /// # Errors
    /// Fails if that file cannot be read, or if there is no trust to be had.
    pub fn new(authorities: Option<&Path>, dialer: Dialer) -> Result<Self, TrustError> {
        let extra = match authorities {
            None => Vec::new(),
            Some(path) => {
                let failed = |source| TrustError::File { path: path.display().to_string(), source };
                let certificates = CertificateDer::pem_file_iter(path).map_err(failed)?;
                certificates.collect::<Result<_, _>>().map_err(failed)?
            }
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Verifier::new_with_extra_roots(extra, provider.clone())?;
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), dialer })
    }

    /// Downloads a module of no more than `most` bytes, with that digest.
    ///
    /// # Errors
    /// Says what went wrong, and never what a server that was not asked for had to say.
    pub async fn read(&self, url: &Url, sha256: &str, most: u64) -> Result<Vec<u8>, FetchError> {
        let result = timeout(TOTAL, self.download(url, most)).await;
        let result = result.unwrap_or(Err(HttpsError::Late(TOTAL)));
        let checked = result.and_then(|bytes| match digest(&bytes) {
            found if found == sha256 => Ok(bytes),
            found => Err(HttpsError::Digest(found)),
        });
        checked.map_err(|source| {
            let mut shown = url.clone();
            shown.set_query(None);
            shown.set_fragment(None);
            FetchError::Https { url: shown.to_string(), source }
        })
    }

    async fn download(&self, url: &Url, most: u64) -> Result<Vec<u8>, HttpsError> {
        let mut url = url.clone();
        for _ in 0..=REDIRECTS {
            let response = self.ask(&url).await?;
            if response.status().is_redirection() {
                url = redirect(&url, &response).ok_or(HttpsError::Redirect)?;
                continue;
            }
            if response.status() != hyper::StatusCode::OK {
                return Err(HttpsError::Status(response.status()));
            }
            return body(response, most).await;
        }
        Err(HttpsError::Redirect)
    }

    async fn ask(&self, url: &Url) -> Result<Response<Incoming>, HttpsError> {
        let late = |_| HttpsError::Late(CONNECT);
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or(443);
        let stream = timeout(CONNECT, self.dialer.connect(host, port)).await.map_err(late)?;
        let stream = stream.map_err(|error| match error.kind() {
            ErrorKind::PermissionDenied => HttpsError::Denied(error.to_string()),
            _ => HttpsError::Connect(error),
        })?;
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned());
        let name = name.map_err(|error| HttpsError::Request(error.to_string()))?;
        let stream = timeout(CONNECT, self.tls.connect(name, stream)).await.map_err(late)?;
        let stream = stream.map_err(HttpsError::Connect)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the response, whose body it feeds.
        tokio::spawn(connection);
        let path = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let request = Request::get(path)
            .header(HOST, authority)
            .header(USER_AGENT, concat!("scribe/", env!("CARGO_PKG_VERSION")))
            .body(Empty::<Bytes>::new())
            .map_err(|error| HttpsError::Request(error.to_string()))?;
        timeout(SILENCE, sender.send_request(request))
            .await
            .map_err(|_| HttpsError::Late(SILENCE))?
            .map_err(Into::into)
    }
}

/// Where a server sends us on to, if that is at the same host and port.
fn redirect(url: &Url, response: &Response<Incoming>) -> Option<Url> {
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    let next = url.join(location).ok()?;
    let is_same = next.scheme() == "https" && next.origin() == url.origin() && next.username().is_empty();
    is_same.then_some(next)
}

async fn body(response: Response<Incoming>, most: u64) -> Result<Vec<u8>, HttpsError> {
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while let Some(frame) = timeout(SILENCE, body.frame()).await.map_err(|_| HttpsError::Late(SILENCE))? {
        let Ok(data) = frame?.into_data() else { continue };
        if (bytes.len() + data.len()) as u64 > most {
            return Err(HttpsError::TooLarge(most));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
