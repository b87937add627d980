//! One call: a fresh store and instance, bounded in every direction.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use scribe_hooks_contract::limits::fixed;
use tokio::sync::Semaphore;
use wasmtime::component::{Instance, InstancePre};
use wasmtime::{Engine as WasmEngine, Store};

use crate::engine::{Engine, SLICE};
use crate::fault::{Fault, Limits};
use crate::metered::Metered;
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
    let places = match &start.effects {
        None => &engine.places.pure,
        Some(effects) if effects.is_release => &engine.places.releases,
        Some(_) => &engine.places.effectful,
    };
    let _place = match place(places, limits.time).await {
        Ok(place) => place,
        Err(detail) => return Called::not_run(CallError::Unavailable { function, detail }),
    };
    let _ticks = engine.ticks();
    // The clock of the call starts when it has a place.
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
    let attempt = Metered::new(limits.cpu, AssertUnwindSafe(attempt).catch_unwind());
    let result = match tokio::time::timeout(limits.time, attempt).await {
        Ok(Some(Ok(result))) => result,
        Ok(Some(Err(_))) => Err(Fault::Panic),
        Ok(None) => Err(Fault::Cpu),
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
    store.set_epoch_deadline(SLICE);
    // Then others get their turn, and it is looked at how much was computed.
    store.epoch_deadline_async_yield_and_update(SLICE);
    Ok(store)
}
