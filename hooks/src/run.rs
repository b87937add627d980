//! One call: a fresh store and instance, bounded in every direction.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use scribe_hooks_contract::limits::fixed;
use tokio::sync::Semaphore;
use wasmtime::component::{Instance, InstancePre};
use wasmtime::{Engine as WasmEngine, Store, UpdateDeadline};

use crate::engine::{Engine, TICK};
use crate::fault::{Fault, Limits};
use crate::outcome::{CallError, Called, Usage};
use crate::state::{CallState, Start};

/// What a call does with the instance that was made for it.
pub(crate) type Work<T> = Box<
    dyn for<'a> FnOnce(&'a mut Store<CallState>, &'a Instance) -> BoxFuture<'a, wasmtime::Result<T>> + Send,
>;

/// What a call is made with.
pub(crate) struct Setup {
    pub function: &'static str,
    pub limits: Limits,
    pub start: Start,
}

/// A module computed longer than it may.
#[derive(Debug, thiserror::Error)]
#[error("computed too long")]
pub(crate) struct CpuExceeded;

/// Ticks in a time, at least one.
pub(crate) fn ticks(time: Duration) -> u64 {
    u64::try_from(time.as_millis() / TICK.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// Makes the call. The outer error is the call's, the value whatever the work answered.
///
/// Is safe to drop at any await.
pub(crate) async fn run<T: Send>(
    engine: &Engine,
    pre: &InstancePre<CallState>,
    setup: Setup,
    work: Work<T>,
) -> Called<T> {
    let Setup { function, limits, start } = setup;
    let places = if start.effects.is_none() { &engine.places.pure } else { &engine.places.effectful };
    let _place = match place(places, limits.time).await {
        Ok(place) => place,
        Err(detail) => return Called::not_run(CallError::Unavailable { function, detail }),
    };
    let _ticks = engine.ticks();
    // The clock of the call starts when it has a place.
    let time_limit = start.time_limit;
    let began = tokio::time::Instant::now();
    let mut store = match store(&engine.wasm, &limits, start) {
        Ok(store) => store,
        Err(error) => {
            return Called::not_run(CallError::Unavailable { function, detail: format!("{error:#}") });
        }
    };
    let attempt = async {
        let instance = pre.instantiate_async(&mut store).await.map_err(Fault::Instantiate)?;
        work(&mut store, &instance).await.map_err(Fault::Call)
    };
    // A panic is ours and not the module's, but it must not end more than this call.
    let result = match tokio::time::timeout(time_limit, AssertUnwindSafe(attempt).catch_unwind()).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(Fault::Panic),
        Err(_) => Err(Fault::Timeout),
    };
    let duration = began.elapsed();
    let fuel = limits.fuel.saturating_sub(store.get_fuel().unwrap_or(0));
    let state = store.data_mut();
    let (log, log_lines_dropped) = state.log.take();
    let usage = Usage {
        fuel,
        memory: state.limiter.peak(),
        duration,
        host_calls: std::mem::take(&mut state.host_calls),
        denied: std::mem::take(&mut state.denied),
        log_lines_dropped,
    };
    let outcome = result.map_err(|fault| fault.explain(function, &limits, state.limiter.is_exceeded()));
    Called { outcome, usage, log }
}

async fn place(places: &Semaphore, patience: Duration) -> Result<tokio::sync::SemaphorePermit<'_>, String> {
    match tokio::time::timeout(patience, places.acquire()).await {
        Ok(Ok(permit)) => Ok(permit),
        Ok(Err(_)) => Err("the host is shutting down".to_owned()),
        Err(_) => Err(format!("too many hooks are running, and none ended within {patience:?}")),
    }
}

fn store(engine: &WasmEngine, limits: &Limits, start: Start) -> wasmtime::Result<Store<CallState>> {
    let mut store = Store::try_new(engine, CallState::new(start))?;
    store.limiter(|state| &mut state.limiter);
    store.set_fuel(limits.fuel)?;
    store.set_hostcall_fuel(fixed::HOSTCALL_BYTES);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|mut store| {
        let state = store.data_mut();
        state.ticks_left = state.ticks_left.checked_sub(1).ok_or(CpuExceeded)?;
        Ok(UpdateDeadline::Yield(1))
    });
    Ok(store)
}
