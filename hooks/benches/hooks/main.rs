//! What hooks cost, as the controller uses them. Prints one JSON object: all that was measured, by name.
//!
//! `hooks FOLDER CALLS` measures with the modules of that folder, each call so many times. Each part runs in a process of its own, so that none
//! finds what another has left. `cargo xtask bench hooks` builds the modules, runs this, and says what follows.
#![allow(clippy::unwrap_used, clippy::panic, reason = "what cannot be measured is not measured")]

mod calls;
mod modules;
mod process;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use scribe_hooks::{Cache, CompileLimits, Compiler, DEFAULT_MODULE_BYTES, Engine, Loader};

/// Makes this program the compiler of modules.
const COMPILE: &str = "compile";
/// How often the start is measured, each time in another process.
const STARTS: usize = 10;
/// What the controller lets compiled modules take, in bytes.
const CACHE: u64 = 512 << 20;

/// All that was measured, by name.
type Numbers = BTreeMap<String, Vec<f64>>;

/// What a part is given.
struct Setting {
    /// Where the modules are.
    folder: PathBuf,
    /// Where compiled ones are kept.
    cache: PathBuf,
    /// How often each call is made.
    calls: usize,
}

fn main() -> ExitCode {
    // cargo adds a word of its own.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [COMPILE] => return scribe_hooks::worker_main(),
        [folder, calls] => println!("{}", serde_json::to_string(&all(folder, calls)).unwrap()),
        [part, folder, cache, calls] => {
            let setting =
                Setting { folder: folder.into(), cache: cache.into(), calls: calls.parse().unwrap() };
            println!("{}", serde_json::to_string(&run(part, &setting)).unwrap());
        }
        _ => panic!("usage: hooks FOLDER CALLS"),
    }
    ExitCode::SUCCESS
}

/// Runs every part.
fn all(folder: &str, calls: &str) -> Numbers {
    let scratch = tempfile::tempdir().unwrap();
    let cache = scratch.path().join("cache");
    let mut numbers = Numbers::new();
    let parts = ["compile-each", "choose", "fill", "memory", "share"];
    for part in parts.into_iter().chain(std::iter::repeat_n("start", STARTS)) {
        let mut program = Command::new("/proc/self/exe");
        program.args([part, folder]).arg(&cache).arg(calls).stderr(Stdio::inherit());
        let output = program.output().unwrap();
        assert!(output.status.success(), "{part}: {}", output.status);
        let measured: Numbers = serde_json::from_slice(&output.stdout).unwrap();
        for (name, values) in measured {
            numbers.entry(name).or_default().extend(values);
        }
    }
    numbers
}

#[tokio::main]
async fn run(part: &str, setting: &Setting) -> Numbers {
    match part {
        "compile-each" => calls::compile(setting).await,
        "choose" => calls::choose(setting).await,
        "fill" => modules::fill(setting).await,
        "memory" => modules::memory(setting).await,
        "share" => modules::share(setting).await,
        "start" => modules::start(setting).await,
        other => panic!("there is no part {other}"),
    }
}

/// What the controller has. Where everything is in the cache nothing may be compiled: that would be measured too.
fn loader(cache: &Path, may_compile: bool) -> Loader {
    let limits = CompileLimits::default();
    let compiler = if may_compile {
        Compiler::new("/proc/self/exe", [COMPILE.into()], limits)
    } else {
        Compiler::new("/bin/false", [], limits)
    };
    let cache = Cache::open(cache, CACHE, None).unwrap();
    Loader::new(Engine::new().unwrap(), compiler, Some(cache), DEFAULT_MODULE_BYTES).unwrap()
}
