//! Why bytes cannot be used as a module.

use scribe_hooks_contract::measure::{Bytes, Span};
use scribe_hooks_contract::reason::Reason;

use crate::outcome::CallError;

/// Why bytes cannot be used as a module. The text is for the module's author, and shows in the status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// There is nothing.
    #[error("the module is empty")]
    Empty,
    /// There is too much, after decompression.
    #[error("the module is larger than {}, decompressed: leave out debug information and what it does not use", Bytes(*.most))]
    TooLarge {
        /// What is allowed, in bytes.
        most: u64,
    },
    /// It begins like gzip and is not.
    #[error("the module cannot be decompressed: {0}")]
    Gzip(String),
    /// It is machine code.
    #[error(
        "the module is precompiled machine code, which is never run: hand over the component that it was made from"
    )]
    Precompiled,
    /// It is WASM of the other kind.
    #[error(
        "the module is a core module and not a component: build it for wasm32-wasip2, or wrap it with `wasm-tools component new`"
    )]
    CoreModule,
    /// It is something else.
    #[error("the module is not WebAssembly: hand over a component, as .wasm or .wasm.gz")]
    NotWasm,
    /// It is WASM that breaks the rules.
    #[error("the module is not a valid component: {0}")]
    Invalid(String),
    /// Compiling it takes too long, perhaps for want of a processor.
    #[error("the module was not compiled within {}: make it smaller", Span(*.after))]
    CompileTime {
        /// What is allowed.
        after: std::time::Duration,
    },
    /// Compiling it takes too much of a processor, whenever it is tried.
    #[error("compiling the module computes for more than {}: make it smaller", Span(*.after))]
    CompileCpu {
        /// What is allowed.
        after: std::time::Duration,
    },
    /// Compiling it takes too much memory.
    #[error("compiling the module needs more than {} of memory: make it smaller", Bytes(*.most))]
    CompileMemory {
        /// What is allowed, in bytes.
        most: u64,
    },
    /// Its machine code is too large.
    #[error("the module compiles to more than {}: make it smaller", Bytes(*.most))]
    CompiledTooLarge {
        /// What is allowed, in bytes.
        most: u64,
    },
    /// It needs more of something than there is for any module: memory, tables, instances.
    #[error("the module needs more than there is for one: {0}")]
    Unfit(String),
    /// It wants what there is not.
    #[error(
        "the module imports {}, which is not there: there are scribe:hooks@{supported} and, from WASI 0.2, cli, clocks, filesystem, io, random and sockets",
        .names.join(", ")
    )]
    UnknownImports {
        /// What it wants.
        names: Vec<String>,
        /// The versions of our own interfaces.
        supported: &'static str,
    },
    /// It wants what there is, but by another type.
    #[error("the module imports something that has another type here: {0}")]
    WrongImport(String),
    /// It was made for another version.
    #[error("the module was made for another version: it exports {}, and this host knows scribe:hooks@{supported}", .found.join(", "))]
    Version {
        /// What it exports.
        found: Vec<String>,
        /// What there is.
        supported: &'static str,
    },
    /// It has no `settings`, or nothing but that.
    #[error(
        "the module does not export {missing}: it exports {}; a hook exports scribe:hooks/settings@{supported} and at least one of decision, transfer, \
         retention, quiesce, lifecycle, failure and promotion",
        if .found.is_empty() { "nothing".to_owned() } else { .found.join(", ") }
    )]
    NotAHook {
        /// What it lacks.
        missing: &'static str,
        /// What it exports.
        found: Vec<String>,
        /// What there is.
        supported: &'static str,
    },
    /// It exports one of our interfaces by another type.
    #[error(
        "the module exports scribe:hooks/{interface} with another type than scribe:hooks@{supported} has: {detail}"
    )]
    WrongType {
        /// Which.
        interface: String,
        /// How it differs.
        detail: String,
        /// What there is.
        supported: &'static str,
    },
    /// It cannot be started, or does not say what it is.
    #[error("the module cannot be used: {0}")]
    Start(CallError),
    /// The host could not load it now.
    #[error("the module could not be loaded: {0}")]
    Unavailable(String),
}

impl LoadError {
    /// As conditions and metrics name it.
    pub fn reason(&self) -> Reason {
        if self.is_transient() { Reason::HookUnavailable } else { Reason::HookModuleInvalid }
    }

    /// Whether the same bytes may be loaded another time.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::CompileTime { .. } | Self::Unavailable(_) => true,
            Self::Start(error) => matches!(error.reason(), Reason::HookTimeout | Reason::HookUnavailable),
            Self::Empty
            | Self::TooLarge { .. }
            | Self::Gzip(_)
            | Self::Precompiled
            | Self::CoreModule
            | Self::NotWasm
            | Self::Invalid(_)
            | Self::CompileCpu { .. }
            | Self::CompileMemory { .. }
            | Self::CompiledTooLarge { .. }
            | Self::Unfit(_)
            | Self::UnknownImports { .. }
            | Self::WrongImport(_)
            | Self::Version { .. }
            | Self::NotAHook { .. }
            | Self::WrongType { .. } => false,
        }
    }
}
