//! Undoing what a hook has frozen.

use http::StatusCode;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use scribe_hooks_contract::effects::{Command, ExecError};
use scribe_hooks_contract::undo::{Change, Changed, Place, Undo};
use serde_json::{Value, json};

use crate::api::{self, Accept, Address, ApiError, OBJECT_BYTES, get};
use crate::exec;
use crate::freeze::exit;
use crate::object::{Field, Tries};
use crate::pods::{check_running, is_over};
use crate::sessions::{LAST_BREATH, Released, Sessions, explain};

/// Bytes of output of a command that undoes: enough to tell why it failed.
const OUTPUT_BYTES: u32 = 4 << 10;
/// The longest that a command that undoes may take, in seconds: the entries behind it wait for it.
pub(crate) const LONGEST_UNDO: u32 = 120;

/// What became of an entry. Whichever it is, the entry is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UndoOutcome {
    /// It was undone now.
    Undone,
    /// It is as before: it was undone earlier, or the change was never made.
    AsBefore,
    /// Somebody else has changed it since, and it was left alone. Says what it is.
    ChangedSince(String),
    /// There is nothing left to undo it on. Says what is gone.
    Gone(String),
}

impl std::fmt::Display for UndoOutcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Undone => f.write_str("undone"),
            Self::AsBefore => f.write_str("as before"),
            Self::ChangedSince(what) => write!(f, "left alone: {what}"),
            Self::Gone(what) => write!(f, "nothing left to undo: {what}"),
        }
    }
}

/// Why an entry was not undone. To be tried again, always.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UndoError {
    /// The hook's ServiceAccount may not.
    #[error("{0}")]
    Denied(String),
    /// The command that undoes it failed. Says how.
    #[error("{0}")]
    Failed(String),
    /// The container is there, and does not run.
    #[error("{0}")]
    NotRunning(String),
    /// The command of a session has not ended, although its stdin has.
    #[error("{0} has not ended {time} s after its stdin: it must end when its stdin does", time = LAST_BREATH.as_secs())]
    StillRunning(String),
    /// What it undoes has not ended. It was undone, and is to be undone again after that.
    #[error("the command that froze it still runs in {0}")]
    UnderWay(String),
    /// The API server, or the kubelet, does not answer.
    #[error("{0}")]
    Unavailable(String),
}

/// Undoes a change in that namespace, with the rights of `client`: see [`Platform::undo`](crate::Platform::undo).
pub(crate) async fn undo(
    client: &Client,
    sessions: &Sessions,
    namespace: &str,
    entry: &Undo,
) -> Result<UndoOutcome, UndoError> {
    let is_command = matches!(entry.change, Change::Command { .. });
    // A request ends soon. A command may take long, and is undone meanwhile, and once more when it has ended.
    let is_under_way = is_command && sessions.is_under_way(&entry.id);
    if !is_command {
        sessions.settled(&entry.id).await;
    }
    match &entry.change {
        Change::Scale { workload, set, restore } => {
            put_back(client, namespace, workload, &Field::Replicas, &json!(set), &json!(restore)).await
        }
        Change::Annotation { target, key, set, restore } => {
            let field = Field::Annotation(key.clone());
            put_back(client, namespace, target, &field, &json!(set), &json!(restore)).await
        }
        Change::CronJob { target } => {
            put_back(client, namespace, target, &Field::Suspend, &json!(true), &json!(false)).await
        }
        Change::Command { place, argv, stdin, timeout_seconds } => {
            let command = Command {
                argv: argv.clone(),
                stdin: stdin.clone().into_bytes(),
                timeout_seconds: (*timeout_seconds).clamp(1, LONGEST_UNDO),
                max_output: OUTPUT_BYTES,
            };
            match run(client, namespace, place, &command).await {
                Ok(UndoOutcome::Undone | UndoOutcome::AsBefore) if is_under_way => {
                    Err(UndoError::UnderWay(place.to_string()))
                }
                outcome => outcome,
            }
        }
        Change::Session { place } => match sessions.release(&entry.id).await {
            Released::Ended(_) => Ok(UndoOutcome::Undone),
            Released::Unknown => {
                Ok(UndoOutcome::Gone(format!("the session in {place} ended with the process that held it")))
            }
            Released::StillRunning => Err(UndoError::StillRunning(format!("the session in {place}"))),
        },
    }
}

/// Whether what an entry undoes still is as it was set: see [`Platform::lost`](crate::Platform::lost).
pub(crate) async fn lost(
    client: &Client,
    sessions: &Sessions,
    namespace: &str,
    entry: &Undo,
) -> Result<Option<String>, UndoError> {
    match &entry.change {
        Change::Scale { workload, set, .. } => {
            other_than(client, namespace, workload, &Field::Replicas, &json!(set)).await
        }
        Change::Annotation { target, key, set, .. } => {
            other_than(client, namespace, target, &Field::Annotation(key.clone()), &json!(set)).await
        }
        Change::CronJob { target } => {
            other_than(client, namespace, target, &Field::Suspend, &json!(true)).await
        }
        Change::Command { place, .. } => Ok(match reach(client, namespace, place).await {
            Ok(()) => None,
            Err(Unreached::Gone(what)) => Some(what),
            Err(Unreached::Failed(UndoError::NotRunning(why))) => Some(why),
            Err(Unreached::Failed(error)) => return Err(error),
        }),
        Change::Session { place } => {
            Ok((!sessions.holds(&entry.id)).then(|| format!("the session in {place} has ended")))
        }
    }
}

