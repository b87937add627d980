//! Runs calls, each in a task of its own.

mod journal;

use super::budget::Budget;
use super::effects::{Begun, Effects};
use super::kept::Found;
use super::store::Store;
use super::turns::{Kind, Turns};
use crate::backoff::exponential;
use crate::metrics::HookRuns;
use crate::router::Router;
use journal::StatusJournal;
use scribe_core::hooks::{CallSeen, HookAnswer, HookCall, HookFailure, HookRequest};
use scribe_hooks::contract::effects::Level;
use scribe_hooks::contract::points::Verdict;
use scribe_hooks::contract::reason::Reason;
use scribe_hooks::{CallError, Called};
use scribe_hooks_kube::Journal;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;

/// The first pause before a pure call that failed is made again, if it is still asked for.
const RETRY: Duration = Duration::from_secs(10);
/// The longest one.
const RETRY_MAX: Duration = Duration::from_mins(5);

/// The calls that somebody asks for.
#[derive(Clone)]
pub struct Runner {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<Store>,
    router: Arc<Router>,
    runs: HookRuns,
    effects: Effects,
    turns: Turns,
    /// By the owner's uid and the call's id.
    calls: Mutex<HashMap<String, HashMap<String, Call>>>,
}

struct Call {
    seen: CallSeen,
    task: AbortHandle,
    /// Whether it brings an application to rest.
    is_quiesce: bool,
    /// Its sender is dropped when the task has ended.
    over: watch::Receiver<()>,
    /// Who waits for an entry to be written down.
    question: Option<oneshot::Sender<Result<(), String>>>,
}

impl Drop for Call {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Runner {
    /// Without any calls yet.
    pub fn new(
        store: Arc<Store>,
        router: Arc<Router>,
        runs: HookRuns,
        effects: Effects,
        budget: Budget,
    ) -> Self {
        let (turns, calls) = (Turns::new(budget), Mutex::default());
        Self { shared: Arc::new(Shared { store, router, runs, effects, turns, calls }) }
    }

    /// The calls of an owner.
    pub fn seen(&self, owner: &str) -> BTreeMap<String, CallSeen> {
        let calls = self.shared.calls();
        let own = calls.get(owner).into_iter().flatten();
        own.map(|(id, call)| (id.clone(), call.seen.clone())).collect()
    }

    /// Those of these sessions that do not hold.
    pub fn ended_sessions<'a>(&self, ids: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
        let sessions = self.shared.effects.sessions();
        ids.filter(|id| !sessions.holds(id)).map(str::to_owned).collect()
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
        let (ended, over) = watch::channel(());
        // It cannot be done before it is entered: the lock is held until then.
        let task = tokio::spawn(async move {
            shared.run(&owner, &namespace, &wanted).await;
            drop(ended);
        });
        let is_quiesce = matches!(call.request, HookRequest::Quiesce(..));
        let task = task.abort_handle();
        let entered = Call { seen: CallSeen::Running, task, is_quiesce, over, question: None };
        own.insert(call.id.clone(), entered);
    }

    /// Tells a call whether its entry was written down. One that asks for another, or for nothing, is told nothing.
    pub fn answer(&self, owner: &str, id: &str, entry: &str, answer: Result<(), String>) {
        let mut calls = self.shared.calls();
        let Some(call) = calls.get_mut(owner).and_then(|own| own.get_mut(id)) else { return };
        if !matches!(&call.seen, CallSeen::Asks(undo) if undo.id == entry) {
            return;
        }
        call.seen = CallSeen::Running;
        if let Some(question) = call.question.take() {
            // Nobody listens: the call has ended meanwhile.
            let _ = question.send(answer);
        }
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
        self.end_sessions(owner);
    }

    /// Ends what is still held for an owner of which nothing is written down any more: nobody else would.
    pub fn end_sessions(&self, owner: &str) {
        self.shared.effects.sessions().let_go_of(owner);
    }
}

