//! Listens to movers by long poll, and speaks to them.

use crate::backoff::exponential;
use crate::router::Router;
use k8s_openapi::api::core::v1::Pod;
use reqwest::StatusCode;
use scribe_core::chance::Redacted;
use scribe_mover_contract::CONTROL_PORT;
use scribe_mover_contract::control::{AnswerTo, MoverState, Order};
use serde::Serialize;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until};

/// The first pause before a mover that does not answer is asked again: it is starting, or about to go.
const RETRY: Duration = Duration::from_millis(250);
/// The longest one: it may be of no use any more, and nobody has looked at its pod yet.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// What a request may take beyond the time that the mover was asked to hold it.
const SLACK: Duration = Duration::from_secs(10);
/// The longest answer that is read, in bytes: far more than any state, whose questions are a few documents of 64 KiB, and little enough
/// to hold for many movers at once. A mover is not trusted to stop.
const MAX_ANSWER: usize = 8 << 20;

/// A mover could not be told something.
#[derive(Debug, thiserror::Error)]
pub enum MoverError {
    /// It did not answer.
    #[error("speak to mover pod {pod}")]
    Unreachable {
        /// The pod.
        pod: String,
        /// Why.
        #[source]
        source: LineError,
    },
    /// It answered something else than yes, or that the word came too late.
    #[error("mover pod {pod} answered {status}")]
    Unexpected {
        /// The pod.
        pod: String,
        /// What it answered.
        status: StatusCode,
    },
}

/// What a mover answered could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// It did not answer, or not to the end.
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    /// It answered with more than anybody has to say.
    #[error("the answer is longer than {MAX_ANSWER} bytes")]
    TooLong,
    /// It answered with something else.
    #[error("read the answer")]
    Unreadable(#[from] serde_json::Error),
}

/// The running movers, one for each owner.
#[derive(Clone)]
pub struct Movers {
    http: reqwest::Client,
    hold: Duration,
    progress_interval: Duration,
    router: Arc<Router>,
    followed: Followed,
}

/// By the owner's uid.
type Followed = Arc<Mutex<HashMap<String, Mover>>>;

struct Mover {
    pod: String,
    pod_uid: String,
    line: Line,
    state: Option<MoverState>,
    task: AbortHandle,
}

impl Drop for Mover {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How to reach one mover.
#[derive(Clone)]
struct Line {
    base: String,
    token: Redacted,
}

impl Movers {
    /// `hold`: how long a mover holds back an answer while nothing changes. Progress alone triggers at most once in
    /// `progress_interval`.
    ///
    /// # Errors
    /// Fails if there is no HTTP client to be had.
    pub fn new(
        hold: Duration,
        progress_interval: Duration,
        router: Arc<Router>,
    ) -> Result<Self, reqwest::Error> {
        // A proxy for the world outside must not see what is said to pods, and no pod sends us on to anywhere else.
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(SLACK)
            .build()?;
        Ok(Self { http, hold, progress_interval, router, followed: Followed::default() })
    }

    /// Follows the running mover of this name among an owner's pods, and no other: anybody who makes pods can give one the owner's
    /// label. The answer is its name and its state, if it has told.
    pub fn follow(
        &self,
        owner: &str,
        pods: &[Pod],
        name: Option<&str>,
        token: &Redacted,
    ) -> Option<(String, MoverState)> {
        let running = name.and_then(|name| running(pods, name));
        let mut followed = lock(&self.followed);
        let Some((uid, address)) = running else {
            followed.remove(owner);
            return None;
        };
        if followed.get(owner).is_none_or(|mover| mover.pod_uid != uid) {
            let base = format!("http://{}/v1", SocketAddr::new(address, CONTROL_PORT));
            let line = Line { base, token: token.clone() };
            let listener = Listener {
                movers: self.clone(),
                owner: owner.to_owned(),
                pod_uid: uid.clone(),
                line: line.clone(),
            };
            // Replacing the entry ends the task of the pod before.
            let task = tokio::spawn(listener.run()).abort_handle();
            let pod = name.unwrap_or_default().to_owned();
            followed.insert(owner.to_owned(), Mover { pod, pod_uid: uid, line, state: None, task });
        }
        let mover = followed.get(owner)?;
        Some((mover.pod.clone(), mover.state.clone()?))
    }

    /// Stops following the mover of an owner.
    pub fn forget(&self, owner: &str) {
        lock(&self.followed).remove(owner);
    }

    /// Answers a question. A mover that no longer asks, or is no longer there, is content.
    ///
    /// # Errors
    /// Fails if the mover does not take the answer.
    pub async fn answer(&self, owner: &str, pod: &str, answer: &AnswerTo) -> Result<(), MoverError> {
        self.post(owner, pod, "answers", answer).await
    }

    /// Gives an order. A mover for which it comes too late, or that is no longer there, is content.
    ///
    /// # Errors
    /// Fails if the mover does not take the order.
    pub async fn order(&self, owner: &str, pod: &str, order: &Order) -> Result<(), MoverError> {
        self.post(owner, pod, "orders", order).await
    }

