//! What hooks ask for, against servers on loopback that say exactly these bytes, or none.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod freeze;
mod http;
mod net;
