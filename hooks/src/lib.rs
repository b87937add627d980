//! The WASM host of Scribe's hooks: bytes and a request in, a verdict out.
//!
//! ```text
//! Loader::load(bytes) ─► Module ─► pure(limits)                    .validate(..) .decide(..) .tune(..) .choose(..)
//!                               └► effectful(limits, grants, host) .quiesce(..) .release(..) .pre_sync(..) …
//! ```
//!
//! A [`Loader`] compiles modules in processes of their own and keeps what it compiled. A [`Module`] is shared by all who use the same bytes.
//! Each call is a fresh instance with its own memory, fuel, time and counters, and answers a [`Called`]: the verdict or why there is none, what
//! it cost, and what it wrote to the log. What a module asks for is judged here and done by the [`Host`] that the caller provides: there is no
//! Kubernetes in this crate, and no network.
#![warn(missing_docs)]

mod cache;
mod call;
mod check;
mod compiler;
mod effects;
mod engine;
mod error;
mod fault;
mod host;
mod inspect;
mod limiter;
mod load;
mod log;
mod metered;
mod module;
mod outcome;
mod run;
pub mod sanitize;
mod state;
mod unpack;
mod v0_1;
mod wasi;

pub use cache::{Cache, CacheError};
pub use call::{Effectful, Pure};
pub use compiler::{CompileLimits, Compiler, worker_main};
pub use engine::{Engine, EngineError};
pub use error::LoadError;
pub use host::Host;
pub use load::{DEFAULT_MODULE_BYTES, Loader, MOST_MODULE_BYTES};
pub use module::Module;
pub use outcome::{CallError, Called, LogLine, Usage};
pub use scribe_hooks_contract as contract;
