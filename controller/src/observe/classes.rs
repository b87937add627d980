//! The class that replicas are made with.

use super::{ObserveError, failed};
use crate::context::Context;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use scribe_core::observed::SnapshotClass;
use scribe_crds::snapshots::{SNAPSHOT_GROUP, VolumeSnapshot};
use scribe_crds::v1alpha1::ReplicationDestination;

/// The class that is named, else the one that the snapshot controller has written into the newest snapshot of ours. `None`: nobody knows
/// yet.
pub(super) async fn of(
    ctx: &Context,
    destination: &ReplicationDestination,
    snapshots: Option<&[VolumeSnapshot]>,
    is_ours: impl Fn(&VolumeSnapshot) -> bool,
) -> Result<Option<SnapshotClass>, ObserveError> {
    let Some(snapshots) = snapshots else { return Ok(None) };
    let named = destination.spec.rsync.as_ref().and_then(|rsync| rsync.volume_snapshot_class_name.clone());
    let newest = || {
        let newest = snapshots.iter().filter(|snapshot| is_ours(snapshot));
        newest.max_by_key(|snapshot| snapshot.metadata.creation_timestamp.as_ref().map(|time| time.0))
    };
    let Some(name) = named.or_else(|| newest()?.spec.volume_snapshot_class_name.clone()) else {
        return Ok(None);
    };
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(SNAPSHOT_GROUP, "v1", "VolumeSnapshotClass"));
    let api: Api<DynamicObject> = Api::all_with(ctx.client.clone(), &kind);
    let class = api.get_opt(&name).await.map_err(failed(format!("VolumeSnapshotClass {name}")))?;
    let policy = |class: DynamicObject| class.data["deletionPolicy"].as_str().unwrap_or_default().to_owned();
    Ok(Some(SnapshotClass { name, deletion_policy: class.map(policy) }))
}
