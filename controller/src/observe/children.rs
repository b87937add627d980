//! What a ReplicationSource has made, and who uses its claim.

use super::{ObserveError, get, identity, is_owned, owned, snapshots, users};
use crate::context::Context;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::{Resource, ResourceExt};
use scribe_crds::names;
use scribe_crds::snapshots::VolumeSnapshot;
use scribe_crds::v1alpha1::{CurrentSync, ReplicationSource, SourceCopyMethod};

/// The children of a source, and the pods of others that use its claim.
pub(super) struct Children {
    pub cuts: Vec<PersistentVolumeClaim>,
    pub pods: Vec<Pod>,
    /// `None`: the cluster has no snapshots.
    pub snapshots: Option<Vec<VolumeSnapshot>>,
    pub users: Vec<Pod>,
}

/// Reads them.
///
/// In the middle of an attempt these are only its own, by their names: a GET is answered at once, whereas the API server holds back a LIST
/// until its cache has caught up with the store, for up to 0.1 s, and a sync has several such passes. What is left of anything else is seen
/// before the attempt begins and when it has ended.
pub(super) async fn of(ctx: &Context, source: &ReplicationSource) -> Result<Children, ObserveError> {
    match attempt(source) {
        Some(sync) => of_attempt(ctx, source, sync).await,
        None => all(ctx, source).await,
    }
}

/// The sync in the middle of an attempt, if there is one and no snapshot can have a part in it.
fn attempt(source: &ReplicationSource) -> Option<&CurrentSync> {
    let status = source.status.as_ref()?;
    let sync = status.current_sync.as_ref()?;
    let configured = source.spec.rsync.as_ref().map(|rsync| rsync.copy_method);
    let has_snapshots = [configured, sync.copy_method].contains(&Some(SourceCopyMethod::Snapshot));
    let is_under_way = sync.retry_at.is_none() && sync.last_failure.is_none();
    let is_plain = status.releasing.is_empty() && source.meta().deletion_timestamp.is_none();
    (is_under_way && is_plain && !has_snapshots).then_some(sync)
}

async fn of_attempt(
    ctx: &Context,
    source: &ReplicationSource,
    sync: &CurrentSync,
) -> Result<Children, ObserveError> {
    let (namespace, _) = identity(source.meta());
    let name = source.name_any();
    let (cut, pod) = (names::source_cut(&name, &sync.id), names::source_pod(&name, &sync.id, sync.attempt));
    let (cut, pod) = tokio::try_join!(
        get::<PersistentVolumeClaim>(ctx, namespace, &cut),
        get::<Pod>(ctx, namespace, &pod),
    )?;
    // For whom a clone is made matters until it is made.
    let is_made = cut.is_some() && sync.copy_method != Some(SourceCopyMethod::Direct);
    let users = if is_made { Vec::new() } else { users(ctx, source).await? };
    let (_, uid) = identity(source.meta());
    let cuts = cut.into_iter().filter(|cut| is_owned(&cut.metadata, uid)).collect();
    let pods = pod.into_iter().filter(|pod| is_owned(&pod.metadata, uid)).collect();
    Ok(Children { cuts, pods, snapshots: Some(Vec::new()), users })
}

async fn all(ctx: &Context, source: &ReplicationSource) -> Result<Children, ObserveError> {
    let (namespace, uid) = identity(source.meta());
    let (cuts, pods, snapshots, users) = tokio::try_join!(
        owned::<PersistentVolumeClaim>(ctx, namespace, uid),
        owned::<Pod>(ctx, namespace, uid),
        snapshots::of(ctx, namespace, Some(uid)),
        users(ctx, source),
    )?;
    Ok(Children { cuts, pods, snapshots, users })
}
