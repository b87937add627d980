//! Changes that are undone at release. What undoes one is written down first.

use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use scribe_hooks::sanitize;
use scribe_hooks_contract::effects::{Command, ExecError, FreezeError, KubeError, Outcome};
use scribe_hooks_contract::grants::{ExecPermit, KubePermit};
use scribe_hooks_contract::undo::{Change, Changed, Place, Undo};
use serde_json::{Value, json};

use crate::api::Address;
use crate::exec;
use crate::host::KubeHost;
use crate::object::{Field, Look, Tries, check_uid};
use crate::pods;
use crate::sessions::{Start, explain};
use crate::undo::LONGEST_UNDO;

/// How long a command that freezes is listened to, whoever waits for it.
const LONGEST_COMMAND: Duration = Duration::from_mins(15);
/// Bytes of a command's stderr that are told.
const SHOWN_BYTES: usize = 1 << 10;

/// Where what undoes a change is written down before the change is made: the status of the object that names the hook.
#[async_trait]
pub trait Journal: Send + Sync {
    /// Writes an entry behind all others, and answers when it is there to stay.
    ///
    /// # Errors
    ///
    /// It is not known to be there: then the change is not made. [`Undo::check`] says whether there is room.
    async fn write(&self, undo: Undo) -> Result<(), JournalError>;
}

/// Why an entry was not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// Nothing is to be frozen any more.
    #[error("the window has closed")]
    Closed,
    /// It did not work.
    #[error("what undoes it cannot be written down: {0}")]
    Failed(String),
}

impl KubeHost {
    async fn write_down(&self, change: Change) -> Result<String, FreezeError> {
        let journal = self.journal.as_ref().ok_or(FreezeError::WindowClosed)?;
        let id = format!("{:016x}", rand::random::<u64>());
        let undo = Undo { id: id.clone(), change };
        undo.check(&[]).map_err(|error| FreezeError::Failed(error.to_string()))?;
        journal.write(undo).await.map_err(|error| match error {
            JournalError::Closed => FreezeError::WindowClosed,
            JournalError::Failed(_) => FreezeError::Failed(error.to_string()),
        })?;
        Ok(id)
    }

    /// Sets a field until release. Where it has that value already, nothing is changed; it is written down all the same, so that it is noticed if
    /// somebody else changes it, unless `change` has nothing to write down.
    pub(crate) async fn freeze_field(
        &self,
        permit: KubePermit,
        field: Field,
        value: Value,
        change: impl FnOnce(&Look, Changed) -> Result<Option<Change>, FreezeError>,
    ) -> Result<(), FreezeError> {
        let address = Address::from(&permit);
        let seen = field
            .look(&self.acting, address, &permit.name)
            .await
            .map_err(|error| failed(&permit, error.into()))?;
        check_uid(&permit, &seen.uid).map_err(|error| failed(&permit, error))?;
        let changed = Changed {
            group: permit.group.clone(),
            version: permit.version.clone(),
            resource: permit.resource.clone(),
            name: permit.name.clone(),
            uid: seen.uid.clone(),
        };
        let Some(change) = change(&seen, changed)? else { return Ok(()) };
        let id = self.write_down(change).await?;
        if seen.value == value {
            return Ok(());
        }
        // A call may be cancelled while its request is on the way. The request is not: whoever undoes waits for its end, and does not look too early.
        let (begun, client) = (self.platform.sessions.begin(&id), self.acting.clone());
        let work = tokio::spawn(async move {
            let result = set(&client, &permit, &field, seen, &value).await;
            drop(begun);
            result
        });
        work.await
            .unwrap_or_else(|_| Err(FreezeError::Failed("the host panicked; please report it".to_owned())))
    }

    pub(crate) async fn scale_down(&self, permit: KubePermit, replicas: u32) -> Result<(), FreezeError> {
        self.freeze_field(permit, Field::Replicas, json!(replicas), |seen, workload| {
            let restore = seen.value.as_u64().and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
            if replicas > restore {
                return Err(FreezeError::Failed(format!(
                    "{workload} has {restore} replicas: scale-down cannot make {replicas} of them"
                )));
            }
            Ok(Some(Change::Scale { workload, set: replicas, restore }))
        })
        .await
    }

    pub(crate) async fn annotate_for_now(
        &self,
        permit: KubePermit,
        key: String,
        value: String,
    ) -> Result<(), FreezeError> {
        self.freeze_field(permit, Field::Annotation(key.clone()), json!(value), |seen, target| {
            let restore = seen.value.as_str().map(str::to_owned);
            Ok(Some(Change::Annotation { target, key, set: value.clone(), restore }))
        })
        .await
    }

    pub(crate) async fn suspend(&self, permit: KubePermit) -> Result<(), FreezeError> {
        self.freeze_field(permit, Field::Suspend, json!(true), |seen, target| {
            // What somebody else has suspended stays so.
            Ok((seen.value != json!(true)).then_some(Change::CronJob { target }))
        })
        .await
    }

