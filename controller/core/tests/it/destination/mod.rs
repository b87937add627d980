//! What is decided for a ReplicationDestination.

mod adoption;
mod commits;
mod deletion;
mod direct;
mod guards;
mod hooks;
mod publication;
mod refusals;
mod replicas;
mod sessions;
mod setup;
pub mod world;
