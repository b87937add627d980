//! What a module asks of its host, and what it is answered.

use serde::{Deserialize, Serialize};

/// How much a line of the log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Level {
    /// For the module's author.
    Debug,
    /// As expected.
    Info,
    /// Worth a look.
    Warn,
    /// Something failed.
    Error,
}

/// The kind of a Kubernetes Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EventKind {
    /// As expected.
    Normal,
    /// Worth a look.
    Warning,
}

/// A Kubernetes Event on the object that names the hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Event {
    /// Whether it is a warning.
    pub kind: EventKind,
    /// One word, `UpperCamelCase`.
    pub reason: String,
    /// One line.
    pub message: String,
}

/// A value of the module's store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    /// Its bytes.
    pub value: Vec<u8>,
    /// Changes with every write; never 0.
    pub revision: u64,
}

/// Why the store did not answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum StateError {
    /// Holds how many bytes are allowed.
    TooLarge(u64),
    /// Somebody else wrote it. Holds the revision that it has now; 0 if there is none.
    Conflict(u64),
    /// It cannot be asked, or was not granted.
    Unavailable(String),
}

/// Why the Kubernetes API did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum KubeError {
    /// Not granted, or the hook's ServiceAccount may not.
    Denied(String),
    /// There is no such object.
    NotFound,
    /// Somebody else wrote it.
    Conflict(String),
    /// It cannot be asked like that.
    Invalid(String),
    /// It does not answer.
    Unavailable(String),
    /// Holds how many bytes are allowed.
    TooLarge(u64),
}

/// How a patch is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PatchKind {
    /// JSON merge patch.
    Merge,
    /// Strategic merge patch.
    Strategic,
    /// JSON patch.
    Json,
    /// Server-side apply.
    Apply,
}

/// Which objects a list is to hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListQuery {
    /// As in a manifest.
    pub api_version: String,
    /// As in a manifest.
    pub kind: String,
    /// A label selector; empty means all.
    #[serde(default)]
    pub label_selector: String,
    /// At most so many.
    pub limit: u32,
}

/// Which containers a command runs in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Target {
    /// A pod's name. Either this or `labelSelector`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// A label selector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<String>,
    /// May be left out where the pod has one container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// In every pod that matches; else there must be exactly one.
    #[serde(default)]
    pub all_matching: bool,
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Command {
    /// Not a shell's command line.
    pub argv: Vec<String>,
    /// What it reads.
    #[serde(default)]
    pub stdin: Vec<u8>,
    /// Never more than what is left of the call's own time.
    pub timeout_seconds: u32,
    /// Bytes of each of stdout and stderr; what is more is cut.
    pub max_output: u32,
}

/// What became of a command in one pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Outcome {
    /// The pod's name.
    pub pod: String,
    /// The command's exit code.
    pub exit_code: i32,
    /// What it wrote.
    #[serde(default)]
    pub stdout: Vec<u8>,
    /// What it wrote there.
    #[serde(default)]
    pub stderr: Vec<u8>,
    /// Whether output is missing.
    #[serde(default)]
    pub truncated: bool,
}

/// Why a command was not run, or not seen to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum ExecError {
    /// Not granted.
    Denied(String),
    /// No pod or container like that, or more than one where one is meant.
    NoSuchTarget(String),
    /// The pod is there, and its container does not run.
    NotRunning(String),
    /// It took too long.
    TimedOut,
    /// The API server or the kubelet does not answer.
    Unavailable(String),
}

/// Why nothing was frozen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum FreezeError {
    /// Not granted.
    Denied(String),
    /// It did not work. What undoes it is written down all the same.
    Failed(String),
    /// The window has closed, or there is none.
    WindowClosed,
}

/// An HTTP request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    /// `GET`, `POST`, …
    pub method: String,
    /// Absolute.
    pub url: String,
    /// Names and values.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// What is sent.
    #[serde(default)]
    pub body: Vec<u8>,
    /// Never more than what is left of the call's own time.
    pub timeout_seconds: u32,
    /// A header's name, and the name of a key in a Secret that was granted. The value never enters the module.
    #[serde(default)]
    pub secret_headers: Vec<(String, String)>,
}

/// An HTTP response. Redirects are answered as they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Names and values.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// What came.
    #[serde(default)]
    pub body: Vec<u8>,
}

/// Why there is no response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum HttpError {
    /// Not granted.
    Denied(String),
    /// The host's name has no address.
    Dns(String),
    /// Nobody listens there.
    Connect(String),
    /// The certificate or the handshake.
    Tls(String),
    /// It took too long.
    TimedOut,
    /// Holds how many bytes are allowed.
    TooLarge(u64),
    /// It is not HTTP.
    Protocol(String),
}