impl Shared {
    fn calls(&self) -> MutexGuard<'_, HashMap<String, HashMap<String, Call>>> {
        // Nothing panics while it holds the lock, and every state of the map is a valid one.
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until there is an answer, or nobody asks any more.
    async fn run(self: &Arc<Self>, owner: &str, namespace: &str, call: &HookCall) {
        let kind = Kind::of(&call.request);
        if kind != Kind::Pure {
            return self.run_once(owner, namespace, call, kind).await;
        }
        let mut failures = 0;
        loop {
            let result = self.pure(namespace, call).await;
            let is_answered = result.is_ok();
            self.tell(owner, &call.id, result);
            if is_answered {
                return;
            }
            failures += 1;
            tokio::time::sleep(exponential(RETRY, RETRY_MAX, failures, rand::random())).await;
        }
    }

    /// What has effects is not repeated here: whether that is due again is for a decision to say.
    async fn run_once(self: &Arc<Self>, owner: &str, namespace: &str, call: &HookCall, kind: Kind) {
        if matches!(call.request, HookRequest::Release(..) | HookRequest::Undo(..)) {
            self.end_quiesces(owner).await;
        }
        let journal = Arc::new(StatusJournal {
            shared: self.clone(),
            owner: owner.to_owned(),
            call: call.id.clone(),
            sessions: Mutex::default(),
        });
        let result = self.effectful(namespace, call, kind, journal.clone()).await;
        let holds = matches!(result, Ok(HookAnswer::Frozen(_)));
        self.tell(owner, &call.id, result);
        let sessions = std::mem::take(&mut *journal.sessions());
        if holds && !sessions.is_empty() {
            let held = self.effects.sessions();
            let ends = sessions.iter().map(|id| Box::pin(held.ended(id)));
            futures::future::select_all(ends).await;
            self.router.wake(owner);
        }
    }

    fn tell(&self, owner: &str, id: &str, result: Result<HookAnswer, HookFailure>) {
        if self.done(owner, id, result) {
            self.router.wake(owner);
        }
    }

    /// Enters a result. `true`: it is another one than before.
    fn done(&self, owner: &str, id: &str, result: Result<HookAnswer, HookFailure>) -> bool {
        let mut calls = self.calls();
        let Some(call) = calls.get_mut(owner).and_then(|own| own.get_mut(id)) else { return false };
        let seen = CallSeen::Done(result);
        let is_news = call.seen != seen;
        call.seen = seen;
        call.question = None;
        is_news
    }

    /// Ends every quiesce of an owner that still runs, and waits until nothing of it goes on.
    async fn end_quiesces(&self, owner: &str) {
        let mut running: Vec<watch::Receiver<()>> = {
            let mut calls = self.calls();
            let own = calls.get_mut(owner).into_iter().flat_map(HashMap::values_mut);
            let quiesces = own.filter(|call| call.is_quiesce && !matches!(call.seen, CallSeen::Done(_)));
            quiesces
                .map(|call| {
                    call.task.abort();
                    call.question = None;
                    let message = "it was ended, so that the application goes on".to_owned();
                    call.seen = CallSeen::Done(Err(unavailable(message)));
                    call.over.clone()
                })
                .collect()
        };
        for over in &mut running {
            // Nothing is ever sent: the only news is that the sender is gone.
            let _ = over.changed().await;
        }
    }

    fn find(&self, namespace: &str, call: &HookCall) -> Result<Found, HookFailure> {
        self.store
            .find(namespace, &call.module, &call.digest)
            .ok_or_else(|| unavailable(format!("HookModule {} is another one by now", call.module)))
    }

    /// As it is after a wait: what was granted before may have been taken away meanwhile. `memory`: what it has leave for.
    fn find_again(&self, namespace: &str, call: &HookCall, memory: u64) -> Result<Found, HookFailure> {
        let found = self.find(namespace, call)?;
        if found.limits.memory > memory {
            return Err(unavailable(format!("HookModule {} has other limits by now", call.module)));
        }
        Ok(found)
    }

