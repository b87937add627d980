//! What all child objects have in common: names, labels and the owner reference.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube_core::Resource;
use scribe_crds::names;
use scribe_crds::v1alpha1::{ReplicationDestination, ReplicationSource};
use std::collections::BTreeMap;

/// The object that a child is made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// `scribe.dev/v1alpha1`.
    pub api_version: String,
    /// `ReplicationSource` or `ReplicationDestination`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its namespace, and that of every child.
    pub namespace: String,
    /// Its uid: the value of the owner label.
    pub uid: String,
    /// The value of the side label: `source` or `destination`.
    pub side: &'static str,
}

impl Owner {
    /// A ReplicationSource as an owner.
    pub fn source(object: &ReplicationSource) -> Self {
        Self::of(object, &object.metadata, "source")
    }

    /// A ReplicationDestination as an owner.
    pub fn destination(object: &ReplicationDestination) -> Self {
        Self::of(object, &object.metadata, "destination")
    }

    fn of<K: Resource<DynamicType = ()>>(_: &K, meta: &ObjectMeta, side: &'static str) -> Self {
        Self {
            api_version: K::api_version(&()).into_owned(),
            kind: K::kind(&()).into_owned(),
            name: meta.name.clone().unwrap_or_default(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
            side,
        }
    }

    /// The labels of a child, `sync` being the sync that it is made for.
    pub fn labels(&self, sync: Option<&str>) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::from([
            (names::MANAGED_BY.to_owned(), names::MANAGED_BY_VALUE.to_owned()),
            (names::OWNER_UID.to_owned(), self.uid.clone()),
            (names::SIDE.to_owned(), self.side.to_owned()),
        ]);
        if let Some(sync) = sync {
            labels.insert(names::SYNC.to_owned(), sync.to_owned());
        }
        labels
    }

    /// The owner reference of a child.
    pub fn reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: self.api_version.clone(),
            kind: self.kind.clone(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            // Without a controller, `kubectl drain` refuses to move the mover pod off a node.
            controller: Some(true),
            // Our finalizer keeps the owner until its children are gone. Asking the collector for the same would need the right to
            // update the owner's finalizers subresource on clusters that enforce owner references.
            block_owner_deletion: None,
        }
    }

    /// The metadata of a child that goes with its owner.
    pub fn child(&self, name: String, sync: Option<&str>) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.namespace.clone()),
            labels: Some(self.labels(sync)),
            owner_references: Some(vec![self.reference()]),
            ..ObjectMeta::default()
        }
    }

    /// Whether an object is a child of this owner: it bears the label, and names the owner. A label alone may have been copied together
    /// with what it was stuck to, and such a copy is not ours to delete.
    pub fn owns(&self, meta: &ObjectMeta) -> bool {
        let named = meta.owner_references.iter().flatten().any(|reference| reference.uid == self.uid);
        named && label(meta, names::OWNER_UID) == Some(&self.uid)
    }
}

/// The value of a label, if it is there.
pub fn label<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.labels.as_ref()?.get(key).map(String::as_str)
}
