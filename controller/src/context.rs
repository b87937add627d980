//! What every reconcile is handed.

use crate::control_key::ControlKey;
use crate::hooks::Hooks;
use crate::lease::Term;
use crate::metrics::Metrics;
use crate::mover_client::Movers;
use crate::pace::Pace;
use crate::refusals::Refusals;
use crate::report::Reporter;
use crate::router::{Owner, Router};
use crate::slots::Ledger;
use kube::Client;
use scribe_core::settings::Settings;
use std::sync::Arc;
use std::time::Duration;

/// What every reconcile is handed. All of its memory may be lost at any time: it saves work, and nothing depends on it.
pub struct Context {
    /// For reads and writes, with short time limits.
    pub client: Client,
    /// What decisions depend on.
    pub settings: Settings,
    /// The controller's own namespace.
    pub namespace: String,
    /// The uid of the namespace kube-system.
    pub cluster_id: String,
    /// The key of the movers' tokens.
    pub control_key: ControlKey,
    /// What the running movers say.
    pub movers: Movers,
    /// Modules, and the calls that run.
    pub hooks: Hooks,
    /// Whether this controller may write.
    pub term: Arc<Term>,
    /// Who is triggered by what.
    pub router: Arc<Router>,
    /// How soon an object may be looked at again.
    pub pace: Pace,
    /// What the API server refused.
    pub refusals: Refusals,
    /// Who may run a mover.
    pub slots: Arc<Ledger>,
    /// Tells users.
    pub reporter: Reporter,
    /// Tells Prometheus.
    pub metrics: Metrics,
    /// How often an object with an unfinished child is looked at, at least.
    pub pending_interval: Duration,
}

impl Context {
    /// Forgets an object that is gone. The answer says what it was, if it was known.
    pub fn forget(&self, uid: &str) -> Option<Owner> {
        let owner = self.router.remove(uid)?;
        self.forget_traces(uid, &owner);
        Some(owner)
    }

    /// Forgets what a pass left behind that ended after its object had gone.
    pub fn forget_if_gone(&self, uid: &str, owner: &Owner) {
        if !self.router.knows(uid) {
            self.forget_traces(uid, owner);
        }
    }

    fn forget_traces(&self, uid: &str, owner: &Owner) {
        self.movers.forget(uid);
        self.hooks.forget(uid);
        self.pace.forget(uid);
        self.refusals.forget(uid);
        self.slots.forget(uid);
        self.reporter.forget(uid);
        self.metrics.forget(uid, owner);
    }
}
