//! The control plane of Scribe: observes, asks the core, applies.
//!
//! [`reconcile`] is the whole machine in one page: [`observe`] reads, `scribe_core` decides, [`apply`] is the only module that
//! writes to children and statuses, [`report`] tells. Everything else feeds it: [`watches`] and [`mover_client`] say when to look
//! again, [`pace`] how soon at the earliest, and [`lease`] whether it is this controller's turn at all.
#![warn(missing_docs)]

pub mod admin;
pub mod apply;
pub mod args;
pub mod backoff;
pub mod chance;
pub mod context;
pub mod control_key;
pub mod hooks;
pub mod kinds;
pub mod lease;
pub mod metrics;
pub mod mover_client;
pub mod observe;
pub mod pace;
pub mod reconcile;
pub mod refusals;
pub mod report;
pub mod router;
pub mod run;
pub mod slots;
pub mod telemetry;
pub mod watches;
