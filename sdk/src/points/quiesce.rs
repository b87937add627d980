//! Bring the application to rest before the cut, and let it go on right after it.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::quiesce::exports::scribe::hooks::quiesce::{Context as RawContext, Guest};
use crate::{Context, Hook, HookError};

pub use crate::bindings::quiesce::exports::scribe::hooks::quiesce::{Consistency, Frozen, ReleaseReason};

/// Brings the application to rest. Effectful.
///
/// What is changed through [`freeze`](crate::freeze) is undone by the host, whatever becomes of the module: prefer it to
/// everything that `release` would have to undo.
pub trait Quiesce: Hook {
    /// Brings the application to rest, and says what a copy that is cut now will be worth. Say no more than was achieved.
    ///
    /// # Errors
    /// There is no cut, or one that is worth no more than after a power cut, as `onError` says.
    fn quiesce(ctx: &Context<Self::Settings>) -> Result<Frozen, HookError>;

    /// Lets the application go on. Is called after every `quiesce`, also one that failed, trapped or was never answered, until it
    /// succeeds: so it may be called more than once, and where nothing was quiesced. What the host undoes, it undoes after this.
    ///
    /// # Errors
    /// It is called again.
    fn release(ctx: &Context<Self::Settings>, release: &Release) -> Result<(), HookError> {
        let _ = (ctx, release);
        Ok(())
    }
}

/// What `release` is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// What `quiesce` has answered; none if it did not.
    pub token: Option<String>,
    /// Why now.
    pub reason: ReleaseReason,
    /// Counts from 1.
    pub try_number: u32,
}

impl Release {
    /// Reads the token that [`Frozen::with_token`] has written; `None` where `quiesce` has never answered.
    ///
    /// # Errors
    /// It is not of that type.
    pub fn token<T: DeserializeOwned>(&self) -> Result<Option<T>, HookError> {
        let token = self.token.as_deref().filter(|token| !token.is_empty());
        Ok(token.map(serde_json::from_str).transpose()?)
    }
}

impl Frozen {
    /// The application is at rest.
    #[must_use]
    pub fn new(achieved: Consistency) -> Self {
        Self { token: String::new(), achieved, note: None }
    }

    /// Something to be given back at release, at most 64 KiB as JSON.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn with_token<T: Serialize>(mut self, token: &T) -> Result<Self, HookError> {
        self.token = serde_json::to_string(token)?;
        Ok(self)
    }

    /// Words for the status.
    #[must_use]
    pub fn with_note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }
}

impl<T: Quiesce> Guest for T {
    fn quiesce(ctx: RawContext) -> Result<Frozen, HookError> {
        crate::panics::report();
        <T as Quiesce>::quiesce(&Context::read(ctx)?)
    }

    fn release(
        ctx: RawContext,
        token: Option<String>,
        reason: ReleaseReason,
        try_number: u32,
    ) -> Result<(), HookError> {
        crate::panics::report();
        <T as Quiesce>::release(&Context::read(ctx)?, &Release { token, reason, try_number })
    }
}
