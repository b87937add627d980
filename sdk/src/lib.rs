//! Write hooks for Scribe in Rust: WASM modules that decide how a volume is replicated, and bring applications to rest for it.
//!
//! A hook is a type with [settings](Hook) and one trait for each hook point that it stands at. This one keeps the newest replicas:
//!
//! ```
//! use scribe_hook_sdk::{Context, Hook, Retention, export, retention::{Keep, Point}};
//!
//! #[derive(serde::Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Settings {
//!     last: usize,
//! }
//!
//! struct KeepLast;
//!
//! impl Hook for KeepLast {
//!     type Settings = Settings;
//! }
//!
//! impl Retention for KeepLast {
//!     fn choose(ctx: &Context<Settings>, points: &[Point]) -> Result<Vec<Keep>, String> {
//!         Ok(points.iter().rev().take(ctx.settings.last).map(|point| Keep::new(point, "one of the newest")).collect())
//!     }
//! }
//!
//! export!(KeepLast: Retention);
//!
//! // And its test, for which there need be neither WASM nor a cluster:
//! use scribe_hook_sdk::testing::{context, point};
//!
//! let ctx = context(&serde_json::json!({ "last": 2 }));
//! let kept = KeepLast::choose(&ctx, &[point("a", 1), point("b", 2), point("c", 3)])?;
//! assert_eq!(kept.iter().map(|keep| keep.id.as_str()).collect::<Vec<_>>(), ["c", "b"]);
//! # Ok::<(), String>(())
//! ```
//!
//! # The points
//!
//! | Trait | Asks | |
//! |---|---|---|
//! | [`Decision`] | Whether to sync now | pure |
//! | [`Transfer`] | How to transfer | pure |
//! | [`Retention`] | Which replicas to keep | pure |
//! | [`Quiesce`] | To bring the application to rest around the cut | effectful |
//! | [`Lifecycle`] | For what is to be done before and after a sync | effectful |
//! | [`Failure`] | What follows an attempt that failed | effectful |
//! | [`Promotion`] | For what is to be done around a promotion | effectful |
//!
//! A pure hook may log and nothing else. An effectful one may ask the host for what its HookModule grants: [`exec`], [`freeze`], [`http`],
//! [`kube`], [`state`], [`events`], [`time`].
//!
//! # Testing
//!
//! The crate builds natively too. There, a scripted host takes the place of the real one: see [`testing`].
//!
//! # Building
//!
//! `cargo build --release --target wasm32-unknown-unknown`, with `linker = "wasm-component-ld"` for that target in `.cargo/config.toml`, gives a
//! component that imports what it uses of the host and nothing else. `--target wasm32-wasip2` needs no such line and gives one that imports a
//! part of WASI too, which the host answers with nothing in it: no files, no network, no environment.

#![deny(missing_docs)]

mod bindings;
mod export;
mod host;
mod panics;
mod points;
mod settings;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod types;

pub use host::{events, exec, freeze, http, kube, log, state, time};
pub use points::decision::Decision;
pub use points::failure::Failure;
pub use points::lifecycle::Lifecycle;
pub use points::promotion::Promotion;
pub use points::quiesce::Quiesce;
pub use points::retention::Retention;
pub use points::transfer::Transfer;
pub use points::{decision, failure, promotion, quiesce, retention, transfer};
pub use settings::Hook;
pub use types::{
    Attempt, Context, CopyMethod, HookError, LastSync, ObjectRef, Problem, Replication, Role, SyncStats,
    Timestamp, Trigger,
};

/// What the macros need to see.
#[doc(hidden)]
pub mod __private {
    pub use crate::bindings::{
        decision, failure, lifecycle, promotion, quiesce, retention, settings, transfer,
    };
    pub use crate::settings::Package;
}

/// Its example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
