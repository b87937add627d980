//! Requests to the Kubernetes API: addressed by what was judged, bounded in size and in time.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::Client;
use kube::client::Body;
use scribe_hooks::sanitize;
use scribe_hooks_contract::effects::KubeError;
use scribe_hooks_contract::grants::{KubePermit, ListPermit};
use scribe_hooks_contract::limits::fixed;
use scribe_hooks_contract::undo::Changed;
use serde::de::DeserializeOwned;
use url::form_urlencoded;

use crate::cause::chain;

/// The longest that one request may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of an object that is read to look at a part of it. etcd takes no larger ones.
pub(crate) const OBJECT_BYTES: usize = 4 << 20;
/// Bytes of a Status that are read.
const STATUS_BYTES: usize = 64 << 10;

/// Why the API server did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("{message}")]
    Status { code: StatusCode, message: String },
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
    #[error("the API server does not answer: {0}")]
    Unanswered(String),
    #[error("the API server's answer cannot be read: {0}")]
    Unreadable(#[source] serde_json::Error),
    #[error("`{0}` is no part of an address")]
    Address(String),
}

impl ApiError {
    pub fn is(&self, wanted: StatusCode) -> bool {
        matches!(self, Self::Status { code, .. } if *code == wanted)
    }

    /// Whether asking again might help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unanswered(_) => true,
            Self::Status { code, .. } => {
                code.is_server_error()
                    || matches!(
                        *code,
                        StatusCode::TOO_MANY_REQUESTS | StatusCode::GONE | StatusCode::CONFLICT
                    )
            }
            Self::TooLarge(_) | Self::Unreadable(_) | Self::Address(_) => false,
        }
    }
}

impl From<ApiError> for KubeError {
    fn from(error: ApiError) -> Self {
        let text = error.to_string();
        match error {
            ApiError::Status { code, .. } => match code {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Self::Denied(text),
                StatusCode::NOT_FOUND => Self::NotFound,
                StatusCode::CONFLICT => Self::Conflict(text),
                // A list that went on for too long.
                StatusCode::GONE | StatusCode::TOO_MANY_REQUESTS => Self::Unavailable(text),
                code if code.is_client_error() => Self::Invalid(text),
                _ => Self::Unavailable(text),
            },
            ApiError::TooLarge(most) => Self::TooLarge(most as u64),
            ApiError::Unanswered(_) | ApiError::Unreadable(_) => Self::Unavailable(text),
            ApiError::Address(_) => Self::Invalid(text),
        }
    }
}

/// Where the objects of a resource are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address<'a> {
    pub group: &'a str,
    pub version: &'a str,
    pub resource: &'a str,
    pub namespace: &'a str,
}

pub(crate) fn pods(namespace: &str) -> Address<'_> {
    Address { group: "", version: "v1", resource: "pods", namespace }
}

impl<'a> From<&'a KubePermit> for Address<'a> {
    fn from(permit: &'a KubePermit) -> Self {
        let KubePermit { group, version, resource, namespace, .. } = permit;
        Self { group, version, resource, namespace }
    }
}

impl<'a> From<&'a ListPermit> for Address<'a> {
    fn from(permit: &'a ListPermit) -> Self {
        let ListPermit { group, version, resource, namespace, .. } = permit;
        Self { group, version, resource, namespace }
    }
}

impl<'a> Address<'a> {
    pub fn of(changed: &'a Changed, namespace: &'a str) -> Self {
        let Changed { group, version, resource, .. } = changed;
        Self { group, version, resource, namespace }
    }

    /// The path of the resource, of one object of it, or of a subresource.
    ///
    /// Every part is looked at once more: an entry of an undo log comes from a status, which others may write.
    pub fn path(&self, name: Option<&str>, subresource: Option<&str>) -> Result<String, ApiError> {
        let Self { group, version, resource, namespace } = *self;
        let is_core = group.is_empty();
        if is_core && resource == "secrets" {
            return Err(ApiError::Address(resource.to_owned()));
        }
        let start = if is_core { ["api"].as_slice() } else { &["apis", group] };
        let middle = [version, "namespaces", namespace, resource];
        let parts = start.iter().chain(&middle).copied().chain(name).chain(subresource);
        let mut path = String::new();
        for part in parts {
            path.push('/');
            path.push_str(plain(part)?);
        }
        Ok(path)
    }
}

/// A part of a path that means nothing but itself.
fn plain(part: &str) -> Result<&str, ApiError> {
    let is_plain =
        part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte));
    if is_plain && part.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric()) {
        Ok(part)
    } else {
        Err(ApiError::Address(sanitize::line(part, 64)))
    }
}

/// Adds a query.
pub(crate) fn with_query(path: String, query: &[(&str, &str)]) -> String {
    let mut encoded = form_urlencoded::Serializer::new(String::new());
    encoded.extend_pairs(query);
    format!("{path}?{}", encoded.finish())
}

