//! Reading and changing objects.

use std::time::Duration;

use http::{Method, StatusCode};
use kube::Client;
use rand::RngExt;
use scribe_hooks_contract::effects::{KubeError, PatchKind};
use scribe_hooks_contract::grants::{KubePermit, ListPermit};
use scribe_hooks_contract::limits::fixed;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::api::{Accept, Address, ApiError, Content, OBJECT_BYTES, get, send, with_query};

/// Objects that are asked for at once.
const PAGE: u32 = 50;
/// How often a change is tried when others write the object too.
const TRIES: u32 = 8;

/// What is looked at of any object.
#[derive(Debug, Default, Deserialize)]
struct Identified {
    #[serde(default)]
    metadata: Identity,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Identity {
    #[serde(default)]
    uid: String,
}

/// Reads an object, or what is at a JSON pointer in it (`null` if there is nothing). Who manages which field is left out.
pub(crate) async fn read(
    client: &Client,
    permit: &KubePermit,
    pointer: Option<&str>,
) -> Result<String, KubeError> {
    let object = read_value(client, permit).await?;
    bounded(match pointer {
        None => object.to_string(),
        Some(pointer) => object.pointer(pointer).unwrap_or(&Value::Null).to_string(),
    })
}

/// Reads an object that must be the one that is meant.
pub(crate) async fn read_value(client: &Client, permit: &KubePermit) -> Result<Value, KubeError> {
    let path = Address::from(permit).path(Some(&permit.name), None)?;
    let object: Value = get(client, path, Accept::Json, OBJECT_BYTES).await?;
    check_uid(permit, uid(&object))?;
    shown(object)
}

pub(crate) fn uid(object: &Value) -> &str {
    object.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default()
}

/// An object as a module may see it.
pub(crate) fn shown(mut object: Value) -> Result<Value, KubeError> {
    // No address leads to one. This is for the day on which one does.
    if object["apiVersion"] == "v1" && object["kind"] == "Secret" {
        return Err(KubeError::Denied("Secrets are never shown to a hook, whatever was granted".to_owned()));
    }
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        metadata.remove("managedFields");
    }
    Ok(object)
}

/// An object of the same name that is another one is as good as none.
pub(crate) fn check_uid(permit: &KubePermit, found: &str) -> Result<(), KubeError> {
    match &permit.uid {
        Some(meant) if meant != found => Err(KubeError::NotFound),
        _ => Ok(()),
    }
}

