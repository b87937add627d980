//! Sources in a world without a kubelet and without a provisioner: the test plays both.

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use scribe_crds::names::{OWNER_UID, SYNC};
use scribe_crds::v1alpha1::{ReplicationSource, SourceStatus};
use scribe_tests::site::source_status;
use scribe_tests::wait::{PATIENCE, await_condition, eventually};
use serde_json::{Value, json};

use crate::world::World;

/// Whether a mover's pod has not ended.
pub fn is_live(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    !matches!(phase, Some("Succeeded" | "Failed"))
}

impl World {
    /// A claim that is bound to a volume of this name.
    pub async fn claim(&self, name: &str, volume: &str) -> Result<()> {
        let claim = json!({
            "metadata": { "name": name },
            "spec": {
                "accessModes": ["ReadWriteOnce"], "storageClassName": "fast", "volumeName": volume,
                "resources": { "requests": { "storage": "1Gi" } }
            }
        });
        let claim = serde_json::from_value(claim)?;
        self.api::<PersistentVolumeClaim>().create(&PostParams::default(), &claim).await?;
        self.bind(name).await
    }

    /// A claim is bound.
    pub async fn bind(&self, claim: &str) -> Result<()> {
        let status = json!({ "status": { "phase": "Bound", "capacity": { "storage": "1Gi" } } });
        let change = Patch::Merge(status);
        self.api::<PersistentVolumeClaim>().patch_status(claim, &PatchParams::default(), &change).await?;
        Ok(())
    }

    /// A source of a claim, both of this name, that syncs once. `fields` are added to its spec.
    pub async fn source(&self, name: &str, fields: Value) -> Result<()> {
        let mut spec = json!({
            "sourcePVC": name, "trigger": { "manual": "one" }, "rsync": { "sshKeys": "keys" }
        });
        let added = fields.as_object().context("fields")?.clone();
        spec.as_object_mut().context("fields")?.extend(added);
        let object = json!({
            "apiVersion": "scribe.dev/v1alpha1", "kind": "ReplicationSource",
            "metadata": { "name": name }, "spec": spec
        });
        let object = serde_json::from_value(object)?;
        self.api::<ReplicationSource>().create(&PostParams::default(), &object).await?;
        Ok(())
    }

    pub async fn await_source(
        &self,
        name: &str,
        awaited: &str,
        condition: impl Fn(&SourceStatus) -> bool,
    ) -> Result<SourceStatus> {
        let met = |rs: Option<&ReplicationSource>| rs.is_some_and(|rs| condition(&source_status(rs)));
        let seen = await_condition(&self.api(), name, awaited, met).await.with_context(|| self.log())?;
        Ok(source_status(&seen.context("it was there")?))
    }

    /// The movers of a source that have not ended.
    pub async fn movers(&self, source: &str) -> Result<Vec<Pod>> {
        let uid = self.api::<ReplicationSource>().get(source).await?.uid().context("a uid")?;
        let labels = ListParams::default().labels(&format!("{OWNER_UID}={uid}"));
        let pods = self.api::<Pod>().list(&labels).await?.items;
        Ok(pods.into_iter().filter(is_live).collect())
    }

    /// Waits for the mover of a source.
    pub async fn mover(&self, source: &str) -> Result<Pod> {
        let awaited = format!("a mover of {source}");
        let found = eventually(PATIENCE, &awaited, || async {
            let movers = self.movers(source).await?;
            movers.into_iter().next().context("none")
        });
        found.await.with_context(|| self.log())
    }

    /// A mover ends with these fields over those of a success.
    pub async fn end(&self, pod: &Pod, exit: i32, fields: Value) -> Result<()> {
        let mut left = json!({
            "protocol": 1, "syncId": pod.labels().get(SYNC), "result": "done", "message": "", "published": true,
            "counts": {
                "bytesTotal": 1, "bytesSent": 1, "bytesLiteral": 1, "filesTotal": 1, "filesSent": 1, "filesDeleted": 0
            },
        });
        let added = fields.as_object().context("fields")?.clone();
        left.as_object_mut().context("fields")?.extend(added);
        let terminated = json!({ "exitCode": exit, "message": left.to_string() });
        let status = json!({ "status": {
            "phase": if exit == 0 { "Succeeded" } else { "Failed" },
            "containerStatuses": [{
                "name": "mover", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": { "terminated": terminated },
            }],
        }});
        let change = Patch::Merge(status);
        self.api::<Pod>().patch_status(&pod.name_any(), &PatchParams::default(), &change).await?;
        Ok(())
    }
}
