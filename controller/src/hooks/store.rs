//! Keeps every HookModule loaded, as its source is: read and compiled in a task of its own, and read again when the source changes. What was
//! good once is kept until something better is there.

use super::budget::Budget;
use super::fetch::{FetchError, Fetcher, Source};
use super::kept::{Found, Kept, Terms, Wanted};
use super::turns::PerNamespace;
use crate::backoff::exponential;
use crate::router::{Followed, Router};
use scribe_core::hook_module::{Load, LoadTrouble, Loaded};
use scribe_core::hooks::ModuleSeen;
use scribe_crds::conditions::Reason;
use scribe_crds::v1alpha1::HookModule;
use scribe_hooks::contract::grants::Grants;
use scribe_hooks::{LoadError, Loader, Module};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, watch};

/// The first pause before a source that could not be read is read again.
const RETRY: Duration = Duration::from_secs(5);
/// The longest one.
const RETRY_MAX: Duration = Duration::from_mins(10);
/// How often it is looked whether a file is another one.
const FILE_LOOK: Duration = Duration::from_secs(10);
/// Modules that are read at a time: each may be some dozens of MiB, and its server may be slow.
const READS: usize = 4;
/// Those of one namespace, from where they are read to where they are compiled.
const READS_OF_ONE: usize = 2;
/// Modules that are looked up among the compiled ones, or wait to be compiled, at a time.
const COMPILES: usize = 2;

/// Every HookModule that there is, by uid.
pub struct Store {
    loader: Loader,
    fetcher: Fetcher,
    router: Arc<Router>,
    reads: Semaphore,
    own_reads: PerNamespace,
    compiles: Semaphore,
    budget: Budget,
    /// Tells those for which there was no room that a module is gone.
    room: Notify,
    modules: Mutex<HashMap<String, Kept>>,
}

impl Store {
    /// Of a controller that has just started.
    pub fn new(loader: Loader, fetcher: Fetcher, router: Arc<Router>, budget: Budget) -> Arc<Self> {
        let (reads, compiles) = (Semaphore::new(READS), Semaphore::new(COMPILES));
        let own_reads = PerNamespace::new(READS_OF_ONE);
        let (modules, room) = (Mutex::default(), Notify::new());
        Arc::new(Self { loader, fetcher, router, reads, own_reads, compiles, budget, room, modules })
    }

    fn modules(&self) -> MutexGuard<'_, HashMap<String, Kept>> {
        // Nothing panics while it holds the lock, and every state of the map is a valid one.
        self.modules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a module loaded as its spec says from now on.
    pub fn follow(
        self: &Arc<Self>,
        uid: &str,
        namespace: &str,
        module: &HookModule,
        version: Option<String>,
    ) -> Load {
        let terms = Terms::of(&module.spec, self.budget);
        let wanted = Wanted { source: Source::of(namespace, &module.spec), version };
        let mut modules = self.modules();
        if let Some(kept) = modules.get_mut(uid) {
            kept.take(terms, &wanted);
            let is_new = kept.wanted.send_if_modified(|before| {
                let is_new = *before != wanted;
                *before = wanted;
                is_new
            });
            kept.load.is_loading |= is_new;
            return kept.load();
        }
        let (sender, receiver) = watch::channel(wanted);
        let (store, owner, home) = (self.clone(), uid.to_owned(), namespace.to_owned());
        let task = tokio::spawn(async move { store.keep(&owner, &home, receiver).await });
        let kept = Kept {
            namespace: namespace.to_owned(),
            name: module.metadata.name.clone().unwrap_or_default(),
            wanted: sender,
            load: Load { is_loading: true, ..Load::default() },
            module: None,
            loaded_as: None,
            terms,
            task: task.abort_handle(),
        };
        let load = kept.load();
        modules.insert(uid.to_owned(), kept);
        load
    }

    /// What is known of a module.
    pub fn seen(&self, uid: &str) -> ModuleSeen {
        let modules = self.modules();
        let Some(load) = modules.get(uid).map(Kept::load) else { return ModuleSeen::Loading };
        match (load.loaded, load.trouble) {
            (Some(loaded), _) => ModuleSeen::Ready { digest: loaded.digest, exports: loaded.exports },
            (None, Some(trouble)) => ModuleSeen::Broken(trouble.message),
            (None, None) => ModuleSeen::Loading,
        }
    }

    /// A module to be called, if it is still that one.
    pub fn find(&self, namespace: &str, name: &str, digest: &str) -> Option<Found> {
        let modules = self.modules();
        let mut named = modules.values().filter(|kept| kept.namespace == namespace && kept.name == name);
        named.find_map(|kept| {
            let limits = kept.terms.as_ref().ok()?.limits;
            let module = kept.module.as_ref().filter(|module| module.digest() == digest)?;
            Some(Found { module: module.clone(), limits, grants: kept.grants()? })
        })
    }

    /// What a module may touch, if it can be used.
    pub fn grants(&self, uid: &str) -> Option<Arc<Grants>> {
        Some(self.modules().get(uid)?.terms.as_ref().ok()?.grants.clone())
    }

    /// Forgets a module that is gone.
    pub fn forget(&self, uid: &str) {
        self.modules().remove(uid);
        self.room.notify_waiters();
    }

