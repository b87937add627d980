//! The destination's mover: it judges nothing, starts sealed, has one session at a time, and forgets everything when it dies.

use super::storage::{Content, File};
use jiff::Timestamp;
use scribe_mover_contract::PROTOCOL;
use scribe_mover_contract::control::{
    Activity, Answer, CommitVerdict, MoverState, Order, Question, QuestionKind, SessionFailure, SessionState,
};
use scribe_mover_contract::peer::{Abilities, Commit, CommitAnswer, Handshake, Verdict};
use std::collections::BTreeMap;

/// The session that may write, or that wrote what is now sealed.
#[derive(Clone, Debug)]
pub struct Session {
    pub hello: Handshake,
    pub token: u64,
    /// The sender whose rsync or commit runs.
    pub connection: Option<String>,
    committed: Option<Committed>,
}

#[derive(Clone, Debug)]
struct Committed {
    commit: Commit,
    seal: u64,
    answer: Option<CommitAnswer>,
}

/// What comes of a commit, before its controller is asked.
pub enum Sealed {
    Asked(u64),
    Answered(CommitAnswer),
    /// It is not of the current session.
    NotNow,
}

/// A destination mover.
#[derive(Clone, Debug)]
pub struct Receiver {
    pub owner: String,
    pub claim_uid: String,
    /// The public key of the only source that may connect.
    pub key: String,
    pub instance: String,
    pub seal: Option<u64>,
    pub session: Option<Session>,
    pub revision: u64,
    activity: Activity,
    last_seal: u64,
    questions: Vec<Question>,
    last_question: u64,
    /// For whoever asked, by the number of the question.
    answers: BTreeMap<u64, Answer>,
    last_failure: Option<SessionFailure>,
    /// The commit before, for the one lie that repeats it.
    past: Option<(Commit, u64)>,
}

impl Receiver {
    pub fn new(owner: String, claim_uid: String, key: String, instance: String) -> Self {
        Self {
            owner,
            claim_uid,
            key,
            instance,
            seal: Some(1),
            session: None,
            revision: 1,
            activity: Activity::Listening,
            last_seal: 1,
            questions: Vec::new(),
            last_question: 0,
            answers: BTreeMap::new(),
            last_failure: None,
            past: None,
        }
    }

    /// What its controller is told.
    pub fn state(&self) -> MoverState {
        MoverState {
            protocol: PROTOCOL,
            instance: self.instance.clone(),
            revision: self.revision,
            activity: self.activity,
            seal: self.seal,
            session: self.session.as_ref().map(|session| SessionState {
                sync_id: session.hello.sync_id.clone(),
                attempt: session.hello.attempt,
                token: session.token,
                connected: session.connection.is_some(),
            }),
            waiting: None,
            progress: None,
            questions: self.questions.clone(),
            abilities: Some(abilities()),
            free_bytes: None,
            capacity_bytes: Some(10 << 30),
            last_failure: self.last_failure.clone(),
            ended: None,
        }
    }

    /// Asks the controller. A repeated question takes the place of the one before.
    pub fn ask(&mut self, about: QuestionKind, now: Timestamp) -> u64 {
        self.questions.retain(|open| !is_repeated(&open.about, &about));
        self.last_question += 1;
        self.revision += 1;
        self.questions.push(Question { id: self.last_question, asked_at: now, about });
        self.last_question
    }

    pub fn is_open(&self, question: u64) -> bool {
        self.questions.iter().any(|open| open.id == question)
    }

    /// Nobody waits for the answer any more.
    pub fn close(&mut self, question: u64) {
        self.questions.retain(|open| open.id != question);
        self.revision += 1;
    }

    /// The answer to a question, if it has come.
    pub fn hear(&mut self, question: u64) -> Option<Answer> {
        self.answers.remove(&question)
    }

    /// The controller answers. One that comes too late is not heard.
    pub fn answer(&mut self, instance: &str, question: u64, answer: &Answer) -> Option<Question> {
        if instance != self.instance {
            return None;
        }
        let at = self.questions.iter().position(|open| open.id == question)?;
        let open = self.questions.remove(at);
        self.revision += 1;
        let mut answer = answer.clone();
        match (&open.about, &mut answer) {
            (QuestionKind::Handshake(hello), Answer::Handshake(said)) => {
                if let Verdict::Send { token, .. } = said.verdict
                    && let Err(message) = self.begin(hello, token)
                {
                    said.verdict = Verdict::Wait { seconds: 1, message };
                }
            }
            (QuestionKind::Commit { seal, .. }, Answer::Commit(verdict)) => self.committed(*seal, verdict),
            _ => {}
        }
        self.answers.insert(question, answer);
        Some(open)
    }

    fn begin(&mut self, hello: &Handshake, token: u64) -> Result<(), String> {
        if self.seal.is_some() {
            return Err("the volume is sealed".to_owned());
        }
        if self.session.as_ref().is_some_and(|session| token < session.token) {
            return Err("a newer session has begun".to_owned());
        }
        if let Some(old) = self.session.take().filter(|old| old.committed.is_none()) {
            self.last_failure = Some(SessionFailure {
                sync_id: old.hello.sync_id,
                attempt: old.hello.attempt,
                reason: "ConnectionLost".to_owned(),
                message: "another took its place".to_owned(),
            });
        }
        self.session = Some(Session { hello: hello.clone(), token, connection: None, committed: None });
        self.activity = Activity::Transferring;
        Ok(())
    }

