//! Writes and deletes Secrets, without ever seeing what one holds, and never somebody else's.

use super::children::{Written, name_of, post, text};
use super::error::ApplyError;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use scribe_crds::names::{FIELD_MANAGER, OWNER_UID};
use serde_json::json;

/// Whose the Secret of a name is.
#[derive(Clone, Debug, PartialEq)]
pub enum Whose {
    /// There is none.
    Nobodys,
    /// The owner's.
    Ours(Box<ObjectMeta>),
    /// Somebody else's.
    Foreign,
}

/// Whose the Secret of a name is.
///
/// There is no right to read Secrets, and this needs none: a patch that changes nothing, and is not even carried out, is answered with
/// the metadata.
pub async fn whose(
    api: &Api<Secret>,
    operation: &'static str,
    owner: &str,
    name: &str,
) -> Result<Whose, ApplyError> {
    let params = PatchParams { dry_run: true, ..PatchParams::default() };
    match api.patch_metadata(name, &params, &Patch::Merge(json!({}))).await {
        Ok(found) if found.labels().get(OWNER_UID).is_some_and(|label| label == owner) => {
            Ok(Whose::Ours(Box::new(found.metadata)))
        }
        Ok(_) => Ok(Whose::Foreign),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Whose::Nobodys),
        Err(error) => Err(ApplyError::of_secret(operation, text::<Secret>(name), error)),
    }
}

fn foreign(operation: &'static str, name: &str) -> ApplyError {
    let message = "a Secret of that name exists and does not belong to this object: delete or rename it, or give this object \
                   another name";
    ApplyError::refused(operation, text::<Secret>(name), message.to_owned())
}

/// Creates a Secret. One of ours that is there already may hold something else, be it from an earlier try: that is a conflict.
///
/// It is created empty, and what it is to hold applied to that: what a POST writes belongs to another manager than what is applied, and
/// could not be applied anew.
pub async fn create(
    client: &Client,
    namespace: &str,
    owner: &str,
    secret: &Secret,
) -> Result<Written, ApplyError> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let (operation, name) = ("create", name_of(secret));
    let mut empty = Secret { data: None, ..secret.clone() };
    empty.metadata.annotations = None;
    let created = match api.create(&post(), &empty).await {
        Ok(created) => created.metadata,
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            return match whose(&api, operation, owner, name).await? {
                Whose::Ours(_) | Whose::Nobodys => Err(ApplyError::changed(operation, text::<Secret>(name))),
                Whose::Foreign => Err(foreign(operation, name)),
            };
        }
        Err(error) => return Err(ApplyError::of_secret(operation, text::<Secret>(name), error)),
    };
    let mut secret = secret.clone();
    (secret.metadata.uid, secret.metadata.resource_version) = (created.uid, created.resource_version);
    patch(&api, operation, &secret).await
}

/// Applies a Secret, unless it is somebody else's, or somebody else has written into ours what is to be written now.
pub async fn apply(
    client: &Client,
    namespace: &str,
    owner: &str,
    secret: &Secret,
) -> Result<Written, ApplyError> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let (operation, name) = ("apply", name_of(secret));
    let mut secret = secret.clone();
    match whose(&api, operation, owner, name).await? {
        Whose::Nobodys if secret.metadata.resource_version.is_some() => {
            return Err(ApplyError::changed(operation, text::<Secret>(name)));
        }
        Whose::Nobodys => {}
        // Not one that takes its place meanwhile.
        Whose::Ours(meta) => secret.metadata.uid = meta.uid,
        Whose::Foreign => return Err(foreign(operation, name)),
    }
    patch(&api, operation, &secret).await
}

/// Not by force: keys that somebody else put there, be it this very moment, are not ours to overwrite. The metadata alone is asked for in
/// return: the controller has no use for what the Secret holds.
async fn patch(api: &Api<Secret>, operation: &'static str, secret: &Secret) -> Result<Written, ApplyError> {
    let name = name_of(secret);
    let applied = api.patch_metadata(name, &PatchParams::apply(FIELD_MANAGER), &Patch::Apply(secret)).await;
    applied.map_err(|error| ApplyError::of_secret(operation, text::<Secret>(name), error))?;
    Ok(Written::Changed)
}

/// Deletes a Secret, if it is ours.
pub async fn delete(
    client: &Client,
    namespace: &str,
    owner: &str,
    name: &str,
) -> Result<Written, ApplyError> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let uid = match whose(&api, "delete", owner, name).await {
        Ok(Whose::Ours(meta)) => meta.uid,
        Ok(Whose::Nobodys | Whose::Foreign) => return Ok(Written::Unchanged),
        // Somebody allows no change of it, and so it cannot be told whose it is. If it is ours, the collector takes it with its owner.
        Err(ApplyError::Refused { .. }) => return Ok(Written::Unchanged),
        Err(error) => return Err(error),
    };
    let preconditions = Some(Preconditions { uid, resource_version: None });
    let params = DeleteParams { preconditions, ..DeleteParams::background() };
    match api.delete(name, &params).await {
        Ok(_) => Ok(Written::Changed),
        // Gone, or replaced by a Secret that is not the one that was seen.
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(Written::Unchanged),
        Err(error) => Err(ApplyError::of_secret("delete", text::<Secret>(name), error)),
    }
}