    /// Loads what is wanted, and again when that changes, until it is aborted.
    async fn keep(self: Arc<Self>, uid: &str, namespace: &str, mut wanted: watch::Receiver<Wanted>) {
        let mut failures = 0;
        loop {
            let now = wanted.borrow_and_update().clone();
            let loaded = tokio::select! {
                loaded = self.load(namespace, &now) => loaded,
                changed = wanted.changed() => match changed {
                    Ok(()) => { failures = 0; continue }
                    Err(_) => return,
                },
            };
            let pause = match &loaded {
                Ok(_) => None,
                Err(trouble) if trouble.is_final => None,
                Err(_) => {
                    failures += 1;
                    Some(exponential(RETRY, RETRY_MAX, failures, rand::random()))
                }
            };
            let waits_for_room = self.learn(uid, &now, loaded);
            tokio::select! {
                changed = wanted.changed() => match changed {
                    Ok(()) => failures = 0,
                    Err(_) => return,
                },
                () = self.another(&now) => failures = 0,
                () = self.room.notified(), if waits_for_room => failures = 0,
                () = pause_of(pause) => {}
            }
        }
    }

    /// Until a file is another one; for ever for what is told of, and for what cannot change.
    async fn another(&self, wanted: &Wanted) {
        let Ok(source) = &wanted.source else { return std::future::pending().await };
        let before = self.fetcher.look(source);
        loop {
            tokio::time::sleep(FILE_LOOK).await;
            if self.fetcher.look(source) != before {
                return;
            }
        }
    }

    async fn load(&self, namespace: &str, wanted: &Wanted) -> Result<Module, Trouble> {
        let source = wanted.source.as_ref().map_err(|message| Trouble {
            reason: Reason::InvalidSpec,
            message: message.clone(),
            is_final: true,
        })?;
        // None of these is ever closed. The bytes are held only as long as it is this module's turn.
        let _own = self.own_reads.acquire(namespace, 1).await;
        let read = self.reads.acquire().await;
        let bytes = self.fetcher.fetch(source).await?;
        let _compile = self.compiles.acquire().await;
        drop(read);
        Ok(self.loader.load(bytes).await?)
    }

    /// Enters what became of it, if it is still wanted, and wakes whoever looks at it. `true`: there is no room for it.
    fn learn(&self, uid: &str, wanted: &Wanted, loaded: Result<Module, Trouble>) -> bool {
        let mut modules = self.modules();
        let Some(home) = modules.get(uid).map(|kept| kept.namespace.clone()) else { return false };
        let loaded = loaded.and_then(|module| {
            let others = modules.iter().filter(|(other, _)| *other != uid);
            let others =
                others.filter_map(|(_, kept)| Some((kept.namespace.as_str(), kept.module.as_ref()?)));
            let others =
                others.map(|(namespace, module)| (namespace, module.digest(), module.compiled_size()));
            let full = |message| Trouble { reason: Reason::ModuleWithoutRoom, message, is_final: false };
            self.budget.bear(&home, (module.digest(), module.compiled_size()), others).map_err(full)?;
            Ok(module)
        });
        let waits_for_room =
            loaded.as_ref().is_err_and(|trouble| trouble.reason == Reason::ModuleWithoutRoom);
        let Some(kept) = modules.get_mut(uid).filter(|kept| *kept.wanted.borrow() == *wanted) else {
            return false;
        };
        let before = kept.load.clone();
        kept.load.is_loading = false;
        match loaded {
            Ok(module) => {
                kept.load.trouble = None;
                kept.load.loaded = Some(facts(&module));
                kept.replace(module, wanted);
            }
            Err(Trouble { reason, message, .. }) => {
                tracing::debug!(namespace = kept.namespace, module = kept.name, %reason, message, "load a module");
                kept.load.trouble = Some(LoadTrouble { reason, message });
            }
        }
        let is_news = kept.load != before;
        let (namespace, name) = (kept.namespace.clone(), kept.name.clone());
        drop(modules);
        if is_news {
            self.router.wake(uid);
            self.router.wake_followers(Followed::Module, &namespace, &name);
        }
        waits_for_room
    }
}

async fn pause_of(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
    }
}

fn facts(module: &Module) -> Loaded {
    let mut exports = module.points().to_vec();
    exports.sort();
    Loaded {
        digest: module.digest().to_owned(),
        size: module.size(),
        compiled_size: module.compiled_size(),
        api_version: module.api_version().to_owned(),
        exports,
        name: module.info().name.clone(),
        version: module.info().version.clone(),
    }
}

/// Why a module could not be loaded.
struct Trouble {
    reason: Reason,
    message: String,
    /// Whether the same will be so again, however often it is tried.
    is_final: bool,
}

impl From<FetchError> for Trouble {
    fn from(error: FetchError) -> Self {
        let reason = if error.is_missing() { Reason::ModuleNotFound } else { Reason::ModuleFetchFailed };
        Self { reason, message: error.to_string(), is_final: false }
    }
}

impl From<LoadError> for Trouble {
    fn from(error: LoadError) -> Self {
        let is_final = !error.is_transient();
        let reason = if is_final { Reason::HookModuleInvalid } else { Reason::HookUnavailable };
        Self { reason, message: error.to_string(), is_final }
    }
}
