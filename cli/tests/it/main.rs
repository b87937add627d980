//! The program as users run it, on modules made of WebAssembly text.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod bench;
mod cases;
#[path = "../../../hooks/tests/it/guest.rs"]
#[allow(dead_code, reason = "it is made for more than is used here")]
mod guest;
mod inspect;
mod modules;
mod new;
mod pipes;
mod registry;
mod run;
mod setup;