    pub(crate) async fn exec_with_undo(
        &self,
        permit: &ExecPermit,
        apply: &Command,
        undo: &Command,
    ) -> Result<(), FreezeError> {
        let stdin = String::from_utf8(undo.stdin.clone()).map_err(|_| {
            FreezeError::Failed("the stdin of a command that undoes must be text in UTF-8".to_owned())
        })?;
        if undo.timeout_seconds > LONGEST_UNDO {
            return Err(FreezeError::Failed(format!(
                "undo.timeout-seconds is {}: a command that undoes may take {LONGEST_UNDO} s at most, since others wait for it",
                undo.timeout_seconds
            )));
        }
        let places = self.places(permit).await?;
        let mut begun = Vec::with_capacity(places.len());
        for place in &places {
            let change = Change::Command {
                place: place.clone(),
                argv: undo.argv.clone(),
                stdin: stdin.clone(),
                timeout_seconds: undo.timeout_seconds,
            };
            let id = self.write_down(change).await?;
            begun.push(self.platform.sessions.begin(&id));
        }
        // Nobody can end a command in a container: it is listened to until it ends, whoever has stopped waiting for it, so that what undoes it is
        // run once more after that.
        let (client, namespace, command) =
            (self.acting.clone(), self.subject.namespace.clone(), apply.clone());
        let work = tokio::spawn(async move {
            let all = exec::run_to_the_end(&client, &namespace, &places, &command);
            let outcomes = tokio::time::timeout(LONGEST_COMMAND, all).await;
            drop(begun);
            outcomes.unwrap_or(Err(ExecError::TimedOut))
        });
        let limit = Duration::from_secs(apply.timeout_seconds.max(1).into());
        let outcomes = match tokio::time::timeout(limit, work).await {
            Ok(Ok(outcomes)) => outcomes,
            Ok(Err(_)) => return Err(FreezeError::Failed("the host panicked; please report it".to_owned())),
            Err(_) => Err(ExecError::TimedOut),
        };
        match outcomes.map_err(refused)?.iter().find(|outcome| outcome.exit_code != 0) {
            Some(outcome) => Err(FreezeError::Failed(exit(outcome))),
            None => Ok(()),
        }
    }

    pub(crate) async fn hold_session(
        &self,
        permit: &ExecPermit,
        command: Command,
        ready_marker: String,
    ) -> Result<(), FreezeError> {
        for place in self.places(permit).await? {
            let id = self.write_down(Change::Session { place: place.clone() }).await?;
            let start = Start {
                id,
                client: self.acting.clone(),
                owner: self.subject.uid.clone(),
                namespace: self.subject.namespace.clone(),
                place,
                command: command.clone(),
                ready_marker: ready_marker.clone(),
            };
            self.platform.sessions.start(start).await?;
        }
        Ok(())
    }

    async fn places(&self, permit: &ExecPermit) -> Result<Vec<Place>, FreezeError> {
        pods::find(&self.acting, &self.subject.namespace, permit).await.map_err(refused)
    }
}

/// Sets a field that still has the value that was written down.
async fn set(
    client: &kube::Client,
    permit: &KubePermit,
    field: &Field,
    seen: Look,
    value: &Value,
) -> Result<(), FreezeError> {
    let address = Address::from(permit);
    let (was, mut seen, mut tries) = (seen.clone(), seen, Tries::default());
    loop {
        match field.set(client, address, &permit.name, &seen, value).await {
            Ok(()) => return Ok(()),
            Err(error) if error.is(StatusCode::CONFLICT) && tries.again().await => {}
            Err(error) => return Err(failed(permit, error.into())),
        }
        seen =
            field.look(client, address, &permit.name).await.map_err(|error| failed(permit, error.into()))?;
        if seen.uid != was.uid || seen.value != was.value {
            return Err(FreezeError::Failed(format!(
                "somebody else has changed {}/{} meanwhile",
                permit.resource, permit.name
            )));
        }
    }
}

fn failed(permit: &KubePermit, error: KubeError) -> FreezeError {
    let what = format!("{}/{}", permit.resource, permit.name);
    match error {
        KubeError::Denied(why) => FreezeError::Denied(why),
        KubeError::NotFound => FreezeError::Failed(format!("there is no {what}, or it is another one")),
        KubeError::Conflict(why) | KubeError::Invalid(why) | KubeError::Unavailable(why) => {
            FreezeError::Failed(format!("{what}: {why}"))
        }
        KubeError::TooLarge(most) => FreezeError::Failed(format!("{what} has more than {most} bytes")),
    }
}

fn refused(error: ExecError) -> FreezeError {
    match error {
        ExecError::Denied(why) => FreezeError::Denied(why),
        other => FreezeError::Failed(explain(other)),
    }
}

/// How a command ended, for people.
pub(crate) fn exit(outcome: &Outcome) -> String {
    let said = String::from_utf8_lossy(&outcome.stderr);
    let said = sanitize::line(said.trim(), SHOWN_BYTES);
    let how = format!("pod {}: exit code {}", outcome.pod, outcome.exit_code);
    if said.is_empty() { how } else { format!("{how}: {said}") }
}