fn bounded(answer: String) -> Result<String, KubeError> {
    if answer.len() > fixed::KUBE_ANSWER_BYTES {
        Err(KubeError::TooLarge(fixed::KUBE_ANSWER_BYTES as u64))
    } else {
        Ok(answer)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    metadata: PageMeta,
    #[serde(default)]
    items: Vec<Box<RawValue>>,
}

#[derive(Default, Deserialize)]
struct PageMeta {
    #[serde(default, rename = "continue")]
    token: Option<String>,
}

/// Reads objects, page by page.
pub(crate) async fn list(client: &Client, query: &ListPermit) -> Result<Vec<String>, KubeError> {
    let path = Address::from(query).path(None, None)?;
    let selector = query.selector.to_string();
    let (mut objects, mut bytes, mut token) = (Vec::new(), 0, String::new());
    while (objects.len() as u64) < u64::from(query.limit) {
        let left = query.limit.saturating_sub(u32::try_from(objects.len()).unwrap_or(u32::MAX));
        let limit = left.min(PAGE).to_string();
        let query_string = [("limit", limit.as_str()), ("labelSelector", &selector), ("continue", &token)];
        let page: Page =
            get(client, with_query(path.clone(), &query_string), Accept::Json, PAGE_BYTES).await?;
        for item in page.items {
            // One at a time: parsed, an object may take many times what it takes as text.
            let mut object: Value = serde_json::from_str(item.get()).map_err(ApiError::Unreadable)?;
            // In a list, objects do not say what they are.
            if let Value::Object(fields) = &mut object {
                fields.insert("apiVersion".into(), page.api_version.clone().into());
                fields.insert("kind".into(), query.kind.clone().into());
            }
            let text = shown(object)?.to_string();
            bytes += text.len();
            if bytes > fixed::KUBE_ANSWER_BYTES {
                return Err(KubeError::TooLarge(fixed::KUBE_ANSWER_BYTES as u64));
            }
            objects.push(text);
        }
        match page.metadata.token.filter(|token| !token.is_empty()) {
            Some(next) => token = next,
            None => break,
        }
    }
    objects.truncate(query.limit as usize);
    Ok(objects)
}

/// Bytes of one page: what cannot be answered need not be read.
const PAGE_BYTES: usize = 8 << 20;

/// Changes an object that is there, and answers it.
///
/// The uid that was seen goes along: what is deleted meanwhile is neither made anew by an apply nor changed under the same name.
pub(crate) async fn patch(
    client: &Client,
    permit: &KubePermit,
    kind: PatchKind,
    body: &str,
    manager: &str,
) -> Result<String, KubeError> {
    let invalid = |error: serde_json::Error| KubeError::Invalid(format!("body-json is not JSON: {error}"));
    let body: Value = serde_json::from_str(body).map_err(invalid)?;
    let address = Address::from(permit);
    let path = address.path(Some(&permit.name), None)?;
    let seen: Identified = get(client, path.clone(), Accept::Metadata, OBJECT_BYTES).await?;
    check_uid(permit, &seen.metadata.uid)?;
    let content = patch_content(permit, kind, body, &seen.metadata.uid)?;
    let query = [("fieldManager", manager)];
    let answer =
        send(client, Method::PATCH, with_query(path, &query), Accept::Json, Some(content), OBJECT_BYTES)
            .await;
    let answer = answer.map_err(|error| match error {
        // The test of the uid, which we have put in front.
        ApiError::Status { code: StatusCode::UNPROCESSABLE_ENTITY, ref message }
            if kind == PatchKind::Json && message.contains("metadata/uid") =>
        {
            KubeError::NotFound
        }
        error => error.into(),
    })?;
    let object = serde_json::from_slice(&answer).map_err(ApiError::Unreadable)?;
    bounded(shown(object)?.to_string())
}

fn patch_content(
    permit: &KubePermit,
    kind: PatchKind,
    mut body: Value,
    uid: &str,
) -> Result<Content, KubeError> {
    if kind == PatchKind::Json {
        let Value::Array(steps) = &mut body else {
            return Err(KubeError::Invalid("a JSON patch is a list of steps (RFC 6902)".to_owned()));
        };
        steps.insert(0, json!({ "op": "test", "path": "/metadata/uid", "value": uid }));
    } else {
        let Value::Object(fields) = &mut body else {
            return Err(KubeError::Invalid("a patch of this kind is a JSON object".to_owned()));
        };
        let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
        let Value::Object(metadata) = metadata else {
            return Err(KubeError::Invalid("metadata is not an object".to_owned()));
        };
        metadata.insert("uid".into(), uid.into());
        if kind == PatchKind::Apply {
            metadata.insert("name".into(), permit.name.clone().into());
            metadata.insert("namespace".into(), permit.namespace.clone().into());
            let api_version = if permit.group.is_empty() {
                permit.version.clone()
            } else {
                format!("{}/{}", permit.group, permit.version)
            };
            fields.insert("apiVersion".into(), api_version.into());
            fields.insert("kind".into(), permit.kind.clone().into());
        }
    }
    let media_type = match kind {
        PatchKind::Merge => MERGE_PATCH,
        PatchKind::Strategic => "application/strategic-merge-patch+json",
        PatchKind::Json => "application/json-patch+json",
        PatchKind::Apply => "application/apply-patch+yaml",
    };
    Ok(Content { media_type, bytes: body.to_string().into_bytes() })
}

const MERGE_PATCH: &str = "application/merge-patch+json";

/// What is changed in one go, and can be looked at before.
#[derive(Clone, Debug)]
pub(crate) enum Field {
    Replicas,
    Annotation(String),
    Suspend,
}

/// A field as it was seen.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub uid: String,
    version: String,
    /// `null` for an annotation that is not there.
    pub value: Value,
}

