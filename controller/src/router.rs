//! Knows whose reconcile a change concerns, and triggers it.

use crate::kinds::Side;
use kube::core::{ObjectMeta, PartialObjectMeta};
use kube::runtime::reflector::ObjectRef;
use scribe_crds::v1alpha1::{HookModule, ReplicationDestination, ReplicationSource};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A source, by its metadata.
pub type SourceRef = ObjectRef<PartialObjectMeta<ReplicationSource>>;
/// A destination, by its metadata.
pub type DestinationRef = ObjectRef<PartialObjectMeta<ReplicationDestination>>;
/// A module, by its metadata.
pub type ModuleRef = ObjectRef<PartialObjectMeta<HookModule>>;

/// An object of ours, as known from its watch.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    /// Which kind.
    pub side: Side,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Owner {
    /// The object with that metadata.
    pub fn new(side: Side, meta: &ObjectMeta) -> Self {
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        Self { side, namespace: text(&meta.namespace), name: text(&meta.name) }
    }
}

/// What an object can look at without being its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Followed {
    /// A claim.
    Claim,
    /// A ConfigMap.
    ConfigMap,
    /// A HookModule.
    Module,
}

#[derive(Default)]
struct Known {
    owners: HashMap<String, Owner>,
    /// What objects look at, by namespace and name, whoever made it, and whether it exists or not: what appears ends a wait.
    followed: HashMap<(Followed, String, String), BTreeSet<String>>,
}

/// Maps uids, what objects look at, and namespaces to objects, and triggers these.
///
/// The channels are unbounded, but hold little: the controllers take everything out at once and keep one entry for each object.
pub struct Router {
    known: Mutex<Known>,
    sources: UnboundedSender<SourceRef>,
    destinations: UnboundedSender<DestinationRef>,
    modules: UnboundedSender<ModuleRef>,
}

/// The ends of a [`Router`] that the controllers listen to.
pub struct Triggers {
    /// Sources to look at.
    pub sources: UnboundedReceiver<SourceRef>,
    /// Destinations to look at.
    pub destinations: UnboundedReceiver<DestinationRef>,
    /// Modules to look at.
    pub modules: UnboundedReceiver<ModuleRef>,
}

impl Router {
    /// A router that knows nothing yet.
    pub fn new() -> (Self, Triggers) {
        let (sources, source_triggers) = unbounded_channel();
        let (destinations, destination_triggers) = unbounded_channel();
        let (modules, module_triggers) = unbounded_channel();
        let router = Self { known: Mutex::default(), sources, destinations, modules };
        let triggers = Triggers {
            sources: source_triggers,
            destinations: destination_triggers,
            modules: module_triggers,
        };
        (router, triggers)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing panics while it holds the lock, and every state of these maps is a valid one.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Learns of an object. `true`: it was not known before.
    pub fn add(&self, uid: &str, owner: Owner) -> bool {
        self.known().owners.insert(uid.to_owned(), owner).is_none()
    }

    /// Forgets an object.
    pub fn remove(&self, uid: &str) -> Option<Owner> {
        let mut known = self.known();
        known.followed.retain(|_, interested| {
            interested.remove(uid);
            !interested.is_empty()
        });
        known.owners.remove(uid)
    }

    /// Whether there is an object with that uid.
    pub fn knows(&self, uid: &str) -> bool {
        self.known().owners.contains_key(uid)
    }

    /// The uids of all objects of a side.
    pub fn uids(&self, side: Side) -> Vec<String> {
        let known = self.known();
        known.owners.iter().filter(|(_, owner)| owner.side == side).map(|(uid, _)| uid.clone()).collect()
    }

    /// From now on the object, if it is still there, is triggered by changes of that, which may not exist yet.
    pub fn follow(&self, uid: &str, what: Followed, namespace: &str, name: &str) {
        let key = (what, namespace.to_owned(), name.to_owned());
        let mut known = self.known();
        if known.owners.contains_key(uid) {
            known.followed.entry(key).or_default().insert(uid.to_owned());
        }
    }

    /// Triggers the object with that uid, if there is one.
    pub fn wake(&self, uid: &str) {
        let owner = self.known().owners.get(uid).cloned();
        if let Some(owner) = owner {
            self.trigger(&owner);
        }
    }

    /// Triggers the objects that look at that.
    pub fn wake_followers(&self, what: Followed, namespace: &str, name: &str) {
        let key = (what, namespace.to_owned(), name.to_owned());
        let owners: Vec<Owner> = {
            let known = self.known();
            let interested = known.followed.get(&key).into_iter().flatten();
            interested.filter_map(|uid| known.owners.get(uid).cloned()).collect()
        };
        owners.iter().for_each(|owner| self.trigger(owner));
    }

    /// Triggers every object of a namespace.
    pub fn wake_namespace(&self, namespace: &str) {
        self.wake_where(|owner| owner.namespace == namespace);
    }

    /// Triggers every object of a side.
    pub fn wake_side(&self, side: Side) {
        self.wake_where(|owner| owner.side == side);
    }

    fn wake_where(&self, concerns: impl Fn(&Owner) -> bool) {
        let owners: Vec<Owner> =
            self.known().owners.values().filter(|owner| concerns(owner)).cloned().collect();
        owners.iter().for_each(|owner| self.trigger(owner));
    }

    fn trigger(&self, owner: &Owner) {
        // A closed channel means that the process ends: there is nobody left to trigger.
        match owner.side {
            Side::Source => {
                let _ = self.sources.send(ObjectRef::new(&owner.name).within(&owner.namespace));
            }
            Side::Destination => {
                let _ = self.destinations.send(ObjectRef::new(&owner.name).within(&owner.namespace));
            }
            Side::Module => {
                let _ = self.modules.send(ObjectRef::new(&owner.name).within(&owner.namespace));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(side: Side, name: &str) -> Owner {
        Owner { side, namespace: "app".to_owned(), name: name.to_owned() }
    }

    #[test]
    fn a_claim_triggers_who_looks_at_it() {
        let (router, mut triggers) = Router::new();
        router.add("1", owner(Side::Source, "db"));
        router.add("2", owner(Side::Destination, "db"));
        router.follow("1", Followed::Claim, "app", "data");
        router.wake_followers(Followed::Claim, "app", "data");
        router.wake_followers(Followed::Claim, "app", "other");
        router.wake_followers(Followed::ConfigMap, "app", "data");
        router.wake_followers(Followed::Claim, "elsewhere", "data");
        assert_eq!(triggers.sources.try_recv().unwrap(), ObjectRef::new("db").within("app"));
        assert!(triggers.sources.try_recv().is_err());
        assert!(triggers.destinations.try_recv().is_err());
    }

    #[test]
    fn what_is_forgotten_triggers_nothing() {
        let (router, mut triggers) = Router::new();
        router.add("1", owner(Side::Source, "db"));
        router.follow("1", Followed::Claim, "app", "data");
        assert_eq!(router.remove("1"), Some(owner(Side::Source, "db")));
        router.wake("1");
        router.wake_followers(Followed::Claim, "app", "data");
        router.wake_namespace("app");
        assert!(triggers.sources.try_recv().is_err());
        assert!(router.uids(Side::Source).is_empty());
    }
}
