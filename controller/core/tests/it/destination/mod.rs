//! What is decided for a ReplicationDestination.

mod adoption;
mod deletion;
mod direct;
mod guards;
mod hooks;
mod publication;
mod refusals;
mod sessions;
mod setup;
pub mod world;
