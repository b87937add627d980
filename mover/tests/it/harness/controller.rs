//! The destination's controller, played by the test: it answers what the mover asks, by a policy.

use super::LIMIT;
use super::mover::TOKEN;
use reqwest::{Client, StatusCode};
use scribe_mover_contract::control::{
    Answer, AnswerTo, CommitVerdict, MoverState, Order, Question, QuestionKind,
};
use scribe_mover_contract::guards::Guarded;
use scribe_mover_contract::peer::{Commit, Handshake, HandshakeAnswer, PublicationState, Verdict};
use std::sync::{Arc, Mutex};
use tokio::task::JoinHandle;

/// How the controller decides. Changed by the test while it runs.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Answers to handshakes, in order; when they are used up: unseal, and send.
    pub verdicts: Vec<Verdict>,
    /// Whether the claim equals the newest replica.
    pub clean: bool,
    /// Whether the seal is lifted before the first answer.
    pub unseals: bool,
    /// Whether commits are answered at all.
    pub records: bool,
    /// Whether a commit is answered with what has become of it.
    pub says_published_at_once: bool,
    /// What has become of everything.
    pub publishing: Publishing,
    /// Handshakes that were asked about.
    pub handshakes: Vec<Handshake>,
    /// Commits that were asked about.
    pub commits: Vec<Commit>,
    /// Sources that a guard has kept from sending.
    pub guarded: Vec<Guarded>,
    /// Whether the last of them was told with a claim that nobody had written to.
    pub untouched: Option<bool>,
    /// How often it was asked what has become of something.
    pub publications_asked: u32,
    /// The token of the last session.
    pub token: u64,
}

#[derive(Clone, Debug)]
pub enum Publishing {
    Yes,
    Unchanged,
    Never,
    GaveUp,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            verdicts: Vec::new(),
            clean: false,
            unseals: true,
            records: true,
            says_published_at_once: false,
            publishing: Publishing::Yes,
            handshakes: Vec::new(),
            commits: Vec::new(),
            guarded: Vec::new(),
            untouched: None,
            publications_asked: 0,
            token: 0,
        }
    }
}

/// The controller. Stops when dropped.
pub struct Controller {
    api: Api,
    policy: Arc<Mutex<Policy>>,
    answering: JoinHandle<()>,
}

#[derive(Clone)]
struct Api {
    client: Client,
    address: String,
}

impl Controller {
    /// Waits until the mover answers, and starts to decide.
    pub async fn start(host: &str, port: u16, policy: Policy) -> Self {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        // It speaks no TLS here, but wants to know how it would. Another test may have said so already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let api = Api { client: Client::new(), address: format!("http://{host}:{port}") };
        let mut state = api.first_state().await;
        let policy = Arc::new(Mutex::new(policy));
        let (answering_api, decided) = (api.clone(), policy.clone());
        let answering = tokio::spawn(async move {
            loop {
                for question in &state.questions {
                    answering_api.answer(&state, question, &decided).await;
                }
                match answering_api.state(state.revision, 60).await {
                    Some(next) => state = next,
                    None => return,
                }
            }
        });
        Self { api, policy, answering }
    }

    /// What was asked, and how it is decided.
    pub fn policy(&self) -> Policy {
        self.policy.lock().unwrap().clone()
    }

    /// Decides differently from now on.
    pub fn decide(&self, change: impl FnOnce(&mut Policy)) {
        change(&mut self.policy.lock().unwrap());
    }

    /// The mover's state.
    pub async fn state(&self) -> MoverState {
        self.api.state(0, 0).await.expect("the mover is gone")
    }

    /// Waits until the mover's state is as wanted. Fails after [`LIMIT`].
    pub async fn wait_for(&self, wanted: impl Fn(&MoverState) -> bool) -> MoverState {
        let mut state = self.state().await;
        let waited = tokio::time::timeout(LIMIT, async {
            while !wanted(&state) {
                state = self.api.state(state.revision, 60).await.expect("the mover is gone");
            }
        });
        assert!(
            waited.await.is_ok(),
            "in {} s its state has not become as wanted: {state:?}",
            LIMIT.as_secs()
        );
        state
    }

