//! Why a call did not bring what it was made for, as conditions and metrics name it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a call did not bring what it was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Reason {
    /// It took too long, or an effectful call computed too long.
    HookTimeout,
    /// A pure call computed more than its fuel. Apart from [`Reason::HookTimeout`], since it does not depend on how busy the machine is.
    HookFuel,
    /// It needed more memory than it may have.
    HookMemory,
    /// It ended abnormally: a panic, an `unreachable`, an access out of bounds, an exhausted stack.
    HookTrap,
    /// It failed after the host had denied it something.
    HookDenied,
    /// It decided against. `onError` does not apply.
    HookRejected,
    /// It asks to be asked again later.
    HookRetryAfter,
    /// It says that something broke.
    HookFailed,
    /// It answered what cannot be used.
    HookOutput,
    /// It is not a module that can be used here, or does not export what was asked for.
    HookModuleInvalid,
    /// The host could not run it now.
    HookUnavailable,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 11] = [
        Self::HookTimeout,
        Self::HookFuel,
        Self::HookMemory,
        Self::HookTrap,
        Self::HookDenied,
        Self::HookRejected,
        Self::HookRetryAfter,
        Self::HookFailed,
        Self::HookOutput,
        Self::HookModuleInvalid,
        Self::HookUnavailable,
    ];

    /// As it stands in conditions and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HookTimeout => "HookTimeout",
            Self::HookFuel => "HookFuel",
            Self::HookMemory => "HookMemory",
            Self::HookTrap => "HookTrap",
            Self::HookDenied => "HookDenied",
            Self::HookRejected => "HookRejected",
            Self::HookRetryAfter => "HookRetryAfter",
            Self::HookFailed => "HookFailed",
            Self::HookOutput => "HookOutput",
            Self::HookModuleInvalid => "HookModuleInvalid",
            Self::HookUnavailable => "HookUnavailable",
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
