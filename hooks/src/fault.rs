//! How a call went wrong, told so that the module's author can do something about it.

use std::time::Duration;

use scribe_hooks_contract::limits::fixed;
use wasmtime::{Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::outcome::CallError;
use crate::run::CpuExceeded;
use crate::sanitize;
use crate::state::TooManyHostCalls;

/// What the call was limited to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub fuel: u64,
    pub memory: u64,
    pub time: Duration,
    /// Its name in the API, if it is that limit which is the shorter.
    pub time_name: Option<&'static str>,
    pub cpu: Duration,
    pub is_pure: bool,
}

/// How a call went wrong.
pub(crate) enum Fault {
    /// Before anything was asked.
    Instantiate(wasmtime::Error),
    /// Meanwhile.
    Call(wasmtime::Error),
    /// It was not waited for any longer.
    Timeout,
    /// The host's own mistake.
    Panic,
}

/// Wasmtime has no type for it.
const HOSTCALL_FUEL: &str = "fuel allocated for hostcalls";
const MOST_FRAMES: usize = 6;

impl Fault {
    pub fn explain(self, function: &'static str, limits: &Limits, is_memory_exceeded: bool) -> CallError {
        let timeout = CallError::Timeout { function, limit: limits.time_name, after: limits.time };
        let (error, is_instantiation) = match self {
            Self::Timeout => return timeout,
            Self::Panic => {
                return CallError::Unavailable {
                    function,
                    detail: "the host panicked; please report it".to_owned(),
                };
            }
            Self::Instantiate(error) => (error, true),
            Self::Call(error) => (error, false),
        };
        if error.is::<CpuExceeded>() {
            return if limits.is_pure { timeout } else { CallError::Cpu { function, after: limits.cpu } };
        }
        let trap = error.downcast_ref::<Trap>();
        if matches!(trap, Some(Trap::OutOfFuel)) {
            return if limits.is_pure { CallError::Fuel { function, fuel: limits.fuel } } else { timeout };
        }
        let detail = detail(&error, trap);
        if is_memory_exceeded {
            return CallError::Memory { function, memory: limits.memory, detail: format!("Then: {detail}") };
        }
        if error.is::<wasmtime::PoolConcurrencyLimitError>() {
            return CallError::Unavailable { function, detail };
        }
        let text = error.root_cause().to_string();
        if text.contains(HOSTCALL_FUEL) {
            let most = fixed::HOSTCALL_BYTES >> 20;
            return CallError::Output {
                function,
                detail: format!("it hands over more than {most} MiB at once"),
            };
        }
        if trap.is_some() || is_instantiation || error.is::<TooManyHostCalls>() || error.is::<I32Exit>() {
            CallError::Trap { function, detail }
        } else {
            // What is neither a trap nor ours: the answer could not be read.
            CallError::Output { function, detail }
        }
    }
}

/// What happened and where, in one line.
fn detail(error: &wasmtime::Error, trap: Option<&Trap>) -> String {
    let what = match (trap, error.downcast_ref::<I32Exit>()) {
        (Some(trap), _) => trap.to_string(),
        (None, Some(I32Exit(code))) => format!("called exit({code})"),
        (None, None) => error.root_cause().to_string(),
    };
    let frames = error.downcast_ref::<WasmBacktrace>().map(|trace| {
        let names = trace.frames().iter().filter_map(|frame| frame.func_name()).take(MOST_FRAMES);
        names.collect::<Vec<_>>().join(" < ")
    });
    let text = match frames {
        Some(frames) if !frames.is_empty() => format!("{what} (in {frames})"),
        _ => what,
    };
    sanitize::line(&text, fixed::MESSAGE_BYTES)
}
