//! An API server: objects with uid, resource version, generation and finalizers, and writes that conflict as real ones do.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube_core::Resource;
use scribe_core::observed::Refusal;
use scribe_crds::names;
use scribe_crds::snapshots::{VolumeSnapshot, VolumeSnapshotContent};
use scribe_crds::v1alpha1::{ReplicationDestination, ReplicationSource};
use std::collections::BTreeMap;

/// The objects of one kind, by name. Each cluster has one namespace.
pub type Store<K> = BTreeMap<String, K>;

/// Why a write is not done, or not known to be.
#[derive(Clone, Debug, PartialEq)]
pub enum WriteError {
    /// The object is not the one that was seen.
    Conflict,
    /// No.
    Refused(Refusal),
    /// No answer. It may have been done.
    Failed,
}

/// One API server.
pub struct Api {
    /// The uid of its cluster.
    pub cluster_id: &'static str,
    /// Its clock, in seconds since the epoch.
    pub clock: i64,
    /// The kind of which a quota allows no more, if any.
    pub exhausted: Option<&'static str>,
    pub claims: Store<PersistentVolumeClaim>,
    pub pods: Store<Pod>,
    pub services: Store<Service>,
    pub secrets: Store<Secret>,
    pub snapshots: Store<VolumeSnapshot>,
    pub contents: Store<VolumeSnapshotContent>,
    pub sources: Store<ReplicationSource>,
    pub destinations: Store<ReplicationDestination>,
    /// Rises with every write.
    pub version: u64,
    serial: u64,
}

/// A kind that is stored.
pub trait Kind: Resource<DynamicType = ()> + Clone {
    fn store(api: &mut Api) -> &mut Store<Self>;
    /// Whether somebody else's finalizer keeps an object until its work is done: a kubelet, the storage.
    const LINGERS: bool;
}

macro_rules! kinds {
    ($($kind:ty, $store:ident, $lingers:literal;)+) => {
        $(impl Kind for $kind {
            fn store(api: &mut Api) -> &mut Store<Self> {
                &mut api.$store
            }
            const LINGERS: bool = $lingers;
        })+
    };
}

kinds! {
    PersistentVolumeClaim, claims, true;
    Pod, pods, true;
    Service, services, false;
    Secret, secrets, false;
    VolumeSnapshot, snapshots, true;
    VolumeSnapshotContent, contents, true;
    ReplicationSource, sources, false;
    ReplicationDestination, destinations, false;
}

impl Api {
    pub fn new(cluster_id: &'static str) -> Self {
        Self {
            cluster_id,
            clock: 0,
            exhausted: None,
            claims: Store::new(),
            pods: Store::new(),
            services: Store::new(),
            secrets: Store::new(),
            snapshots: Store::new(),
            contents: Store::new(),
            sources: Store::new(),
            destinations: Store::new(),
            version: 0,
            serial: 0,
        }
    }

    pub fn time(&self) -> Time {
        Time(at(self.clock))
    }

    /// The next resource version.
    pub fn next_version(&mut self) -> Option<String> {
        self.version += 1;
        Some(self.version.to_string())
    }

    /// POST. That there is one already is told apart, as callers make different things of it.
    pub fn post<K: Kind>(&mut self, object: &K) -> Result<bool, WriteError> {
        let name = name(object);
        if K::store(self).contains_key(&name) {
            return Ok(false);
        }
        if self.exhausted == Some(K::kind(&()).as_ref()) {
            let object = format!("{} {name}", K::kind(&()));
            let message = format!("{name} is forbidden: exceeded quota: q");
            return Err(WriteError::Refused(Refusal { object, quota: true, message }));
        }
        self.serial += 1;
        let (cluster, serial) = (self.cluster_id, self.serial);
        let (time, version) = (self.time(), self.next_version());
        let mut object = object.clone();
        let meta = object.meta_mut();
        meta.uid = Some(format!("{cluster}-{serial}"));
        meta.creation_timestamp = Some(time);
        meta.resource_version = version;
        meta.generation = Some(1);
        K::store(self).insert(name, object);
        Ok(true)
    }

    /// A patch under these preconditions.
    pub fn patch<K: Kind>(
        &mut self,
        name: &str,
        uid: Option<&str>,
        version: Option<&str>,
        change: impl FnOnce(&mut K),
    ) -> Result<(), WriteError> {
        let next = self.version + 1;
        let object = K::store(self).get_mut(name).ok_or(WriteError::Conflict)?;
        let meta = object.meta();
        let other_uid = uid.is_some() && uid != meta.uid.as_deref();
        let other_version = version.is_some() && version != meta.resource_version.as_deref();
        if other_uid || other_version {
            return Err(WriteError::Conflict);
        }
        change(object);
        object.meta_mut().resource_version = Some(next.to_string());
        self.version = next;
        self.collect::<K>(name);
        Ok(())
    }

    /// A change by somebody else who does not fail.
    pub fn change<K: Kind>(&mut self, name: &str, change: impl FnOnce(&mut K)) {
        // Gone: then there is nothing to change.
        let _ = self.patch(name, None, None, change);
    }

    /// DELETE, under these preconditions. Already gone, and another one by now, is success.
    pub fn delete<K: Kind>(&mut self, name: &str, uid: Option<&str>, version: Option<&str>) {
        let time = self.time();
        let _ = self.patch::<K>(name, uid, version, |object| {
            object.meta_mut().deletion_timestamp.get_or_insert(time);
        });
    }

    /// What is being deleted goes when nothing holds it any more.
    fn collect<K: Kind>(&mut self, name: &str) {
        let store = K::store(self);
        let goes = store.get(name).is_some_and(|object| {
            let meta = object.meta();
            let held = meta.finalizers.as_ref().is_some_and(|finalizers| !finalizers.is_empty());
            meta.deletion_timestamp.is_some() && !held && !K::LINGERS
        });
        if goes {
            store.remove(name);
        }
    }

    /// The last finalizer of somebody else is off.
    pub fn finalize<K: Kind>(&mut self, name: &str) {
        if K::store(self).remove(name).is_some() {
            self.version += 1;
        }
    }
}

/// A moment, by seconds since the epoch.
pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap_or(Timestamp::MAX)
}

pub fn name<K: Resource>(object: &K) -> String {
    object.meta().name.clone().unwrap_or_default()
}

pub fn uid<K: Resource>(object: &K) -> String {
    object.meta().uid.clone().unwrap_or_default()
}

pub fn is_leaving<K: Resource>(object: &K) -> bool {
    object.meta().deletion_timestamp.is_some()
}

pub fn label<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.labels.as_ref()?.get(key).map(String::as_str)
}

pub fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

/// Whether an object is this owner's: a label alone may have been copied.
pub fn is_owned(meta: &ObjectMeta, owner: &str) -> bool {
    label(meta, names::OWNER_UID) == Some(owner)
        && meta.owner_references.iter().flatten().any(|reference| reference.uid == owner)
}
