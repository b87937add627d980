//! What is decided for a ReplicationDestination.

mod adoption;
mod chaos;
mod deletion;
mod direct;
mod guards;
mod publication;
mod refusals;
mod rivals;
mod sessions;
mod setup;
mod world;
