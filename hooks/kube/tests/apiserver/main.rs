//! What only a real API server can prove: rights, versions, patches, watches. No kubelet: commands in containers are for real clusters.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod freeze;
#[path = "../it/net.rs"]
#[allow(dead_code, reason = "shared with the tests of HTTP, which use more of it")]
mod net;
mod objects;
mod rights;
mod state;
mod world;
