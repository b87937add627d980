//! Why a module has trapped.

/// From now on a panic is told in the log, with its place, before the module traps. Without this the host would know only that it did:
/// there is no standard error in a module.
pub(crate) fn report() {
    #[cfg(target_arch = "wasm32")]
    std::panic::set_hook(Box::new(|panic| crate::log::error(&panic.to_string().replace('\n', " "))));
}
