//! How soon an object may be looked at again.
//!
//! A pass that wrote something is followed by another, until one finds nothing to do. Three things keep that from running hot:
//! a pass that repeats the one before pauses longer each time; a failed pass is followed by a pause during which the object is not
//! touched at all; and, whatever the reason, passes that write are limited in number.

use crate::backoff::exponential;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A sync makes about a dozen writing passes in quick succession; this lets two of them through without a pause.
const BURST: f64 = 30.0;
/// Writing passes a second, on the whole: more than progress and questions of a mover need.
const RATE: f64 = 2.0;
/// The first pause after a failure, and after a pass that repeats the one before.
const BASE: Duration = Duration::from_millis(250);

/// What a pass came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// There was nothing to write.
    Settled,
    /// It wrote. The number stands for all that it wrote: the same number again means that it got nowhere.
    Worked(u64),
    /// The API server refused a write. It is tried again after that pause, or with whatever comes earlier: a mover's question must
    /// not wait for a quota.
    Refused(Duration),
    /// Something failed that may work the next time.
    Failed,
}

struct State {
    generation: Option<i64>,
    tries: u32,
    last: Option<Passed>,
    tokens: f64,
    refilled: Instant,
    hold_until: Option<Instant>,
}

/// The pace of every object, by uid.
pub struct Pace {
    longest: Duration,
    objects: Mutex<HashMap<String, State>>,
}

impl Pace {
    /// `longest` limits the pause after failures and repetitions.
    pub fn new(longest: Duration) -> Self {
        Self { longest, objects: Mutex::default() }
    }

    /// How long the object must be left alone yet. A changed spec ends the pause after a failure.
    pub fn hold(&self, uid: &str, generation: Option<i64>, now: Instant) -> Option<Duration> {
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        let state = objects.get_mut(uid)?;
        state.refill(now);
        let spent = (state.tokens < 1.0).then(|| Duration::from_secs_f64((1.0 - state.tokens) / RATE));
        let failed = state
            .hold_until
            .filter(|_| state.generation == generation)
            .and_then(|until| until.checked_duration_since(now))
            .filter(|rest| !rest.is_zero());
        spent.max(failed)
    }

    /// Records a pass. The answer is the pause before the next one; `None`: none is needed for this reason.
    pub fn passed(
        &self,
        uid: &str,
        generation: Option<i64>,
        passed: Passed,
        now: Instant,
        fraction: f64,
    ) -> Option<Duration> {
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        let state = objects.entry(uid.to_owned()).or_insert_with(|| State::new(now));
        state.refill(now);
        let repeats = state.last == Some(passed) && state.generation == generation;
        state.tries = if repeats { state.tries.saturating_add(1) } else { 1 };
        state.last = Some(passed);
        state.generation = generation;
        state.hold_until = None;
        if passed != Passed::Settled {
            state.tokens = (state.tokens - 1.0).max(0.0);
        }
        match passed {
            Passed::Settled => None,
            Passed::Worked(_) if !repeats => Some(Duration::ZERO),
            Passed::Worked(_) => Some(exponential(BASE, self.longest, state.tries - 1, fraction)),
            Passed::Refused(pause) => Some(pause),
            Passed::Failed => {
                let pause = exponential(BASE, self.longest, state.tries, fraction);
                state.hold_until = Some(now + pause);
                Some(pause)
            }
        }
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, uid: &str) {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

impl State {
    fn new(now: Instant) -> Self {
        Self { generation: None, tries: 0, last: None, tokens: BURST, refilled: now, hold_until: None }
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.refilled).as_secs_f64();
        self.tokens = (self.tokens + passed * RATE).min(BURST);
        self.refilled = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(30);

    #[test]
    fn a_pass_that_gets_nowhere_is_repeated_ever_later() {
        let pace = Pace::new(LONGEST);
        let now = Instant::now();
        let worked = |number| pace.passed("1", Some(1), Passed::Worked(number), now, 1.0).unwrap();
        assert_eq!(worked(7), Duration::ZERO);
        assert_eq!(worked(8), Duration::ZERO);
        assert_eq!(worked(8), BASE);
        assert_eq!(worked(8), BASE * 2);
        assert_eq!(worked(9), Duration::ZERO);
    }

    #[test]
    fn a_failure_holds_the_object_until_its_pause_is_over_or_its_spec_changes() {
        let pace = Pace::new(LONGEST);
        let now = Instant::now();
        let pause = pace.passed("1", Some(1), Passed::Failed, now, 1.0).unwrap();
        assert_eq!(pace.hold("1", Some(1), now), Some(pause));
        assert_eq!(pace.hold("1", Some(2), now), None);
        assert_eq!(pace.hold("1", Some(1), now + pause), None);
        let second = pace.passed("1", Some(1), Passed::Failed, now + pause, 1.0).unwrap();
        assert_eq!(second, pause * 2);
        assert_eq!(pace.passed("1", Some(1), Passed::Settled, now, 1.0), None);
        assert_eq!(pace.passed("1", Some(1), Passed::Failed, now, 1.0), Some(pause));
    }

    #[test]
    fn writing_passes_are_limited_in_number() {
        let pace = Pace::new(LONGEST);
        let now = Instant::now();
        let mut passes = 0;
        while pace.hold("1", Some(1), now).is_none() {
            passes += 1;
            pace.passed("1", Some(1), Passed::Worked(passes), now, 1.0);
            assert!(passes < 1000);
        }
        assert_eq!(passes, BURST as u64);
        let rest = pace.hold("1", Some(1), now).unwrap();
        assert_eq!(pace.hold("1", Some(1), now + rest + Duration::from_millis(1)), None);
        pace.forget("1");
        assert_eq!(pace.hold("1", Some(1), now), None);
    }

    #[test]
    fn a_refusal_does_not_hold_up_what_else_there_is_to_do() {
        let pace = Pace::new(LONGEST);
        let now = Instant::now();
        let pause = Duration::from_mins(5);
        assert_eq!(pace.passed("1", Some(1), Passed::Refused(pause), now, 1.0), Some(pause));
        assert_eq!(pace.hold("1", Some(1), now), None);
    }
}
