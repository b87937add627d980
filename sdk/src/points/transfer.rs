//! How to transfer.

use crate::bindings::transfer::exports::scribe::hooks::transfer::{Context as RawContext, Guest};
use crate::{Context, Hook};

pub use crate::bindings::transfer::exports::scribe::hooks::transfer::{Comparison, Options};

/// Tunes the transfer. Pure.
pub trait Transfer: Hook {
    /// Is given what would be done without it, and answers what to do.
    ///
    /// # Errors
    /// Leaves it as it was or fails the sync, as `onError` says.
    fn tune(ctx: &Context<Self::Settings>, defaults: Options) -> Result<Options, String>;
}

impl<T: Transfer> Guest for T {
    fn tune(ctx: RawContext, defaults: Options) -> Result<Options, String> {
        crate::panics::report();
        let ctx = Context::read(ctx).map_err(|problem| format!("settings: {}", problem.line()))?;
        <T as Transfer>::tune(&ctx, defaults)
    }
}
