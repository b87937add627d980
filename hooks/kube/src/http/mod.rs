//! HTTP requests of hooks.
//!
//! A connection for each request, to an address that was judged after its name was resolved: nothing is resolved twice, pooled, proxied or redirected, so
//! that whatever is reached is what was granted. HTTP/1.1.

mod network;
mod tls;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use rustls::ClientConfig;
use scribe_hooks::sanitize;
use scribe_hooks_contract::effects::{self, HttpError, Response};
use scribe_hooks_contract::grants::{AddressRanges, Denied, HttpPermit};
use scribe_hooks_contract::limits::fixed;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use url::Host;

pub use network::{Network, System};
pub use tls::RootsError;

use crate::cause::chain;

/// For each address of a name. The next one may be better.
const CONNECT: Duration = Duration::from_secs(10);
/// What a response may have of headers, in number and in bytes.
const MOST_HEADERS: usize = 128;
const MOST_HEADER_BYTES: usize = 64 << 10;
/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 8;

/// Sends requests. One for the life of a process.
#[derive(Clone)]
pub struct HttpClient {
    network: Arc<dyn Network>,
    tls: Arc<ClientConfig>,
    /// Which of the addresses that are not public may be dialled at all. `None`: as modules were granted.
    private: Option<AddressRanges>,
}

impl std::fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HttpClient")
    }
}

/// A header whose value nobody is shown.
pub(crate) type SecretHeader = (String, HeaderValue);

impl HttpClient {
    /// Trusts the authorities that this machine trusts, and those in `extra_roots` (PEM) as well.
    ///
    /// # Errors
    ///
    /// `extra_roots` holds something else than certificates.
    pub fn new(extra_roots: Option<&[u8]>) -> Result<Self, RootsError> {
        let tls = Arc::new(tls::config(extra_roots)?);
        Ok(Self { network: Arc::new(System), tls, private: None })
    }

    /// Dials, of addresses that are not public, those in these ranges at most, whatever modules were granted.
    #[must_use]
    pub fn with_private_ranges(self, ranges: Vec<IpNet>) -> Self {
        Self { private: Some(AddressRanges::new(ranges)), ..self }
    }

    /// The same with another network.
    #[must_use]
    pub fn with_network(self, network: Arc<dyn Network>) -> Self {
        Self { network, ..self }
    }

    /// Sends a request and reads its response, all within the time that the request allows.
    pub(crate) async fn send(
        &self,
        permit: &HttpPermit,
        request: effects::Request,
        secrets: Vec<SecretHeader>,
        most: u64,
    ) -> Result<Response, HttpError> {
        let limit = Duration::from_secs(request.timeout_seconds.max(1).into());
        timeout(limit, self.exchange(permit, request, secrets, most))
            .await
            .unwrap_or(Err(HttpError::TimedOut))
    }

    async fn exchange(
        &self,
        permit: &HttpPermit,
        request: effects::Request,
        secrets: Vec<SecretHeader>,
        most: u64,
    ) -> Result<Response, HttpError> {
        let request = build(permit, request, secrets)?;
        let addresses = self.addresses(permit).await?;
        let stream = self.connect(&addresses).await?;
        if permit.url.scheme() == "https" {
            let stream = tls::connect(&self.tls, &permit.host, stream).await?;
            talk(stream, request, most).await
        } else {
            talk(stream, request, most).await
        }
    }

    /// Where the host is: addresses that may be dialled, and at least one.
    async fn addresses(&self, permit: &HttpPermit) -> Result<Vec<SocketAddr>, HttpError> {
        let found: Vec<IpAddr> = match &permit.host {
            Host::Ipv4(address) => vec![(*address).into()],
            Host::Ipv6(address) => vec![(*address).into()],
            Host::Domain(name) => {
                let found = self.network.resolve(name).await;
                found.map_err(|error| HttpError::Dns(format!("{name}: {}", chain(&error))))?
            }
        };
        let (mut allowed, mut denied) = (Vec::new(), None);
        for address in found.into_iter().take(MOST_ADDRESSES) {
            match permit.allows(address).and_then(|()| self.may_dial(address)) {
                Ok(()) => allowed.push(SocketAddr::new(address, permit.port)),
                Err(why) => denied = denied.or(Some(why)),
            }
        }
        match denied {
            _ if !allowed.is_empty() => Ok(allowed),
            Some(why) => Err(HttpError::Denied(why.to_string())),
            None => Err(HttpError::Dns(format!("{} has no address", permit.host))),
        }
    }

