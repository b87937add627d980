//! The objects that make the test driver usable: its CSIDriver, the storage classes and the snapshot classes.

use anyhow::{Context, Result};
use k8s_openapi::api::storage::v1::{CSIDriver, StorageClass};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::runtime::conditions::is_crd_established;
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::binaries::Binaries;
use crate::wait::await_condition;

/// The name of the CSI driver for tests.
pub const DRIVER: &str = "csi.scribe.test";

/// The field manager of everything that the harness applies.
const MANAGER: &str = "scribe-tests";

/// Installs the snapshot API and waits until it is served.
///
/// # Errors
/// The API server refuses a definition or does not establish it in time.
pub async fn install_snapshot_crds(client: &Client, binaries: &Binaries) -> Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut names = Vec::new();
    for text in binaries.snapshot_crds()? {
        let crd: CustomResourceDefinition =
            serde_saphyr::from_str(&text).context("parse a VolumeSnapshot CRD")?;
        names.push(apply(&api, &crd).await?);
    }
    for name in names {
        await_condition(&api, &name, "established", |crd| {
            use kube::runtime::wait::Condition;
            is_crd_established().matches_object(crd)
        })
        .await?;
    }
    Ok(())
}

/// Applies the driver's objects and the classes.
///
/// # Errors
/// The API server refuses one.
pub async fn install_classes(client: &Client) -> Result<()> {
    apply::<CSIDriver>(&Api::all(client.clone()), &from(driver())?).await?;
    for class in storage_classes() {
        apply::<StorageClass>(&Api::all(client.clone()), &from(class)?).await?;
    }
    let resource =
        ApiResource::from_gvk(&GroupVersionKind::gvk("snapshot.storage.k8s.io", "v1", "VolumeSnapshotClass"));
    let snapshot_classes: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    for class in
        [snapshot_class("scribe-test", true, "Delete"), snapshot_class("scribe-test-retain", false, "Retain")]
    {
        apply(&snapshot_classes, &from(class)?).await?;
    }
    Ok(())
}

async fn apply<K>(api: &Api<K>, object: &K) -> Result<String>
where
    K: Resource + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    let name = object.meta().name.clone().context("apply an object without a name")?;
    let params = PatchParams::apply(MANAGER).force();
    api.patch(&name, &params, &Patch::Apply(object)).await.with_context(|| format!("apply {name}"))?;
    Ok(name)
}

fn from<K: DeserializeOwned>(object: Value) -> Result<K> {
    serde_json::from_value(object).context("build a storage object")
}

fn driver() -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "CSIDriver",
        "metadata": {"name": DRIVER},
        "spec": {
            "attachRequired": false,
            "podInfoOnMount": false,
            "fsGroupPolicy": "File",
            "storageCapacity": false,
            "volumeLifecycleModes": ["Persistent"],
        },
    })
}

fn storage_classes() -> [Value; 3] {
    [
        storage_class("ext4", "ext4", "WaitForFirstConsumer", true),
        storage_class("xfs", "xfs", "WaitForFirstConsumer", false),
        storage_class("ext4-immediate", "ext4", "Immediate", false),
    ]
}

fn storage_class(name: &str, fs_type: &str, binding: &str, default: bool) -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": name,
            "annotations": {"storageclass.kubernetes.io/is-default-class": default.to_string()},
        },
        "provisioner": DRIVER,
        "parameters": {"csi.storage.k8s.io/fstype": fs_type},
        "volumeBindingMode": binding,
        "allowVolumeExpansion": true,
        "reclaimPolicy": "Delete",
    })
}

fn snapshot_class(name: &str, default: bool, deletion_policy: &str) -> Value {
    json!({
        "apiVersion": "snapshot.storage.k8s.io/v1",
        "kind": "VolumeSnapshotClass",
        "metadata": {
            "name": name,
            "annotations": {"snapshot.storage.kubernetes.io/is-default-class": default.to_string()},
        },
        "driver": DRIVER,
        "deletionPolicy": deletion_policy,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_is_what_its_kind_says() {
        assert!(from::<CSIDriver>(driver()).is_ok());
        for class in storage_classes() {
            assert_eq!(from::<StorageClass>(class).unwrap().provisioner, DRIVER);
        }
    }

    #[test]
    fn one_storage_class_is_the_default() {
        let is_default = |class: &Value| {
            class["metadata"]["annotations"]["storageclass.kubernetes.io/is-default-class"] == "true"
        };
        assert_eq!(storage_classes().iter().filter(|class| is_default(class)).count(), 1);
    }
}
