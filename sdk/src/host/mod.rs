//! What a module may ask of the host. Everything but [`log`] needs a grant in the HookModule.

pub mod events;
pub mod exec;
pub mod freeze;
pub mod http;
pub mod kube;
pub mod log;
pub mod state;
pub mod time;

/// The host: the real one in a module, and a scripted one where a hook's own tests run.
#[cfg(target_arch = "wasm32")]
use crate::bindings::host::scribe::hooks as imports;
#[cfg(not(target_arch = "wasm32"))]
use crate::testing::imports;
