//! What users do, on two real clusters: kubelets, volumes, ssh, rsync, snapshots, and Scribe as it is shipped.
//!
//! The clusters are there when these tests run (`cargo xtask test e2e` sees to that); each test has namespaces of its own in them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod classes;
mod copy_methods;
mod deletion;
mod effects;
mod faults;
mod fidelity;
mod guards;
mod hooks;
mod quiesce;
mod refusals;
mod replicate;
mod specs;
mod surface;
