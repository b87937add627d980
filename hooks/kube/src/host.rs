//! The host of one call, and what the process has for all of them.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use http::HeaderValue;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use scribe_hooks::Host;
use scribe_hooks_contract::effects::{
    Command, Entry, Event, ExecError, FreezeError, HttpError, KubeError, Outcome, PatchKind, Request,
    Response, StateError,
};
use scribe_hooks_contract::grants::{ExecPermit, HttpPermit, KubePermit, ListPermit};
use scribe_hooks_contract::undo::Undo;
use serde_json::{Value, json};

use crate::freeze::Journal;
use crate::http::{HttpClient, SecretHeader};
use crate::object::{Field, exchange, list, patch, read};
use crate::sessions::Sessions;
use crate::store::{Store, digest};
use crate::undo::{UndoError, UndoOutcome, lost, undo};
use crate::wait::wait_for;
use crate::{events, exec, pods};

/// The object that names the hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// As in a manifest.
    pub api_version: String,
    /// As in a manifest.
    pub kind: String,
    /// Its namespace: no call reaches another one.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid. A later object of the same name has another store.
    pub uid: String,
}

/// What one process has for all calls. Clones share it.
#[derive(Clone, Debug)]
pub struct Platform {
    pub(crate) own: ClientOf,
    instance: Arc<str>,
    pub(crate) sessions: Sessions,
    http: HttpClient,
}

/// A client, which has nothing to show.
#[derive(Clone)]
pub(crate) struct ClientOf(pub Client);

impl std::fmt::Debug for ClientOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

/// What one call of a module is made with.
#[derive(Clone)]
pub struct Call {
    /// With whose rights the module acts: see [`Identities`](crate::Identities).
    pub acting: Client,
    /// The object that names the hook.
    pub subject: Subject,
    /// What tells the module from others that the object names: its store is kept under it, and its Events begin with it.
    pub module: String,
    /// Where what undoes a change is written down. Without one nothing can be frozen.
    pub journal: Option<Arc<dyn Journal>>,
}

/// Does what one call of a module asks for.
pub struct KubeHost {
    pub(crate) platform: Platform,
    pub(crate) acting: Client,
    pub(crate) subject: Subject,
    module: String,
    pub(crate) journal: Option<Arc<dyn Journal>>,
}

impl Platform {
    /// `own` is the caller's own client: it keeps the modules' stores and emits their Events. `instance` names the caller in Events.
    pub fn new(own: Client, instance: &str, http: HttpClient) -> Self {
        Self { own: ClientOf(own), instance: instance.into(), sessions: Sessions::default(), http }
    }

    /// The sessions that this process holds.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// The host of one call.
    pub fn host(&self, call: Call) -> KubeHost {
        let Call { acting, subject, module, journal } = call;
        KubeHost { platform: self.clone(), acting, subject, module, journal }
    }

    /// Undoes one entry of an undo log, in the namespace of the object that it stands in, with the rights of `acting`. Needs no module.
    ///
    /// # Guarantees
    ///
    /// May be repeated, and dropped and repeated. Restores only what still is as it was set. Waits for the end of a change that this process has under way.
    ///
    /// # Errors
    ///
    /// The entry is still due: try again.
    pub async fn undo(
        &self,
        acting: &Client,
        namespace: &str,
        entry: &Undo,
    ) -> Result<UndoOutcome, UndoError> {
        undo(acting, &self.sessions, namespace, entry).await
    }

    /// Whether what an entry undoes still is as it was set; if not, what it is, in words. Of a command it is known only that its container still runs.
    ///
    /// # Errors
    ///
    /// It cannot be told.
    pub async fn lost(
        &self,
        acting: &Client,
        namespace: &str,
        entry: &Undo,
    ) -> Result<Option<String>, UndoError> {
        lost(acting, &self.sessions, namespace, entry).await
    }
}

impl KubeHost {
    fn store(&self) -> Store<'_> {
        Store { own: &self.platform.own.0, subject: &self.subject, module: &self.module }
    }

    /// The values of headers that come from Secrets, read with the hook's own rights.
    async fn secret_headers(&self, permit: &HttpPermit) -> Result<Vec<SecretHeader>, HttpError> {
        let api: Api<Secret> = Api::namespaced(self.acting.clone(), &self.subject.namespace);
        let mut headers = Vec::new();
        for (header, grant) in &permit.secrets {
            // Nothing of the Secret but its name and key is ever part of a message.
            let what = || format!("Secret {}, key {}", grant.secret, grant.key);
            let read = tokio::time::timeout(crate::api::PATIENCE, api.get_opt(&grant.secret)).await;
            let secret = match read {
                Ok(Ok(Some(secret))) => secret,
                Ok(Ok(None)) => {
                    return Err(HttpError::Denied(format!("{}: there is no such Secret", what())));
                }
                Ok(Err(kube::Error::Api(status))) if status.code == 403 || status.code == 401 => {
                    return Err(HttpError::Denied(format!("{}: {}", what(), status.message)));
                }
                // No outage is a denial, of which hooks are told that it will not pass.
                Ok(Err(_)) | Err(_) => {
                    return Err(HttpError::Connect(format!("{}: the API server does not answer", what())));
                }
            };
            let value = secret.data.as_ref().and_then(|data| data.get(&grant.key));
            let value = value.ok_or_else(|| HttpError::Denied(format!("{}: no such key", what())))?;
            // Files end in a line feed, and Secrets are made from files.
            let mut value = HeaderValue::from_bytes(value.0.trim_ascii_end())
                .map_err(|_| HttpError::Denied(format!("{}: cannot be a header's value", what())))?;
            value.set_sensitive(true);
            headers.push((header.clone(), value));
        }
        Ok(headers)
    }
}

