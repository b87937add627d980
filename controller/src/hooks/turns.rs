//! Whose turn it is. Nobody's modules take all there is by computing or waiting as long as they may, and nothing holds up a release.

use super::budget::Budget;
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
    const ALL: [Self; 3] = [Self::Pure, Self::Effectful, Self::Release];

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

/// So much for each namespace.
pub struct PerNamespace {
    each: usize,
    /// While somebody has or wants it.
    known: Mutex<HashMap<String, Weak<Semaphore>>>,
}

impl PerNamespace {
    pub fn new(each: usize) -> Self {
        Self { each, known: Mutex::default() }
    }

    /// Waits for so many, or for all there is.
    pub async fn acquire(&self, namespace: &str, many: u32) -> Option<OwnedSemaphorePermit> {
        let many = many.min(u32::try_from(self.each).unwrap_or(u32::MAX));
        // It is never closed.
        self.of(namespace).acquire_many_owned(many).await.ok()
    }

    fn of(&self, namespace: &str) -> Arc<Semaphore> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, known| known.strong_count() > 0);
        if let Some(known) = known.get(namespace).and_then(Weak::upgrade) {
            return known;
        }
        let fresh = Arc::new(Semaphore::new(self.each));
        known.insert(namespace.to_owned(), Arc::downgrade(&fresh));
        fresh
    }
}

/// Leave to take memory. It is given back when this is dropped.
pub type Memory<'a> = (Option<OwnedSemaphorePermit>, Option<SemaphorePermit<'a>>);

/// Leave to run.
pub struct Turns {
    /// MiB that calls of each kind may still take, and how many these are if nothing runs.
    memory: [Semaphore; 3],
    all_memory: u32,
    /// The same, of each namespace.
    shares: [PerNamespace; 3],
    places: [PerNamespace; 3],
}

impl Turns {
    /// Within that budget.
    pub fn new(budget: Budget) -> Self {
        let (memory, of_one) = (budget.calls, budget.calls_of_one());
        Self {
            memory: Kind::ALL.map(|_| Semaphore::new(memory as usize)),
            all_memory: memory,
            shares: Kind::ALL.map(|_| PerNamespace::new(of_one as usize)),
            places: Kind::ALL.map(|kind| PerNamespace::new(kind.places())),
        }
    }

    /// Waits for a place among the calls of a namespace.
    pub async fn place(&self, namespace: &str, kind: Kind) -> Option<OwnedSemaphorePermit> {
        self.places[kind as usize].acquire(namespace, 1).await
    }

    /// Waits for so many bytes: first among the calls of the namespace, then among those of all.
    pub async fn memory(&self, namespace: &str, kind: Kind, bytes: u64) -> Memory<'_> {
        let wanted = u32::try_from(bytes >> 20).unwrap_or(u32::MAX).clamp(1, self.all_memory);
        let own = self.shares[kind as usize].acquire(namespace, wanted).await;
        // It is never closed.
        (own, self.memory[kind as usize].acquire_many(wanted).await.ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::poll;
    use std::pin::pin;

    #[tokio::test]
    async fn a_release_waits_for_no_other_kind() {
        let turns = Turns::new(Budget { calls: 1, code: 1 });
        let _pure = turns.memory("a", Kind::Pure, 64 << 20).await;
        let _effectful = turns.memory("a", Kind::Effectful, 64 << 20).await;
        assert!(poll!(pin!(turns.memory("b", Kind::Effectful, 1))).is_pending());
        assert!(poll!(pin!(turns.memory("b", Kind::Release, 64 << 20))).is_ready());
    }

    #[tokio::test]
    async fn a_namespace_has_its_places_and_no_more() {
        let turns = Turns::new(Budget { calls: 1, code: 1 });
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

    #[tokio::test]
    async fn a_namespace_does_not_take_the_memory_of_all() {
        let turns = Turns::new(Budget { calls: 128, code: 1 });
        let large = turns.memory("a", Kind::Release, 64 << 20).await;
        assert!(poll!(pin!(turns.memory("a", Kind::Release, 1 << 20))).is_pending());
        assert!(poll!(pin!(turns.memory("b", Kind::Release, 64 << 20))).is_ready());
        drop(large);
        assert!(poll!(pin!(turns.memory("a", Kind::Release, 1 << 20))).is_ready());
    }
}