    /// Gives an order.
    pub async fn order(&self, order: Order) -> StatusCode {
        self.api.post("orders", &order).await
    }

    /// Stops answering, as a controller that is down does.
    pub fn stop(&self) {
        self.answering.abort();
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

impl Api {
    async fn first_state(&self) -> MoverState {
        let answered = tokio::time::timeout(LIMIT, async {
            loop {
                if let Some(state) = self.state(0, 0).await {
                    return state;
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        });
        answered.await.expect("the mover does not answer; see its log")
    }

    async fn state(&self, after: u64, wait: u64) -> Option<MoverState> {
        let url = format!("{}/v1/state?after={after}&wait={wait}", self.address);
        self.client.get(url).bearer_auth(TOKEN).send().await.ok()?.json().await.ok()
    }

    async fn post(&self, path: &str, body: &impl serde::Serialize) -> StatusCode {
        let url = format!("{}/v1/{path}", self.address);
        self.client.post(url).bearer_auth(TOKEN).json(body).send().await.unwrap().status()
    }

    async fn answer(&self, state: &MoverState, question: &Question, policy: &Arc<Mutex<Policy>>) {
        let answer = match &question.about {
            QuestionKind::Handshake(handshake) => Some(self.judge(handshake, state, policy).await),
            QuestionKind::Commit { commit, seal } => {
                assert_eq!(state.seal, Some(*seal), "a commit is only asked about under its seal");
                let mut policy = policy.lock().unwrap();
                policy.commits.push(commit.clone());
                let verdict = CommitVerdict::Recorded {
                    claim_uid: "receiving".to_owned(),
                    publish_deadline: 3,
                    published: policy.says_published_at_once.then(|| what_became(&policy.publishing)),
                };
                policy.records.then_some(Answer::Commit(verdict))
            }
            QuestionKind::Guarded { guarded, untouched } => {
                let mut policy = policy.lock().unwrap();
                policy.guarded.push(guarded.clone());
                policy.untouched = Some(*untouched);
                policy.records.then_some(Answer::Guarded)
            }
            QuestionKind::Published(_) => {
                let mut policy = policy.lock().unwrap();
                policy.publications_asked += 1;
                Some(Answer::Published(what_became(&policy.publishing)))
            }
        };
        if let Some(answer) = answer {
            // Refused where the asker has come again in the meantime.
            self.post(
                "answers",
                &AnswerTo { instance: state.instance.clone(), question: question.id, answer },
            )
            .await;
        }
    }

    async fn judge(&self, handshake: &Handshake, state: &MoverState, policy: &Arc<Mutex<Policy>>) -> Answer {
        let (verdict, unseals, received_bytes) = {
            let mut policy = policy.lock().unwrap();
            let received_bytes = policy.commits.last().map(|commit| commit.counts.bytes_total);
            policy.handshakes.push(handshake.clone());
            if policy.verdicts.is_empty() {
                policy.token += 1;
                let (token, clean) = (policy.token, policy.clean);
                (Verdict::Send { token, clean, publish_deadline: 3 }, policy.unseals, received_bytes)
            } else {
                (policy.verdicts.remove(0), false, received_bytes)
            }
        };
        if let (true, Some(seal)) = (unseals, state.seal) {
            assert_eq!(self.post("orders", &Order::Unseal { seal }).await, StatusCode::NO_CONTENT);
        }
        Answer::Handshake(Box::new(HandshakeAnswer {
            protocol: 1,
            verdict,
            published: None,
            received_bytes,
            is_empty: None,
            abilities: None,
            free_bytes: None,
            free_files: None,
            answered_at: None,
        }))
    }
}

fn what_became(publishing: &Publishing) -> PublicationState {
    let yes =
        |unchanged| PublicationState::Yes { data_time: "2026-01-01T00:00:00Z".parse().unwrap(), unchanged };
    match publishing {
        Publishing::Yes => yes(false),
        Publishing::Unchanged => yes(true),
        Publishing::Never => PublicationState::NotYet { message: "the snapshot is not ready".to_owned() },
        Publishing::GaveUp => PublicationState::GaveUp { message: "no space in the pool".to_owned() },
    }
}
