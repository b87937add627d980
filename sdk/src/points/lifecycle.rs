//! Around a whole sync.

use crate::bindings::lifecycle::exports::scribe::hooks::lifecycle::{Context as RawContext, Guest};
use crate::{Context, Hook, HookError, SyncStats};

/// Is called before and after a sync. Effectful.
pub trait Lifecycle: Hook {
    /// Before anything is done for the sync.
    ///
    /// # Errors
    /// The sync waits, does not happen or fails, as the error and `onError` say.
    fn pre_sync(ctx: &Context<Self::Settings>) -> Result<(), HookError> {
        let _ = ctx;
        Ok(())
    }

    /// After the replica was published.
    ///
    /// # Errors
    /// It is reported; the replica stays published.
    fn post_sync(ctx: &Context<Self::Settings>, stats: &SyncStats) -> Result<(), HookError> {
        let _ = (ctx, stats);
        Ok(())
    }
}

impl<T: Lifecycle> Guest for T {
    fn pre_sync(ctx: RawContext) -> Result<(), HookError> {
        crate::panics::report();
        <T as Lifecycle>::pre_sync(&Context::read(ctx)?)
    }

    fn post_sync(ctx: RawContext, stats: SyncStats) -> Result<(), HookError> {
        crate::panics::report();
        <T as Lifecycle>::post_sync(&Context::read(ctx)?, &stats)
    }
}
