//! Counts the movers that run, keeps the line of those that wait, and wakes the next.
//!
//! All of it is memory: what runs is seen again after a restart, and who waits asks again.

#[cfg(test)]
mod tests;

use crate::router::Router;
use crate::watches::{Synced, events};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node as KubernetesNode, NodeSelector, Pod};
use kube::runtime::watcher::{Config, Event};
use kube::{Api, Client, ResourceExt};
use scribe_core::slots::{Claim, Limits, Node, Slots};
use scribe_crds::names::{MANAGED_BY, MANAGED_BY_VALUE, OWNER_UID, SIDE};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::task::JoinSet;

/// Namespace and name.
type PodName = (String, String);
/// Where volumes can be reached from, by name.
type Volumes = BTreeMap<String, Option<NodeSelector>>;

/// The limits on movers, and who uses them.
pub struct Ledger {
    book: Mutex<Book>,
    /// By the uid of the source.
    volumes: Mutex<HashMap<String, Volumes>>,
    router: Arc<Router>,
}

struct Book {
    /// Shared with the passes that look at it.
    slots: Arc<Slots>,
    are_pods_counted: bool,
    are_nodes_known: bool,
}

/// What became of a decision to run a mover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It needs no slot.
    Needless,
    /// It has had the slot before.
    Before,
    /// It has one from now on.
    Now,
    /// Another one was faster: decide anew.
    Lost,
}

