//! Version 0.1 of the contract, as `sdk/wit` has it.
//!
//! A released version keeps its own module: what it says is turned into the words of `scribe-hooks-contract`, which are the newest, and all
//! else is the same for every version.

mod convert;
mod exported;
mod imports;

pub(crate) mod bindings {
    #![allow(missing_docs, clippy::too_many_lines, reason = "generated")]

    wasmtime::component::bindgen!({
        path: "../sdk/wit",
        world: "scribe:hooks/all-hooks",
        imports: { default: async | trappable },
        exports: { default: async },
    });
}

pub(crate) use bindings::exports::scribe::hooks as exports;
pub(crate) use bindings::scribe::hooks as host;
pub(crate) use exported::Exports;

/// Its interfaces' version.
pub(crate) const VERSION: &str = "0.1.0";

/// Links what a module may ask for.
pub(crate) fn link(
    linker: &mut wasmtime::component::Linker<crate::state::CallState>,
) -> wasmtime::Result<()> {
    use wasmtime::component::HasSelf;
    bindings::AllHooks::add_to_linker::<_, HasSelf<_>>(linker, |state| state)
}
