//! Modules, and calls of them. Both go on in tasks of their own: a pass looks at what has become of them, and waits for neither.

mod budget;
mod effects;
mod fetch;
mod kept;
mod rights;
mod runner;
mod store;
mod turns;

pub use budget::Budget;
pub use effects::Effects;
pub use fetch::{Dialer, FetchError, Fetcher, Https, Oci};

use crate::metrics::HookRuns;
use crate::router::Router;
use rights::Rights;
use runner::Runner;
use scribe_core::decision::Action;
use scribe_core::hook_module::Load;
use scribe_core::hooks::{ActsAs, CallSeen, HookCall, ModuleSeen};
use scribe_crds::v1alpha1::HookModule;
use scribe_hooks::Loader;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use store::Store;

/// Every module, and every call that somebody still asks for. All of it is memory: after a restart modules are read again, and calls whose
/// answer was not recorded are made again.
pub struct Hooks {
    store: Arc<Store>,
    runner: Runner,
    rights: Rights,
}

impl Hooks {
    /// Of a controller that has just started.
    pub fn new(
        loader: Loader,
        fetcher: Fetcher,
        effects: Effects,
        router: Arc<Router>,
        runs: HookRuns,
        budget: Budget,
    ) -> Self {
        let store = Store::new(loader, fetcher, router.clone(), budget);
        let rights = Rights::new(effects.own(), router.clone());
        Self { runner: Runner::new(store.clone(), router, runs, effects, budget), store, rights }
    }

    /// Keeps a HookModule loaded as its spec says from now on, `version` being that of the ConfigMap that it is in. What has become of it so
    /// far.
    pub fn follow(&self, uid: &str, namespace: &str, module: &HookModule, version: Option<String>) -> Load {
        self.store.follow(uid, namespace, module, version)
    }

    /// What is known of the HookModule with that uid.
    pub fn module(&self, uid: &str) -> ModuleSeen {
        self.store.seen(uid)
    }

    /// The calls of an object, by id.
    pub fn calls(&self, owner: &str) -> BTreeMap<String, CallSeen> {
        self.runner.seen(owner)
    }

    /// Those of these sessions, by the id of their entry in an undo log, that do not hold.
    pub fn ended_sessions<'a>(&self, ids: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
        self.runner.ended_sessions(ids)
    }

    /// What the ServiceAccounts of an object's hooks may not do although their modules are granted it, as far as is known. `hooks`: the uid of the
    /// HookModule, its name, and the ServiceAccount.
    pub fn missing_rights<'a>(
        &self,
        owner: &str,
        namespace: &str,
        hooks: impl Iterator<Item = (&'a str, ActsAs, String)>,
    ) -> BTreeMap<(String, ActsAs), Vec<String>> {
        let hooks = hooks.filter_map(|(uid, acts_as, name)| Some((name, acts_as, self.store.grants(uid)?)));
        self.rights.missing(owner, namespace, hooks)
    }

    /// Tells a call whether what undoes its next change was written down.
    pub fn answer(&self, owner: &str, call: &str, entry: &str, answer: Result<(), String>) {
        self.runner.answer(owner, call, entry, answer);
    }

    /// Ends the sessions that are held for an object.
    pub fn end_sessions(&self, owner: &str) {
        self.runner.end_sessions(owner);
    }

    /// Makes a call for an object, unless it runs or has been answered.
    pub fn ask(&self, owner: &str, namespace: &str, call: &HookCall) {
        self.runner.ask(owner, namespace, call);
    }

    /// Forgets the calls of an object that a pass has not asked for, with their answers.
    pub fn keep_only<'a>(&self, owner: &str, actions: impl Iterator<Item = &'a Action>) {
        let asked: BTreeSet<&str> = actions
            .filter_map(|action| match action {
                Action::CallHook(call) => Some(call.id.as_str()),
                Action::RememberHook { call } => Some(call.as_str()),
                _ => None,
            })
            .collect();
        self.runner.keep_only(owner, &asked);
    }

    /// Forgets an object or a module that is gone. What runs for it ends, and what is held for it.
    pub fn forget(&self, uid: &str) {
        self.runner.forget(uid);
        self.rights.forget(uid);
        self.store.forget(uid);
    }
}
