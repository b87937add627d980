//! What is decided, seen from outside: whole observations in, decisions out.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that finds what it does not expect has failed")]

mod destination;
mod source;
