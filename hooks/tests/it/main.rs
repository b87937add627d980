//! The WASM host against components that are broken, hostile or plain.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod answers;
mod cancel;
mod effects;
mod guest;
mod limits;
mod loading;
mod pure;
mod setup;
mod versions;
