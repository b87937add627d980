//! The WASM engine: one for all modules.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use scribe_hooks_contract::limits::MOST_MEMORY;
use tokio::sync::Semaphore;
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

/// How often the clock of running modules goes on.
const TICK: Duration = Duration::from_millis(5);
/// When so many ticks were seen, a module gives way: none holds a thread for more than 10 ms at a time. With one, each hundredth of the calls that take
/// a tenth of a millisecond would give way, which takes as long as such a call.
pub(crate) const SLICE: u64 = 2;
/// How long the clock goes on after the last call: to start it takes a while too, and where there was one there may soon be another.
const IDLE_TICKS: u32 = 200;

/// Calls at a time. Effectful calls wait for others and may take minutes: they never take the places of the pure ones, nor those of releases, for
/// which applications wait.
const PURE_CALLS: u32 = 16;
const EFFECTFUL_CALLS: u32 = 40;
const RELEASES: u32 = 16;
const CALLS: u32 = PURE_CALLS + EFFECTFUL_CALLS + RELEASES;

/// What one component may consist of. CPython has 38 core instances.
pub(crate) const MOST_CORE_INSTANCES: u32 = 64;
pub(crate) const MOST_MEMORIES: u32 = 4;
pub(crate) const MOST_TABLES: u32 = 8;
pub(crate) const MOST_TABLE_ELEMENTS: usize = 20_000;

/// Stack of a module's own frames, in bytes, and of these with the host's.
const WASM_STACK: usize = 512 << 10;
const ASYNC_STACK: usize = 2 << 20;

/// Bytes of a memory, a table and a stack that are emptied after a call, and not given back: the next one need not fault them in anew.
const KEPT_MEMORY: usize = 2 << 20;
const KEPT_TABLE: usize = 64 << 10;
const KEPT_STACK: usize = 64 << 10;
/// Memories and tables of which so much is kept while nobody uses them.
const KEPT_SLOTS: u32 = 32;

