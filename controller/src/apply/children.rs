//! Creates, applies and deletes children.

use super::error::ApplyError;
use super::secrets;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, Resource, ResourceExt};
use scribe_core::decision::{ChildKind, ChildRef};
use scribe_crds::names::{FIELD_MANAGER, OWNER_UID};
use scribe_crds::snapshots::VolumeSnapshot;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// What a mover needs to end its processes.
const POD_GRACE_SECONDS: u32 = 5;

/// What a write came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Something may be different now.
    Changed,
    /// Nothing is.
    Unchanged,
}

impl Written {
    /// Whether something may be different now.
    pub fn is_change(self) -> bool {
        self == Self::Changed
    }
}

/// What the children are.
trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize
{
}

pub(super) fn name_of<K: Resource>(child: &K) -> &str {
    child.meta().name.as_deref().unwrap_or_default()
}

pub(super) fn text<K: Resource<DynamicType = ()>>(name: &str) -> String {
    format!("{} {name}", K::kind(&()))
}

/// Whose an existing object of that name is.
enum Existing {
    None,
    Ours(Option<String>),
    Foreign,
}

async fn existing<K: Kind>(api: &Api<K>, owner: &str, child: &K) -> Result<Existing, ApplyError> {
    let name = name_of(child);
    let found = api.get_metadata_opt(name).await;
    let Some(found) = found.map_err(|error| ApplyError::new("look for", text::<K>(name), error))? else {
        return Ok(Existing::None);
    };
    // As in the core: a label alone may have been copied. A child that is to outlive its owner has nothing else.
    let labelled = found.labels().get(OWNER_UID).is_some_and(|label| label == owner);
    let named = found.owner_references().iter().any(|reference| reference.uid == owner);
    if labelled && (named || child.owner_references().is_empty()) {
        Ok(Existing::Ours(found.metadata.resource_version))
    } else {
        Ok(Existing::Foreign)
    }
}

pub(super) fn taken<K: Resource<DynamicType = ()>>(operation: &'static str, name: &str) -> ApplyError {
    let message = "an object of that name exists and does not belong to this one: delete or rename it";
    ApplyError::refused(operation, text::<K>(name), message.to_owned())
}

pub(super) fn post() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

/// Creates a child once. That it is there already is success if it is ours: the answer to an earlier try was lost.
pub async fn create<K>(
    client: &Client,
    namespace: &str,
    owner: &str,
    child: &K,
) -> Result<Written, ApplyError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let name = name_of(child);
    match api.create(&post(), child).await {
        Ok(_) => Ok(Written::Changed),
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            match existing(&api, owner, child).await? {
                Existing::Ours(_) | Existing::None => Ok(Written::Changed),
                Existing::Foreign => Err(taken::<K>("create", name)),
            }
        }
        Err(error) => Err(ApplyError::new("create", text::<K>(name), error)),
    }
}

/// Applies a child, unless an object of that name is somebody else's.
pub async fn apply<K>(client: &Client, namespace: &str, owner: &str, child: &K) -> Result<Written, ApplyError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let name = name_of(child);
    let before = match existing(&api, owner, child).await? {
        Existing::None => None,
        Existing::Ours(version) => version,
        Existing::Foreign => return Err(taken::<K>("apply", name)),
    };
    let applied = api.patch(name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(child)).await;
    let applied = applied.map_err(|error| ApplyError::new("apply", text::<K>(name), error))?;
    let same = before.is_some() && applied.meta().resource_version == before;
    Ok(if same { Written::Unchanged } else { Written::Changed })
}

/// Deletes one child, and only that one: a later object of the same name is not meant.
pub async fn delete(
    client: &Client,
    namespace: &str,
    owner: &str,
    child: &ChildRef,
) -> Result<Written, ApplyError> {
    match child.kind {
        ChildKind::Claim => remove::<PersistentVolumeClaim>(client, namespace, child, None).await,
        ChildKind::Pod => remove::<Pod>(client, namespace, child, Some(POD_GRACE_SECONDS)).await,
        ChildKind::Service => remove::<Service>(client, namespace, child, None).await,
        ChildKind::Secret => secrets::delete(client, namespace, owner, &child.name).await,
        ChildKind::Snapshot => remove::<VolumeSnapshot>(client, namespace, child, None).await,
    }
}

async fn remove<K: Kind>(
    client: &Client,
    namespace: &str,
    child: &ChildRef,
    grace: Option<u32>,
) -> Result<Written, ApplyError> {
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let mut params = DeleteParams::background();
    params.grace_period_seconds = grace;
    params.preconditions = child
        .uid
        .clone()
        .map(|uid| Preconditions { uid: Some(uid), resource_version: child.resource_version.clone() });
    match api.delete(&child.name, &params).await {
        Ok(_) => Ok(Written::Changed),
        // Gone, or not the one that was meant any more: an object of another uid, or one that has changed.
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(Written::Unchanged),
        Err(error) => Err(ApplyError::new("delete", text::<K>(&child.name), error)),
    }
}
