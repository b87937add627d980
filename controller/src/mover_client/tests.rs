use super::*;
use crate::kinds::Side;
use crate::router::{Owner, Triggers};
use axum::Json;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::routing::{get, post};
use scribe_mover_contract::control::{Activity, Answer, Progress};
use scribe_mover_contract::peer::PublicationState;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::{Semaphore, watch};

const HOLD: Duration = Duration::from_secs(20);
/// Far longer than any test: progress alone must not trigger.
const NEVER: Duration = Duration::from_secs(3600);

fn state(revision: u64, activity: Activity) -> MoverState {
    MoverState {
        protocol: 1,
        instance: "i".to_owned(),
        revision,
        activity,
        seal: None,
        session: None,
        waiting: None,
        progress: None,
        questions: Vec::new(),
        abilities: None,
        free_bytes: None,
        capacity_bytes: None,
        last_failure: None,
        ended: None,
    }
}

fn pod(ip: &str, phase: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "p", "uid": ip, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "status": {"phase": phase, "podIP": ip}
    }))
    .unwrap()
}

/// A mover at an address of its own: the port is always the same.
async fn serve(ip: &str, states: watch::Receiver<MoverState>, answers: StatusCode) {
    #[derive(serde::Deserialize)]
    struct Wait {
        after: u64,
        wait: u64,
    }
    async fn told(
        State(states): State<watch::Receiver<MoverState>>,
        Query(wait): Query<Wait>,
        headers: HeaderMap,
    ) -> Result<Json<MoverState>, StatusCode> {
        if headers.get("authorization").and_then(|value| value.to_str().ok()) != Some("Bearer t") {
            return Err(StatusCode::UNAUTHORIZED);
        }
        let mut states = states;
        let news = states.wait_for(|state| state.revision > wait.after);
        let _ = tokio::time::timeout(Duration::from_secs(wait.wait), news).await;
        let state = states.borrow().clone();
        Ok(Json(state))
    }
    let listener = TcpListener::bind((ip, CONTROL_PORT)).await.unwrap();
    let router = axum::Router::new()
        .route("/v1/state", get(told))
        .route("/v1/answers", post(async move |_: Json<Value>| answers))
        .with_state(states);
    tokio::spawn(async move { axum::serve(listener, router).await });
}

fn movers() -> (Movers, Triggers) {
    let (router, triggers) = Router::new();
    router.add("o", Owner { side: Side::Source, namespace: "n".to_owned(), name: "s".to_owned() });
    (Movers::new(HOLD, NEVER, Arc::new(router)).unwrap(), triggers)
}

fn token() -> Redacted {
    Redacted("t".to_owned())
}

fn answer() -> AnswerTo {
    let answer = Answer::Published(PublicationState::Unknown);
    AnswerTo { instance: "i".to_owned(), question: 1, answer }
}

#[test]
fn progress_alone_is_no_reason_to_hurry() {
    let known = state(1, Activity::Transferring);
    let progress = MoverState { revision: 2, progress: Some(Progress::default()), ..known.clone() };
    assert_eq!(compare(&known, &progress), News::Progress);
    assert_eq!(compare(&known, &MoverState { revision: 2, ..known.clone() }), News::None);
    assert_eq!(compare(&known, &MoverState { seal: Some(1), ..known.clone() }), News::Significant);
    assert_eq!(compare(&known, &state(2, Activity::Committing)), News::Significant);
}

#[tokio::test]
async fn a_change_of_a_mover_triggers_its_owner() {
    let (movers, mut triggers) = movers();
    let (states, receiver) = watch::channel(state(1, Activity::Connecting));
    serve("127.55.0.1", receiver, StatusCode::NO_CONTENT).await;
    let pods = [pod("127.55.0.1", "Running")];
    assert_eq!(movers.follow("o", &pods, Some("p"), &token()), None);
    triggers.sources.recv().await.unwrap();
    let activity = |movers: &Movers| movers.follow("o", &pods, Some("p"), &token()).unwrap().1.activity;
    assert_eq!(activity(&movers), Activity::Connecting);
    states.send(state(2, Activity::Transferring)).unwrap();
    triggers.sources.recv().await.unwrap();
    assert_eq!(activity(&movers), Activity::Transferring);
    assert_eq!(movers.follow("o", &[pod("127.55.0.1", "Succeeded")], Some("p"), &token()), None);
}

#[tokio::test]
async fn a_stranger_under_the_owners_label_is_not_followed() {
    let (movers, _triggers) = movers();
    let pods = [pod("127.55.0.5", "Running")];
    for name in [None, Some("another")] {
        assert_eq!(movers.follow("o", &pods, name, &token()), None);
        assert!(lock(&movers.followed).is_empty(), "{name:?}");
    }
}

