//! The test harness: a development cluster of real Kubernetes programs, images for it, and what the tiers share.
//!
//! Nothing here knows the controller's insides: tests talk to it as its users do.

pub mod api_server;
pub mod cluster;
pub mod command;
pub mod component;
pub mod dump;
pub mod faults;
pub mod fixture;
pub mod images;
pub mod kubectl;
pub mod postgres;
pub mod site;
pub mod tree;
pub mod wait;
pub mod world;
