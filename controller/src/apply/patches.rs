//! Small changes of objects, each under the precondition that it is still the object that was observed.

use super::children::Written;
use super::error::ApplyError;
use super::secrets::{self, Whose};
use k8s_openapi::ByteString;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource};
use scribe_crds::names::{ADOPTED_FROM, FIELD_MANAGER, OWNER_UID};
use scribe_crds::snapshots::{VolumeSnapshot, VolumeSnapshotContent};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Debug;

/// The manager of the address in the source's Secret.
const ADDRESS_MANAGER: &str = "scribe-address";

fn params(manager: &str) -> PatchParams {
    PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() }
}

async fn merge<K>(
    api: &Api<K>,
    operation: &'static str,
    name: &str,
    manager: &str,
    patch: &Value,
) -> Result<Written, ApplyError>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    // The metadata alone is asked for in return: nobody looks at the rest, and a Secret's must not be seen.
    match api.patch_metadata(name, &params(manager), &Patch::Merge(patch)).await {
        Ok(_) => Ok(Written::Changed),
        Err(error) => Err(ApplyError::new(operation, format!("{} {name}", K::kind(&())), error)),
    }
}

fn namespaced<K>(client: &Client, namespace: &str) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    Api::namespaced(client.clone(), namespace)
}

/// The Secret that the address goes into.
#[derive(Clone, Copy, Debug)]
pub struct Into<'a> {
    /// Its name.
    pub secret: &'a str,
    /// Its resource version, if it has to be the one that was seen.
    pub resource_version: Option<&'a str>,
}

/// Sets address and port in the Secret that is carried to the source, if it is ours.
///
/// Not by server-side apply: where the Secret was deleted, that would make a new one without keys, which no source could use. And what
/// stands there now, whoever wrote it, is an address where nobody listens any more.
pub async fn address(
    client: &Client,
    namespace: &str,
    owner: &str,
    Into { secret, resource_version }: Into<'_>,
    address: &str,
    port: u16,
) -> Result<Written, ApplyError> {
    let api = namespaced::<Secret>(client, namespace);
    let operation = "write the address into";
    let refused = |message: String| ApplyError::refused(operation, format!("Secret {secret}"), message);
    let uid = match secrets::whose(&api, operation, owner, secret).await? {
        Whose::Ours(meta) => meta.uid,
        Whose::Nobodys => {
            return Err(refused(
                "it was deleted, and its keys cannot be had again: delete and make the ReplicationDestination anew".to_owned(),
            ));
        }
        Whose::Foreign => {
            return Err(refused(format!(
                "it exists and does not belong to this object: if it holds the keys that were made for this one, label it \
                 {OWNER_UID}={owner}; if not, delete it, and make the ReplicationDestination anew"
            )));
        }
    };
    let bytes = |text: String| ByteString(text.into_bytes());
    let data = BTreeMap::from([("address", bytes(address.to_owned())), ("port", bytes(port.to_string()))]);
    let mut metadata = json!({ "uid": uid });
    if let Some(version) = resource_version {
        metadata["resourceVersion"] = json!(version);
    }
    let patch = json!({"metadata": metadata, "data": data});
    merge(&api, operation, secret, ADDRESS_MANAGER, &patch).await
}

/// Puts the owner's label on a claim that is nobody's.
pub async fn label_claim(
    client: &Client,
    namespace: &str,
    owner: &str,
    name: &str,
    uid: &str,
    resource_version: &str,
) -> Result<Written, ApplyError> {
    let metadata = json!({"uid": uid, "resourceVersion": resource_version, "labels": {OWNER_UID: owner}});
    let api = namespaced::<PersistentVolumeClaim>(client, namespace);
    merge(&api, "label", name, FIELD_MANAGER, &json!({ "metadata": metadata })).await
}

/// Takes our labels off a claim that stays, and says on it what it holds. A claim that is gone has none.
pub async fn unlabel_claim(
    client: &Client,
    namespace: &str,
    name: &str,
    uid: &str,
    labels: &[&str],
    annotations: &BTreeMap<String, String>,
) -> Result<Written, ApplyError> {
    let labels: BTreeMap<&str, Value> = labels.iter().map(|key| (*key, Value::Null)).collect();
    let patch = json!({"metadata": {"uid": uid, "labels": labels, "annotations": annotations}});
    let api = namespaced::<PersistentVolumeClaim>(client, namespace);
    match merge(&api, "unlabel", name, FIELD_MANAGER, &patch).await {
        // Gone, or another claim by that name.
        Err(ApplyError::Conflict { .. }) => Ok(Written::Unchanged),
        other => other,
    }
}

/// Makes a snapshot a replica: the annotations, and no owner any more, at once.
pub async fn publish(
    client: &Client,
    namespace: &str,
    name: &str,
    uid: &str,
    resource_version: &str,
    annotations: &BTreeMap<String, String>,
) -> Result<Written, ApplyError> {
    let metadata = json!({
        "uid": uid, "resourceVersion": resource_version, "annotations": annotations, "ownerReferences": null,
    });
    let api = namespaced::<VolumeSnapshot>(client, namespace);
    merge(&api, "publish", name, FIELD_MANAGER, &json!({ "metadata": metadata })).await
}

/// Puts the owner's label on a replica of the destination of the same name that was there before.
pub async fn adopt(
    client: &Client,
    namespace: &str,
    owner: &str,
    name: &str,
    (uid, resource_version): (&str, &str),
    from: &str,
) -> Result<Written, ApplyError> {
    let metadata = json!({
        "uid": uid, "resourceVersion": resource_version,
        "labels": {OWNER_UID: owner}, "annotations": {ADOPTED_FROM: from},
    });
    let api = namespaced::<VolumeSnapshot>(client, namespace);
    merge(&api, "adopt", name, FIELD_MANAGER, &json!({ "metadata": metadata })).await
}

/// Lets the storage system's snapshot go together with its content. A content that is gone needs no release.
pub async fn release_content(client: &Client, name: &str) -> Result<Written, ApplyError> {
    let api: Api<VolumeSnapshotContent> = Api::all(client.clone());
    match merge(&api, "release", name, FIELD_MANAGER, &json!({"spec": {"deletionPolicy": "Delete"}})).await {
        Err(ApplyError::Conflict { source, .. }) if matches!(&*source, kube::Error::Api(status) if status.is_not_found()) => {
            Ok(Written::Unchanged)
        }
        other => other,
    }
}