impl Field {
    fn subresource(&self) -> Option<&'static str> {
        matches!(&self, Self::Replicas).then_some("scale")
    }

    fn accept(&self) -> Accept {
        if matches!(&self, Self::Annotation(_)) { Accept::Metadata } else { Accept::Json }
    }

    fn in_object(&self, object: &Value) -> Value {
        match self {
            Self::Replicas => object.pointer("/spec/replicas").cloned().unwrap_or(json!(0)),
            Self::Annotation(key) => object["metadata"]["annotations"][key.as_str()].clone(),
            Self::Suspend => object.pointer("/spec/suspend").cloned().unwrap_or(json!(false)),
        }
    }

    pub async fn look(&self, client: &Client, address: Address<'_>, name: &str) -> Result<Look, ApiError> {
        let path = address.path(Some(name), self.subresource())?;
        let object: Value = get(client, path, self.accept(), OBJECT_BYTES).await?;
        let text =
            |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Look {
            uid: text("/metadata/uid"),
            version: text("/metadata/resourceVersion"),
            value: self.in_object(&object),
        })
    }

    /// Sets it, if the object is still as it was seen: else 409.
    pub async fn set(
        &self,
        client: &Client,
        address: Address<'_>,
        name: &str,
        seen: &Look,
        value: &Value,
    ) -> Result<(), ApiError> {
        let path = address.path(Some(name), self.subresource())?;
        let mut body = json!({ "metadata": { "uid": seen.uid, "resourceVersion": seen.version } });
        match self {
            Self::Replicas => body["spec"]["replicas"] = value.clone(),
            Self::Annotation(key) => body["metadata"]["annotations"][key.as_str()] = value.clone(),
            Self::Suspend => body["spec"]["suspend"] = value.clone(),
        }
        let content = Content { media_type: MERGE_PATCH, bytes: body.to_string().into_bytes() };
        let query = [("fieldManager", scribe_crds::names::HOOK_FIELD_MANAGER)];
        let path = with_query(path, &query);
        send(client, Method::PATCH, path, self.accept(), Some(content), OBJECT_BYTES).await.map(drop)
    }
}

/// Sets a field, again when others wrote the object meanwhile, and answers what it was.
pub(crate) async fn exchange(
    client: &Client,
    permit: &KubePermit,
    field: &Field,
    value: &Value,
) -> Result<Value, KubeError> {
    let address = Address::from(permit);
    let mut tries = Tries::default();
    loop {
        let seen = field.look(client, address, &permit.name).await?;
        check_uid(permit, &seen.uid)?;
        if seen.value == *value {
            return Ok(seen.value);
        }
        match field.set(client, address, &permit.name, &seen, value).await {
            Ok(()) => return Ok(seen.value),
            Err(error) if error.is(StatusCode::CONFLICT) && tries.again().await => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Counts attempts at writing what others write too.
#[derive(Default)]
pub(crate) struct Tries(u32);

impl Tries {
    /// Whether there is another. Waits for it, not as long as others do.
    pub async fn again(&mut self) -> bool {
        self.0 += 1;
        let pause = rand::rng().random_range(1..=20_u64) * u64::from(self.0);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        self.0 < TRIES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permit() -> KubePermit {
        KubePermit {
            group: "apps".into(),
            version: "v1".into(),
            resource: "statefulsets".into(),
            kind: "StatefulSet".into(),
            namespace: "shop".into(),
            name: "db".into(),
            uid: None,
        }
    }

    fn content(kind: PatchKind, body: Value) -> Value {
        serde_json::from_slice(&patch_content(&permit(), kind, body, "u").unwrap().bytes).unwrap()
    }

    #[test]
    fn every_patch_says_which_object_it_is_for() {
        for kind in [PatchKind::Merge, PatchKind::Strategic, PatchKind::Apply] {
            let body = content(kind, json!({ "metadata": { "uid": "other" } }));
            assert_eq!(body["metadata"]["uid"], "u", "{kind:?}");
        }
        let steps = content(PatchKind::Json, json!([{ "op": "remove", "path": "/a" }]));
        assert_eq!(steps[0], json!({ "op": "test", "path": "/metadata/uid", "value": "u" }));
    }

    #[test]
    fn an_apply_is_for_the_object_that_was_judged() {
        let body = content(
            PatchKind::Apply,
            json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "x", "namespace": "y" } }),
        );
        let expected = json!({ "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": { "name": "db", "namespace": "shop", "uid": "u" } });
        assert_eq!(body, expected);
    }

    #[test]
    fn what_is_no_patch_is_refused() {
        for (kind, body) in [
            (PatchKind::Merge, json!([])),
            (PatchKind::Json, json!({})),
            (PatchKind::Apply, json!({ "metadata": 1 })),
        ] {
            assert!(patch_content(&permit(), kind, body, "u").is_err());
        }
    }

    #[test]
    fn a_secret_is_not_shown_whatever_led_to_it() {
        assert!(shown(json!({ "apiVersion": "v1", "kind": "Secret" })).is_err());
        let object = json!({ "kind": "Pod", "metadata": { "name": "a", "managedFields": [1] } });
        assert_eq!(shown(object).unwrap(), json!({ "kind": "Pod", "metadata": { "name": "a" } }));
    }
}
