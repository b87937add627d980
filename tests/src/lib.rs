//! The test harness: a development cluster of real Kubernetes programs, images for it, and what the tiers share.
//!
//! Nothing here knows the controller's insides: tests talk to it as its users do.

pub mod cluster;
pub mod command;
pub mod images;
pub mod wait;
