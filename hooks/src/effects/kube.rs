//! The Kubernetes API.

use std::sync::Arc;

use scribe_hooks_contract::context::ObjectRef;
use scribe_hooks_contract::effects::{KubeError, ListQuery, PatchKind};
use scribe_hooks_contract::grants::{Denied, KubePermit, Verb};
use scribe_hooks_contract::limits::fixed;

use super::{Answer, PATIENCE, seconds, within};
use crate::host::Host;
use crate::state::CallState;

/// What our own objects' annotations begin with: they admit what guards have refused.
const OWN_KEYS: &str = "scribe.dev/";

impl CallState {
    pub(super) fn permit_kube(
        &mut self,
        name: &'static str,
        verb: Verb,
        target: &ObjectRef,
    ) -> Result<(Arc<dyn Host>, KubePermit), Denied> {
        let effects = self.effects(name)?;
        let permit = effects.grants.permit_kube(verb, target, &effects.namespace)?;
        Ok((effects.host.clone(), permit))
    }

    fn kube(
        &mut self,
        name: &'static str,
        verb: Verb,
        target: &ObjectRef,
    ) -> Answer<(Arc<dyn Host>, KubePermit), KubeError> {
        self.count(name)?;
        Ok(self.permit_kube(name, verb, target).map_err(|denied| KubeError::Denied(self.denied(denied))))
    }

    pub async fn kube_get(
        &mut self,
        target: ObjectRef,
        pointer: Option<String>,
    ) -> Answer<String, KubeError> {
        let (host, permit) = match self.kube("kube.get", Verb::Get, &target)? {
            Ok(permitted) => permitted,
            Err(error) => return Ok(Err(error)),
        };
        if let Some(Err(error)) = pointer.as_deref().map(check_pointer) {
            return Ok(Err(error));
        }
        let got = within(PATIENCE, self.patience(), host.kube_get(permit, pointer)).await;
        Ok(self.heard(got.unwrap_or_else(no_answer)).and_then(bounded))
    }

    pub async fn kube_list(&mut self, query: ListQuery) -> Answer<Vec<String>, KubeError> {
        self.count("kube.list")?;
        let permitted = self.effects("kube.list").and_then(|effects| {
            let permit = effects.grants.permit_list(&query, &effects.namespace)?;
            Ok((effects.host.clone(), permit))
        });
        let (host, permit) = match permitted {
            Ok(permitted) => permitted,
            Err(denied) => return Ok(Err(KubeError::Denied(self.denied(denied)))),
        };
        let limit = permit.limit as usize;
        let listed = within(PATIENCE, self.patience(), host.kube_list(permit)).await;
        Ok(self.heard(listed.unwrap_or_else(no_answer)).and_then(|objects| {
            let bytes: usize = objects.iter().map(String::len).sum();
            if bytes > fixed::KUBE_ANSWER_BYTES || objects.len() > limit {
                Err(KubeError::TooLarge(fixed::KUBE_ANSWER_BYTES as u64))
            } else {
                Ok(objects)
            }
        }))
    }

    pub async fn kube_patch(
        &mut self,
        target: ObjectRef,
        kind: PatchKind,
        body: String,
    ) -> Answer<String, KubeError> {
        let (host, permit) = match self.kube("kube.patch", Verb::Patch, &target)? {
            Ok(permitted) => permitted,
            Err(error) => return Ok(Err(error)),
        };
        let patched = within(PATIENCE, self.patience(), host.kube_patch(permit, kind, body)).await;
        Ok(self.heard(patched.unwrap_or_else(no_answer)).and_then(bounded))
    }

    pub async fn kube_annotate(
        &mut self,
        target: ObjectRef,
        key: String,
        value: Option<String>,
    ) -> Answer<Option<String>, KubeError> {
        let (host, permit) = match self.kube("kube.annotate", Verb::Annotate, &target)? {
            Ok(permitted) => permitted,
            Err(error) => return Ok(Err(error)),
        };
        if let Err(denied) = check_annotation(&key) {
            return Ok(Err(KubeError::Denied(self.denied(denied))));
        }
        let annotated = within(PATIENCE, self.patience(), host.kube_annotate(permit, key, value)).await;
        Ok(self.heard(annotated.unwrap_or_else(no_answer)))
    }

    pub async fn kube_scale(&mut self, target: ObjectRef, replicas: u32) -> Answer<u32, KubeError> {
        let (host, permit) = match self.kube("kube.scale", Verb::Scale, &target)? {
            Ok(permitted) => permitted,
            Err(error) => return Ok(Err(error)),
        };
        let scaled = within(PATIENCE, self.patience(), host.kube_scale(permit, replicas)).await;
        Ok(self.heard(scaled.unwrap_or_else(no_answer)))
    }

    pub async fn kube_wait_for(
        &mut self,
        target: ObjectRef,
        pointer: String,
        equals: String,
        timeout_seconds: u32,
    ) -> Answer<bool, KubeError> {
        let (host, permit) = match self.kube("kube.wait-for", Verb::Get, &target)? {
            Ok(permitted) => permitted,
            Err(error) => return Ok(Err(error)),
        };
        if let Err(error) = check_pointer(&pointer) {
            return Ok(Err(error));
        }
        let wait = host.kube_wait_for(permit, pointer, equals, timeout_seconds);
        let waited = within(seconds(timeout_seconds), self.patience(), wait).await;
        Ok(self.heard(waited.unwrap_or(Ok(false))))
    }
}

pub(super) fn check_annotation(key: &str) -> Result<(), Denied> {
    if key.starts_with(OWN_KEYS) {
        Err(Denied::because(format!("annotations that begin with {OWN_KEYS} are Scribe's own")))
    } else {
        Ok(())
    }
}

fn check_pointer(pointer: &str) -> Result<(), KubeError> {
    if pointer.is_empty() || pointer.starts_with('/') {
        Ok(())
    } else {
        Err(KubeError::Invalid("a field path is a JSON pointer (RFC 6901), like /status/phase".to_owned()))
    }
}

fn bounded(answer: String) -> Result<String, KubeError> {
    if answer.len() > fixed::KUBE_ANSWER_BYTES {
        Err(KubeError::TooLarge(fixed::KUBE_ANSWER_BYTES as u64))
    } else {
        Ok(answer)
    }
}

fn no_answer<T>() -> Result<T, KubeError> {
    Err(KubeError::Unavailable("the API server does not answer".to_owned()))
}
