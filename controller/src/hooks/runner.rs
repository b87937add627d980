//! Runs calls, each in a task of its own.

use super::store::Store;
use crate::backoff::exponential;
use crate::metrics::HookRuns;
use crate::router::Router;
use scribe_core::hooks::{CallSeen, HookAnswer, HookCall, HookFailure, HookRequest};
use scribe_hooks::Called;
use scribe_hooks::contract::effects::Level;
use scribe_hooks::contract::points::Verdict;
use scribe_hooks::contract::reason::Reason;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

/// The first pause before a call that failed is made again, if it is still asked for.
const RETRY: Duration = Duration::from_secs(10);
/// The longest one.
const RETRY_MAX: Duration = Duration::from_mins(5);
/// Calls of one namespace at a time. The engine has places for more: nobody's modules take all of them by computing as long as they may.
const NAMESPACE_CALLS: usize = 4;

/// The calls that somebody asks for.
#[derive(Clone)]
pub struct Runner {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<Store>,
    router: Arc<Router>,
    runs: HookRuns,
    /// By the owner's uid and the call's id.
    calls: Mutex<HashMap<String, HashMap<String, Call>>>,
    /// MiB that calls may still take, and how many these are if nothing runs.
    memory: Semaphore,
    all_memory: u32,
    /// Leave to run, by namespace, while somebody has or wants it.
    places: Mutex<HashMap<String, Weak<Semaphore>>>,
}

struct Call {
    seen: CallSeen,
    task: AbortHandle,
}

