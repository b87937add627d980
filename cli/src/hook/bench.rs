//! `kubectl scribe hook bench`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args as ClapArgs;
use scribe_hooks::{Cache, Module};
use serde::Serialize;

use super::case::call::Function;
use super::case::{Case, Step};
use super::clock::{running, still};
use super::modules::{loader, read};
use super::perform::{Caller, Performed};
use super::scripted::Scripted;
use super::show::{bytes, number};
use crate::output::print;

/// Calls before the first that counts.
const WARM_UP: u32 = 20;
/// Bytes of the cache that is measured.
const CACHE_BYTES: u64 = 1 << 30;

/// Measure what a module costs: to compile, to load, and to call
///
/// Each call is a fresh instance, as in the controller. The input is a test case, whose first call is repeated.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The module, as .wasm or .wasm.gz
    file: PathBuf,
    /// What it is called with, in the form of a test case
    #[arg(long, short, value_name = "FILE")]
    input: PathBuf,
    /// The function, where the input names none
    #[arg(long, value_enum)]
    call: Option<Function>,
    /// How often it is called
    #[arg(long, short = 'n', default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    calls: u32,
    /// For programs: durations in microseconds
    #[arg(long)]
    json: bool,
}

/// What was measured.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Measured {
    function: &'static str,
    calls: u32,
    /// Bytes.
    size: u64,
    /// Bytes.
    compiled_size: u64,
    compile_micros: u64,
    load_from_cache_micros: u64,
    call_p50_micros: f64,
    call_p99_micros: f64,
    call_max_micros: f64,
    /// Of the last call.
    fuel: u64,
    /// The most of any call, in bytes.
    memory: u64,
}

/// Measures a module.
pub fn run(args: Args) -> Result<ExitCode> {
    let Args { file, input, call, calls, json } = args;
    let case = Case::read_input(&input, call)?;
    let content = read(&file)?;
    let folder = tempfile::tempdir().context("make a folder for what is compiled")?;
    let cache = folder.path().join("cache");
    let (compile, _) = running(load(&cache, content.clone()))??;
    let (load_from_cache, module) = running(load(&cache, content))??;
    let (size, compiled_size) = (module.size(), module.compiled_size());
    let Calls { function, mut times, fuel, memory } = still(repeat(case, module, calls))??;
    times.sort_unstable();
    let at = |share: f64| micros(times[((times.len() - 1) as f64 * share).round() as usize]);
    let measured = Measured {
        function: function.name(),
        calls,
        size,
        compiled_size,
        compile_micros: micros(compile).round() as u64,
        load_from_cache_micros: micros(load_from_cache).round() as u64,
        call_p50_micros: at(0.5),
        call_p99_micros: at(0.99),
        call_max_micros: at(1.0),
        fuel,
        memory,
    };
    if json {
        print(format_args!("{}\n", serde_json::to_string_pretty(&measured)?))?;
    } else {
        print(show(&measured))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// As a process would that finds this cache: an engine and a loader of its own.
async fn load(cache: &std::path::Path, content: Vec<u8>) -> Result<(Duration, Module)> {
    let loader = loader(Some(Cache::open(cache, CACHE_BYTES, None)?))?;
    let began = Instant::now();
    let module = loader.load(content).await?;
    Ok((began.elapsed(), module))
}

struct Calls {
    function: Function,
    times: Vec<Duration>,
    fuel: u64,
    memory: u64,
}

/// On a clock that stands still: what a hook sleeps is not what it costs.
async fn repeat(case: Case, module: Module, calls: u32) -> Result<Calls> {
    let Case { grants, limits, context, state, mut steps, .. } = case;
    ensure!(!steps.is_empty(), "the input has no call");
    let Step { call, host: script, .. } = steps.swap_remove(0);
    let mut measured = Calls { function: call.function(), times: Vec::new(), fuel: 0, memory: 0 };
    for number in 0..calls + WARM_UP {
        let host = Arc::new(Scripted::new(context.attempt.now, state.clone()));
        host.begin(script.clone());
        let caller = Caller { module: module.clone(), limits, grants: grants.clone(), host: host.clone() };
        let context = context.clone();
        let began = Instant::now();
        let Performed { outcome, usage, .. } = caller.perform(&call, context).await;
        let took = began.elapsed();
        // A call that fails may cost less than one that does not; whoever wants to measure that expects it nowhere.
        if let Err(error) = outcome {
            let seen = host.seen();
            let hint = if seen.unscripted.is_empty() { "" } else { ": the input's `host` lacks an answer" };
            bail!("call {number} failed with {}: {error}{hint}", error.reason());
        }
        if number >= WARM_UP {
            measured.times.push(took);
        }
        measured.fuel = usage.fuel;
        measured.memory = measured.memory.max(usage.memory);
    }
    Ok(measured)
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn show(measured: &Measured) -> String {
    let Measured {
        function,
        calls,
        size,
        compiled_size,
        compile_micros,
        load_from_cache_micros,
        fuel,
        memory,
        ..
    } = measured;
    let millis = |micros: u64| format!("{}.{} ms", micros / 1000, micros % 1000 / 100);
    format!(
        "compile          {} ({} to {})\n\
         load from cache  {}\n\
         {function:<16} {:.0} µs half of the time, {:.0} µs at most in 99 of 100, {:.0} µs at most in {calls}\n\
         fuel             {}\n\
         memory           {}\n",
        millis(*compile_micros),
        bytes(*size),
        bytes(*compiled_size),
        millis(*load_from_cache_micros),
        measured.call_p50_micros,
        measured.call_p99_micros,
        measured.call_max_micros,
        number(*fuel),
        bytes(*memory),
    )
}
