//! Writes to the replication object itself.

use super::children::Written;
use super::error::ApplyError;
use crate::context::Context;
use crate::kinds::Reconciled;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use scribe_crds::names::{FIELD_MANAGER, FINALIZER};
use serde_json::json;

/// The object, and the resource version that it is known to have: each write moves it on, so that several writes of one pass do not
/// conflict with each other, and yet with anybody else's.
pub struct Object<'a, K: Reconciled> {
    api: Api<K>,
    seen: &'a K,
    resource_version: Option<String>,
    finalizers: Vec<String>,
}

impl<'a, K: Reconciled> Object<'a, K> {
    /// The object as it was observed.
    pub fn new(ctx: &Context, seen: &'a K) -> Self {
        let meta = seen.meta();
        Self {
            api: Api::namespaced(ctx.client.clone(), meta.namespace.as_deref().unwrap_or_default()),
            seen,
            resource_version: meta.resource_version.clone(),
            finalizers: meta.finalizers.clone().unwrap_or_default(),
        }
    }

    /// Its namespace.
    pub fn namespace(&self) -> &'a str {
        self.seen.meta().namespace.as_deref().unwrap_or_default()
    }

    /// Its uid.
    pub fn uid(&self) -> &'a str {
        self.seen.meta().uid.as_deref().unwrap_or_default()
    }

    fn name(&self) -> &'a str {
        self.seen.meta().name.as_deref().unwrap_or_default()
    }

    fn text(&self) -> String {
        format!("{} {}/{}", K::kind(&()), self.namespace(), self.name())
    }

    /// Writes the status, if it differs: a status that is written without a change would trigger the next write.
    pub async fn write_status(&mut self, status: &K::Status) -> Result<Written, ApplyError> {
        let broken = |source| ApplyError::Failed {
            operation: "write the status of",
            object: self.text(),
            source: Box::new(kube::Error::SerdeError(source)),
        };
        // Times are compared as they are written: to the second.
        let wanted = serde_json::to_value(status).map_err(broken)?;
        let known = self.seen.status().map(serde_json::to_value).transpose().map_err(broken)?;
        if known.as_ref() == Some(&wanted) {
            return Ok(Written::Unchanged);
        }
        let mut next = self.seen.with_status(status.clone());
        next.meta_mut().resource_version.clone_from(&self.resource_version);
        next.meta_mut().managed_fields = None;
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let written = self.api.replace_status(self.name(), &params, &next).await;
        let written = written.map_err(|error| ApplyError::new("write the status of", self.text(), error))?;
        self.resource_version.clone_from(&written.meta().resource_version);
        Ok(Written::Changed)
    }

    /// Puts the finalizer on, or takes it off.
    pub async fn set_finalizer(&mut self, wanted: bool) -> Result<Written, ApplyError> {
        let has = self.finalizers.iter().any(|finalizer| finalizer == FINALIZER);
        if has == wanted {
            return Ok(Written::Unchanged);
        }
        let mut finalizers = self.finalizers.clone();
        finalizers.retain(|finalizer| finalizer != FINALIZER);
        if wanted {
            finalizers.push(FINALIZER.to_owned());
        }
        let patch = json!({"metadata": {
            "uid": self.uid(), "resourceVersion": self.resource_version, "finalizers": finalizers,
        }});
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match self.api.patch_metadata(self.name(), &params, &Patch::Merge(&patch)).await {
            Ok(written) => {
                self.resource_version.clone_from(&written.metadata.resource_version);
                self.finalizers = finalizers;
                Ok(Written::Changed)
            }
            Err(kube::Error::Api(status)) if !wanted && status.is_not_found() => Ok(Written::Changed),
            Err(error) => Err(ApplyError::new("set the finalizer of", self.text(), error)),
        }
    }
}
