//! The Secrets with a destination's keys.

use super::{ObserveError, failed, identity};
use crate::apply::{self, ApplyError, Whose};
use crate::context::Context;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt};
use scribe_core::destination::are_keys_open;
use scribe_core::observed::{KeySecrets, SecretSeen};
use scribe_crds::names;
use scribe_crds::v1alpha1::ReplicationDestination;

/// The destination's own is looked at first: it is written last. And the object must not have changed meanwhile: what would be told of two
/// different times could seem to disagree.
pub(super) async fn secrets(
    ctx: &Context,
    destination: &ReplicationDestination,
) -> Result<Option<KeySecrets>, ObserveError> {
    if !are_keys_open(destination) {
        return Ok(None);
    }
    let name = destination.name_any();
    let own = secret(ctx, destination, &names::destination_base(&name)).await?;
    let source = secret(ctx, destination, &names::source_secret(&name)).await?;
    let api: Api<ReplicationDestination> =
        Api::namespaced(ctx.client.clone(), destination.namespace().as_deref().unwrap_or_default());
    let what = format!("ReplicationDestination {name}");
    let now = api.get_metadata_opt(&name).await.map_err(failed(what.clone()))?;
    if now.and_then(|now| now.resource_version()) != destination.resource_version() {
        return Err(ObserveError { what, source: "it has changed meanwhile".into() });
    }
    Ok(Some(KeySecrets { own, source }))
}

async fn secret(
    ctx: &Context,
    destination: &ReplicationDestination,
    name: &str,
) -> Result<SecretSeen, ObserveError> {
    let (namespace, uid) = identity(&destination.metadata);
    let api: Api<Secret> = Api::namespaced(ctx.client.clone(), namespace);
    match apply::whose(&api, "look at", uid, name).await {
        Ok(Whose::Nobodys) => Ok(SecretSeen::Missing),
        Ok(Whose::Ours(meta)) => Ok(SecretSeen::Ours {
            relationship: meta.annotations.and_then(|mut all| all.remove(names::RELATIONSHIP)),
            resource_version: meta.resource_version.unwrap_or_default(),
        }),
        // Where not even an empty patch is allowed, none that says more is either: that will be tried, refused and told.
        Ok(Whose::Foreign) | Err(ApplyError::Refused { .. }) => Ok(SecretSeen::Foreign),
        Err(error) => {
            Err(ObserveError { what: format!("Secret {namespace}/{name}"), source: Box::new(error) })
        }
    }
}