/// The engine cannot be built on this machine.
#[derive(Debug, thiserror::Error)]
#[error("build the WASM engine")]
pub struct EngineError(#[source] pub(crate) wasmtime::Error);

/// The WASM engine. Cheap to clone; one for each process is enough, and modules of one cannot run on another.
#[derive(Clone)]
pub struct Engine {
    pub(crate) wasm: wasmtime::Engine,
    pub(crate) places: Arc<Places>,
    ticker: Arc<TickerHandle>,
    is_pooling: bool,
}

/// Places to run. An exhausted pool is an error and not a wait, so there is a wait before it.
pub(crate) struct Places {
    pub pure: Semaphore,
    pub effectful: Semaphore,
    pub releases: Semaphore,
}

impl Engine {
    /// Builds the engine. Memory for all calls is reserved beforehand (addresses, not pages) where the machine lets us, else for each call.
    ///
    /// # Errors
    ///
    /// The machine is not one that wasmtime compiles for.
    pub fn new() -> Result<Self, EngineError> {
        let (wasm, is_pooling) = match wasmtime::Engine::new(&pooling()) {
            Ok(engine) => (engine, true),
            Err(error) => {
                tracing::info!(error = format!("{error:#}"), "memory for hooks is reserved for each call");
                (wasmtime::Engine::new(&config()).map_err(EngineError)?, false)
            }
        };
        let places = Places {
            pure: Semaphore::new(PURE_CALLS as usize),
            effectful: Semaphore::new(EFFECTFUL_CALLS as usize),
            releases: Semaphore::new(RELEASES as usize),
        };
        let ticker = Ticker::start(wasm.clone()).map_err(|error| EngineError(error.into()))?;
        Ok(Self { wasm, places: Arc::new(places), ticker: Arc::new(TickerHandle(ticker)), is_pooling })
    }

    /// Whether memory was reserved beforehand.
    pub fn is_pooling(&self) -> bool {
        self.is_pooling
    }

    /// Ticks as long as the guard lives.
    pub(crate) fn ticks(&self) -> Ticks {
        Ticks::new(self.ticker.clone())
    }
}

/// What decides about the code that is compiled: the same for the compiler's process, which needs no pool.
pub(crate) fn config() -> Config {
    let mut config = Config::new();
    config
        .consume_fuel(true)
        .epoch_interruption(true)
        // The same answer on every machine.
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .wasm_memory64(false)
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(ASYNC_STACK)
        // What one call left on a stack is not there for the next to find.
        .async_stack_zeroing(true)
        .memory_reservation(MOST_MEMORY)
        .memory_may_move(false);
    config
}

fn pooling() -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(CALLS)
        .max_core_instances_per_component(MOST_CORE_INSTANCES)
        .max_memories_per_component(MOST_MEMORIES)
        .max_memories_per_module(MOST_MEMORIES)
        .max_tables_per_component(MOST_TABLES)
        .max_tables_per_module(MOST_TABLES)
        .total_core_instances(CALLS * MOST_CORE_INSTANCES)
        .total_memories(CALLS * MOST_MEMORIES)
        .total_tables(CALLS * MOST_TABLES)
        .total_stacks(CALLS)
        .table_elements(MOST_TABLE_ELEMENTS)
        .max_memory_size(usize::try_from(MOST_MEMORY).unwrap_or(usize::MAX))
        .max_unused_warm_slots(KEPT_SLOTS)
        .async_stack_keep_resident(KEPT_STACK);
    // Linux tells since 6.7 which pages were written to. Before, all that may have been would have to be overwritten each time.
    let can_tell = PoolingAllocationConfig::is_pagemap_scan_available();
    pool.pagemap_scan(if can_tell { Enabled::Yes } else { Enabled::No })
        .linear_memory_keep_resident(if can_tell { KEPT_MEMORY } else { 0 })
        .table_keep_resident(if can_tell { KEPT_TABLE } else { 0 });
    let mut config = config();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

/// Moves the epoch on while calls run, from a thread of its own: a runtime whose threads are all held by modules could not. Late ticks are not
/// made up for: a burst of them would spend a call's time at once.
#[derive(Default)]
struct Ticker {
    state: Mutex<TickerState>,
    changed: Condvar,
}

#[derive(Default)]
struct TickerState {
    calls: u64,
    /// It waits to be told of a call.
    is_asleep: bool,
    is_over: bool,
}

impl Ticker {
    fn start(engine: wasmtime::Engine) -> std::io::Result<Arc<Self>> {
        let ticker = Arc::new(Self::default());
        let inner = ticker.clone();
        std::thread::Builder::new().name("hook-ticks".into()).spawn(move || inner.run(&engine))?;
        Ok(ticker)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, TickerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, engine: &wasmtime::Engine) {
        let mut idle = IDLE_TICKS;
        loop {
            let mut state = self.state();
            idle = if state.calls == 0 { idle + 1 } else { 0 };
            if idle > IDLE_TICKS {
                state.is_asleep = true;
                while state.calls == 0 && !state.is_over {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                state.is_asleep = false;
            }
            if state.is_over {
                return;
            }
            drop(state);
            std::thread::sleep(TICK);
            engine.increment_epoch();
        }
    }
}

/// Ends the ticker's thread with the last engine and the last call.
struct TickerHandle(Arc<Ticker>);

impl Drop for TickerHandle {
    fn drop(&mut self) {
        self.0.state().is_over = true;
        self.0.changed.notify_one();
    }
}

/// A call is running: there are ticks.
pub(crate) struct Ticks(Arc<TickerHandle>);

impl Ticks {
    fn new(handle: Arc<TickerHandle>) -> Self {
        let is_asleep = {
            let mut state = handle.0.state();
            state.calls += 1;
            state.is_asleep
        };
        if is_asleep {
            handle.0.changed.notify_one();
        }
        Self(handle)
    }
}

impl Drop for Ticks {
    fn drop(&mut self) {
        self.0.0.state().calls -= 1;
    }
}
