//! Replicas that somebody is making a claim from.

use super::snapshots::is_published;
use super::{ObserveError, failed};
use crate::context::Context;
use crate::router::Followed;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use scribe_core::observed::Restore;
use scribe_crds::snapshots::{SNAPSHOT_GROUP, VolumeSnapshot};

/// The claims of the namespace that are to be made from one of these snapshots, and are not yet; what becomes of them triggers the object
/// with that uid. The only replica is never pruned: then nobody asks.
pub(super) async fn of(
    ctx: &Context,
    namespace: &str,
    uid: &str,
    snapshots: &[VolumeSnapshot],
) -> Result<Vec<Restore>, ObserveError> {
    if snapshots.iter().filter(|snapshot| is_published(snapshot)).count() < 2 {
        return Ok(Vec::new());
    }
    let api: Api<PersistentVolumeClaim> = Api::namespaced(ctx.client.clone(), namespace);
    let claims = api.list(&ListParams::default()).await;
    let claims = claims.map_err(failed(format!("persistentvolumeclaims of {namespace}")))?;
    let is_ours =
        |restore: &Restore| snapshots.iter().any(|snapshot| snapshot.name_any() == restore.snapshot);
    let restores: Vec<Restore> =
        claims.iter().filter(|claim| is_pending(claim)).filter_map(restore).filter(is_ours).collect();
    for restore in &restores {
        ctx.router.follow(uid, Followed::Claim, namespace, &restore.claim);
    }
    Ok(restores)
}

/// It has no phase at first.
fn is_pending(claim: &PersistentVolumeClaim) -> bool {
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
    claim.metadata.deletion_timestamp.is_none() && phase.is_none_or(|phase| phase == "Pending")
}

/// The API server copies one of the two fields into the other; a claim of an old one has only the first.
fn restore(claim: &PersistentVolumeClaim) -> Option<Restore> {
    let spec = claim.spec.as_ref()?;
    let (group, kind, name) = match (&spec.data_source_ref, &spec.data_source) {
        (Some(source), _) if source.namespace.is_some() => return None,
        (Some(source), _) => (&source.api_group, &source.kind, &source.name),
        (None, Some(source)) => (&source.api_group, &source.kind, &source.name),
        (None, None) => return None,
    };
    let is_snapshot = group.as_deref() == Some(SNAPSHOT_GROUP) && kind == "VolumeSnapshot";
    is_snapshot.then(|| Restore { snapshot: name.clone(), claim: claim.name_any() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn restored(spec: &serde_json::Value) -> Option<String> {
        let claim = json!({ "metadata": { "name": "c" }, "spec": spec });
        restore(&serde_json::from_value(claim).unwrap()).map(|restore| restore.snapshot)
    }

    #[test]
    fn a_claim_names_its_snapshot_in_either_field() {
        let snapshot = json!({ "apiGroup": SNAPSHOT_GROUP, "kind": "VolumeSnapshot", "name": "s" });
        assert_eq!(restored(&json!({ "dataSource": snapshot })).as_deref(), Some("s"));
        assert_eq!(restored(&json!({ "dataSourceRef": snapshot })).as_deref(), Some("s"));
        let claim = json!({ "kind": "PersistentVolumeClaim", "name": "s" });
        assert_eq!(restored(&json!({ "dataSource": claim })), None);
        assert_eq!(restored(&json!({})), None);
        let elsewhere = json!({ "apiGroup": SNAPSHOT_GROUP, "kind": "VolumeSnapshot", "name": "s", "namespace": "other" });
        assert_eq!(restored(&json!({ "dataSourceRef": elsewhere })), None);
    }

    #[test]
    fn only_a_claim_that_is_being_made_counts() {
        let pending = |claim| is_pending(&serde_json::from_value(claim).unwrap());
        assert!(
            pending(json!({ "metadata": {} }))
                && pending(json!({ "metadata": {}, "status": { "phase": "Pending" } }))
        );
        for phase in ["Bound", "Lost"] {
            assert!(!pending(json!({ "metadata": {}, "status": { "phase": phase } })));
        }
        assert!(!pending(json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" } })));
    }
}
