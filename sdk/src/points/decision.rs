//! Whether to sync now.

use crate::bindings::decision::exports::scribe::hooks::decision::{Context as RawContext, Guest};
use crate::{Context, Hook};

pub use crate::bindings::decision::exports::scribe::hooks::decision::Verdict;

/// Decides whether to sync now. Pure.
pub trait Decision: Hook {
    /// Is asked when a sync is due, before anything is done for it.
    fn decide(ctx: &Context<Self::Settings>) -> Verdict;
}

impl Verdict {
    /// Not this time: wait for the next trigger.
    pub fn skip(why: impl Into<String>) -> Self {
        Self::Skip(why.into())
    }

    /// Not yet: ask again after so many seconds.
    pub fn defer(seconds: u32, why: impl Into<String>) -> Self {
        Self::Defer((seconds, why.into()))
    }
}

impl<T: Decision> Guest for T {
    #[allow(
        clippy::panic,
        reason = "the contract has no other way to say that this is no verdict: `onError` then says what follows"
    )]
    fn decide(ctx: RawContext) -> Verdict {
        crate::panics::report();
        match Context::read(ctx) {
            Ok(ctx) => <T as Decision>::decide(&ctx),
            Err(problem) => panic!("settings: {}", problem.line()),
        }
    }
}
