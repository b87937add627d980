//! Around a promotion of a replica.

use crate::bindings::promotion::exports::scribe::hooks::promotion::{Context as RawContext, Guest};
use crate::{Context, Hook, HookError};

pub use crate::bindings::promotion::exports::scribe::hooks::promotion::Candidate;

/// Is called before and after a promotion. Effectful.
pub trait Promotion: Hook {
    /// Before anything is promoted.
    ///
    /// # Errors
    /// The promotion waits, does not happen or fails, as the error and `onError` say.
    fn before_promotion(ctx: &Context<Self::Settings>, candidate: &Candidate) -> Result<(), HookError> {
        let _ = (ctx, candidate);
        Ok(())
    }

    /// After the claim was made from the replica.
    ///
    /// # Errors
    /// It is reported; the claim stays.
    fn after_promotion(ctx: &Context<Self::Settings>, candidate: &Candidate) -> Result<(), HookError> {
        let _ = (ctx, candidate);
        Ok(())
    }
}

impl<T: Promotion> Guest for T {
    fn before_promotion(ctx: RawContext, candidate: Candidate) -> Result<(), HookError> {
        crate::panics::report();
        <T as Promotion>::before_promotion(&Context::read(ctx)?, &candidate)
    }

    fn after_promotion(ctx: RawContext, candidate: Candidate) -> Result<(), HookError> {
        crate::panics::report();
        <T as Promotion>::after_promotion(&Context::read(ctx)?, &candidate)
    }
}
