//! Compiling, in a process of its own.
//!
//! Nothing bounds what a compiler does with hostile input from within its process. So it is one that may use so much memory and processor time,
//! holds nothing of ours, and can be killed.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::sync::Semaphore;

use crate::engine;
use crate::error::LoadError;
use crate::sanitize;

const MEMORY_VARIABLE: &str = "SCRIBE_COMPILE_MEMORY";
const CPU_VARIABLE: &str = "SCRIBE_COMPILE_CPU";
/// Of what the process says when it fails, in bytes.
const MOST_WORDS: u64 = 8 << 10;
/// The module is not valid.
const INVALID: u8 = 65;
/// There was no memory to read it. Anything else that is not 0 is our own fault.
const NO_MEMORY: u8 = 66;

/// What compiling one module may use.
#[derive(Clone, Copy, Debug)]
pub struct CompileLimits {
    /// Address space, in bytes.
    pub memory: u64,
    /// Processor time of all its threads, to the second.
    pub cpu: Duration,
    /// From beginning to end.
    pub timeout: Duration,
    /// Machine code, in bytes.
    pub compiled: u64,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self {
            memory: 2 << 30,
            cpu: Duration::from_secs(120),
            timeout: Duration::from_secs(120),
            compiled: 256 << 20,
        }
    }
}

/// Compiles modules, one at a time.
pub struct Compiler {
    program: OsString,
    arguments: Vec<OsString>,
    limits: CompileLimits,
    queue: Semaphore,
}

impl Compiler {
    /// `program` with these arguments must do nothing but call [`worker_main`]. Usually it is `/proc/self/exe` with a hidden subcommand.
    pub fn new(
        program: impl Into<OsString>,
        arguments: impl IntoIterator<Item = OsString>,
        limits: CompileLimits,
    ) -> Self {
        Self {
            program: program.into(),
            arguments: arguments.into_iter().collect(),
            limits,
            queue: Semaphore::new(1),
        }
    }

    /// Machine code of a component. If this is dropped, the process is killed.
    pub(crate) async fn compile(&self, wasm: &[u8]) -> Result<Vec<u8>, LoadError> {
        let _turn = self.queue.acquire().await.map_err(unavailable)?;
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            // Whatever our environment holds is none of its business.
            .env_clear()
            .env(MEMORY_VARIABLE, self.limits.memory.to_string())
            .env(CPU_VARIABLE, self.limits.cpu.as_secs().max(1).to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| LoadError::Unavailable(format!("start the compiler: {error}")))?;
        let (Some(mut stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(LoadError::Unavailable("the compiler has no pipes".to_owned()));
        };
        let (mut compiled, mut words) = (Vec::new(), Vec::new());
        let mut stdout = stdout.take(self.limits.compiled + 1);
        let mut stderr = stderr.take(MOST_WORDS);
        let work = async {
            let feed = async {
                // If it died it says so by how it ended.
                let _ = stdin.write_all(wasm).await;
                drop(stdin);
            };
            let (_, read, _) =
                tokio::join!(feed, stdout.read_to_end(&mut compiled), stderr.read_to_end(&mut words));
            read?;
            if compiled.len() as u64 > self.limits.compiled {
                return Ok(None);
            }
            child.wait().await.map(Some)
        };
        match tokio::time::timeout(self.limits.timeout, work).await {
            Err(_) => Err(LoadError::CompileTime { after: self.limits.timeout }),
            Ok(Err(error)) => Err(unavailable(error)),
            Ok(Ok(None)) => Err(LoadError::CompiledTooLarge { most: self.limits.compiled }),
            Ok(Ok(Some(status))) if status.success() => Ok(compiled),
            Ok(Ok(Some(status))) => Err(self.explain(status, &words)),
        }
    }

    fn explain(&self, status: ExitStatus, words: &[u8]) -> LoadError {
        let words = sanitize::line(String::from_utf8_lossy(words).trim(), MOST_WORDS as usize);
        let died_of = |signal: Signal| status.signal() == Some(signal.as_raw());
        if status.code() == Some(INVALID.into()) {
            LoadError::Invalid(words)
        } else if died_of(Signal::XCPU) {
            LoadError::CompileCpu { after: self.limits.cpu }
        } else if status.code() == Some(NO_MEMORY.into())
            || died_of(Signal::ABORT)
            || died_of(Signal::SEGV)
            || died_of(Signal::BUS)
        {
            // What Rust does when it is given no memory, and what a thread does whose stack is given none.
            LoadError::CompileMemory { most: self.limits.memory }
        } else {
            LoadError::Unavailable(format!("the compiler ended with {status}: {words}"))
        }
    }
}

fn unavailable(error: impl std::fmt::Display) -> LoadError {
    LoadError::Unavailable(format!("compile: {error}"))
}

/// The compiler's process: a component from standard input, machine code to standard output. What is wrong goes to standard error.
///
/// To be called by a hidden subcommand, before the program has done anything else.
pub fn worker_main() -> ExitCode {
    match worker() {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Invalid(error)) => {
            eprintln!("{error:#}");
            ExitCode::from(INVALID)
        }
        Err(Failure::NoMemory) => ExitCode::from(NO_MEMORY),
        Err(Failure::Ours(error)) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

enum Failure {
    Invalid(wasmtime::Error),
    NoMemory,
    Ours(String),
}

fn worker() -> Result<(), Failure> {
    let ours = |what: &str, error: &dyn std::fmt::Display| Failure::Ours(format!("{what}: {error}"));
    confine().map_err(|error| ours("limit the compiler", &error))?;
    let mut wasm = Vec::new();
    std::io::stdin().read_to_end(&mut wasm).map_err(|error| match error.kind() {
        std::io::ErrorKind::OutOfMemory => Failure::NoMemory,
        _ => ours("read the module", &error),
    })?;
    let engine =
        wasmtime::Engine::new(&engine::config()).map_err(|error| ours("build the engine", &error))?;
    // Text is not accepted where it comes from a user: the feature is off.
    let compiled = engine.precompile_component(&wasm).map_err(Failure::Invalid)?;
    std::io::stdout().write_all(&compiled).map_err(|error| ours("write the machine code", &error))
}

fn confine() -> std::io::Result<()> {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        text.parse::<u64>().ok()
    };
    let most = |count, maximum| Rlimit { current: Some(count), maximum: Some(maximum) };
    let missing = |name| std::io::Error::other(format!("{name} is not set"));
    let memory = number(MEMORY_VARIABLE).ok_or_else(|| missing(MEMORY_VARIABLE))?;
    let cpu = number(CPU_VARIABLE).ok_or_else(|| missing(CPU_VARIABLE))?;
    for (resource, limit, maximum) in [
        (Resource::As, memory, memory),
        // At the first it is told what for it dies, at the second it is killed.
        (Resource::Cpu, cpu, cpu + 1),
        // Pipes are not files.
        (Resource::Fsize, 0, 0),
        (Resource::Core, 0, 0),
    ] {
        rustix::process::setrlimit(resource, most(limit, maximum))?;
    }
    // Whoever waits for a sync goes first.
    rustix::process::nice(10)?;
    Ok(())
}
