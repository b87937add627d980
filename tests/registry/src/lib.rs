//! An OCI registry for tests: in memory, on loopback, with faults on demand.
//!
//! It speaks as much of the distribution specification as pushing and pulling take: blobs in one piece, manifests by tag and digest, and access for
//! anybody, by password, or by a token that a password is exchanged for.
#![warn(missing_docs)]

mod access;
mod serve;
mod tls;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use axum::Router;
use axum::http::StatusCode;
use axum::serve::Listener;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use access::Access;

/// A registry, as long as it lives.
pub struct Registry {
    address: SocketAddr,
    state: Arc<State>,
    server: JoinHandle<()>,
}

pub(crate) struct State {
    /// Where it listens, with the scheme.
    url: String,
    access: Access,
    content: Mutex<Content>,
}

#[derive(Default)]
struct Content {
    /// By digest.
    blobs: BTreeMap<String, Vec<u8>>,
    /// By repository, and tag or digest.
    manifests: BTreeMap<(String, String), Stored>,
    /// What is answered instead of anything else.
    failing: Option<StatusCode>,
    /// Where blobs are said to be.
    blobs_at: Option<String>,
    /// Where tokens are said to be had.
    tokens_at: Option<String>,
    /// Methods and paths, in order.
    requests: Vec<String>,
}

#[derive(Clone)]
struct Stored {
    media_type: String,
    content: Vec<u8>,
}

impl Registry {
    /// Starts a registry that is open to whom `access` says.
    ///
    /// # Errors
    ///
    /// There is no port to listen on.
    pub async fn start(access: Access) -> Result<Self> {
        Self::listen("http", access, |listener| listener).await
    }

    /// The same with TLS, as real ones have it. With the certificate, which nobody trusts unasked, as PEM.
    ///
    /// # Errors
    ///
    /// There is no port to listen on, or no certificate to be made.
    pub async fn start_tls(access: Access) -> Result<(Self, String)> {
        let (acceptor, certificate) = tls::acceptor()?;
        let registry =
            Self::listen("https", access, |listener| tls::TlsListener::new(listener, acceptor)).await?;
        Ok((registry, certificate))
    }

    async fn listen<L>(scheme: &str, access: Access, with: impl FnOnce(TcpListener) -> L) -> Result<Self>
    where
        L: Listener<Addr = SocketAddr>,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("listen on loopback")?;
        let address = listener.local_addr().context("see which port it is")?;
        let url = format!("{scheme}://{address}");
        let state = Arc::new(State { url, access, content: Mutex::default() });
        let router = Router::new().fallback(serve::serve).with_state(state.clone());
        let listener = with(listener);
        let server = tokio::spawn(async move {
            // It ends with the task.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, state, server })
    }

    /// Where it listens, as it stands in a reference: `127.0.0.1:5000`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Puts a manifest there, under a tag and its digest. Answers the digest.
    pub fn put_manifest(&self, repository: &str, tag: &str, media_type: &str, content: &[u8]) -> String {
        self.state.content().put(repository, tag, media_type, content)
    }

    /// Puts a blob there. Answers its digest.
    pub fn put_blob(&self, content: &[u8]) -> String {
        let digest = sha256(content);
        self.state.content().blobs.insert(digest.clone(), content.to_vec());
        digest
    }

    /// Answers something else where that blob is asked for.
    pub fn replace_blob(&self, digest: &str, content: &[u8]) {
        self.state.content().blobs.insert(digest.to_owned(), content.to_vec());
    }

    /// The manifest under a tag or digest.
    pub fn manifest(&self, repository: &str, reference: &str) -> Option<Vec<u8>> {
        let key = (repository.to_owned(), reference.to_owned());
        self.state.content().manifests.get(&key).map(|stored| stored.content.clone())
    }

    /// What a blob holds.
    pub fn blob(&self, digest: &str) -> Option<Vec<u8>> {
        self.state.content().blobs.get(digest).cloned()
    }

    /// Answers every request with that status from now on; with none, as it should.
    pub fn fail(&self, status: Option<u16>) {
        self.state.content().failing = status.and_then(|status| StatusCode::from_u16(status).ok());
    }

    /// Sends whoever asks for a blob to that URL from now on.
    pub fn redirect_blobs(&self, url: Option<&str>) {
        self.state.content().blobs_at = url.map(str::to_owned);
    }

    /// Sends whoever needs a token to that URL from now on.
    pub fn send_for_tokens_to(&self, url: &str) {
        self.state.content().tokens_at = Some(url.to_owned());
    }

    /// What was asked so far, like `GET /v2/`.
    pub fn requests(&self) -> Vec<String> {
        self.state.content().requests.clone()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl State {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    fn put(&mut self, repository: &str, tag: &str, media_type: &str, content: &[u8]) -> String {
        let digest = sha256(content);
        let stored = Stored { media_type: media_type.to_owned(), content: content.to_vec() };
        for reference in [tag, &digest] {
            self.manifests.insert((repository.to_owned(), reference.to_owned()), stored.clone());
        }
        digest
    }
}

/// `sha256:` and the digest.
pub fn sha256(content: &[u8]) -> String {
    let hex: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