/// What a field is, if that is not what was set.
async fn other_than(
    client: &Client,
    namespace: &str,
    target: &Changed,
    field: &Field,
    set: &Value,
) -> Result<Option<String>, UndoError> {
    let seen = match field.look(client, Address::of(target, namespace), &target.name).await {
        Err(error) if error.is(StatusCode::NOT_FOUND) => return Ok(Some(format!("{target} was deleted"))),
        seen => seen.map_err(refused)?,
    };
    Ok(if seen.uid != target.uid {
        Some(format!("{target} was deleted, and is another one now"))
    } else {
        (seen.value != *set).then(|| describe(target, field, &seen.value))
    })
}

/// Puts back what was, if it still is what was set.
async fn put_back(
    client: &Client,
    namespace: &str,
    target: &Changed,
    field: &Field,
    set: &Value,
    restore: &Value,
) -> Result<UndoOutcome, UndoError> {
    let address = Address::of(target, namespace);
    let mut tries = Tries::default();
    loop {
        let seen = match field.look(client, address, &target.name).await {
            Err(error) if error.is(StatusCode::NOT_FOUND) => {
                return Ok(UndoOutcome::Gone(format!("{target} was deleted")));
            }
            seen => seen.map_err(refused)?,
        };
        if seen.uid != target.uid {
            return Ok(UndoOutcome::Gone(format!("{target} was deleted, and is another one now")));
        }
        if seen.value == *restore {
            return Ok(UndoOutcome::AsBefore);
        }
        if seen.value != *set {
            return Ok(UndoOutcome::ChangedSince(describe(target, field, &seen.value)));
        }
        match field.set(client, address, &target.name, &seen, restore).await {
            Ok(()) => return Ok(UndoOutcome::Undone),
            // Deleted since, or written by others: the next look tells.
            Err(error) if error.is(StatusCode::NOT_FOUND) || error.is(StatusCode::CONFLICT) => {
                if !tries.again().await {
                    return Err(refused(error));
                }
            }
            Err(error) => return Err(refused(error)),
        }
    }
}

fn describe(target: &Changed, field: &Field, value: &Value) -> String {
    match field {
        Field::Replicas => format!("{target} has {value} replicas now"),
        // Its value may be long, and is nobody's business.
        Field::Annotation(key) => format!("annotation {key} of {target} was changed"),
        Field::Suspend => format!("{target} has suspend {value} now"),
    }
}

/// Why a container cannot be reached.
enum Unreached {
    /// It will never be. Says what is gone.
    Gone(String),
    Failed(UndoError),
}

/// Looks whether a pod is still the same, and its container runs.
async fn reach(client: &Client, namespace: &str, place: &Place) -> Result<(), Unreached> {
    let path = api::pods(namespace).path(Some(&place.pod), None);
    let path = path.map_err(|error| Unreached::Failed(refused(error)))?;
    let pod: Pod = match get(client, path, Accept::Json, OBJECT_BYTES).await {
        Err(error) if error.is(StatusCode::NOT_FOUND) => {
            return Err(Unreached::Gone(format!("pod {} was deleted", place.pod)));
        }
        pod => pod.map_err(|error| Unreached::Failed(refused(error)))?,
    };
    if pod.metadata.uid.as_deref() != Some(place.uid.as_str()) {
        return Err(Unreached::Gone(format!("pod {} was deleted, and is another one now", place.pod)));
    }
    if is_over(&pod) {
        return Err(Unreached::Gone(format!("pod {} has ended", place.pod)));
    }
    check_running(&pod, &place.container).map_err(|error| Unreached::Failed(failed(error)))
}

/// Runs a command in a pod that is still the same.
async fn run(
    client: &Client,
    namespace: &str,
    place: &Place,
    command: &Command,
) -> Result<UndoOutcome, UndoError> {
    match reach(client, namespace, place).await {
        Ok(()) => {}
        Err(Unreached::Gone(what)) => return Ok(UndoOutcome::Gone(what)),
        Err(Unreached::Failed(error)) => return Err(error),
    }
    let outcomes = exec::run_all(client, namespace, std::slice::from_ref(place), command).await;
    match outcomes.map_err(failed)?.first() {
        Some(outcome) if outcome.exit_code == 0 => Ok(UndoOutcome::Undone),
        Some(outcome) => Err(UndoError::Failed(exit(outcome))),
        None => Err(UndoError::Failed("the command was not run".to_owned())),
    }
}

fn refused(error: ApiError) -> UndoError {
    match error {
        ApiError::Status { code: StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED, message } => {
            UndoError::Denied(message)
        }
        error if error.is_transient() => UndoError::Unavailable(error.to_string()),
        error => UndoError::Failed(error.to_string()),
    }
}

fn failed(error: ExecError) -> UndoError {
    match error {
        ExecError::Denied(why) => UndoError::Denied(why),
        ExecError::NotRunning(why) => UndoError::NotRunning(why),
        ExecError::NoSuchTarget(why) | ExecError::Unavailable(why) => UndoError::Unavailable(why),
        ExecError::TimedOut => UndoError::Failed(explain(ExecError::TimedOut)),
    }
}
