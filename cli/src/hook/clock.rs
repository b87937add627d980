//! Runtimes: one whose clock runs, and one whose clock stands still.

use std::future::Future;

use anyhow::{Context, Result};

/// Waits for something of the real world, such as a process.
///
/// # Errors
///
/// The system gives us no runtime.
pub fn running<T>(work: impl Future<Output = T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.context("start the async runtime")?.block_on(work))
}

/// Does something for which no time passes but what it sleeps, and that at once: to the millisecond the same each time. Nothing of the real world may be
/// waited for, or the clock would jump to the end of the next timeout.
///
/// # Errors
///
/// The system gives us no runtime.
pub fn still<T>(work: impl Future<Output = T>) -> Result<T> {
    // Paused from its beginning: later it would stand between two ticks of the timer, and each sleep take one more.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    Ok(runtime.context("start the async runtime")?.block_on(work))
}
