//! Writes and deletes Secrets, without ever seeing what one holds, and never somebody else's.

use super::children::{Written, name_of, text};
use super::error::ApplyError;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use scribe_crds::names::{FIELD_MANAGER, OWNER_UID};
use serde_json::json;

/// Whose the Secret of a name is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// There is none.
    Nobodys,
    /// The owner's, with its uid.
    Ours(Option<String>),
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
            Ok(Whose::Ours(found.uid()))
        }
        Ok(_) => Ok(Whose::Foreign),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Whose::Nobodys),
        Err(error) => Err(ApplyError::of_secret(operation, text::<Secret>(name), error)),
    }
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
        Whose::Nobodys => {}
        // Not one that takes its place meanwhile.
        Whose::Ours(uid) => secret.metadata.uid = uid,
        Whose::Foreign => {
            let message = "a Secret of that name exists and does not belong to this object: delete or rename it, or give \
                           this object another name";
            return Err(ApplyError::refused(operation, text::<Secret>(name), message.to_owned()));
        }
    }
    // Not by force: keys that somebody else put there, be it this very moment, are not ours to overwrite. The metadata alone is asked
    // for in return: the controller has no use for what the Secret holds.
    let applied = api.patch_metadata(name, &PatchParams::apply(FIELD_MANAGER), &Patch::Apply(&secret)).await;
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
        Ok(Whose::Ours(uid)) => uid,
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
