//! Kubernetes Events on the object that names the hook.

use super::imports::events as import;

pub use crate::bindings::host::scribe::hooks::events::Kind;

/// Emits a normal Event.
///
/// # Errors
/// It was not granted, or there were too many.
pub fn normal(reason: &str, message: &str) -> Result<(), String> {
    import::emit(Kind::Normal, reason, message)
}

/// Emits a warning.
///
/// # Errors
/// It was not granted, or there were too many.
pub fn warning(reason: &str, message: &str) -> Result<(), String> {
    import::emit(Kind::Warning, reason, message)
}