impl Drop for Call {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Runner {
    /// Without any calls yet. All together get `memory` MiB.
    pub fn new(store: Arc<Store>, router: Arc<Router>, runs: HookRuns, memory: u32) -> Self {
        let shared = Shared {
            store,
            router,
            runs,
            calls: Mutex::default(),
            memory: Semaphore::new(memory as usize),
            all_memory: memory,
            places: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The calls of an owner.
    pub fn seen(&self, owner: &str) -> BTreeMap<String, CallSeen> {
        let calls = self.shared.calls();
        let own = calls.get(owner).into_iter().flatten();
        own.map(|(id, call)| (id.clone(), call.seen.clone())).collect()
    }

    /// Makes a call, unless it runs or has been answered.
    pub fn ask(&self, owner: &str, namespace: &str, call: &HookCall) {
        let mut calls = self.shared.calls();
        let own = calls.entry(owner.to_owned()).or_default();
        if own.contains_key(&call.id) {
            return;
        }
        let (shared, owner) = (self.shared.clone(), owner.to_owned());
        let (namespace, wanted) = (namespace.to_owned(), call.clone());
        // It cannot be done before it is entered: the lock is held until then.
        let task = tokio::spawn(async move { shared.run(&owner, &namespace, &wanted).await });
        let call_task = Call { seen: CallSeen::Running, task: task.abort_handle() };
        own.insert(call.id.clone(), call_task);
    }

    /// Forgets the calls of an owner but these.
    pub fn keep_only(&self, owner: &str, ids: &BTreeSet<&str>) {
        let mut calls = self.shared.calls();
        let Some(own) = calls.get_mut(owner) else { return };
        own.retain(|id, _| ids.contains(id.as_str()));
        if own.is_empty() {
            calls.remove(owner);
        }
    }

    /// Forgets all calls of an owner.
    pub fn forget(&self, owner: &str) {
        self.shared.calls().remove(owner);
    }
}

impl Shared {
    fn calls(&self) -> MutexGuard<'_, HashMap<String, HashMap<String, Call>>> {
        // Nothing panics while it holds the lock, and every state of the map is a valid one.
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until there is an answer, or nobody asks any more.
    async fn run(&self, owner: &str, namespace: &str, call: &HookCall) {
        let mut failures = 0;
        loop {
            let result = self.once(namespace, call).await;
            let is_answered = result.is_ok();
            if self.done(owner, &call.id, result) {
                self.router.wake(owner);
            }
            if is_answered {
                return;
            }
            failures += 1;
            tokio::time::sleep(exponential(RETRY, RETRY_MAX, failures, rand::random())).await;
        }
    }

    /// Enters a result. `true`: it is another one than before.
    fn done(&self, owner: &str, id: &str, result: Result<HookAnswer, HookFailure>) -> bool {
        let mut calls = self.calls();
        let Some(call) = calls.get_mut(owner).and_then(|own| own.get_mut(id)) else { return false };
        let seen = CallSeen::Done(result);
        let is_news = call.seen != seen;
        call.seen = seen;
        is_news
    }

    fn places(&self, namespace: &str) -> Arc<Semaphore> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.retain(|_, known| known.strong_count() > 0);
        if let Some(known) = places.get(namespace).and_then(Weak::upgrade) {
            return known;
        }
        let fresh = Arc::new(Semaphore::new(NAMESPACE_CALLS));
        places.insert(namespace.to_owned(), Arc::downgrade(&fresh));
        fresh
    }

    async fn once(&self, namespace: &str, call: &HookCall) -> Result<HookAnswer, HookFailure> {
        let places = self.places(namespace);
        // It is never closed.
        let _place = places.acquire().await;
        let Some((module, limits)) = self.store.find(namespace, &call.module, &call.digest) else {
            let message = format!("HookModule {} is another one by now", call.module);
            return Err(HookFailure { reason: Reason::HookUnavailable, message });
        };
        let wanted = u32::try_from(limits.memory >> 20).unwrap_or(u32::MAX).clamp(1, self.all_memory);
        let _memory = self.memory.acquire_many(wanted).await;
        let pure = module.pure(limits);
        match call.request.clone() {
            HookRequest::Validate(settings) => {
                self.ended(namespace, call, pure.validate(settings).await, HookAnswer::Settings)
            }
            HookRequest::Decide(context) => {
                self.ended(namespace, call, pure.decide(*context).await, HookAnswer::Verdict)
            }
            HookRequest::Tune(context, defaults) => {
                self.ended(namespace, call, pure.tune(*context, defaults).await, HookAnswer::Options)
            }
            HookRequest::Choose(context, points) => {
                self.ended(namespace, call, pure.choose(*context, points, false).await, HookAnswer::Keeps)
            }
        }
    }

    /// Tells what a call cost and what it wrote to its log.
    fn ended<T>(
        &self,
        namespace: &str,
        call: &HookCall,
        called: Called<T>,
        answer: impl FnOnce(T) -> HookAnswer,
    ) -> Result<HookAnswer, HookFailure> {
        let Called { outcome, usage, log } = called;
        let point = call.request.point().map_or("Settings".to_owned(), |point| format!("{point:?}"));
        for line in &log {
            let (module, fields) = (&call.module, &line.fields);
            match line.level {
                Level::Debug => tracing::debug!(namespace, module, point, ?fields, "{}", line.message),
                Level::Info => tracing::info!(namespace, module, point, ?fields, "{}", line.message),
                Level::Warn | Level::Error => {
                    tracing::warn!(namespace, module, point, ?fields, "{}", line.message);
                }
            }
        }
        let result = outcome
            .map(answer)
            .map_err(|error| HookFailure { reason: error.reason(), message: error.to_string() });
        let label = label(&result);
        tracing::debug!(
            namespace,
            module = call.module,
            point,
            result = label,
            fuel = usage.fuel,
            memory = usage.memory,
            took = ?usage.duration,
            "a hook was called"
        );
        self.runs.ended(&point, label, usage.duration);
        result
    }
}

/// What a call came to, as metrics name it.
fn label(result: &Result<HookAnswer, HookFailure>) -> &'static str {
    match result {
        Ok(HookAnswer::Verdict(Verdict::Proceed)) => "proceed",
        Ok(HookAnswer::Verdict(Verdict::Skip(_))) => "skip",
        Ok(HookAnswer::Verdict(Verdict::Defer { .. })) => "defer",
        Ok(HookAnswer::Settings(problems)) if !problems.is_empty() => "refused",
        Ok(HookAnswer::Settings(_) | HookAnswer::Options(_) | HookAnswer::Keeps(_)) => "ok",
        Err(failure) => failure.reason.as_str(),
    }
}
