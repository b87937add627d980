//! What only a real API server can prove: schemas, defaults, rules and who may write what. No kubelet, no controllers but Scribe's own.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod adoption;
mod failures;
mod hooks;
mod leadership;
mod limits;
mod pause;
mod placement;
mod rules;
mod secrets;
mod sources;
mod world;
