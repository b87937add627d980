//! Answers of the host, as a case writes them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use scribe_hooks::contract::effects::{
    Entry, ExecError, FreezeError, HttpError, KubeError, Outcome, Response, StateError,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::request::HostFunction;
use crate::hook::case::call::typed;
use crate::hook::case::text::Text;

/// An error that a host function has for what it cannot do.
pub trait Failure: DeserializeOwned + Serialize {
    /// Nobody answers, and why.
    fn unavailable(why: String) -> Self;
}

impl Failure for KubeError {
    fn unavailable(why: String) -> Self {
        Self::Unavailable(why)
    }
}

impl Failure for ExecError {
    fn unavailable(why: String) -> Self {
        Self::Unavailable(why)
    }
}

impl Failure for StateError {
    fn unavailable(why: String) -> Self {
        Self::Unavailable(why)
    }
}

impl Failure for FreezeError {
    fn unavailable(why: String) -> Self {
        Self::Failed(why)
    }
}

impl Failure for HttpError {
    fn unavailable(why: String) -> Self {
        Self::Connect(why)
    }
}

impl Failure for String {
    fn unavailable(why: String) -> Self {
        why
    }
}

/// What a command came to in one pod, and of what kind that pod is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OutcomeAnswer {
    /// The pod's name.
    #[serde(default = "some_pod")]
    pub pod: String,
    /// The command's exit code.
    #[serde(default)]
    pub exit_code: i32,
    #[serde(default, skip_serializing_if = "is_empty")]
    pub stdout: Text,
    #[serde(default, skip_serializing_if = "is_empty")]
    pub stderr: Text,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// The pod's labels. With them, the grants are asked whether the command may run there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// The container in which it ran, where the hook names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
}

fn some_pod() -> String {
    "pod-0".to_owned()
}

fn is_empty(text: &Text) -> bool {
    text.0.is_empty()
}

impl From<OutcomeAnswer> for Outcome {
    fn from(answer: OutcomeAnswer) -> Self {
        let OutcomeAnswer { pod, exit_code, stdout, stderr, truncated, labels: _, container: _ } = answer;
        Self { pod, exit_code, stdout: stdout.0, stderr: stderr.0, truncated }
    }
}

impl From<Outcome> for OutcomeAnswer {
    fn from(outcome: Outcome) -> Self {
        let Outcome { pod, exit_code, stdout, stderr, truncated } = outcome;
        Self { pod, exit_code, stdout: Text(stdout), stderr: Text(stderr), truncated, ..Self::default() }
    }
}

/// A response, and from where it comes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResponseAnswer {
    /// The status code.
    pub status: u16,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "is_empty")]
    pub body: Text,
    /// The server's address. With it, the grants are asked whether it may be spoken to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
}

impl From<ResponseAnswer> for Response {
    fn from(answer: ResponseAnswer) -> Self {
        let ResponseAnswer { status, headers, body, address: _ } = answer;
        Self { status, headers: headers.into_iter().collect(), body: body.0 }
    }
}

