//! What the controller has to decide: open questions, and the answers on their way to who asked.

use crate::control::Stale;
use crate::state::StateCell;
use jiff::Timestamp;
use scribe_mover_contract::control::{Answer, AnswerTo, Question, QuestionKind};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// More than a legitimate source and its retries ever have; whoever holds the source's key must not fill our memory.
const MAX_OPEN: usize = 16;
/// How many of them may be about publications. Those stay open for a while even when all is well, and must leave room for handshakes
/// and commits.
const MAX_PUBLISHED: usize = 4;

/// The questions that are open. Clones share them.
#[derive(Clone)]
pub struct Questions {
    open: Arc<Mutex<Open>>,
    state: StateCell,
}

#[derive(Default)]
struct Open {
    last: u64,
    asked: BTreeMap<u64, Asked>,
}

struct Asked {
    question: Question,
    answer: oneshot::Sender<Answer>,
}

/// A question whose asker waits. When it is dropped, the question is closed.
struct Ticket<'a> {
    questions: &'a Questions,
    id: u64,
}

impl Questions {
    pub fn new(state: StateCell) -> Self {
        Self { open: Arc::default(), state }
    }

    /// Asks, and waits for the answer; `None` if there is none in time. Then the question is closed, and a later answer to it is
    /// refused: whoever gave it learns that nothing was done with it.
    pub async fn ask(&self, about: QuestionKind, limit: Duration) -> Option<Answer> {
        let (answer, receiver) = oneshot::channel();
        let id = {
            let mut open = self.lock();
            open.asked.retain(|_, asked| !is_repeated(&asked.question.about, &about));
            if is_published(&about) {
                open.make_room_for_published();
            }
            if open.asked.len() >= MAX_OPEN {
                return None;
            }
            open.last += 1;
            let id = open.last;
            let question = Question { id, asked_at: Timestamp::now(), about };
            open.asked.insert(id, Asked { question, answer });
            id
        };
        let _ticket = Ticket { questions: self, id };
        self.publish();
        tokio::time::timeout(limit, receiver).await.ok()?.ok()
    }

    /// Passes an answer on.
    ///
    /// # Errors
    /// The question is not open any more, or the answer is to another kind of question.
    pub fn answer(&self, answer: AnswerTo) -> Result<(), Stale> {
        let mut open = self.lock();
        let asked = open.asked.remove(&answer.question);
        let Some(asked) = asked else { return Err(Stale("that question is not open".to_owned())) };
        if !fits(&asked.question.about, &answer.answer) {
            open.asked.insert(answer.question, asked);
            return Err(Stale("that is not an answer to this kind of question".to_owned()));
        }
        drop(open);
        // Before the answer to this request: else its controller could see the question once more, and decide it twice.
        self.publish();
        asked
            .answer
            .send(answer.answer)
            .map_err(|_| Stale("nobody waits for that answer any more".to_owned()))
    }

