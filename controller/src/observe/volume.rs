//! Where the volume that a mover reads can be reached from.

use super::{ObserveError, failed};
use crate::context::Context;
use k8s_openapi::api::core::v1::{NodeSelector, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::Api;

/// The nodes that a source's next mover can reach its volume from, as far as the volume says.
///
/// That is the cut, if it is bound; one that is not made yet will mostly lie where the claim does that it is made of.
pub async fn reach(
    ctx: &Context,
    uid: &str,
    claim: Option<&PersistentVolumeClaim>,
    cuts: &[PersistentVolumeClaim],
    pods: &[Pod],
) -> Result<Option<NodeSelector>, ObserveError> {
    // Where a mover is, it was asked before.
    if ctx.settings.limits.node == 0 || !pods.is_empty() {
        return Ok(None);
    }
    let volumes: Vec<&str> = cuts.iter().chain(claim).filter_map(volume).collect();
    let Some(name) = volumes.first() else { return Ok(None) };
    if let Some(known) = ctx.slots.volume(uid, name) {
        return Ok(known);
    }
    let api: Api<PersistentVolume> = Api::all(ctx.client.clone());
    let volume = api.get_opt(name).await.map_err(failed(format!("PersistentVolume {name}")))?;
    let affinity = volume.and_then(|volume| volume.spec?.node_affinity);
    let reach = affinity.and_then(|affinity| affinity.required);
    ctx.slots.learn_volume(uid, name, reach.clone(), &volumes);
    Ok(reach)
}

fn volume(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.spec.as_ref()?.volume_name.as_deref().filter(|name| !name.is_empty())
}
