//! The control plane of Scribe: observes, asks the core, applies.
fn main() {}
