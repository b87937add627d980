//! Whose turn it is. Nobody's modules take all there is by computing or waiting as long as they may, and nothing holds up a release.

use scribe_core::hooks::HookRequest;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// What calls are to each other: one kind never waits for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It computes, for seconds at most.
    Pure,
    /// It waits for others, for minutes perhaps.
    Effectful,
    /// An application stands still until it is done.
    Release,
}

impl Kind {
    /// Of that request.
    pub fn of(request: &HookRequest) -> Self {
        match request {
            HookRequest::Validate(_)
            | HookRequest::Decide(_)
            | HookRequest::Tune(..)
            | HookRequest::Choose(..) => Self::Pure,
            HookRequest::Quiesce(..)
            | HookRequest::PreSync(..)
            | HookRequest::PostSync(..)
            | HookRequest::OnFailure(..) => Self::Effectful,
            HookRequest::Release(..) | HookRequest::Undo(..) | HookRequest::Holds(..) => Self::Release,
        }
    }

    /// Calls of one namespace at a time. All there is takes several namespaces.
    fn places(self) -> usize {
        match self {
            Self::Pure => 4,
            Self::Effectful => 8,
            Self::Release => 2,
        }
    }
}

/// Leave to run.
pub struct Turns {
    /// MiB that calls of each kind may still take, and how many these are if nothing runs.
    memory: [Semaphore; 3],
    all_memory: u32,
    /// By namespace and kind, while somebody has or wants it.
    places: Mutex<HashMap<(String, Kind), Weak<Semaphore>>>,
}

impl Turns {
    /// The calls of each kind together get `memory` MiB.
    pub fn new(memory: u32) -> Self {
        let all = || Semaphore::new(memory as usize);
        Self { memory: [all(), all(), all()], all_memory: memory, places: Mutex::default() }
    }

    /// Waits for a place among the calls of a namespace.
    pub async fn place(&self, namespace: &str, kind: Kind) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        self.places(namespace, kind).acquire_owned().await.ok()
    }

    /// Waits for so many bytes.
    pub async fn memory(&self, kind: Kind, bytes: u64) -> Option<SemaphorePermit<'_>> {
        let wanted = u32::try_from(bytes >> 20).unwrap_or(u32::MAX).clamp(1, self.all_memory);
        self.memory[kind as usize].acquire_many(wanted).await.ok()
    }

    fn places(&self, namespace: &str, kind: Kind) -> Arc<Semaphore> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.retain(|_, known| known.strong_count() > 0);
        let key = (namespace.to_owned(), kind);
        if let Some(known) = places.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        let fresh = Arc::new(Semaphore::new(kind.places()));
        places.insert(key, Arc::downgrade(&fresh));
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::poll;
    use std::pin::pin;

    #[tokio::test]
    async fn a_release_waits_for_no_other_kind() {
        let turns = Turns::new(1);
        let _pure = turns.memory(Kind::Pure, 64 << 20).await;
        let _effectful = turns.memory(Kind::Effectful, 64 << 20).await;
        assert!(poll!(pin!(turns.memory(Kind::Effectful, 1))).is_pending());
        assert!(poll!(pin!(turns.memory(Kind::Release, 64 << 20))).is_ready());
    }

    #[tokio::test]
    async fn a_namespace_has_its_places_and_no_more() {
        let turns = Turns::new(1);
        let mut taken = Vec::new();
        for _ in 0..Kind::Pure.places() {
            taken.push(turns.place("a", Kind::Pure).await);
        }
        assert!(poll!(pin!(turns.place("a", Kind::Pure))).is_pending());
        assert!(poll!(pin!(turns.place("b", Kind::Pure))).is_ready());
        assert!(poll!(pin!(turns.place("a", Kind::Release))).is_ready());
        taken.pop();
        assert!(poll!(pin!(turns.place("a", Kind::Pure))).is_ready());
    }
}
