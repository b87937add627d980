//! The time, and how much of it is left. In a pure call there is only `ctx.attempt.now`.

use super::imports::time as import;
use crate::Timestamp;

/// The time now, in milliseconds since 1970 UTC.
#[must_use]
pub fn now() -> Timestamp {
    import::now()
}

/// Milliseconds until the host stops waiting for this call.
#[must_use]
pub fn remaining_millis() -> u64 {
    import::remaining_millis()
}

/// Sleeps; returns early when the call's time is up.
pub fn sleep_millis(ms: u32) {
    import::sleep_millis(ms);
}
