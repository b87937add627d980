//! One side of a replication in a test: a namespace of a cluster, its claims and its Scribe objects.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use scribe_crds::conditions::SYNCHRONIZING;
use scribe_crds::snapshots::VolumeSnapshot;
use scribe_crds::v1alpha1::{ReplicationDestination, ReplicationSource};
use serde_json::{Value, json};

use crate::cluster::{Cluster, PAUSE_IMAGE};
use crate::wait::await_condition;

/// A namespace of a cluster.
#[derive(Clone)]
pub struct Site {
    pub cluster: Cluster,
    pub client: Client,
    pub namespace: String,
}

/// A claim that a pod holds mounted, and where the node has it.
#[derive(Clone, Debug)]
pub struct Volume {
    pub claim: String,
    pub pod: String,
    /// The root of the volume, on this machine.
    pub path: PathBuf,
}

impl Volume {
    /// Has everything written so far reach the disk, as an application does before it relies on it. A cut holds what had reached the
    /// disk, and no more.
    ///
    /// # Errors
    /// The file system fails.
    pub fn flush(&self) -> Result<()> {
        let root =
            std::fs::File::open(&self.path).with_context(|| format!("open {}", self.path.display()))?;
        rustix::fs::syncfs(&root).with_context(|| format!("flush {}", self.path.display()))
    }
}

impl Site {
    /// The API of a namespaced kind, in this namespace.
    #[must_use]
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn create<K>(&self, object: Value) -> Result<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
            + serde::de::DeserializeOwned
            + serde::Serialize
            + Clone
            + std::fmt::Debug,
        K::DynamicType: Default,
    {
        let object: K = serde_json::from_value(object).context("the test's own object is malformed")?;
        Ok(self.api::<K>().create(&PostParams::default(), &object).await?)
    }