    fn publish(&self) {
        let open = self.lock();
        let questions: Vec<_> = open.asked.values().map(|asked| asked.question.clone()).collect();
        // Within the lock, so that an older list never replaces a newer one.
        self.state.change(|state| state.questions = questions);
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // Nothing in here can panic half-way.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// The oldest ones give way: whoever asked has to be content with "not yet", and will ask again.
    fn make_room_for_published(&mut self) {
        let published = self.asked.iter().filter(|(_, asked)| is_published(&asked.question.about));
        let published: Vec<u64> = published.map(|(&id, _)| id).collect();
        let too_many = (published.len() + 1).saturating_sub(MAX_PUBLISHED);
        for id in &published[..too_many] {
            self.asked.remove(id);
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.questions.lock().asked.remove(&self.id);
        self.questions.publish();
    }
}

/// Whether the newer question makes the older one pointless: its asker has come again.
fn is_repeated(older: &QuestionKind, newer: &QuestionKind) -> bool {
    match (older, newer) {
        (QuestionKind::Handshake(a), QuestionKind::Handshake(b)) => {
            (&a.sync_id, a.attempt, &a.claim_uid) == (&b.sync_id, b.attempt, &b.claim_uid)
        }
        (QuestionKind::Commit { commit: a, .. }, QuestionKind::Commit { commit: b, .. }) => a == b,
        (QuestionKind::Guarded { guarded: a, .. }, QuestionKind::Guarded { guarded: b, .. }) => a == b,
        // The answer is the same for every attempt.
        (QuestionKind::Published(a), QuestionKind::Published(b)) => a.sync_id == b.sync_id,
        _ => false,
    }
}

fn is_published(about: &QuestionKind) -> bool {
    matches!(about, QuestionKind::Published(_))
}

fn fits(about: &QuestionKind, answer: &Answer) -> bool {
    matches!(
        (about, answer),
        (QuestionKind::Handshake(_), Answer::Handshake(_))
            | (QuestionKind::Commit { .. }, Answer::Commit(_))
            | (QuestionKind::Published(_), Answer::Published(_))
            | (QuestionKind::Guarded { .. }, Answer::Guarded)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use scribe_mover_contract::peer::{Commit, PublicationState, Published};

    fn published(sync: &str) -> QuestionKind {
        QuestionKind::Published(Published { sync_id: sync.to_owned(), attempt: 1 })
    }

    fn commit() -> Commit {
        serde_json::from_value(serde_json::json!({
            "syncId": "s", "attempt": 1, "claimUid": "u", "cutUid": "k", "dataTime": "2026-01-01T00:00:00Z",
            "consistency": "crash", "comparison": "content", "unchanged": false,
            "counts": {"bytesTotal": 0, "bytesSent": 0, "bytesLiteral": 0, "filesTotal": 0, "filesSent": 0,
                "filesDeleted": 0}
        }))
        .unwrap()
    }

    /// Asks, and returns as soon as the question is open.
    async fn asked(questions: &Questions, about: QuestionKind) -> tokio::task::JoinHandle<Option<Answer>> {
        let last = questions.lock().last;
        let asking = questions.clone();
        let asked = tokio::spawn(async move { asking.ask(about, Duration::from_secs(600)).await });
        while questions.lock().last == last {
            tokio::task::yield_now().await;
        }
        asked
    }

    async fn first_id(state: &StateCell) -> u64 {
        loop {
            let now = state.current();
            match now.questions.first() {
                Some(question) => return question.id,
                None => state.after(now.revision).await,
            };
        }
    }

    fn answer(question: u64, answer: Answer) -> AnswerTo {
        AnswerTo { instance: String::new(), question, answer }
    }

    #[tokio::test]
    async fn an_answer_reaches_who_asked_and_closes_the_question() {
        let state = StateCell::new();
        let questions = Questions::new(state.clone());
        let asking = questions.clone();
        let asked = tokio::spawn(async move { asking.ask(published("a"), Duration::from_secs(60)).await });
        let id = first_id(&state).await;
        let wrong = Answer::Commit(scribe_mover_contract::control::CommitVerdict::Refused {
            reason: String::new(),
            message: String::new(),
        });
        assert!(questions.answer(answer(id, wrong)).is_err());
        let right = Answer::Published(PublicationState::Unknown);
        questions.answer(answer(id, right.clone())).unwrap();
        assert!(state.current().questions.is_empty());
        assert_eq!(asked.await.unwrap(), Some(right.clone()));
        assert!(questions.answer(answer(id, right)).is_err());
    }

    #[tokio::test]
    async fn a_question_without_an_answer_is_closed() {
        let state = StateCell::new();
        let questions = Questions::new(state.clone());
        assert_eq!(questions.ask(published("a"), Duration::ZERO).await, None);
        assert!(state.current().questions.is_empty());
    }

    #[tokio::test]
    async fn whoever_comes_again_replaces_its_own_question() {
        let state = StateCell::new();
        let questions = Questions::new(state.clone());
        let asking = questions.clone();
        let first = tokio::spawn(async move { asking.ask(published("a"), Duration::from_secs(60)).await });
        let id = first_id(&state).await;
        let asking = questions.clone();
        let second = tokio::spawn(async move { asking.ask(published("a"), Duration::from_secs(60)).await });
        assert_eq!(first.await.unwrap(), None);
        let now = loop {
            let now = state.current();
            if now.questions.len() == 1 && now.questions[0].id != id {
                break now.questions[0].id;
            }
            state.after(now.revision).await;
        };
        questions.answer(answer(now, Answer::Published(PublicationState::Unknown))).unwrap();
        assert!(second.await.unwrap().is_some());
    }

    #[tokio::test]
    async fn questions_about_publications_leave_room_for_others() {
        let state = StateCell::new();
        let questions = Questions::new(state.clone());
        let about =
            |sync: usize, attempt| QuestionKind::Published(Published { sync_id: sync.to_string(), attempt });
        let open = || {
            let open = state.current().questions.into_iter().map(|question| question.about);
            open.collect::<Vec<_>>()
        };
        // Another attempt of the same sync takes the place of the one before.
        let replaced = asked(&questions, about(0, 1)).await;
        let oldest = asked(&questions, about(0, 2)).await;
        assert_eq!(open(), [about(0, 2)]);
        assert_eq!(replaced.await.unwrap(), None);
        let commit = QuestionKind::Commit { commit: commit(), seal: 1 };
        let _committing = asked(&questions, commit.clone()).await;
        for sync in 1..MAX_PUBLISHED {
            drop(asked(&questions, about(sync, 1)).await);
        }
        assert_eq!(open().len(), 1 + MAX_PUBLISHED);
        drop(asked(&questions, about(MAX_PUBLISHED, 1)).await);
        let expected: Vec<_> =
            std::iter::once(commit).chain((1..=MAX_PUBLISHED).map(|sync| about(sync, 1))).collect();
        assert_eq!(open(), expected);
        assert_eq!(oldest.await.unwrap(), None);
    }
}
