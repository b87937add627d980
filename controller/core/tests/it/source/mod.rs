//! What is decided for a ReplicationSource.
//!
//! A scenario tells a story; its transcript, one entry per pass, is the committed snapshot. After every pass the world also asserts
//! that a crash right after the write of the status changes nothing (see [`world::World::pass`]).

mod copy_methods;
mod deletion;
mod effects;
mod failures;
mod guards;
mod hooks;
mod objective;
mod objects;
mod placement;
mod quiesce;
mod quiesce_interrupted;
mod slots;
mod spec;
mod story;
mod triggers;
pub mod world;