/// What is sent, and as what.
pub(crate) struct Content {
    pub media_type: &'static str,
    pub bytes: Vec<u8>,
}

/// What an answer is to be: the object, or its metadata only, where the server can do that.
#[derive(Clone, Copy)]
pub(crate) enum Accept {
    Json,
    Metadata,
}

impl Accept {
    fn header(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Metadata => "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
        }
    }
}

/// Sends a request, and reads at most `most` bytes of its answer.
pub(crate) async fn send(
    client: &Client,
    method: Method,
    path: String,
    accept: Accept,
    content: Option<Content>,
    most: usize,
) -> Result<Bytes, ApiError> {
    let work = async {
        let body = begin(client, method, path, accept, content).await?;
        collect(body, most).await
    };
    let answer = tokio::time::timeout(PATIENCE, work).await;
    answer.unwrap_or_else(|_| Err(ApiError::Unanswered(format!("not within {} s", PATIENCE.as_secs()))))
}

/// Sends a request, and answers the body of a success unread.
pub(crate) async fn begin(
    client: &Client,
    method: Method,
    path: String,
    accept: Accept,
    content: Option<Content>,
) -> Result<Body, ApiError> {
    let mut request = Request::builder().method(method).uri(path).header(header::ACCEPT, accept.header());
    let bytes = content.map(|content| {
        request.headers_mut().map(|headers| {
            headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content.media_type))
        });
        content.bytes
    });
    let request = request
        .body(Body::from(bytes.unwrap_or_default()))
        .map_err(|error| ApiError::Address(error.to_string()))?;
    let response = client.send(request).await.map_err(|error| ApiError::Unanswered(chain(&error)))?;
    let code = response.status();
    if code.is_success() {
        return Ok(response.into_body());
    }
    let said = collect(response.into_body(), STATUS_BYTES).await.unwrap_or_default();
    let status: Option<Status> = serde_json::from_slice(&said).ok();
    let message = status.and_then(|status| status.message).unwrap_or_else(|| code.to_string());
    Err(ApiError::Status { code, message: sanitize::line(&message, fixed::MESSAGE_BYTES) })
}

async fn collect(body: Body, most: usize) -> Result<Bytes, ApiError> {
    match Limited::new(body, most).collect().await {
        Ok(read) => Ok(read.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::TooLarge(most)),
        Err(error) => Err(ApiError::Unanswered(chain(error.as_ref()))),
    }
}

/// Asks for an object, or a list of them.
pub(crate) async fn get<T: DeserializeOwned>(
    client: &Client,
    path: String,
    accept: Accept,
    most: usize,
) -> Result<T, ApiError> {
    let read = send(client, Method::GET, path, accept, None, most).await?;
    serde_json::from_slice(&read).map_err(ApiError::Unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address<'a>(group: &'a str, resource: &'a str) -> Address<'a> {
        Address { group, version: "v1", resource, namespace: "shop" }
    }

    #[test]
    fn an_address_is_a_path() {
        let path = address("apps", "statefulsets").path(Some("db"), Some("scale")).unwrap();
        assert_eq!(path, "/apis/apps/v1/namespaces/shop/statefulsets/db/scale");
        assert_eq!(address("", "pods").path(None, None).unwrap(), "/api/v1/namespaces/shop/pods");
    }

    #[test]
    fn nothing_leaves_its_place_in_the_path() {
        for odd in ["", "..", "../kube-system", "a/b", "a?b", "a%2fb", "a#b", "A", ".a"] {
            assert!(address("", odd).path(None, None).is_err(), "{odd}");
            assert!(address("", "pods").path(Some(odd), None).is_err(), "{odd}");
            let elsewhere = Address { namespace: odd, ..address("", "pods") };
            assert!(elsewhere.path(None, None).is_err(), "{odd}");
        }
    }

    #[test]
    fn secrets_have_no_address() {
        assert!(address("", "secrets").path(None, None).is_err());
        assert!(address("", "secrets").path(Some("a"), None).is_err());
    }

    #[test]
    fn what_the_server_says_is_told_apart() {
        let error = |code: u16| {
            let code = StatusCode::from_u16(code).unwrap();
            KubeError::from(ApiError::Status { code, message: "m".into() })
        };
        assert_eq!(error(403), KubeError::Denied("m".into()));
        assert_eq!(error(404), KubeError::NotFound);
        assert_eq!(error(409), KubeError::Conflict("m".into()));
        assert_eq!(error(422), KubeError::Invalid("m".into()));
        assert_eq!(error(429), KubeError::Unavailable("m".into()));
        assert_eq!(error(503), KubeError::Unavailable("m".into()));
    }
}
