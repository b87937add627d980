//! The hook points, each with its trait and what it speaks of.

pub mod decision;
pub mod failure;
pub mod lifecycle;
pub mod promotion;
pub mod quiesce;
pub mod retention;
pub mod transfer;
