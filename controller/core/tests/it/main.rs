//! What is decided, seen from outside: whole observations in, decisions out.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that finds what it does not expect has failed")]

mod destination;
mod hook_module;
mod hooks;
mod model;
mod render;
mod scenarios;
mod slots;
mod source;

/// How many seeds a test of random events goes through: many times more under `cargo xtask test --exhaustive`.
#[allow(clippy::disallowed_methods, reason = "how long a test runs is no decision")]
fn seeds(usual: u64) -> std::ops::Range<u64> {
    let exhaustive = std::env::var_os("SCRIBE_TEST_EXHAUSTIVE").is_some();
    0..usual * if exhaustive { 30 } else { 1 }
}
