//! What hooks are asked, answer, may do and may use.
//!
//! Plain data and judgement, without a WASM engine and without Kubernetes: the API's types take their grants and limits from here, the
//! controller's core decides about requests and answers, and `scribe-hooks` carries them in and out of modules. The words are those of
//! `sdk/wit`.
#![warn(missing_docs)]

pub mod context;
pub mod effects;
pub mod grants;
pub mod limits;
pub mod measure;
pub mod points;
pub mod reason;
pub mod retention;
pub mod undo;
