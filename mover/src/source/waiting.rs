//! What a source does that is told to wait: it says for what, and loses its patience at some time.

use crate::reason::{Failure, Reason};
use scribe_mover_contract::control::MAX_WAITING;
use scribe_mover_contract::job::Timeouts;
use std::time::Duration;
use tokio::time::Instant;

/// A destination that only says "wait" is given this many times as long as one that does not answer at all.
const FACTOR: u32 = 10;
/// And this at least: a snapshot may take its time.
const LEAST: Duration = Duration::from_secs(600);

/// How long a destination may say nothing but "wait".
pub struct Patience {
    limit: Duration,
    began: Option<Instant>,
}

impl Patience {
    /// Nobody has been told to wait yet.
    pub fn new(timeouts: &Timeouts) -> Self {
        let limit = Duration::from_secs(timeouts.unreachable).saturating_mul(FACTOR).max(LEAST);
        Self { limit, began: None }
    }

    /// Takes note of a "wait".
    ///
    /// # Errors
    /// The destination has said nothing else for too long. Then it is as good as unreachable: another attempt may do better.
    pub fn told_to_wait(&mut self, now: Instant, message: &str) -> Result<(), Failure> {
        let waited = now.duration_since(*self.began.get_or_insert(now));
        if waited < self.limit {
            return Ok(());
        }
        let message =
            format!("the destination said nothing but \"wait\" for {} s: {message}", waited.as_secs());
        Err(Failure::transient(Reason::DestinationUnreachable, message))
    }
}

/// The destination's words as they may stand in a status: on one line, with a bound.
pub fn shown(message: &str) -> String {
    let mut text = message.replace(char::is_control, " ");
    text.truncate(text.floor_char_boundary(MAX_WAITING));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_ends_after_ten_times_unreachable_but_not_before_ten_minutes() {
        for (unreachable, limit) in [(0, 600), (60, 600), (61, 610), (300, 3000)] {
            let mut patience = Patience::new(&Timeouts { unreachable, ..Timeouts::default() });
            let began = Instant::now();
            assert_eq!(patience.told_to_wait(began, "first"), Ok(()));
            assert_eq!(patience.told_to_wait(began + Duration::from_secs(limit - 1), "later"), Ok(()));
            let end = patience.told_to_wait(began + Duration::from_secs(limit), "a snapshot").unwrap_err();
            assert_eq!(end.reason, "DestinationUnreachable");
            let words = format!("the destination said nothing but \"wait\" for {limit} s: a snapshot");
            assert_eq!(end.message, words);
        }
    }

    #[test]
    fn words_of_a_stranger_are_shown_on_one_bounded_line() {
        assert_eq!(shown("a\nb\u{1b}c"), "a b c");
        let long = shown(&"é".repeat(1000));
        assert_eq!(long, "é".repeat(MAX_WAITING / 2));
        assert_eq!(shown(&format!("a{}", "é".repeat(1000))).len(), MAX_WAITING - 1);
    }
}