    /// Makes a claim of a storage class and size.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn claim(&self, name: &str, class: &str, size: &str) -> Result<PersistentVolumeClaim> {
        self.create(json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": { "name": name },
            "spec": {
                "accessModes": ["ReadWriteOnce"], "storageClassName": class,
                "resources": { "requests": { "storage": size } }
            }
        }))
        .await
        .with_context(|| format!("create claim {name}"))
    }

    /// Mounts a claim into a pod that does nothing, so that the test can read and write the volume on the node.
    ///
    /// # Errors
    /// The pod does not start.
    pub async fn hold(&self, claim: &str) -> Result<Volume> {
        let name = format!("hold-{claim}");
        let pod: Pod = self
            .create(json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "containers": [{
                        "name": "hold", "image": PAUSE_IMAGE, "imagePullPolicy": "Never",
                        "volumeMounts": [{ "name": "data", "mountPath": "/data" }]
                    }],
                    "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": claim } }]
                }
            }))
            .await?;
        await_condition(&self.api::<Pod>(), &name, "running", |pod| phase_is(pod, "Running")).await?;
        let bound = self.api::<PersistentVolumeClaim>().get(claim).await?;
        let volume = bound.spec.and_then(|spec| spec.volume_name).context("the claim is bound")?;
        let uid = pod.metadata.uid.context("a pod has a uid")?;
        Ok(Volume { claim: claim.into(), path: self.cluster.volume_path(&uid, &volume), pod: name })
    }

    /// Ends the pod that holds a volume, and waits until it is gone.
    ///
    /// # Errors
    /// It does not go.
    pub async fn release(&self, volume: &Volume) -> Result<()> {
        let pods = self.api::<Pod>();
        pods.delete(&volume.pod, &DeleteParams::default().grace_period(0)).await?;
        await_condition(&pods, &volume.pod, "gone", |pod| pod.is_none()).await?;
        Ok(())
    }

    /// What the driver calls the volume of a bound claim.
    ///
    /// # Errors
    /// The claim is not bound.
    pub async fn volume_handle(&self, claim: &str) -> Result<String> {
        let claims = self.api::<PersistentVolumeClaim>();
        let is_bound = |claim: Option<&PersistentVolumeClaim>| {
            claim.and_then(|claim| claim.spec.as_ref()).is_some_and(|spec| spec.volume_name.is_some())
        };
        let bound = await_condition(&claims, claim, "bound", is_bound).await?.context("it was there")?;
        let name = bound.spec.and_then(|spec| spec.volume_name).context("the claim is bound")?;
        let volume = Api::<PersistentVolume>::all(self.client.clone()).get(&name).await?;
        let csi = volume.spec.and_then(|spec| spec.csi).context("the volume is a CSI driver's")?;
        Ok(csi.volume_handle)
    }

    /// Makes a ReplicationDestination from its spec.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn destination(&self, name: &str, spec: Value) -> Result<ReplicationDestination> {
        self.create(json!({
            "apiVersion": "scribe.dev/v1alpha1", "kind": "ReplicationDestination",
            "metadata": { "name": name }, "spec": spec
        }))
        .await
        .with_context(|| format!("create ReplicationDestination {name}"))
    }

    /// Makes a ReplicationSource from its spec.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn source(&self, name: &str, spec: Value) -> Result<ReplicationSource> {
        self.create(json!({
            "apiVersion": "scribe.dev/v1alpha1", "kind": "ReplicationSource",
            "metadata": { "name": name }, "spec": spec
        }))
        .await
        .with_context(|| format!("create ReplicationSource {name}"))
    }

    /// Waits until a destination has published its address, and copies its Secret to the other side as `name`, as a user would.
    ///
    /// # Errors
    /// The destination does not get there.
    pub async fn carry_secret(&self, destination: &str, to: &Site, name: &str) -> Result<()> {
        let seen = self
            .await_destination(destination, "listening with its address published", |rd| {
                status(rd).method_status.contains_key("sshKeys")
            })
            .await?;
        let secret = &status(&seen).method_status["sshKeys"];
        let carried = self.api::<Secret>().get(secret).await?;
        to.create::<Secret>(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "data": carried.data
        }))
        .await
        .with_context(|| format!("create Secret {name}"))?;
        Ok(())
    }

    /// Merges a change into an object of Scribe's or Kubernetes'.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn patch<K>(&self, name: &str, change: Value) -> Result<()>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>
            + serde::de::DeserializeOwned
            + Clone
            + std::fmt::Debug,
        K::DynamicType: Default,
    {
        self.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(change)).await?;
        Ok(())
    }

    /// Waits for a state of a destination.
    ///
    /// # Errors
    /// It does not come within the patience of [`crate::wait`].
    pub async fn await_destination(
        &self,
        name: &str,
        awaited: &str,
        condition: impl Fn(&ReplicationDestination) -> bool,
    ) -> Result<ReplicationDestination> {
        let found = await_condition(&self.api(), name, awaited, |rd| rd.is_some_and(&condition)).await?;
        found.context("it was there")
    }

    /// Waits for a state of a source.
    ///
    /// # Errors
    /// It does not come within the patience of [`crate::wait`].
    pub async fn await_source(
        &self,
        name: &str,
        awaited: &str,
        condition: impl Fn(&ReplicationSource) -> bool,
    ) -> Result<ReplicationSource> {
        let found = await_condition(&self.api(), name, awaited, |rs| rs.is_some_and(&condition)).await?;
        found.context("it was there")
    }

    /// Starts a sync by hand and waits until it is published.
    ///
    /// # Errors
    /// It is not.
    pub async fn sync(&self, source: &str, tag: &str) -> Result<ReplicationSource> {
        self.patch::<ReplicationSource>(source, json!({ "spec": { "trigger": { "manual": tag } } })).await?;
        self.await_source(source, &format!("synced with tag {tag}"), |rs| {
            rs.status.as_ref().is_some_and(|status| status.last_manual_sync.as_deref() == Some(tag))
        })
        .await
    }

    /// Makes a claim from a destination's newest replica and mounts it.
    ///
    /// # Errors
    /// There is no replica, or no claim can be made from it.
    pub async fn restore(&self, destination: &str, claim: &str, class: &str) -> Result<Volume> {
        let rd = self.api::<ReplicationDestination>().get(destination).await?;
        let image = status(&rd).latest_image.context("nothing is published")?;
        let snapshot = self.api::<VolumeSnapshot>().get(&image.name).await?;
        let seen = snapshot.status.unwrap_or_default();
        ensure!(seen.ready_to_use == Some(true), "the published snapshot is not ready");
        let size = seen.restore_size.context("a snapshot has a size")?;
        self.claim_from(&image.name, claim, class, &size.0).await?;
        self.hold(claim).await
    }

    /// Makes a claim from a snapshot. It stays pending until a pod uses it.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn claim_from(&self, snapshot: &str, name: &str, class: &str, size: &str) -> Result<()> {
        self.create::<PersistentVolumeClaim>(json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": name },
            "spec": {
                "accessModes": ["ReadWriteOnce"], "storageClassName": class,
                "resources": { "requests": { "storage": size } },
                "dataSource": { "apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": snapshot }
            }
        }))
        .await?;
        Ok(())
    }
}

/// The status of a destination; an empty one if there is none yet.
#[must_use]
pub fn status(rd: &ReplicationDestination) -> scribe_crds::v1alpha1::DestinationStatus {
    rd.status.clone().unwrap_or_default()
}

/// The status of a source; an empty one if there is none yet.
#[must_use]
pub fn source_status(rs: &ReplicationSource) -> scribe_crds::v1alpha1::SourceStatus {
    rs.status.clone().unwrap_or_default()
}

/// The reason and the message of the condition `Synchronizing`.
#[must_use]
pub fn synchronizing(conditions: &[Condition]) -> (String, String) {
    let found = conditions.iter().find(|condition| condition.type_ == SYNCHRONIZING);
    found.map(|condition| (condition.reason.clone(), condition.message.clone())).unwrap_or_default()
}

/// Whether a pod is in a phase.
#[must_use]
pub fn phase_is(pod: Option<&Pod>, phase: &str) -> bool {
    pod.and_then(|pod| pod.status.as_ref()).and_then(|status| status.phase.as_deref()) == Some(phase)
}
