//! Who acts for a hook: its ServiceAccount, by tokens that live for minutes and in memory only.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, Request, Response, StatusCode, header};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::client::{Body, ClientBuilder};
use kube::config::AuthInfo;
use kube::{Api, Client, Config};
use tokio::time::Instant;
use tower::{BoxError, Layer, Service};

use crate::api::PATIENCE;
use crate::cause::chain;

/// How long a token is asked for, in seconds. The API server gives none for less.
const LIFE_SECONDS: i64 = 600;
/// A token with less time than this is not used for another request.
const RESERVE: Duration = Duration::from_secs(120);
/// ServiceAccounts whose tokens are kept. More are asked for again.
const MOST_KEPT: usize = 1024;

/// Makes clients that act as hooks' ServiceAccounts. One for the life of a process; clones share their tokens.
#[derive(Clone)]
pub struct Identities {
    own: Client,
    config: Arc<Config>,
    tokens: Arc<Mutex<Tokens>>,
}

/// By namespace and name.
type Tokens = HashMap<(String, String), Arc<Token>>;

/// A client cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("make a client for a ServiceAccount")]
pub struct IdentityError(#[source] kube::Error);

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identities")
    }
}

impl Identities {
    /// `config` is the one that `own`, the client of whoever asks for tokens, was made from: server, authority and proxy are taken from
    /// it, and nothing that says who it is.
    pub fn new(config: &Config, own: Client) -> Self {
        let mut config = config.clone();
        config.auth_info = AuthInfo::default();
        config.headers = Vec::new();
        Self { own, config: Arc::new(config), tokens: Arc::default() }
    }

    /// A client that acts as that ServiceAccount. It asks for a token with its first request, and for another before that one ends, as long as it
    /// lives. A ServiceAccount that does not exist is told by that request.
    ///
    /// # Errors
    ///
    /// The configuration cannot be used.
    pub fn client(&self, namespace: &str, service_account: &str) -> Result<Client, IdentityError> {
        let token = self.token(namespace, service_account);
        let builder = ClientBuilder::try_from(Config::clone(&self.config)).map_err(IdentityError)?;
        Ok(builder.with_layer(&Bearer(token)).build())
    }

    /// A client that acts as nobody: the API server gives it what it gives to everybody.
    ///
    /// # Errors
    ///
    /// The configuration cannot be used.
    pub fn nobody(&self) -> Result<Client, IdentityError> {
        Client::try_from(Config::clone(&self.config)).map_err(IdentityError)
    }

    fn token(&self, namespace: &str, service_account: &str) -> Arc<Token> {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= MOST_KEPT {
            // Those that no client uses.
            tokens.retain(|_, token| Arc::strong_count(token) > 1);
        }
        let key = (namespace.to_owned(), service_account.to_owned());
        let make = || Token {
            own: self.own.clone(),
            namespace: namespace.to_owned(),
            service_account: service_account.to_owned(),
            current: tokio::sync::Mutex::default(),
        };
        tokens.entry(key).or_insert_with(|| Arc::new(make())).clone()
    }
}

/// The token of one ServiceAccount.
struct Token {
    own: Client,
    namespace: String,
    service_account: String,
    current: tokio::sync::Mutex<Option<Current>>,
}

struct Current {
    header: HeaderValue,
    use_until: Instant,
}

/// No token was given.
#[derive(Debug, thiserror::Error)]
#[error("no token for ServiceAccount {service_account} in namespace {namespace}: {why}")]
struct NoToken {
    namespace: String,
    service_account: String,
    why: String,
}

impl Token {
    /// The value of the header `Authorization`.
    async fn header(&self) -> Result<HeaderValue, NoToken> {
        // Held while asking: others wait for the same answer.
        let mut current = self.current.lock().await;
        if let Some(current) = current.as_ref().filter(|current| Instant::now() < current.use_until) {
            return Ok(current.header.clone());
        }
        let asked = Instant::now();
        let token = self.ask().await.map_err(|why| NoToken {
            namespace: self.namespace.clone(),
            service_account: self.service_account.clone(),
            why,
        })?;
        let header = token.header.clone();
        *current = Some(Current { use_until: asked + token.use_for, header: token.header });
        Ok(header)
    }

    async fn ask(&self) -> Result<Given, String> {
        let api: Api<ServiceAccount> = Api::namespaced(self.own.clone(), &self.namespace);
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                expiration_seconds: Some(LIFE_SECONDS),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let params = PostParams::default();
        let asking = api.create_token_request(&self.service_account, &params, &request);
        let answer = tokio::time::timeout(PATIENCE, asking).await.map_err(|_| "no answer".to_owned())?;
        let status = answer.map_err(|error| chain(&error))?.status.ok_or("an answer without a token")?;
        let token = status.token.filter(|token| !token.is_empty()).ok_or("an answer without a token")?;
        let end = status.expiration_timestamp.ok_or("a token without an end")?.0.as_second();
        // Clocks differ: never longer than was asked for, and never less than a moment.
        let life = (end - jiff::Timestamp::now().as_second()).clamp(1, LIFE_SECONDS);
        let life = Duration::from_secs(u64::try_from(life).unwrap_or(1));
        let mut header = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| "a token that is none".to_owned())?;
        header.set_sensitive(true);
        Ok(Given { header, use_for: life.saturating_sub(RESERVE).max(life / 2) })
    }

    /// It was not taken: the ServiceAccount may have been deleted and made anew.
    async fn forget(&self, refused: &HeaderValue) {
        let mut current = self.current.lock().await;
        if current.as_ref().is_some_and(|current| current.header == *refused) {
            *current = None;
        }
    }
}

struct Given {
    header: HeaderValue,
    use_for: Duration,
}

/// Puts the token into each request.
#[derive(Clone)]
struct Bearer(Arc<Token>);

impl<S> Layer<S> for Bearer {
    type Service = WithBearer<S>;

    fn layer(&self, inner: S) -> Self::Service {
        WithBearer { inner: Arc::new(tokio::sync::Mutex::new(inner)), token: self.0.clone() }
    }
}

struct WithBearer<S> {
    /// Used by one request at a time, until it is on its way.
    inner: Arc<tokio::sync::Mutex<S>>,
    token: Arc<Token>,
}

impl<S, B> Service<Request<Body>> for WithBearer<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let (inner, token) = (self.inner.clone(), self.token.clone());
        Box::pin(async move {
            let header = token.header().await?;
            request.headers_mut().insert(header::AUTHORIZATION, header.clone());
            let sent = {
                let mut inner = inner.lock().await;
                std::future::poll_fn(|context| inner.poll_ready(context)).await.map_err(Into::into)?;
                inner.call(request)
            };
            let response = sent.await.map_err(Into::into)?;
            if response.status() == StatusCode::UNAUTHORIZED {
                token.forget(&header).await;
            }
            Ok(response)
        })
    }
}
