//! The Scribe API: custom resources, names, labels, conditions and reasons.
//!
//! This crate is what users, the controller and other programs agree on. It holds no client and no
//! runtime. The YAML of the custom resource definitions is generated from these types by
//! `cargo xtask codegen` and committed beside them; a test keeps the two equal.
#![warn(missing_docs)]
#![allow(
    clippy::duplicated_attributes,
    reason = "each `printcolumn` has a `type_` and a `json_path` of its own"
)]

pub mod conditions;
pub mod generated;
pub mod names;
pub mod snapshots;
pub mod v1alpha1;

pub use kube_core::Duration;
