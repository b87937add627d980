//! The control API: the controller's window into the mover. See `scribe_mover_contract::control` for the requests.

mod listener;

use crate::args::RunArgs;
use crate::keys::Keys;
use crate::state::StateCell;
use anyhow::{Context, Result};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use listener::{Guarded, Guest};
use scribe_mover_contract::control::{AnswerTo, MoverState, Order};
use scribe_mover_contract::peer::MAX_DOCUMENT;
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// The longest that a long poll is held, whatever the controller asks for.
const MAX_WAIT: Duration = Duration::from_secs(300);

/// An answer or order that cannot be carried out: what was known when it was given has changed since.
#[derive(Debug)]
pub struct Stale(pub String);

/// Who carries out answers and orders.
pub trait Orders: Send + Sync + 'static {
    /// Takes an answer to a question.
    fn answer(&self, answer: AnswerTo) -> impl Future<Output = Result<(), Stale>> + Send;
    /// Carries out an order.
    fn order(&self, order: Order) -> impl Future<Output = Result<(), Stale>> + Send;
}

/// A source: it asks nothing and obeys only signals.
pub struct NoOrders;

impl Orders for NoOrders {
    async fn answer(&self, _: AnswerTo) -> Result<(), Stale> {
        Err(Stale("a source asks no questions".to_owned()))
    }

    async fn order(&self, _: Order) -> Result<(), Stale> {
        Err(Stale("a source takes no orders".to_owned()))
    }
}

struct Shared<O> {
    token: String,
    state: StateCell,
    orders: O,
}

/// Opens the port.
///
/// # Errors
/// It is taken.
pub async fn listen(args: &RunArgs) -> Result<TcpListener> {
    let listen = |address: IpAddr| TcpListener::bind(SocketAddr::new(address, args.control_port));
    let any = match args.listen {
        Some(address) => listen(address).await,
        // A node without IPv6 has no such socket.
        None => match listen(Ipv6Addr::UNSPECIFIED.into()).await {
            Ok(listener) => Ok(listener),
            Err(_) => listen(Ipv4Addr::UNSPECIFIED.into()).await,
        },
    };
    any.with_context(|| format!("listen on port {} for the controller", args.control_port))
}

/// Reads the bearer token.
///
/// # Errors
/// It is not mounted.
pub fn token(args: &RunArgs) -> Result<String> {
    Keys::new(args.control_dir.clone()).text("token").context("read the control token")
}

/// Serves the API until the process ends.
///
/// # Errors
/// The listener breaks.
pub async fn serve<O: Orders>(
    listener: TcpListener,
    token: String,
    state: StateCell,
    orders: O,
) -> std::io::Result<()> {
    let service = router(token, state, orders).into_make_service_with_connect_info::<Guest>();
    axum::serve(Guarded::new(listener), service).await
}

fn router<O: Orders>(token: String, state: StateCell, orders: O) -> Router {
    let shared = Arc::new(Shared { token, state, orders });
    Router::new()
        .route("/v1/state", get(read_state::<O>))
        .route("/v1/answers", post(take_answer::<O>))
        .route("/v1/orders", post(take_order::<O>))
        .fallback(|| async { StatusCode::NOT_FOUND })
        .layer(DefaultBodyLimit::max(MAX_DOCUMENT))
        .layer(middleware::from_fn_with_state(shared.clone(), authenticate::<O>))
        .with_state(shared)
}

async fn authenticate<O: Orders>(
    State(shared): State<Arc<Shared<O>>>,
    ConnectInfo(guest): ConnectInfo<Guest>,
    request: Request,
    next: Next,
) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    if is_same(given, &shared.token) {
        guest.welcome();
        next.run(request).await
    } else {
        StatusCode::UNAUTHORIZED.into_response()
    }
}

/// Compares in a time that does not tell how much of it was right.
fn is_same(given: &str, token: &str) -> bool {
    given.len() == token.len() && given.bytes().zip(token.bytes()).fold(0, |seen, (a, b)| seen | (a ^ b)) == 0
}

#[derive(Deserialize)]
struct Poll {
    #[serde(default)]
    after: u64,
    #[serde(default)]
    wait: u64,
}

async fn read_state<O: Orders>(
    State(shared): State<Arc<Shared<O>>>,
    Query(poll): Query<Poll>,
) -> Json<MoverState> {
    shared.state.hear(poll.after);
    let wait = Duration::from_secs(poll.wait).min(MAX_WAIT);
    let changed = tokio::time::timeout(wait, shared.state.after(poll.after)).await;
    Json(changed.unwrap_or_else(|_| shared.state.current()))
}

async fn take_answer<O: Orders>(
    State(shared): State<Arc<Shared<O>>>,
    Json(answer): Json<AnswerTo>,
) -> Response {
    if answer.instance != shared.state.instance() {
        return carried_out(Err(Stale("another process of this mover asked that".to_owned())));
    }
    carried_out(shared.orders.answer(answer).await)
}

async fn take_order<O: Orders>(State(shared): State<Arc<Shared<O>>>, Json(order): Json<Order>) -> Response {
    carried_out(shared.orders.order(order).await)
}

fn carried_out(result: Result<(), Stale>) -> Response {
    match result {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(Stale(message)) => (StatusCode::CONFLICT, message).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> reqwest::Client {
        // It speaks no TLS here, but wants to know how it would. Another test may have said so already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        reqwest::Client::new()
    }

    async fn api() -> (String, StateCell) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let state = StateCell::new();
        tokio::spawn(serve(listener, "right".to_owned(), state.clone(), NoOrders));
        (address, state)
    }

    #[tokio::test]
    async fn every_path_needs_the_token() {
        let (address, _) = api().await;
        let client = self::client();
        for path in ["/v1/state", "/v1/answers", "/v1/nothing"] {
            let status = client.get(format!("{address}{path}")).send().await.unwrap().status();
            assert_eq!(status, 401, "{path}");
            let wrong = client.get(format!("{address}{path}")).bearer_auth("righT").send().await.unwrap();
            assert_eq!(wrong.status(), 401, "{path}");
        }
        let right = client.get(format!("{address}/v1/state")).bearer_auth("right").send().await.unwrap();
        assert_eq!(right.status(), 200);
    }

    #[tokio::test]
    async fn who_has_the_token_takes_up_no_place() {
        let (address, _) = api().await;
        let mut connected = Vec::new();
        for _ in 0..2 * listener::STRANGERS {
            let client = self::client();
            let request = client.get(format!("{address}/v1/state")).bearer_auth("right");
            request.send().await.unwrap().bytes().await.unwrap();
            // Its connection stays open as long as it lives.
            connected.push(client);
        }
    }

    #[tokio::test]
    async fn who_asks_for_more_has_heard_what_was() {
        const LONG: Duration = Duration::from_secs(600);
        let (address, state) = api().await;
        let url = format!("{address}/v1/state?after={}", state.current().revision);
        client().get(url).bearer_auth("right").send().await.unwrap();
        assert!(state.heard(Duration::ZERO, LONG).await);
    }

    #[tokio::test]
    async fn a_long_poll_returns_with_the_next_change() {
        let (address, state) = api().await;
        let now = state.current().revision;
        let url = format!("{address}/v1/state?after={now}&wait=300");
        let request = tokio::spawn(client().get(url).bearer_auth("right").send());
        state.change(|state| state.seal = Some(7));
        let seen: MoverState = request.await.unwrap().unwrap().json().await.unwrap();
        assert_eq!((seen.seal, seen.revision), (Some(7), now + 1));
    }
}
