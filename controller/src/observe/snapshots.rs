//! Snapshots, and what stands for them in the storage system.

use super::{ObserveError, failed, labelled};
use crate::context::Context;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use scribe_core::contents::content_name;
use scribe_crds::names;
use scribe_crds::snapshots::{VolumeSnapshot, VolumeSnapshotContent};

/// The snapshots of the namespace. Of one owner, or all of them: a foreign one of a receiving claim bears no
/// label to ask for. `None`: the
/// cluster has no snapshots.
pub(super) async fn of(
    ctx: &Context,
    namespace: &str,
    owner: Option<&str>,
) -> Result<Option<Vec<VolumeSnapshot>>, ObserveError> {
    let api: Api<VolumeSnapshot> = Api::namespaced(ctx.client.clone(), namespace);
    let which = owner.map_or_else(ListParams::default, labelled);
    match api.list(&which).await {
        Ok(list) => Ok(Some(list.items)),
        // A list is never not found, unless the kind is not there.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(failed(format!("VolumeSnapshots of {namespace}"))(error)),
    }
}

/// The contents of these snapshots, and those of these names.
pub(super) async fn contents(
    ctx: &Context,
    snapshots: Vec<&VolumeSnapshot>,
    releasing: &[String],
) -> Result<Vec<VolumeSnapshotContent>, ObserveError> {
    let mut wanted: Vec<String> = snapshots.into_iter().map(|snapshot| content_name(snapshot, &[])).collect();
    wanted.extend(releasing.iter().cloned());
    wanted.sort_unstable();
    wanted.dedup();
    let api: Api<VolumeSnapshotContent> = Api::all(ctx.client.clone());
    let mut contents = Vec::new();
    for name in wanted {
        let content = api.get_opt(&name).await.map_err(failed(format!("VolumeSnapshotContent {name}")))?;
        contents.extend(content);
    }
    Ok(contents)
}

/// Whether a snapshot is a replica.
pub(super) fn is_published(snapshot: &VolumeSnapshot) -> bool {
    snapshot.annotations().contains_key(names::PUBLISHED)
}

/// Whether a claim can be made from a snapshot, and it stays.
pub(super) fn is_ready(snapshot: &VolumeSnapshot) -> bool {
    snapshot.metadata.deletion_timestamp.is_none()
        && snapshot.status.as_ref().and_then(|status| status.ready_to_use) == Some(true)
}

/// Whether a snapshot is one of the claim of that name.
pub(super) fn is_of(snapshot: &VolumeSnapshot, claim: &str) -> bool {
    snapshot.spec.source.persistent_volume_claim_name.as_deref() == Some(claim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_content_is_found_before_its_snapshot_knows_it() {
        let mut snapshot: VolumeSnapshot = serde_json::from_value(
            json!({"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
                "metadata": {"name": "s", "uid": "u"}, "spec": {"source": {}}}),
        )
        .unwrap();
        assert_eq!(content_name(&snapshot, &[]), "snapcontent-u");
        snapshot.status = Some(scribe_crds::snapshots::VolumeSnapshotStatus {
            bound_volume_snapshot_content_name: Some("c".to_owned()),
            ..Default::default()
        });
        assert_eq!(content_name(&snapshot, &[]), "c");
    }
}
