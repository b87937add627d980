//! Requests of hooks, against servers on loopback that say exactly these bytes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod http;
mod net;