#[async_trait]
impl Host for KubeHost {
    fn now(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    async fn emit_event(&self, event: Event) -> Result<(), String> {
        let Platform { own, instance, .. } = &self.platform;
        events::emit(&own.0, instance, &self.subject, &self.module, &event).await
    }

    async fn state_get(&self, key: String) -> Result<Option<Entry>, StateError> {
        self.store().get(&key).await
    }

    async fn state_put(
        &self,
        key: String,
        value: Vec<u8>,
        expect: Option<u64>,
        max_bytes: u64,
    ) -> Result<u64, StateError> {
        self.store().put(&key, &value, expect, max_bytes).await
    }

    async fn state_delete(&self, key: String, expect: Option<u64>) -> Result<(), StateError> {
        self.store().delete(&key, expect).await
    }

    async fn state_keys(&self, prefix: String) -> Result<Vec<String>, StateError> {
        self.store().keys(&prefix).await
    }

    async fn kube_get(&self, target: KubePermit, pointer: Option<String>) -> Result<String, KubeError> {
        read(&self.acting, &target, pointer.as_deref()).await
    }

    async fn kube_list(&self, query: ListPermit) -> Result<Vec<String>, KubeError> {
        list(&self.acting, &query).await
    }

    async fn kube_patch(
        &self,
        target: KubePermit,
        kind: PatchKind,
        body: String,
    ) -> Result<String, KubeError> {
        // Two hooks that apply to one object must not take each other's fields for their own.
        let manager =
            format!("{}-{}", scribe_crds::names::HOOK_FIELD_MANAGER, digest(&self.subject, &self.module));
        patch(&self.acting, &target, kind, &body, &manager).await
    }

    async fn kube_annotate(
        &self,
        target: KubePermit,
        key: String,
        value: Option<String>,
    ) -> Result<Option<String>, KubeError> {
        let was = exchange(&self.acting, &target, &Field::Annotation(key), &json!(value)).await?;
        Ok(was.as_str().map(str::to_owned))
    }

    async fn kube_scale(&self, target: KubePermit, replicas: u32) -> Result<u32, KubeError> {
        let was: Value = exchange(&self.acting, &target, &Field::Replicas, &json!(replicas)).await?;
        Ok(was.as_u64().and_then(|count| u32::try_from(count).ok()).unwrap_or(0))
    }

    async fn kube_wait_for(
        &self,
        target: KubePermit,
        pointer: String,
        equals: String,
        timeout_seconds: u32,
    ) -> Result<bool, KubeError> {
        let patience = Duration::from_secs(timeout_seconds.into());
        wait_for(&self.acting, &target, &pointer, &equals, patience).await
    }

    async fn exec(&self, target: ExecPermit, command: Command) -> Result<Vec<Outcome>, ExecError> {
        let places = pods::find(&self.acting, &self.subject.namespace, &target).await?;
        exec::run_all(&self.acting, &self.subject.namespace, &places, &command).await
    }

    async fn freeze_scale_down(&self, workload: KubePermit, replicas: u32) -> Result<(), FreezeError> {
        self.scale_down(workload, replicas).await
    }

    async fn freeze_annotate(
        &self,
        target: KubePermit,
        key: String,
        value: String,
    ) -> Result<(), FreezeError> {
        self.annotate_for_now(target, key, value).await
    }

    async fn freeze_suspend_cronjob(&self, target: KubePermit) -> Result<(), FreezeError> {
        self.suspend(target).await
    }

    async fn freeze_exec_with_undo(
        &self,
        target: ExecPermit,
        apply: Command,
        undo: Command,
    ) -> Result<(), FreezeError> {
        self.exec_with_undo(&target, &apply, &undo).await
    }

    async fn freeze_hold_session(
        &self,
        target: ExecPermit,
        command: Command,
        ready_marker: String,
    ) -> Result<(), FreezeError> {
        self.hold_session(&target, command, ready_marker).await
    }

    async fn http_send(
        &self,
        permit: HttpPermit,
        request: Request,
        max_body: u64,
    ) -> Result<Response, HttpError> {
        let secrets = self.secret_headers(&permit).await?;
        self.platform.http.send(&permit, request, secrets, max_body).await
    }
}
