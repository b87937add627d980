//! When an attempt failed.

use crate::bindings::failure::exports::scribe::hooks::failure::{Context as RawContext, Guest};
use crate::{Context, Hook, HookError};

pub use crate::bindings::failure::exports::scribe::hooks::failure::{Phase, Reaction, Report};

/// Is told of an attempt that failed, and says what follows. Effectful.
pub trait Failure: Hook {
    /// [`Reaction::Default`] goes on as without a hook.
    ///
    /// # Errors
    /// It is reported, and goes on as without a hook.
    fn on_failure(ctx: &Context<Self::Settings>, report: &Report) -> Result<Reaction, HookError>;
}

impl Phase {
    /// Its name in the contract: `pre-sync`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Decision => "decision",
            Self::PreSync => "pre-sync",
            Self::Quiesce => "quiesce",
            Self::Cut => "cut",
            Self::Transfer => "transfer",
            Self::Publish => "publish",
            Self::PostSync => "post-sync",
            Self::Retention => "retention",
            Self::Promotion => "promotion",
        }
    }
}

impl<T: Failure> Guest for T {
    fn on_failure(ctx: RawContext, report: Report) -> Result<Reaction, HookError> {
        crate::panics::report();
        <T as Failure>::on_failure(&Context::read(ctx)?, &report)
    }
}
