//! What a module may ask for, as whoever runs it provides it.

use async_trait::async_trait;
use scribe_hooks_contract::effects::{
    Command, Entry, Event, ExecError, FreezeError, HttpError, KubeError, Outcome, PatchKind, Request,
    Response, StateError,
};
use scribe_hooks_contract::grants::{ExecPermit, HttpPermit, KubePermit, ListPermit};

/// Does what modules ask for. One for each call of a module.
///
/// # Guarantees
///
/// What arrives here was judged: it was granted, the call is an effectful one, `freeze_*` is called within `quiesce` only, counts and sizes
/// are within their limits, and durations within what is left of the call. Calls come one at a time.
///
/// # Obligations
///
/// A permit leaves something to look at where it says so: [`ExecPermit::allows`] for each pod that was found, [`HttpPermit::allows`] for
/// the address that is connected to, the uid of an object. `freeze_*` writes down what undoes it before it does anything. Any future may be
/// dropped at any await: the call was cancelled, or its time is up. Answers that are too large are cut or refused by the host as well, but
/// whoever reads them should not read more than the limits allow.
#[async_trait]
pub trait Host: Send + Sync {
    /// The time, in milliseconds since 1970-01-01T00:00:00Z.
    fn now(&self) -> u64;

    /// Puts an Event on the object that names the hook.
    async fn emit_event(&self, event: Event) -> Result<(), String>;

    /// Reads a value of the store that belongs to this module and this object.
    async fn state_get(&self, key: String) -> Result<Option<Entry>, StateError>;

    /// Writes a value, if its revision is still `expect` (0: if there is none). The whole store may hold `max_bytes`, keys included. Answers
    /// the new revision.
    async fn state_put(
        &self,
        key: String,
        value: Vec<u8>,
        expect: Option<u64>,
        max_bytes: u64,
    ) -> Result<u64, StateError>;

    /// Deletes a value, if its revision is still `expect`.
    async fn state_delete(&self, key: String, expect: Option<u64>) -> Result<(), StateError>;

    /// The keys that begin like this, sorted.
    async fn state_keys(&self, prefix: String) -> Result<Vec<String>, StateError>;

    /// Reads an object, or what is at a JSON pointer (RFC 6901) in it. JSON.
    async fn kube_get(&self, target: KubePermit, pointer: Option<String>) -> Result<String, KubeError>;

    /// Reads objects. JSON, one string for each.
    async fn kube_list(&self, query: ListPermit) -> Result<Vec<String>, KubeError>;

    /// Changes an object, and answers it. JSON.
    async fn kube_patch(
        &self,
        target: KubePermit,
        kind: PatchKind,
        body: String,
    ) -> Result<String, KubeError>;

    /// Sets or removes an annotation, and answers the value that it replaced.
    async fn kube_annotate(
        &self,
        target: KubePermit,
        key: String,
        value: Option<String>,
    ) -> Result<Option<String>, KubeError>;

    /// Sets the number of replicas, and answers the one that it replaced.
    async fn kube_scale(&self, target: KubePermit, replicas: u32) -> Result<u32, KubeError>;

    /// Waits until the value at a JSON pointer is `equals`: the text itself for a string, else JSON. `false` if it was not in time.
    async fn kube_wait_for(
        &self,
        target: KubePermit,
        pointer: String,
        equals: String,
        timeout_seconds: u32,
    ) -> Result<bool, KubeError>;

    /// Runs a command in containers, and waits for its end.
    async fn exec(&self, target: ExecPermit, command: Command) -> Result<Vec<Outcome>, ExecError>;

    /// Sets the number of replicas until release.
    async fn freeze_scale_down(&self, workload: KubePermit, replicas: u32) -> Result<(), FreezeError>;

    /// Sets an annotation until release.
    async fn freeze_annotate(
        &self,
        target: KubePermit,
        key: String,
        value: String,
    ) -> Result<(), FreezeError>;

    /// Suspends a CronJob until release.
    async fn freeze_suspend_cronjob(&self, target: KubePermit) -> Result<(), FreezeError>;

    /// Runs `apply` now, and `undo` at release, also where `apply` failed or was never answered.
    async fn freeze_exec_with_undo(
        &self,
        target: ExecPermit,
        apply: Command,
        undo: Command,
    ) -> Result<(), FreezeError>;

    /// Starts a command whose stdin stays open until release, and returns when it has printed a line that contains `ready_marker`.
    async fn freeze_hold_session(
        &self,
        target: ExecPermit,
        command: Command,
        ready_marker: String,
    ) -> Result<(), FreezeError>;

    /// Sends a request to an address that the permit allows. Follows no redirect, and reads at most `max_body` bytes.
    async fn http_send(
        &self,
        permit: HttpPermit,
        request: Request,
        max_body: u64,
    ) -> Result<Response, HttpError>;

    /// Waits. A scripted host does not.
    async fn sleep(&self, duration: std::time::Duration) {
        tokio::time::sleep(duration).await;
    }
}
