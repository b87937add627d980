//! Writing down what undoes a change, before it is made.

use super::Shared;
use async_trait::async_trait;
use scribe_core::hooks::CallSeen;
use scribe_hooks::contract::undo::{Change, Undo};
use scribe_hooks_kube::{Journal, JournalError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Has entries written into the status of the object, by asking the next pass to.
pub(super) struct StatusJournal {
    pub shared: Arc<Shared>,
    pub owner: String,
    pub call: String,
    /// The sessions among the entries that were written.
    pub sessions: Mutex<Vec<String>>,
}

impl StatusJournal {
    pub fn sessions(&self) -> MutexGuard<'_, Vec<String>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Journal for StatusJournal {
    async fn write(&self, undo: Undo) -> Result<(), JournalError> {
        let session = matches!(undo.change, Change::Session { .. }).then(|| undo.id.clone());
        let (question, answer) = oneshot::channel();
        {
            let mut calls = self.shared.calls();
            let call = calls.get_mut(&self.owner).and_then(|own| own.get_mut(&self.call));
            let call = call.filter(|call| call.seen == CallSeen::Running).ok_or(JournalError::Closed)?;
            call.seen = CallSeen::Asks(undo);
            call.question = Some(question);
        }
        self.shared.router.wake(&self.owner);
        // Dropped without an answer: the window has closed.
        answer.await.map_err(|_| JournalError::Closed)?.map_err(JournalError::Failed)?;
        self.sessions().extend(session);
        Ok(())
    }
}
