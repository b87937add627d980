//! Replicas that somebody is making a claim from.

use super::{ObserveError, failed, is_bound, is_published};
use crate::context::Context;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use scribe_core::observed::Restore;
use scribe_crds::snapshots::{SNAPSHOT_GROUP, VolumeSnapshot};

/// The claims of the namespace that are to be made from a snapshot, and are not yet. The only replica is never pruned: then nobody asks.
pub(super) async fn of(
    ctx: &Context,
    namespace: &str,
    snapshots: &[VolumeSnapshot],
) -> Result<Vec<Restore>, ObserveError> {
    if snapshots.iter().filter(|snapshot| is_published(snapshot)).count() < 2 {
        return Ok(Vec::new());
    }
    let api: Api<PersistentVolumeClaim> = Api::namespaced(ctx.client.clone(), namespace);
    let claims = api.list(&ListParams::default()).await;
    let claims = claims.map_err(failed(format!("persistentvolumeclaims of {namespace}")))?;
    Ok(claims.iter().filter(|claim| !is_bound(claim)).filter_map(restore).collect())
}

/// The API server copies one of the two fields into the other; a claim of an old one has only the first.
fn restore(claim: &PersistentVolumeClaim) -> Option<Restore> {
    let spec = claim.spec.as_ref()?;
    let (group, kind, name) = match (&spec.data_source_ref, &spec.data_source) {
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
    }
}
