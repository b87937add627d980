//! Remembers what the API server refuses, for the core, and says when it is tried again.
//!
//! A write that is refused before the status is written keeps the pass from ever getting there: the core leaves it out while it knows
//! of the refusal. So that refusal is shown for a while, and then kept back once, to have the write tried again. A write that is refused
//! after the status was written is tried in every pass as it is, and its refusal shown as long as that lasts.

use crate::backoff::exponential;
use scribe_core::observed::Refusal;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The first pause before a refused write is tried again: it rarely passes by itself.
const BASE: Duration = Duration::from_secs(2);
/// The longest one.
const MAX: Duration = Duration::from_mins(5);
/// How many writes of one object are left out at a time, at most. It has fewer that come before its status.
const MOST: usize = 8;

/// The refusals of each object, by the object's uid.
///
/// They live in memory: after a restart the write is tried again, and refused again if need be.
#[derive(Default)]
pub struct Refusals(Mutex<HashMap<String, Entry>>);

#[derive(Default)]
struct Entry {
    generation: Option<i64>,
    /// Of writes before the status, in the order in which they were refused first: the message that users see must not change its
    /// place with each try.
    left_out: Vec<Known>,
    /// Of a write after the status. There is no more than one: it ends its pass.
    tried: Option<Known>,
}

/// When in a pass a write was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Before the status was written.
    BeforeStatus,
    /// After it.
    AfterStatus,
}

struct Known {
    refusal: Refusal,
    tries: u32,
    retry_at: Instant,
    /// Whether the last pass was told.
    is_shown: bool,
}

impl Known {
    fn new(refusal: &Refusal, now: Instant, fraction: f64) -> Self {
        let retry_at = now + exponential(BASE, MAX, 1, fraction);
        Self { refusal: refusal.clone(), tries: 1, retry_at, is_shown: false }
    }

    fn is_about(&self, refusal: &Refusal) -> bool {
        self.refusal.object == refusal.object
    }

    /// It was refused once more. Words may carry numbers that always change, so they alone are no news; the newest are shown.
    fn again(&mut self, refusal: &Refusal, now: Instant, fraction: f64) {
        if self.refusal.quota != refusal.quota {
            *self = Self { is_shown: self.is_shown, ..Self::new(refusal, now, fraction) };
        } else if now >= self.retry_at {
            self.tries = self.tries.saturating_add(1);
            self.retry_at = now + exponential(BASE, MAX, self.tries, fraction);
        }
        self.refusal = refusal.clone();
    }

    /// The pause until the next pass, which is at once if the core does not know yet.
    fn pause(&self, now: Instant) -> Duration {
        if self.is_shown { self.retry_at.saturating_duration_since(now) } else { Duration::ZERO }
    }
}

impl Refusals {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        // Nothing panics while it holds the lock, and every state of the map is a valid one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a pass that begins now is to know. A changed spec makes everything moot.
    pub fn show(&self, uid: &str, generation: Option<i64>, now: Instant) -> Vec<Refusal> {
        let mut all = self.all();
        let Some(entry) = all.get_mut(uid).filter(|entry| entry.generation == generation) else {
            return Vec::new();
        };
        entry.left_out.iter_mut().for_each(|known| known.is_shown = now < known.retry_at);
        entry.tried.iter_mut().for_each(|known| known.is_shown = true);
        let shown = entry.left_out.iter().chain(&entry.tried).filter(|known| known.is_shown);
        shown.map(|known| known.refusal.clone()).collect()
    }

    /// A write was refused. The answer is the pause until the next pass.
    pub fn add(
        &self,
        uid: &str,
        generation: Option<i64>,
        refusal: &Refusal,
        when: When,
        now: Instant,
        fraction: f64,
    ) -> Duration {
        let mut all = self.all();
        let entry = all.entry(uid.to_owned()).or_default();
        if entry.generation != generation {
            *entry = Entry { generation, ..Entry::default() };
        }
        let known = match when {
            When::BeforeStatus => entry.left_out.iter_mut().find(|known| known.is_about(refusal)),
            When::AfterStatus => entry.tried.as_mut().filter(|known| known.is_about(refusal)),
        };
        if let Some(known) = known {
            known.again(refusal, now, fraction);
            return known.pause(now);
        }
        let known = Known::new(refusal, now, fraction);
        match when {
            When::BeforeStatus => {
                entry.left_out.push(known);
                let surplus = entry.left_out.len().saturating_sub(MOST);
                entry.left_out.drain(..surplus);
            }
            When::AfterStatus => entry.tried = Some(known),
        }
        Duration::ZERO
    }

    /// A pass wrote its status: all that it did before that was done, and so was what it was not told to leave out.
    pub fn recorded(&self, uid: &str) {
        if let Some(entry) = self.all().get_mut(uid) {
            entry.left_out.retain(|known| known.is_shown);
        }
    }

    /// A pass did everything that it wanted to, and what the core made of the refusals that it knew stands in the status.
    pub fn done(&self, uid: &str) {
        let mut all = self.all();
        let Some(entry) = all.get_mut(uid) else { return };
        entry.tried = None;
        if entry.left_out.is_empty() {
            all.remove(uid);
        }
    }

    /// The time until a write that is left out is to be tried again.
    pub fn retry_in(&self, uid: &str, now: Instant) -> Option<Duration> {
        let all = self.all();
        // What was not shown was tried just now. What was, may have become due while the pass lasted, and is waited for no longer.
        let shown = all.get(uid)?.left_out.iter().filter(|known| known.is_shown);
        shown.map(|known| known.retry_at.saturating_duration_since(now)).min()
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, uid: &str) {
        self.all().remove(uid);
    }
}

#[cfg(test)]
mod tests;
