//! The mover's state, as its controller sees it: every change has a new revision, and can be awaited.

use scribe_mover_contract::PROTOCOL;
use scribe_mover_contract::control::{Activity, MoverState};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// The one place that holds the state. Clones share it.
#[derive(Clone, Debug)]
pub struct StateCell {
    sender: Arc<watch::Sender<MoverState>>,
    /// The revision that the controller has seen last. None: it has not asked yet.
    heard: Arc<watch::Sender<Option<u64>>>,
}

impl StateCell {
    /// A mover that is about to start.
    pub fn new() -> Self {
        let state = MoverState {
            protocol: PROTOCOL,
            instance: format!("{:016x}", rand::random::<u64>()),
            // Above those of every mover that ran before in this place, so that a controller which still waits for
            // a revision of that one is answered at once.
            revision: u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(1),
            activity: Activity::Starting,
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
        };
        Self { sender: Arc::new(watch::Sender::new(state)), heard: Arc::new(watch::Sender::new(None)) }
    }

    /// Random for each start of the process.
    pub fn instance(&self) -> String {
        self.sender.borrow().instance.clone()
    }

    /// Changes the state; without a difference nobody is woken.
    pub fn change(&self, change: impl FnOnce(&mut MoverState)) {
        self.sender.send_if_modified(|state| {
            let before = state.clone();
            change(state);
            let changed = *state != before;
            if changed {
                state.revision += 1;
            }
            changed
        });
    }

    /// The state as it is.
    pub fn current(&self) -> MoverState {
        self.sender.borrow().clone()
    }

    /// Takes note that the controller asks for what comes after a revision: so it has seen that one. Revisions of an earlier process in this
    /// place count as none.
    pub fn hear(&self, after: u64) {
        let after = if after <= self.sender.borrow().revision { after } else { 0 };
        self.heard.send_modify(|seen| *seen = Some(seen.map_or(after, |seen| seen.max(after))));
    }

    /// Waits until the controller has seen the state as it is now: for `patience` if it has asked at all by then, and else for `first` only.
    /// Whether it has.
    pub async fn heard(&self, first: Duration, patience: Duration) -> bool {
        let revision = self.sender.borrow().revision;
        let mut heard = self.heard.subscribe();
        let asked = timeout(first, heard.wait_for(Option::is_some)).await.is_ok();
        asked && timeout(patience, heard.wait_for(|seen| *seen == Some(revision))).await.is_ok()
    }

    /// The state as soon as its revision is another than `after`.
    pub async fn after(&self, after: u64) -> MoverState {
        let mut receiver = self.sender.subscribe();
        let waited = receiver.wait_for(|state| state.revision != after).await.map(|state| state.clone());
        // The sender lives as long as `self`, so this cannot fail.
        waited.unwrap_or_else(|_| self.current())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_difference_has_a_new_revision() {
        let cell = StateCell::new();
        let first = cell.current().revision;
        cell.change(|state| state.activity = Activity::Starting);
        assert_eq!(cell.current().revision, first);
        cell.change(|state| state.activity = Activity::Listening);
        assert_eq!(cell.after(first).await.revision, first + 1);
    }

    #[tokio::test]
    async fn the_controller_has_heard_when_it_asks_for_more() {
        const LONG: Duration = Duration::from_secs(600);
        let cell = StateCell::new();
        // Nobody has asked: there is little to wait for.
        assert!(!cell.heard(Duration::ZERO, LONG).await);
        let before = cell.current().revision;
        cell.hear(before);
        cell.change(|state| state.activity = Activity::Finished);
        assert!(!cell.heard(LONG, Duration::ZERO).await);
        cell.hear(u64::MAX);
        assert!(!cell.heard(LONG, Duration::ZERO).await);
        let waiting = cell.clone();
        let waiting = tokio::spawn(async move { waiting.heard(LONG, LONG).await });
        cell.hear(cell.current().revision);
        assert!(waiting.await.unwrap());
    }

    #[tokio::test]
    async fn a_revision_of_an_earlier_process_is_answered_at_once() {
        let cell = StateCell::new();
        assert_eq!(cell.after(u64::MAX).await, cell.current());
    }
}
