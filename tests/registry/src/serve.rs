//! The requests of the distribution specification.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::http::header::{CONTENT_TYPE, HeaderName, LOCATION};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::{State, access, sha256};

const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// Answers a request.
pub async fn serve(
    Shared(state): Shared<Arc<State>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri.path();
    {
        let mut content = state.content();
        content.requests.push(format!("{method} {path}"));
        if let Some(status) = content.failing {
            return status.into_response();
        }
    }
    if path == "/token" {
        return access::token(&state, &headers);
    }
    if let Some(refusal) = access::refusal(&state, &headers) {
        return refusal;
    }
    let Some(rest) = path.strip_prefix("/v2/") else { return StatusCode::NOT_FOUND.into_response() };
    if rest.is_empty() {
        return StatusCode::OK.into_response();
    }
    // Names of repositories have slashes of their own.
    if let Some((repository, _)) = rest.split_once("/blobs/uploads/") {
        upload(&state, &method, &uri, repository, &body)
    } else if let Some((_, digest)) = rest.split_once("/blobs/") {
        blob(&state, &method, digest)
    } else if let Some((repository, reference)) = rest.split_once("/manifests/") {
        manifest(&state, &method, &headers, (repository, reference), &body)
    } else {
        StatusCode::NOT_FOUND.into_response()
    }
}

fn error(status: StatusCode, code: &str) -> Response {
    (status, Json(json!({ "errors": [{ "code": code, "message": "as the test wants it" }] }))).into_response()
}

fn upload(state: &State, method: &Method, uri: &Uri, repository: &str, body: &Bytes) -> Response {
    match *method {
        Method::POST => {
            let location = format!("/v2/{repository}/blobs/uploads/1");
            (StatusCode::ACCEPTED, [(LOCATION, location)]).into_response()
        }
        Method::PUT => {
            let query = uri.query().unwrap_or_default();
            let digest = query.split('&').find_map(|pair| pair.strip_prefix("digest=")).unwrap_or_default();
            let digest = digest.replace("%3A", ":");
            if sha256(body) != digest {
                return error(StatusCode::BAD_REQUEST, "DIGEST_INVALID");
            }
            let location = format!("/v2/{repository}/blobs/{digest}");
            state.content().blobs.insert(digest, body.to_vec());
            (StatusCode::CREATED, [(LOCATION, location)]).into_response()
        }
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}

fn blob(state: &State, method: &Method, digest: &str) -> Response {
    let content = state.content();
    if let Some(url) = &content.blobs_at {
        return (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, url.clone())]).into_response();
    }
    match content.blobs.get(digest) {
        Some(content) if *method == Method::GET => content.clone().into_response(),
        Some(_) => StatusCode::OK.into_response(),
        None => error(StatusCode::NOT_FOUND, "BLOB_UNKNOWN"),
    }
}

fn manifest(
    state: &State,
    method: &Method,
    headers: &HeaderMap,
    (repository, reference): (&str, &str),
    body: &Bytes,
) -> Response {
    if *method == Method::PUT {
        let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let digest = state.content().put(repository, reference, media_type, body);
        let location = format!("/v2/{repository}/manifests/{digest}");
        return (StatusCode::CREATED, [(LOCATION, location), (DIGEST, digest)]).into_response();
    }
    let found = state.content().manifests.get(&(repository.to_owned(), reference.to_owned())).cloned();
    match found {
        Some(stored) => {
            let headers = [(CONTENT_TYPE, stored.media_type), (DIGEST, sha256(&stored.content))];
            (headers, stored.content).into_response()
        }
        None => error(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN"),
    }
}