    fn committed(&mut self, seal: u64, verdict: &CommitVerdict) {
        let session = self.session.as_mut().and_then(|session| session.committed.as_mut());
        if let Some(committed) = session.filter(|committed| committed.seal == seal) {
            self.past = Some((committed.commit.clone(), seal));
            committed.answer = Some(match verdict.clone() {
                CommitVerdict::Recorded { claim_uid, publish_deadline, published } => {
                    CommitAnswer::Received { claim_uid, publish_deadline, published }
                }
                CommitVerdict::Refused { reason, message } => CommitAnswer::Refused { reason, message },
            });
            self.activity = Activity::Listening;
        }
    }

    /// A connection of the session opens. Whether it is the current session, and not sealed.
    pub fn connect(&mut self, token: u64, sender: &str) -> bool {
        let is_open = self.seal.is_none();
        let Some(session) = self.session.as_mut().filter(|session| session.token == token) else {
            return false;
        };
        if is_open && session.connection.as_deref() != Some(sender) {
            session.connection = Some(sender.to_owned());
            self.revision += 1;
        }
        is_open
    }

    /// A connection is closed, or noticed to be.
    pub fn disconnect(&mut self, sender: &str) {
        if let Some(session) = &mut self.session
            && session.connection.as_deref() == Some(sender)
        {
            session.connection = None;
            self.revision += 1;
        }
    }

    /// A commit arrives: every other writer is gone, everything is flushed and the volume sealed before the controller is asked.
    pub fn commit(&mut self, token: u64, commit: &Commit, sender: &str, now: Timestamp) -> Sealed {
        let Some(session) = self.session.as_mut().filter(|session| session.token == token) else {
            return Sealed::NotNow;
        };
        let seal = match &session.committed {
            Some(before) if before.commit != *commit => {
                let message = "this session has committed something else".to_owned();
                return Sealed::Answered(CommitAnswer::Refused {
                    reason: "CommitRefused".to_owned(),
                    message,
                });
            }
            Some(Committed { answer: Some(answer), .. }) => return Sealed::Answered(answer.clone()),
            Some(before) => before.seal,
            None if self.seal.is_some() => return Sealed::NotNow,
            None => {
                self.last_seal += 1;
                session.committed =
                    Some(Committed { commit: commit.clone(), seal: self.last_seal, answer: None });
                self.last_seal
            }
        };
        session.connection = Some(sender.to_owned());
        self.seal = Some(self.last_seal);
        self.activity = Activity::Committing;
        Sealed::Asked(self.ask(QuestionKind::Commit { commit: commit.clone(), seal }, now))
    }

    /// What no mover does: the commit before is put to the controller once more, while the next session writes.
    pub fn commit_again(&mut self, now: Timestamp) -> bool {
        let writes = self.seal.is_none() && self.session.is_some();
        let Some((commit, seal)) = self.past.clone().filter(|_| writes) else { return false };
        self.ask(QuestionKind::Commit { commit, seal }, now);
        true
    }

    /// The controller's order. A stale one changes nothing.
    pub fn order(&mut self, order: &Order) {
        match order {
            Order::Unseal { seal } if self.seal == Some(*seal) => {
                self.seal = None;
                self.session = None;
            }
            Order::EndSession { token }
                if self.session.as_ref().is_none_or(|session| session.token == *token) =>
            {
                self.session = None;
                if self.seal.is_none() {
                    self.last_seal += 1;
                    self.seal = Some(self.last_seal);
                }
            }
            Order::Unseal { .. } | Order::EndSession { .. } => return,
        }
        self.activity = Activity::Listening;
        self.revision += 1;
    }

    /// Writes a file of the volume, as the rsync of this session. Whether it may.
    pub fn write(&mut self, token: u64, sender: &str, volume: &mut Content, file: usize, to: File) -> bool {
        let may = self.connect(token, sender);
        if may {
            volume[file] = to;
        }
        may
    }
}

/// Whether the newer question makes the older one pointless: its asker has come again.
fn is_repeated(older: &QuestionKind, newer: &QuestionKind) -> bool {
    match (older, newer) {
        (QuestionKind::Handshake(a), QuestionKind::Handshake(b)) => {
            (&a.sync_id, a.attempt, &a.claim_uid) == (&b.sync_id, b.attempt, &b.claim_uid)
        }
        (QuestionKind::Commit { commit: a, .. }, QuestionKind::Commit { commit: b, .. }) => a == b,
        (QuestionKind::Published(a), QuestionKind::Published(b)) => a.sync_id == b.sync_id,
        _ => false,
    }
}

fn abilities() -> Abilities {
    Abilities {
        acls: true,
        user_xattrs: true,
        hard_links: true,
        symlinks: true,
        holes: true,
        time_grain: 1,
        case_sensitive: true,
        ..Abilities::default()
    }
}
