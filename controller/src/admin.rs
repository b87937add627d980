//! Health and metrics, over HTTP.

use crate::context::Context;
use crate::slots;
use crate::watches::Synced;
use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

/// What the endpoints tell of.
#[derive(Clone)]
pub struct Admin {
    /// For its metrics.
    pub ctx: Arc<Context>,
    /// The watches that have to have seen everything before the controller is ready.
    pub watches: Arc<[Synced]>,
}

/// Serves `/healthz`, `/readyz` and `/metrics` until `shutdown` resolves.
///
/// # Errors
/// Fails if the address cannot be listened at.
pub async fn serve(
    address: SocketAddr,
    admin: Admin,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("listen at {address}"))?;
    let router = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(admin);
    axum::serve(listener, router).with_graceful_shutdown(shutdown).await.context("serve health and metrics")
}

/// Not ready without our own kinds: their watches cannot begin.
async fn readyz(State(admin): State<Admin>) -> (StatusCode, String) {
    let waiting: Vec<&str> =
        admin.watches.iter().filter(|watch| !watch.is_done()).map(|watch| watch.what).collect();
    if waiting.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for a first look at {}\n", waiting.join(", ")))
    }
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    admin.ctx.metrics.lead(admin.ctx.term.holds());
    admin.ctx.metrics.movers.show(&slots::numbers(&admin.ctx.slots.view()));
    let (status, text) = match admin.ctx.metrics.text() {
        Ok(text) => (StatusCode::OK, text),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    (status, [(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text)
}
