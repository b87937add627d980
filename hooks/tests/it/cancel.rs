//! Calls and compilations that nobody waits for any longer.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use scribe_hooks::contract::limits::Effective;
use scribe_hooks::contract::reason::Reason;
use scribe_hooks::{CompileLimits, DEFAULT_MODULE_BYTES, LoadError, Loader};

use crate::effects::Idle;
use crate::guest::guest;
use crate::loading::{bomb, bomb_of};
use crate::setup::{compiler, context, engine, limits, load};

/// Waits in the host for ever, after it has said that it does.
fn waiting() -> Vec<u8> {
    guest("lifecycle-hook")
        .imports("time", "sleep-millis", "sleep", "(param i32)")
        .does("pre-sync", "(call $sleep (i32.const -1)) i32.const 512")
        .build()
}

/// Runs a test in a process of its own, of which it measures or takes all.
pub fn run_alone(test: &str) {
    let alone = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let words = [alone.stdout, alone.stderr].concat();
    let words = String::from_utf8_lossy(&words);
    assert!(alone.status.success() && words.contains("1 passed"), "{words}");
}

#[test]
fn a_thousand_calls_that_are_dropped_leave_nothing() {
    run_alone("cancel::a_thousand_calls_alone");
}

#[tokio::test]
#[ignore = "another test runs it, in a process of its own"]
async fn a_thousand_calls_alone() {
    let module = load(waiting()).await;
    let long = Effective { timeout: Duration::from_secs(600), ..limits() };
    let cancel = async |count: usize| {
        for _ in 0..count {
            let host = Idle::shared();
            let effectful = module.effectful(long, Arc::default(), host.clone());
            let call = tokio::spawn(async move { effectful.pre_sync(context()).await.outcome });
            host.asleep.notified().await;
            call.abort();
            assert!(call.await.unwrap_err().is_cancelled());
            // What the call held was given back: nobody else has the host.
            assert_eq!(Arc::strong_count(&host), 1);
        }
    };
    cancel(100).await;
    let before = open_files();
    let memory = resident();
    cancel(1000).await;
    assert_eq!(open_files(), before);
    // An instance has 128 KiB of memory and a stack: a thousand would show.
    assert!(resident() < memory + (32 << 20), "{} MiB more", (resident() - memory) >> 20);
    // And all places are free again: calls that are soon done get theirs.
    let module = load(guest("lifecycle-hook").build()).await;
    let calls = (0..64).map(|_| {
        let effectful = module.effectful(limits(), Arc::default(), Idle::shared());
        async move { effectful.pre_sync(context()).await.outcome }
    });
    assert!(futures::future::join_all(calls).await.iter().all(Result::is_ok));
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Bytes.
pub fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// The most bytes that were ever resident.
pub fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Processes of this one that run that program.
fn children(program: &Path) -> usize {
    let me = std::process::id().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter(|entry| {
            let is_child = std::fs::read_to_string(entry.path().join("stat")).is_ok_and(|stat| {
                let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
                rest.split(' ').nth(1) == Some(me.as_str())
            });
            is_child && std::fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe == program)
        })
        .count()
}

/// Instead of the compiler a program of our own name that never ends, so that nothing but a kill ends it.
fn endless(directory: &Path, limits: CompileLimits) -> (Loader, std::path::PathBuf) {
    let program = directory.join("endless");
    std::fs::copy("/bin/sleep", &program).unwrap();
    let compiler = scribe_hooks::Compiler::new(&program, ["infinity".into()], limits);
    (Loader::new(engine(), compiler, None, DEFAULT_MODULE_BYTES).unwrap(), program)
}

async fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_compilation_that_is_dropped_is_killed_and_the_next_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let (loader, program) = endless(directory.path(), CompileLimits::default());
    let loader = Arc::new(loader);
    for _ in 0..2 {
        let load = tokio::spawn({
            let loader = loader.clone();
            async move { loader.load(guest("decision-hook").build()).await }
        });
        until(|| children(&program) == 1).await;
        load.abort();
        until(|| children(&program) == 0).await;
    }
}

#[tokio::test]
async fn a_compilation_that_takes_too_long_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let short = CompileLimits { timeout: Duration::from_millis(200), ..CompileLimits::default() };
    let (loader, program) = endless(directory.path(), short);
    let error = loader.load(guest("decision-hook").build()).await.unwrap_err();
    assert_eq!(error, LoadError::CompileTime { after: Duration::from_millis(200) });
    // On another day, with less to do for the machine, it may be in time.
    assert_eq!(error.reason(), Reason::HookUnavailable);
    until(|| children(&program) == 0).await;
}

#[tokio::test]
async fn a_compilation_that_computes_too_long_is_killed() {
    let one = CompileLimits { cpu: Duration::from_secs(1), ..CompileLimits::default() };
    let loader = Loader::new(engine(), compiler(one), None, DEFAULT_MODULE_BYTES).unwrap();
    let error = loader.load(bomb()).await.unwrap_err();
    assert_eq!(error, LoadError::CompileCpu { after: Duration::from_secs(1) });
    assert_eq!(error.reason(), Reason::HookModuleInvalid);
}

#[tokio::test]
async fn a_compilation_that_needs_too_much_memory_ends() {
    let little = CompileLimits { memory: 128 << 20, ..CompileLimits::default() };
    let loader = Loader::new(engine(), compiler(little), None, DEFAULT_MODULE_BYTES).unwrap();
    // One function, so that it is all held at once.
    let error = loader.load(bomb_of(1, 100_000)).await.unwrap_err();
    assert_eq!(error, LoadError::CompileMemory { most: 128 << 20 });
    assert_eq!(error.reason(), Reason::HookModuleInvalid);
}

#[tokio::test]
async fn machine_code_is_bounded() {
    let little = CompileLimits { compiled: 1000, ..CompileLimits::default() };
    let loader = Loader::new(engine(), compiler(little), None, DEFAULT_MODULE_BYTES).unwrap();
    let error = loader.load(guest("decision-hook").build()).await.unwrap_err();
    assert_eq!(error, LoadError::CompiledTooLarge { most: 1000 });
}

#[tokio::test]
async fn a_compiler_that_cannot_be_started_is_no_fault_of_the_module() {
    let compiler = scribe_hooks::Compiler::new("/nonexistent", [], CompileLimits::default());
    let loader = Loader::new(engine(), compiler, None, DEFAULT_MODULE_BYTES).unwrap();
    let error = loader.load(guest("decision-hook").build()).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("start the compiler"), "{error}");
}