impl Ledger {
    /// Of a controller that has just started: nothing is granted yet.
    pub fn new(limits: Limits, router: Arc<Router>) -> Self {
        let book = Book {
            slots: Arc::new(Slots::new(limits)),
            are_pods_counted: false,
            are_nodes_known: limits.node == 0,
        };
        Self { book: Mutex::new(book), volumes: Mutex::default(), router }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Nothing panics while it holds the lock, and every state of the book is a valid one.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who runs and who waits at this moment.
    pub fn view(&self) -> Arc<Slots> {
        self.book().slots.clone()
    }

    /// Writes, and wakes whoever need not wait any more.
    fn write<T>(&self, change: impl FnOnce(&mut Book) -> T) -> T {
        let mut book = self.book();
        let answer = change(&mut book);
        let slots = &book.slots;
        let next = if slots.waiting.is_empty() { Vec::new() } else { slots.admitted() };
        drop(book);
        next.iter().for_each(|uid| self.router.wake(uid));
        answer
    }

    fn change<T>(&self, change: impl FnOnce(&mut Slots) -> T) -> T {
        self.write(|book| change(Arc::make_mut(&mut book.slots)))
    }

    /// Enters what was decided, before any of it is done: others may have decided the same at the same time.
    pub fn take(&self, claim: &Claim) -> Taken {
        let Claim::Takes { candidate, pod } = claim else { return Taken::Needless };
        match self.change(|slots| slots.take(candidate, pod)) {
            Some(true) => Taken::Now,
            Some(false) => Taken::Before,
            None => Taken::Lost,
        }
    }

    /// A decision was carried out, `is_recorded` as far as its status.
    pub fn passed(&self, uid: &str, claim: &Claim, taken: Taken, is_recorded: bool) {
        let slots = self.view();
        let (waits, holds) = (slots.waiting.get(uid), slots.grants.contains_key(uid));
        match claim {
            Claim::Waits(candidate) if waits == Some(candidate) && !holds => {}
            Claim::Waits(candidate) => self.change(|slots| {
                slots.give_back(uid);
                slots.wait(uid, Some(candidate));
            }),
            Claim::Keeps if waits.is_some() => self.change(|slots| slots.wait(uid, None)),
            Claim::Nothing if waits.is_some() || holds => self.change(|slots| {
                slots.give_back(uid);
                slots.wait(uid, None);
            }),
            // What was not recorded was not done.
            Claim::Takes { .. } if taken == Taken::Now && !is_recorded => {
                self.change(|slots| slots.give_back(uid));
            }
            Claim::Nothing | Claim::Keeps | Claim::Takes { .. } => {}
        }
    }

    /// A source that cannot be looked at does not hold up the others. It asks again when it can.
    pub fn step_aside(&self, uid: &str) {
        if self.view().waiting.contains_key(uid) {
            self.change(|slots| slots.wait(uid, None));
        }
    }

    /// Forgets a source that is gone.
    pub fn forget(&self, uid: &str) {
        self.passed(uid, &Claim::Nothing, Taken::Needless, true);
        self.all_volumes().remove(uid);
    }

    fn all_volumes(&self) -> MutexGuard<'_, HashMap<String, Volumes>> {
        self.volumes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a volume of a source can be reached from, if that was read before.
    pub fn volume(&self, uid: &str, name: &str) -> Option<Option<NodeSelector>> {
        self.all_volumes().get(uid)?.get(name).cloned()
    }

    /// Remembers where a volume can be reached from, which does not change, and forgets those that are not among `current`.
    pub fn learn_volume(&self, uid: &str, name: &str, reach: Option<NodeSelector>, current: &[&str]) {
        // An object that is gone is not remembered for ever.
        if !self.router.knows(uid) {
            return;
        }
        let mut volumes = self.all_volumes();
        let known = volumes.entry(uid.to_owned()).or_default();
        known.retain(|known, _| current.contains(&known.as_str()));
        known.insert(name.to_owned(), reach);
    }

    fn pods_counted(&self, pods: BTreeMap<PodName, Option<String>>) {
        self.write(|book| {
            let slots = Arc::make_mut(&mut book.slots);
            slots.pods.retain(|name, _| pods.contains_key(name));
            pods.into_iter().for_each(|(name, node)| slots.pod_runs(name, node));
            book.are_pods_counted = true;
            slots.is_uncounted = !book.are_nodes_known;
        });
    }

    fn pod(&self, name: PodName, pod: Option<Option<String>>) {
        self.change(|slots| match pod {
            Some(node) => slots.pod_runs(name, node),
            None => slots.pod_ended(&name),
        });
    }

    fn nodes_known(&self, nodes: BTreeMap<String, Node>) {
        self.write(|book| {
            let slots = Arc::make_mut(&mut book.slots);
            slots.nodes = nodes;
            book.are_nodes_known = true;
            slots.is_uncounted = !book.are_pods_counted;
        });
    }

    fn node(&self, name: String, node: Option<Node>) {
        // Nodes are often written, and rarely changed.
        if self.view().nodes.get(&name) == node.as_ref() {
            return;
        }
        self.change(|slots| match node {
            Some(node) => drop(slots.nodes.insert(name, node)),
            None => drop(slots.nodes.remove(&name)),
        });
    }
}

/// The node of a source's mover that is not over; `None`: it is, or it is no such pod. A label alone may have been copied.
fn runs(pod: &Pod) -> Option<Option<String>> {
    let uid = pod.labels().get(OWNER_UID)?;
    let is_owned =
        pod.owner_references().iter().any(|owner| owner.kind == "ReplicationSource" && owner.uid == *uid);
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let has_ended = matches!(phase, Some("Succeeded" | "Failed"));
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    (is_owned && !has_ended).then_some(node)
}

fn name(pod: &Pod) -> PodName {
    (pod.namespace().unwrap_or_default(), pod.name_any())
}

/// Watches the movers that run, and the nodes if they are limited, until the set is dropped. The answer says what readiness waits for.
pub fn watch(tasks: &mut JoinSet<()>, client: &Client, ledger: &Arc<Ledger>) -> Vec<Synced> {
    let pods = Synced::new("movers");
    tasks.spawn(pods_of(client.clone(), ledger.clone(), pods.clone()));
    let mut synced = vec![pods];
    if ledger.view().limits.node > 0 {
        let nodes = Synced::new("nodes");
        tasks.spawn(nodes_of(client.clone(), ledger.clone(), nodes.clone()));
        synced.push(nodes);
    }
    synced
}

async fn pods_of(client: Client, ledger: Arc<Ledger>, synced: Synced) {
    let ours = Config::default().labels(&format!("{MANAGED_BY}={MANAGED_BY_VALUE},{SIDE}=source"));
    let mut events = std::pin::pin!(events(Api::<Pod>::all(client), ours, synced));
    let mut listed = BTreeMap::new();
    while let Some(event) = events.next().await {
        match event {
            Event::Init => listed = BTreeMap::new(),
            Event::InitApply(pod) => listed.extend(runs(&pod).map(|node| (name(&pod), node))),
            Event::InitDone => ledger.pods_counted(std::mem::take(&mut listed)),
            Event::Apply(pod) => ledger.pod(name(&pod), runs(&pod)),
            Event::Delete(pod) => ledger.pod(name(&pod), None),
        }
    }
}

async fn nodes_of(client: Client, ledger: Arc<Ledger>, synced: Synced) {
    let mut events = std::pin::pin!(events(Api::<KubernetesNode>::all(client), Config::default(), synced));
    let mut listed = BTreeMap::new();
    while let Some(event) = events.next().await {
        match event {
            Event::Init => listed = BTreeMap::new(),
            Event::InitApply(node) => drop(listed.insert(node.name_any(), Node::new(&node))),
            Event::InitDone => ledger.nodes_known(std::mem::take(&mut listed)),
            Event::Apply(node) => ledger.node(node.name_any(), Some(Node::new(&node))),
            Event::Delete(node) => ledger.node(node.name_any(), None),
        }
    }
}

/// For each namespace with any: how many movers run, and how many syncs wait for one.
pub fn numbers(slots: &Slots) -> BTreeMap<&str, (i64, i64)> {
    let mut numbers: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    let granted = slots.grants.values().map(|grant| &grant.holder);
    for holder in slots.pods.values().chain(granted) {
        numbers.entry(&holder.namespace).or_default().0 += 1;
    }
    for waiting in slots.waiting.values() {
        numbers.entry(&waiting.namespace).or_default().1 += 1;
    }
    numbers
}
