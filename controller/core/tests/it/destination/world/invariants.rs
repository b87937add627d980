//! What must always hold.

use super::{World, has_annotation, is_ours};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use scribe_crds::names;

impl World {
    /// What must hold of every status that is ever written.
    pub(super) fn check_status(&self) {
        let status = self.status();
        let published = |name: &str| {
            self.seen.snapshots.iter().any(|snapshot| {
                snapshot.metadata.name.as_deref() == Some(name)
                    && has_annotation(&snapshot.metadata, names::PUBLISHED)
            })
        };
        let image = status.latest_image.as_ref();
        if image.is_some_and(|image| image.kind == "PersistentVolumeClaim") {
            assert!(status.dirty.is_none(), "latestImage names what is being overwritten");
        } else if let Some(image) = image {
            assert!(published(&image.name), "latestImage names what was not published");
        }
        assert!(image.is_none() || status.recovery_point.is_some());
        assert!(status.replicas.iter().all(|replica| published(&replica.name)));
        assert!(status.sessions.len() <= 32);
        assert!(status.replicas.len() <= 128);
        if let Some(point) = &status.recovery_point {
            let newest = status.received.iter().map(|received| received.data_time.0);
            let newest = newest.chain(status.replicas.iter().map(|replica| replica.data_time.0)).max();
            assert!(Some(point.data_time.0) <= newest, "the recovery point is newer than anything received");
        }
    }

    /// Nothing of ours is left but what is meant to stay.
    pub(super) fn check_gone(&self) {
        assert!(!self.seen.pods.iter().any(|pod| names_owner(&pod.metadata)), "a pod is left");
        assert!(self.seen.service.is_none(), "the Service is left");
        assert!(self.secrets.is_empty(), "Secrets are left: {:?}", self.secrets.keys());
        let labelled = self.seen.claim.as_ref().is_some_and(|claim| is_ours(&claim.metadata));
        assert!(!labelled, "the claim is left");
        for snapshot in &self.seen.snapshots {
            assert!(!names_owner(&snapshot.metadata), "an unpublished snapshot is left");
        }
    }
}

fn names_owner(meta: &ObjectMeta) -> bool {
    meta.owner_references.is_some()
}