    fn may_dial(&self, address: IpAddr) -> Result<(), Denied> {
        let Some(private) = &self.private else { return Ok(()) };
        private.permit(address).map_err(|_| {
            Denied::because(format!(
                "{address} is not a public address, and the controller's --hook-private-ranges does not have it: an administrator has to add it"
            ))
        })
    }

    async fn connect(&self, addresses: &[SocketAddr]) -> Result<tokio::net::TcpStream, HttpError> {
        let mut last = HttpError::TimedOut;
        for address in addresses {
            last = match timeout(CONNECT, self.network.connect(*address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => HttpError::Connect(format!("{address}: {}", chain(&error))),
                Err(_) => HttpError::Connect(format!("{address}: no answer")),
            };
        }
        Err(last)
    }
}

fn build(
    permit: &HttpPermit,
    request: effects::Request,
    secrets: Vec<SecretHeader>,
) -> Result<Request<Full<Bytes>>, HttpError> {
    let wrong = |what: &str| HttpError::Protocol(format!("{what} cannot be sent"));
    let url = &permit.url;
    let target = url.query().map_or(url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let mut built = Request::new(Full::new(Bytes::from(request.body)));
    *built.method_mut() = Method::from_bytes(request.method.as_bytes()).map_err(|_| wrong("the method"))?;
    *built.uri_mut() = target.parse::<Uri>().map_err(|_| wrong("the path"))?;
    let headers = built.headers_mut();
    let host = url.port().map_or(permit.host.to_string(), |port| format!("{}:{port}", permit.host));
    headers.insert(header::HOST, HeaderValue::from_str(&host).map_err(|_| wrong("the host"))?);
    headers.insert(header::USER_AGENT, HeaderValue::from_static("scribe-hook"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    let mut own = http::HeaderMap::new();
    for (name, value) in request.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong("a header"))?;
        own.append(name, HeaderValue::from_str(&value).map_err(|_| wrong("a header"))?);
    }
    // What comes from a Secret stands alone, and not beside a value of the module's.
    for (name, value) in secrets {
        own.insert(HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong("a header"))?, value);
    }
    headers.extend(own);
    Ok(built)
}

async fn talk<S>(stream: S, request: Request<Full<Bytes>>, most: u64) -> Result<Response, HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = http1::Builder::new()
        .max_headers(MOST_HEADERS)
        .max_buf_size(MOST_HEADER_BYTES)
        .handshake(TokioIo::new(stream))
        .await;
    let (mut sender, connection) = handshake.map_err(broken)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        let (parts, body) = response.into_parts();
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers: Vec<(String, String)> =
            parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        // hyper's own limit is of what is not parsed yet.
        if headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > MOST_HEADER_BYTES {
            return Err(HttpError::Protocol("the response has too many headers".to_owned()));
        }
        let limit = usize::try_from(most).unwrap_or(usize::MAX);
        let body = match Limited::new(body, limit).collect().await {
            Ok(body) => body.to_bytes().to_vec(),
            Err(error) if error.is::<LengthLimitError>() => return Err(HttpError::TooLarge(most)),
            Err(error) => return Err(HttpError::Protocol(chain(error.as_ref()))),
        };
        Ok(Response { status: parts.status.as_u16(), headers, body })
    };
    // Driven here and not in a task of its own: to drop the call closes the connection.
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => return answer,
        _ = &mut connection => {}
    }
    // The connection may end before all that came on it was read.
    exchange.await
}

fn broken(error: hyper::Error) -> HttpError {
    let text = sanitize::line(&chain(&error), fixed::MESSAGE_BYTES);
    if error.is_timeout() { HttpError::TimedOut } else { HttpError::Protocol(text) }
}