#[tokio::test]
async fn what_a_mover_answers_is_bounded_and_leads_nowhere_else() {
    let (movers, _triggers) = movers();
    let line = |path: &str| Line { base: format!("http://127.55.0.6:{CONTROL_PORT}/{path}"), token: token() };
    let good = serde_json::to_string(&state(1, Activity::Listening)).unwrap();
    let (padded, huge) = (good.clone() + &" ".repeat(MAX_ANSWER - good.len()), " ".repeat(MAX_ANSWER + 1));
    let router = axum::Router::new()
        .route("/good/state", get(async move || good))
        .route("/padded/state", get(async move || padded))
        .route("/huge/state", get(async move || huge))
        .route("/away/state", get(async || axum::response::Redirect::temporary("/good/state")));
    let listener = TcpListener::bind(("127.55.0.6", CONTROL_PORT)).await.unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let ask = async |path| movers.ask(&line(path), 0, Duration::ZERO).await;
    assert!(ask("good").await.is_ok());
    assert!(ask("padded").await.is_ok());
    assert!(matches!(ask("huge").await, Err(LineError::TooLong)));
    assert!(matches!(ask("away").await, Err(LineError::Unreadable(_))));
}

#[tokio::test]
async fn an_answer_that_comes_too_late_is_no_failure_and_refreshes_the_state() {
    let (movers, mut triggers) = movers();
    let (states, receiver) = watch::channel(state(1, Activity::Listening));
    serve("127.55.0.2", receiver, StatusCode::CONFLICT).await;
    let pods = [pod("127.55.0.2", "Running")];
    movers.follow("o", &pods, Some("p"), &token());
    triggers.sources.recv().await.unwrap();
    states.send(state(9, Activity::Listening)).unwrap();
    movers.answer("o", "p", &answer()).await.unwrap();
    assert_eq!(movers.follow("o", &pods, Some("p"), &token()).unwrap().1.revision, 9);
    movers.answer("o", "another", &answer()).await.unwrap();
}

#[tokio::test]
async fn a_mover_that_refuses_or_is_not_there_is_a_failure() {
    let (movers, _triggers) = movers();
    let (_states, receiver) = watch::channel(state(1, Activity::Listening));
    serve("127.55.0.3", receiver, StatusCode::UNAUTHORIZED).await;
    movers.follow("o", &[pod("127.55.0.3", "Running")], Some("p"), &token());
    let refused = movers.answer("o", "p", &answer()).await;
    assert!(matches!(refused, Err(MoverError::Unexpected { status: StatusCode::UNAUTHORIZED, .. })));
    movers.follow("o", &[pod("127.55.0.4", "Running")], Some("p"), &token());
    assert!(matches!(movers.answer("o", "p", &answer()).await, Err(MoverError::Unreachable { .. })));
}

#[tokio::test]
async fn what_a_mover_said_that_does_not_answer_any_more_is_forgotten_and_its_owner_told_once() {
    #[derive(serde::Deserialize)]
    struct After {
        after: u64,
    }
    let (mut movers, mut triggers) = movers();
    movers.trouble = Duration::ZERO;
    let (says, said) = watch::channel(Some(state(1, Activity::Listening)));
    let may_fail = Arc::new(Semaphore::new(0));
    let (fails, mut failed) = unbounded_channel();
    let permits = may_fail.clone();
    let told = async move |Query(After { after }): Query<After>| {
        let mut said = said.clone();
        let news = |state: &Option<MoverState>| state.as_ref().is_none_or(|state| state.revision > after);
        let state = said.wait_for(news).await.unwrap().clone();
        if state.is_none() {
            permits.acquire().await.unwrap().forget();
            fails.send(()).unwrap();
        }
        state.map(Json).ok_or(StatusCode::SERVICE_UNAVAILABLE)
    };
    let listener = TcpListener::bind(("127.55.0.7", CONTROL_PORT)).await.unwrap();
    let router = axum::Router::new().route("/v1/state", get(told));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let pods = [pod("127.55.0.7", "Running")];
    let known = |movers: &Movers| movers.follow("o", &pods, Some("p"), &token()).map(|(_, state)| state);
    assert_eq!(known(&movers), None);
    triggers.sources.recv().await.unwrap();
    assert_eq!(known(&movers), Some(state(1, Activity::Listening)));
    says.send(None).unwrap();
    for _ in 1..FAILURES {
        may_fail.add_permits(1);
        failed.recv().await.unwrap();
    }
    // A few failures are no reason yet.
    assert_eq!(known(&movers), Some(state(1, Activity::Listening)));
    may_fail.add_permits(2);
    triggers.sources.recv().await.unwrap();
    assert_eq!(known(&movers), None);
    failed.recv().await.unwrap();
    failed.recv().await.unwrap();
    says.send(Some(state(1, Activity::Listening))).unwrap();
    triggers.sources.recv().await.unwrap();
    assert_eq!(known(&movers), Some(state(1, Activity::Listening)));
    assert!(triggers.sources.try_recv().is_err());
}
