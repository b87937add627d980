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
/// How long a mover may be in trouble before what it said last is no longer taken for what it would say. A pause of the network is
/// shorter, and a container that starts again is there sooner.
const TROUBLE: Duration = Duration::from_secs(5);
/// How many times in a row it has to have failed by then: one request alone may hang for longer.
const FAILURES: u32 = 3;
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
    trouble: Duration,
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
        // It speaks no TLS, but wants to know how it would. Somebody else may have said so already, and then that holds.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // A proxy for the world outside must not see what is said to pods, and no pod sends us on to anywhere else.
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(SLACK)
            .build()?;
        Ok(Self { http, hold, progress_interval, trouble: TROUBLE, router, followed: Followed::default() })
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

    /// Forgets what a mover said that does not answer any more. `true`: there was something to forget.
    fn lose(&self, owner: &str, pod_uid: &str) -> bool {
        let mut followed = lock(&self.followed);
        let mover = followed.get_mut(owner).filter(|mover| mover.pod_uid == pod_uid);
        mover.is_some_and(|mover| mover.state.take().is_some())
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
        || known.last_failure != state.last_failure
        || known.ended != state.ended;
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
        let Movers { hold, progress_interval, trouble, ref router, .. } = self.movers;
        let mut after = 0;
        let mut failures = 0_u32;
        let mut failing_since = None;
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
                    failures = failures.saturating_add(1);
                    let since = *failing_since.get_or_insert_with(Instant::now);
                    if failures >= FAILURES
                        && since.elapsed() >= trouble
                        && self.movers.lose(&self.owner, &self.pod_uid)
                    {
                        untold = false;
                        told = Instant::now();
                        router.wake(&self.owner);
                    }
                    sleep(exponential(RETRY, RETRY_MAX, failures, rand::random())).await;
                    continue;
                }
            };
            after = state.revision;
            failures = 0;
            failing_since = None;
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
mod tests;
