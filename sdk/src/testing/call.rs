use crate::exec::{Command, Target};
use crate::http::Request;
use crate::kube::PatchKind;
use crate::{ObjectRef, events};

/// An effect that a hook has asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "each is named as the function that was called, and its fields as what that was given"
)]
pub enum Call {
    Event { kind: events::Kind, reason: String, message: String },
    Exec { target: Target, command: Command },
    FreezeScaleDown { workload: ObjectRef, replicas: u32 },
    FreezeAnnotate { target: ObjectRef, key: String, value: String },
    FreezeSuspendCronjob { target: ObjectRef },
    FreezeExecWithUndo { target: Target, apply: Command, undo: Command },
    FreezeHoldSession { target: Target, command: Command, ready_marker: String },
    Http(Request),
    KubeGet { target: ObjectRef, pointer: Option<String> },
    KubeList { api_version: String, kind: String, label_selector: String, limit: u32 },
    KubePatch { target: ObjectRef, kind: PatchKind, body: serde_json::Value },
    KubeAnnotate { target: ObjectRef, key: String, value: Option<String> },
    KubeScale { target: ObjectRef, replicas: u32 },
    KubeWaitFor { target: ObjectRef, pointer: String, equals: String, timeout_seconds: u32 },
}
