//! A scripted host, for a hook's own tests: they are ordinary tests, and run with `cargo test`.
//!
//! [`Host::new`] takes the place of the host for the thread of the test. It answers what it was told to answer, in that order, and refuses
//! the rest as the real one does without a grant. It keeps state, time and the log itself. When it goes out of scope, all answers must have
//! been asked for.
//!
//! ```
//! use scribe_hook_sdk::exec::{self, Command, Outcome, Target};
//! use scribe_hook_sdk::testing::{Call, Host};
//!
//! let host = Host::new();
//! host.exec(Ok(vec![Outcome {
//!     pod: "db-0".into(), exit_code: 0, stdout: b"ready\n".to_vec(), stderr: vec![], truncated: false,
//! }]));
//!
//! let target = Target::labels("app=db");
//! let command = Command::new(["pg_isready"]);
//! assert_eq!(exec::check(&target, &command)?[0].text(), "ready");
//! assert_eq!(host.calls(), [Call::Exec { target, command }]);
//! # Ok::<(), scribe_hook_sdk::HookError>(())
//! ```

mod call;
mod fixtures;
pub(crate) mod imports;
mod store;

use std::cell::RefCell;
use std::collections::VecDeque;

pub use self::call::Call;
pub use self::fixtures::{assert_schema, context, object, point, validate};
use self::store::Store;
use crate::{Timestamp, exec, freeze, http, kube, log};

thread_local! {
    static HOST: RefCell<State> = RefCell::default();
}

/// What the host of this thread knows.
#[derive(Debug, Default)]
struct State {
    calls: Vec<Call>,
    logs: Vec<Log>,
    store: Store,
    now: Timestamp,
    deadline: Timestamp,
    answers: Answers,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// How much it matters.
    pub level: log::Level,
    /// What was said.
    pub message: String,
    /// And of what.
    pub fields: Vec<(String, String)>,
}

/// What is answered, first come, first served.
#[derive(Debug, Default)]
struct Answers {
    exec: VecDeque<Result<Vec<exec::Outcome>, exec::Error>>,
    freeze: VecDeque<Result<(), freeze::Error>>,
    http: VecDeque<Result<http::Response, http::Error>>,
    kube: VecDeque<Result<serde_json::Value, kube::Error>>,
}

/// The host of this thread, from [`Host::new`] until it goes out of scope.
#[derive(Debug)]
#[must_use = "it is the host only as long as it lives"]
pub struct Host(());

impl Host {
    /// Begins anew, at [`NOW`](Self::NOW) and with a minute for the call.
    #[allow(
        clippy::new_without_default,
        reason = "it changes what the thread sees, which a default should not"
    )]
    pub fn new() -> Self {
        let state = State { now: Self::NOW, deadline: Self::NOW + 60_000, ..State::default() };
        HOST.set(state);
        Self(())
    }

    /// 2026-01-01T00:00:00Z, a Thursday.
    pub const NOW: Timestamp = 1_767_225_600_000;

    /// The time is `now`, and the call has until `deadline`.
    pub fn at(self, now: Timestamp, deadline: Timestamp) -> Self {
        with(|state| (state.now, state.deadline) = (now, deadline));
        self
    }

    /// What the next command comes to. Without it: denied.
    pub fn exec(&self, answer: Result<Vec<exec::Outcome>, exec::Error>) {
        with(|state| state.answers.exec.push_back(answer));
    }

    /// What the next freeze comes to. Without it: done.
    pub fn freeze(&self, answer: Result<(), freeze::Error>) {
        with(|state| state.answers.freeze.push_back(answer));
    }

    /// What the next request is answered. Without it: denied.
    pub fn http(&self, answer: Result<http::Response, http::Error>) {
        with(|state| state.answers.http.push_back(answer));
    }

    /// What the Kubernetes API answers next, as JSON: the object or what stands at the pointer for `get`, an array for `list`, the object for
    /// `patch`, the old value or null for `annotate`, the old count for `scale`, a boolean for `wait_for`. Without it: denied.
    pub fn kube(&self, answer: Result<serde_json::Value, kube::Error>) {
        with(|state| state.answers.kube.push_back(answer));
    }

    /// The effects that were asked for, in their order. The log, the clock and the store are no part of it.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        with(|state| state.calls.clone())
    }

    /// What was logged.
    #[must_use]
    pub fn logs(&self) -> Vec<Log> {
        with(|state| state.logs.clone())
    }

    /// What is stored under a key.
    #[must_use]
    pub fn stored(&self, key: &str) -> Option<Vec<u8>> {
        with(|state| state.store.get(key).map(|entry| entry.value))
    }

    /// The time, which passes only by sleeping.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        with(|state| state.now)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let State { answers: Answers { exec, freeze, http, kube }, .. } = HOST.take();
        let left = exec.len() + freeze.len() + http.len() + kube.len();
        if !std::thread::panicking() {
            assert_eq!(
                left, 0,
                "answers that nobody asked for: exec {exec:?}, freeze {freeze:?}, http {http:?}, kube {kube:?}"
            );
        }
    }
}

fn with<R>(act: impl FnOnce(&mut State) -> R) -> R {
    HOST.with_borrow_mut(act)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time;

    #[test]
    #[should_panic(expected = "answers that nobody asked for")]
    fn an_answer_that_nobody_asked_for_is_a_failure() {
        let host = Host::new();
        host.http(Err(http::Error::TimedOut));
    }

    #[test]
    fn a_sleep_ends_with_the_calls_time() {
        let host = Host::new().at(0, 1_000);
        time::sleep_millis(400);
        assert_eq!((time::now(), time::remaining_millis()), (400, 600));
        time::sleep_millis(60_000);
        assert_eq!((host.now(), time::remaining_millis()), (1_000, 0));
    }
}
