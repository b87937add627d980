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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicU32, Ordering};

    use serde_json::Value;

    use super::*;

    /// A driver whose calls do nothing but count themselves: that needs no pool of its own.
    struct Counted {
        dir: tempfile::TempDir,
        driver: Arc<Driver>,
        done: Arc<AtomicU32>,
    }

    impl Counted {
        fn new(faults: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("faults.json"), faults).unwrap();
            let pool = Pool::in_plain_folder(dir.path());
            let driver = Driver::new("name".to_owned(), "node".to_owned(), pool, dir.path());
            Self { dir, driver: Arc::new(driver), done: Arc::default() }
        }

        async fn call(&self) -> Result<(), Code> {
            let done = Arc::clone(&self.done);
            let subject = Subject { name: "pvc-1".to_owned(), ..Subject::default() };
            let work = move |_: &Driver| {
                done.fetch_add(1, Ordering::SeqCst);
                Ok(())
            };
            let result = self.driver.call("CreateVolume", Effect::Writes, subject, work).await;
            result.map(Response::into_inner).map_err(|status| status.code())
        }

        fn done(&self) -> u32 {
            self.done.load(Ordering::SeqCst)
        }

        fn results(&self) -> Vec<String> {
            let text = fs::read_to_string(self.dir.path().join("calls.jsonl")).unwrap_or_default();
            let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            lines.map(|line| format!("{} {}", line["name"], line["result"]).replace('"', "")).collect()
        }
    }

    #[tokio::test]
    async fn a_call_fails_before_it_does_anything() {
        let counted =
            Counted::new(r#"{"CreateVolume": {"fail": "full", "code": "RESOURCE_EXHAUSTED", "count": 1}}"#);
        assert_eq!(counted.call().await, Err(Code::ResourceExhausted));
        assert_eq!(counted.done(), 0);
        assert_eq!(counted.call().await, Ok(()));
        assert_eq!(counted.results(), ["pvc-1 RESOURCE_EXHAUSTED", "pvc-1 OK"]);
    }

    #[tokio::test]
    async fn an_answer_is_lost_after_the_work_is_done() {
        let counted = Counted::new(r#"{"CreateVolume": {"fail": "lost", "afterDone": true}}"#);
        assert_eq!(counted.call().await, Err(Code::Internal));
        assert_eq!(counted.done(), 1);
    }

    #[tokio::test]
    async fn a_held_call_goes_on_without_its_caller() {
        let counted = Counted::new(r#"{"CreateVolume": {"hold": true}}"#);
        let until = async |results: &[&str]| {
            while counted.results() != results {
                tokio::task::yield_now().await;
            }
        };
        {
            let mut call = std::pin::pin!(counted.call());
            tokio::select! {
                result = &mut call => panic!("a held call ended: {result:?}"),
                () = until(&["pvc-1 held"]) => {}
            }
        }
        // The caller has hung up by now.
        assert_eq!(counted.done(), 0);
        fs::remove_file(counted.dir.path().join("faults.json")).unwrap();
        until(&["pvc-1 held", "pvc-1 OK"]).await;
        assert_eq!(counted.done(), 1);
    }

    #[tokio::test]
    async fn faults_that_cannot_be_understood_fail_every_call() {
        let counted = Counted::new("{");
        assert_eq!(counted.call().await, Err(Code::Internal));
        assert_eq!(counted.done(), 0);
    }
}
