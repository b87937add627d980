//! The points of the Rust template compile and pass the tests that they bring. That a project made of it becomes a module is tested by
//! `cargo xtask test unit`. And a module with all points, of which the same is true.

#[path = "../../templates/rust/points/decision.rs"]
mod decision;
#[path = "../../templates/rust/points/failure.rs"]
mod failure;
#[path = "../../templates/rust/points/lifecycle.rs"]
mod lifecycle;
#[path = "../../templates/rust/points/promotion.rs"]
mod promotion;
#[path = "../../templates/rust/points/quiesce.rs"]
mod quiesce;
#[path = "../../templates/rust/points/retention.rs"]
mod retention;
#[path = "../../templates/rust/points/transfer.rs"]
mod transfer;

#[path = "../modules/all_points.rs"]
mod all_points;
