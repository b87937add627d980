//! Decides what Scribe does next: no client, no runtime, no clock.
//!
//! Everything here is a function of its arguments. What is seen comes in as [`observed`], time as a [`jiff::Timestamp`], chance
//! as [`chance::Chance`]; what is to be done goes out as [`decision::Decision`], which the controller carries out without
//! judging it again.
#![warn(missing_docs)]

pub mod backoff;
pub mod build;
pub mod chance;
pub mod contents;
pub mod decision;
pub mod destination;
mod guards;
pub mod hook_module;
pub mod hooks;
pub mod observed;
pub mod quantity;
pub mod retention;
pub mod rpo;
pub mod schedule;
pub mod settings;
pub mod slots;
pub mod source;
mod text;
