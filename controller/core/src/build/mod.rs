//! Builds child objects, whole: nothing about them is left to be judged by whoever writes them.

pub mod affinity;
pub mod meta;
pub mod pod;