impl From<Response> for ResponseAnswer {
    fn from(response: Response) -> Self {
        let Response { status, headers, body } = response;
        Self { status, headers: headers.into_iter().collect(), body: Text(body), address: None }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EntryAnswer {
    value: Text,
    revision: u64,
}

/// JSON as the hook reads it.
pub fn json(value: Value) -> Result<String, String> {
    Ok(value.to_string())
}

/// Objects as the hook reads them.
pub fn objects(value: Value) -> Result<Vec<String>, String> {
    let objects: Vec<Value> = typed(value)?;
    Ok(objects.iter().map(Value::to_string).collect())
}

/// A count of replicas; one, where nothing is said.
pub fn count(value: Value) -> Result<u32, String> {
    if value.is_null() { Ok(1) } else { typed(value) }
}

/// Yes or no. Yes, where nothing is said.
pub fn flag(value: Value) -> Result<bool, String> {
    if value.is_null() { Ok(true) } else { typed(value) }
}

/// Whether it was so before. No, where nothing is said.
pub fn was(value: Value) -> Result<bool, String> {
    if value.is_null() { Ok(false) } else { typed(value) }
}

/// Text, if there is any.
pub fn optional(value: Value) -> Result<Option<String>, String> {
    typed(value)
}

/// What commands came to: a list, or what one came to.
pub fn outcomes(value: Value) -> Result<Vec<OutcomeAnswer>, String> {
    match value {
        Value::Null => Ok(vec![OutcomeAnswer { pod: some_pod(), ..OutcomeAnswer::default() }]),
        Value::Array(_) => typed(value),
        one => typed(one).map(|outcome| vec![outcome]),
    }
}

/// What a session prints.
pub fn output(value: Value) -> Result<Text, String> {
    typed(value)
}

/// A response; 200, where nothing is said.
pub fn response(value: Value) -> Result<ResponseAnswer, String> {
    if value.is_null() {
        Ok(ResponseAnswer { status: 200, ..ResponseAnswer::default() })
    } else {
        typed(value)
    }
}

/// A value of the store, if there is one.
pub fn entry(value: Value) -> Result<Option<Entry>, String> {
    let entry: Option<EntryAnswer> = typed(value)?;
    Ok(entry.map(|EntryAnswer { value, revision }| Entry { value: value.0, revision }))
}

/// Nothing at all.
pub fn nothing(value: Value) -> Result<(), String> {
    if value.is_null() { Ok(()) } else { Err("there is nothing to answer here: leave it out".to_owned()) }
}

/// Looks whether a function can answer that.
///
/// # Errors
///
/// Says why it cannot.
pub fn check_answer(function: HostFunction, value: Value) -> Result<(), String> {
    match function {
        HostFunction::KubeGet | HostFunction::KubePatch => json(value).map(drop),
        HostFunction::KubeList => objects(value).map(drop),
        HostFunction::KubeAnnotate | HostFunction::FreezeAnnotate => optional(value).map(drop),
        HostFunction::KubeScale | HostFunction::FreezeScaleDown => count(value).map(drop),
        HostFunction::KubeWaitFor => flag(value).map(drop),
        HostFunction::ExecRun | HostFunction::FreezeExecWithUndo => outcomes(value).map(drop),
        HostFunction::FreezeSuspendCronjob => was(value).map(drop),
        HostFunction::FreezeHoldSession => output(value).map(drop),
        HostFunction::HttpSend => response(value).map(drop),
        HostFunction::EventsEmit | HostFunction::StateDelete => nothing(value),
        HostFunction::StateGet => entry(value).map(drop),
        HostFunction::StatePut => typed::<u64>(value).map(drop),
        HostFunction::StateKeys => typed::<Vec<String>>(value).map(drop),
    }
}

/// Looks whether a function can fail like that.
///
/// # Errors
///
/// Says how it can.
pub fn check_error(function: HostFunction, value: Value) -> Result<(), String> {
    match function {
        HostFunction::KubeGet
        | HostFunction::KubeList
        | HostFunction::KubePatch
        | HostFunction::KubeAnnotate
        | HostFunction::KubeScale
        | HostFunction::KubeWaitFor => typed::<KubeError>(value).map(drop),
        HostFunction::ExecRun => typed::<ExecError>(value).map(drop),
        HostFunction::FreezeScaleDown
        | HostFunction::FreezeAnnotate
        | HostFunction::FreezeSuspendCronjob
        | HostFunction::FreezeExecWithUndo
        | HostFunction::FreezeHoldSession => typed::<FreezeError>(value).map(drop),
        HostFunction::HttpSend => typed::<HttpError>(value).map(drop),
        HostFunction::EventsEmit => typed::<String>(value).map(drop),
        HostFunction::StateGet
        | HostFunction::StatePut
        | HostFunction::StateDelete
        | HostFunction::StateKeys => typed::<StateError>(value).map(drop),
    }
}
