//! The WASM host against components that are broken, hostile or plain.

mod answers;
mod cancel;
mod effects;
mod guest;
mod limits;
mod loading;
mod pure;
mod setup;
mod versions;
