//! What every call goes through: faults, the work itself on a thread of its own, the journal.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tonic::{Code, Response, Status};

use crate::faults::{Faults, Rule, Subject, code_name};
use crate::journal::{Entry, Journal};
use crate::locks::Locks;
use crate::pool::Pool;

/// How often a held call looks whether its rule is gone.
const HOLD_POLL: Duration = Duration::from_millis(50);

/// Everything that a call needs. What must outlive a restart is in the pool, not here.
#[derive(Debug)]
pub struct Driver {
    /// The name of the driver.
    pub name: String,
    /// The name of the node.
    pub node_id: String,
    /// The volumes and snapshots.
    pub pool: Pool,
    /// One operation at a time per id.
    pub locks: Locks,
    /// Faults on demand.
    pub faults: Faults,
    journal: Journal,
}

/// Whether a call changes anything and so belongs into the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It may.
    Writes,
    /// It does not.
    Reads,
}

impl Driver {
    /// A driver for an opened pool, with the faults and the journal of that state directory.
    pub fn new(name: String, node_id: String, pool: Pool, state_dir: &Path) -> Self {
        let (faults, journal) = (Faults::new(state_dir), Journal::new(state_dir));
        Self { name, node_id, pool, locks: Locks::default(), faults, journal }
    }

    /// Runs one call to its end, also when the caller has hung up: a cut that was ordered happens, as with a real driver.
    ///
    /// # Errors
    /// What the work or a fault answers.
    pub async fn call<T: Send + 'static>(
        self: &Arc<Self>,
        method: &'static str,
        effect: Effect,
        subject: Subject,
        work: impl FnOnce(&Self) -> Result<T, Status> + Send + 'static,
    ) -> Result<Response<T>, Status> {
        let driver = Arc::clone(self);
        let whole = tokio::spawn(async move {
            let result = driver.perform(method, &subject, work).await;
            if effect == Effect::Writes {
                let status = result.as_ref().err();
                let code = code_name(status.map_or(Code::Ok, Status::code));
                driver.journal(method, &subject, code, status.map_or("", Status::message));
            }
            result
        });
        let result = whole.await.map_err(|error| Status::internal(format!("{method} broke off: {error}")))?;
        result.map(Response::new)
    }

    async fn perform<T: Send + 'static>(
        self: &Arc<Self>,
        method: &'static str,
        subject: &Subject,
        work: impl FnOnce(&Self) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        let rule = self.faults.take(method, subject).map_err(internal)?;
        if let Some(rule) = rule.as_ref().filter(|rule| !rule.after_done) {
            self.disturb(method, subject, rule).await?;
        }
        let driver = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || work(&driver))
            .await
            .map_err(|error| Status::internal(format!("{method} broke off: {error}")))??;
        if let Some(rule) = rule.as_ref().filter(|rule| rule.after_done) {
            self.disturb(method, subject, rule).await?;
        }
        Ok(done)
    }

    async fn disturb(&self, method: &str, subject: &Subject, rule: &Rule) -> Result<(), Status> {
        if rule.hold {
            self.journal(method, subject, "held", "");
            while self.faults.holds(method, subject).map_err(internal)? {
                tokio::time::sleep(HOLD_POLL).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(rule.delay_ms)).await;
        match (&rule.fail, rule.code) {
            (None, None) => Ok(()),
            (fail, code) => {
                let message = fail.clone().unwrap_or_else(|| "a fault on demand".to_owned());
                Err(Status::new(code.unwrap_or(Code::Internal), message))
            }
        }
    }

    fn journal(&self, method: &str, subject: &Subject, result: &str, message: &str) {
        let Subject { name, id, source } = subject;
        tracing::info!(method, %name, %id, %source, result, message);
        let entry = Entry { time: Timestamp::now(), method, name, id, source, result, message };
        // The call is over: a journal that cannot be written must not change its answer.
        if let Err(error) = self.journal.append(&entry) {
            tracing::error!(error = format!("{error:#}"), "the journal lacks a call");
        }
    }
}

/// The answer for what should not have happened, with the whole chain of causes.
pub fn internal(error: anyhow::Error) -> Status {
    Status::internal(format!("{error:#}"))
}