    async fn pure(&self, namespace: &str, call: &HookCall) -> Result<HookAnswer, HookFailure> {
        let _place = self.turns.place(namespace, Kind::Pure).await;
        let wanted = self.find(namespace, call)?.limits.memory;
        let _memory = self.turns.memory(namespace, Kind::Pure, wanted).await;
        let Found { module, limits, .. } = self.find_again(namespace, call, wanted)?;
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
            _ => Err(unavailable("it is not pure".to_owned())),
        }
    }

    async fn effectful(
        &self,
        namespace: &str,
        call: &HookCall,
        kind: Kind,
        journal: Arc<dyn Journal>,
    ) -> Result<HookAnswer, HookFailure> {
        if let HookRequest::Undo(log, acts_as) = &call.request {
            return self.effects.undo(namespace, &call.module, log, acts_as.as_deref()).await;
        }
        if let HookRequest::Holds(log, acts_as) = &call.request {
            return self.effects.lost(namespace, log, acts_as.as_deref()).await;
        }
        let _place = self.turns.place(namespace, kind).await;
        let wanted = self.find(namespace, call)?.limits.memory;
        let _memory = self.turns.memory(namespace, kind, wanted).await;
        let found = self.find_again(namespace, call, wanted)?;
        match call.request.clone() {
            HookRequest::Quiesce(context, acts_as) => {
                let begun = Begun { acts_as, module: &call.module, journal: Some(journal) };
                let hook = self.effects.hook(&found, &context, begun)?;
                self.ended(namespace, call, hook.quiesce(*context).await, HookAnswer::Frozen)
            }
            HookRequest::PreSync(context, acts_as) => {
                let begun = Begun { acts_as, module: &call.module, journal: None };
                let hook = self.effects.hook(&found, &context, begun)?;
                self.ended(namespace, call, hook.pre_sync(*context).await, |()| HookAnswer::Done)
            }
            HookRequest::PostSync(context, stats, acts_as) => {
                let begun = Begun { acts_as, module: &call.module, journal: None };
                let hook = self.effects.hook(&found, &context, begun)?;
                self.ended(namespace, call, hook.post_sync(*context, stats).await, |()| HookAnswer::Done)
            }
            HookRequest::OnFailure(context, report, acts_as) => {
                let begun = Begun { acts_as, module: &call.module, journal: None };
                let hook = self.effects.hook(&found, &context, begun)?;
                self.ended(namespace, call, hook.on_failure(*context, report).await, HookAnswer::Reaction)
            }
            HookRequest::Release(request, acts_as) => {
                let begun = Begun { acts_as, module: &call.module, journal: None };
                let hook = self.effects.hook(&found, &request.context, begun)?;
                let (context, token) = (request.context, request.token);
                let called = hook.release(context, token, request.reason, request.number).await;
                self.ended(namespace, call, called, |()| HookAnswer::Released)
            }
            _ => Err(unavailable("it has no effects".to_owned())),
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
        let result = outcome.map(answer).map_err(|error| failure(&error));
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

fn failure(error: &CallError) -> HookFailure {
    let retry_after = match error {
        CallError::RetryAfter { seconds, .. } => Some(*seconds),
        _ => None,
    };
    HookFailure { reason: error.reason(), message: error.to_string(), retry_after }
}

/// Not the module's fault: it can be asked again.
pub fn unavailable(message: String) -> HookFailure {
    HookFailure { reason: Reason::HookUnavailable, message, retry_after: None }
}

/// What a call came to, as metrics name it.
fn label(result: &Result<HookAnswer, HookFailure>) -> &'static str {
    match result {
        Ok(HookAnswer::Verdict(Verdict::Proceed)) => "proceed",
        Ok(HookAnswer::Verdict(Verdict::Skip(_))) => "skip",
        Ok(HookAnswer::Verdict(Verdict::Defer { .. })) => "defer",
        Ok(HookAnswer::Settings(problems)) if !problems.is_empty() => "refused",
        Ok(_) => "ok",
        Err(failure) => failure.reason.as_str(),
    }
}

#[cfg(test)]
mod tests;