    async fn post(
        &self,
        owner: &str,
        pod: &str,
        path: &str,
        body: &impl Serialize,
    ) -> Result<(), MoverError> {
        let found = lock(&self.followed)
            .get(owner)
            .filter(|mover| mover.pod == pod)
            .map(|mover| (mover.line.clone(), mover.pod_uid.clone()));
        let Some((line, pod_uid)) = found else {
            return Ok(());
        };
        let unreachable = |source| MoverError::Unreachable { pod: pod.to_owned(), source };
        let request = self
            .http
            .post(format!("{}/{path}", line.base))
            .bearer_auth(&line.token.0)
            .json(body)
            .timeout(SLACK);
        let status = request.send().await.map_err(|error| unreachable(error.into()))?.status();
        if !status.is_success() && status != StatusCode::CONFLICT {
            return Err(MoverError::Unexpected { pod: pod.to_owned(), status });
        }
        // Else the next pass would see the question that has just been answered.
        let state = self.ask(&line, 0, Duration::ZERO).await.map_err(unreachable)?;
        self.learn(owner, &pod_uid, state);
        Ok(())
    }

    async fn ask(&self, line: &Line, after: u64, hold: Duration) -> Result<MoverState, LineError> {
        let url = format!("{}/state?after={after}&wait={}", line.base, hold.as_secs());
        let request = self.http.get(url).bearer_auth(&line.token.0).timeout(hold + SLACK);
        let mut response = request.send().await?.error_for_status()?;
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if answer.len() + chunk.len() > MAX_ANSWER {
                return Err(LineError::TooLong);
            }
            answer.extend_from_slice(&chunk);
        }
        Ok(serde_json::from_slice(&answer)?)
    }

    /// Keeps a state, and says what is new about it.
    fn learn(&self, owner: &str, pod_uid: &str, state: MoverState) -> News {
        let mut followed = lock(&self.followed);
        let Some(mover) = followed.get_mut(owner).filter(|mover| mover.pod_uid == pod_uid) else {
            return News::None;
        };
        // Answers of two requests may cross: the older one must not win.
        let is_old = |known: &MoverState| known.instance == state.instance && known.revision > state.revision;
        if mover.state.as_ref().is_some_and(is_old) {
            return News::None;
        }
        let news = mover.state.as_ref().map_or(News::Significant, |known| compare(known, &state));
        mover.state = Some(state);
        news
    }
}

/// What a state says that the one before did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    None,
    Progress,
    Significant,
}

fn compare(known: &MoverState, state: &MoverState) -> News {
    let significant = known.instance != state.instance
        || known.protocol != state.protocol
        || known.activity != state.activity
        || known.seal != state.seal
        || known.session != state.session
        || known.questions != state.questions
        || known.abilities != state.abilities
        || known.last_failure != state.last_failure;
    if significant {
        News::Significant
    } else if known.progress != state.progress
        || known.waiting != state.waiting
        || known.free_bytes != state.free_bytes
        || known.capacity_bytes != state.capacity_bytes
    {
        News::Progress
    } else {
        News::None
    }
}

/// Listens to one mover pod, until it is aborted.
struct Listener {
    movers: Movers,
    owner: String,
    pod_uid: String,
    line: Line,
}

impl Listener {
    async fn run(self) {
        let Movers { hold, progress_interval, ref router, .. } = self.movers;
        let mut after = 0;
        let mut failures = 0_u32;
        // Progress that waits to be told, and since when nothing was.
        let mut untold = false;
        let mut told = Instant::now();
        loop {
            let asked = self.movers.ask(&self.line, after, hold);
            tokio::pin!(asked);
            let answer = loop {
                tokio::select! {
                    answer = &mut asked => break answer,
                    () = sleep_until(told + progress_interval), if untold => {
                        untold = false;
                        told = Instant::now();
                        router.wake(&self.owner);
                    }
                }
            };
            let state = match answer {
                Ok(state) => state,
                Err(error) => {
                    tracing::debug!(owner = %self.owner, error = &error as &dyn std::error::Error, "mover does not answer");
                    // It may come back as another process, which counts from the beginning.
                    after = 0;
                    failures += 1;
                    sleep(exponential(RETRY, RETRY_MAX, failures, rand::random())).await;
                    continue;
                }
            };
            after = state.revision;
            failures = 0;
            match self.movers.learn(&self.owner, &self.pod_uid, state) {
                News::None => {}
                News::Progress => untold = true,
                News::Significant => {
                    untold = false;
                    told = Instant::now();
                    router.wake(&self.owner);
                }
            }
        }
    }
}

fn lock(followed: &Followed) -> MutexGuard<'_, HashMap<String, Mover>> {
    // Nothing panics while it holds the lock, and every state of the map is a valid one.
    followed.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Uid and address of the pod of this name, if it runs and stays.
fn running(pods: &[Pod], name: &str) -> Option<(String, IpAddr)> {
    let pod = pods.iter().find(|pod| pod.metadata.name.as_deref() == Some(name))?;
    let status = pod.status.as_ref()?;
    if pod.metadata.deletion_timestamp.is_some() || status.phase.as_deref() != Some("Running") {
        return None;
    }
    Some((pod.metadata.uid.clone()?, status.pod_ip.as_ref()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
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
    use tokio::sync::watch;

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
        let line =
            |path: &str| Line { base: format!("http://127.55.0.6:{CONTROL_PORT}/{path}"), token: token() };
        let good = serde_json::to_string(&state(1, Activity::Listening)).unwrap();
        let (padded, huge) =
            (good.clone() + &" ".repeat(MAX_ANSWER - good.len()), " ".repeat(MAX_ANSWER + 1));
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
}
