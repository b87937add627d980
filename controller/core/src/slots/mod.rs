//! Who may run a source mover: limits for the cluster, each namespace and each node, and who goes first.
//!
//! The pods that run are the truth, whoever made them: they are told by a watch. A *grant* bridges the time from a decision until its pod
//! is seen; it and the line of those that wait are memory that may be lost: after a restart everybody asks anew, and nobody gets anything
//! before the pods that there are have been seen.

mod nodes;

pub use nodes::{Node, Taint, eligible, is_empty_term};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::NodeSelector;
use scribe_crds::conditions::Reason;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A sync without an objective counts as due this long after it began to wait, in seconds.
const PATIENCE: i64 = 3600;

/// How many source movers may run at a time; 0: as many as there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// In the cluster.
    pub cluster: u32,
    /// In each namespace.
    pub namespace: u32,
    /// On each node.
    pub node: u32,
}

impl Default for Limits {
    /// A schedule that a thousand sources share must not ask the storage for a thousand copies at once; no namespace has the whole cluster
    /// to itself; and a mover's volume is attached to its node, where clouds attach some 16 to 40, most of them for applications.
    fn default() -> Self {
        Self { cluster: 50, namespace: 20, node: 10 }
    }
}

/// A sync that wants a mover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The uid of its source.
    pub uid: String,
    /// The namespace of its source.
    pub namespace: String,
    /// When its objective is not kept any more, if it has one.
    pub deadline: Option<Timestamp>,
    /// When it began to wait.
    pub since: Timestamp,
    /// The nodes that its pod could be scheduled to. `None`: nobody knows.
    pub nodes: Option<BTreeSet<String>>,
}

impl Candidate {
    /// Who goes first: the one with the least time left. What is late already has to be content with its place in the line, or sources that
    /// fail for ever would always be in front of all others. So nobody who comes after another one's deadline goes before it.
    fn place(&self) -> (Timestamp, Timestamp, Option<Timestamp>, &str) {
        let patient =
            || self.since.checked_add(SignedDuration::from_secs(PATIENCE)).unwrap_or(Timestamp::MAX);
        let due = self.deadline.unwrap_or_else(patient).max(self.since);
        (due, self.since, self.deadline, &self.uid)
    }
}

/// A mover that runs, or is about to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its namespace.
    pub namespace: String,
    /// The node that it was scheduled to.
    pub node: Option<String>,
    /// The nodes that it may be scheduled to yet. `None`: every one.
    pub nodes: Option<BTreeSet<String>>,
}

impl Holder {
    fn counts_on(&self, node: &str) -> bool {
        match (&self.node, &self.nodes) {
            (Some(own), _) => own == node,
            (None, Some(nodes)) => nodes.contains(node),
            (None, None) => true,
        }
    }
}

/// Leave to run a mover, whose pod has not been seen yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Namespace and name of the pod that it is for.
    pub pod: (String, String),
    /// What it counts as.
    pub holder: Holder,
    /// The nodes that were full: the pod has to keep away from them.
    pub full: BTreeSet<String>,
}

/// What a decision about a source means for the slots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Claim {
    /// Nothing runs, and nothing is to be run.
    #[default]
    Nothing,
    /// Its mover is there: if a grant bridges the time until it is seen, that stays.
    Keeps,
    /// It would run a mover, and waits.
    Waits(Candidate),
    /// It runs a mover, or makes what that needs. Not valid before it is entered with [`Slots::take`].
    Takes {
        /// As whom.
        candidate: Candidate,
        /// Namespace and name of the pod.
        pod: (String, String),
    },
}

/// The answer to a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may run.
    Admitted {
        /// On any node but these.
        full: BTreeSet<String>,
    },
    /// It has to wait.
    Waits(Limited),
}

/// What a candidate waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Limited {
    /// Nobody has counted yet what runs.
    Uncounted,
    /// A limit.
    By {
        /// Which one, as words after a number of movers.
        what: String,
        /// How many movers it counts.
        running: u32,
        /// How many it allows.
        limit: u32,
        /// How many syncs go first of which each takes a part of it.
        ahead: usize,
    },
}

impl std::fmt::Display for Limited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Uncounted => f.write_str("the movers that run are being counted"),
            Self::By { what, running, limit, ahead } => {
                write!(f, "{running} of {limit} movers {what} run; ")?;
                match ahead {
                    0 => f.write_str("it is the next"),
                    1 => f.write_str("1 sync goes first"),
                    ahead => write!(f, "{ahead} syncs go first"),
                }
            }
        }
    }
}

impl Limited {
    /// As it stands in conditions.
    pub const REASON: Reason = Reason::WaitingForSlot;
}

/// What runs, who waits, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    /// What is allowed.
    pub limits: Limits,
    /// Nobody has counted yet what runs.
    pub is_uncounted: bool,
    /// The movers that run or are being started, by namespace and name of the pod.
    pub pods: BTreeMap<(String, String), Holder>,
    /// By the source's uid: so no source has two.
    pub grants: BTreeMap<String, Grant>,
    /// By the source's uid.
    pub waiting: BTreeMap<String, Candidate>,
    /// The nodes of the cluster, by name.
    pub nodes: BTreeMap<String, Node>,
}

/// The slots as one pass sees them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SlotsSeen {
    /// At one moment: taking a slot has to be confirmed.
    pub slots: Arc<Slots>,
    /// The nodes that the volume to be copied can be reached from, if it says so.
    pub volume: Option<NodeSelector>,
}

impl Slots {
    /// Of a controller that has just started.
    pub fn new(limits: Limits) -> Self {
        Self { limits, is_uncounted: true, ..Self::default() }
    }

    /// Whether a candidate may run now: whether something is left when all who go before it have had theirs.
    pub fn judge(&self, me: &Candidate) -> Verdict {
        if let Some(grant) = self.grants.get(&me.uid) {
            return Verdict::Admitted { full: grant.full.clone() };
        }
        if self.limits == (Limits { cluster: 0, namespace: 0, node: 0 }) {
            return Verdict::Admitted { full: BTreeSet::new() };
        }
        if self.is_uncounted {
            return Verdict::Waits(Limited::Uncounted);
        }
        let others = self.waiting.values().filter(|other| other.uid != me.uid && other.place() < me.place());
        let mut line: Vec<&Candidate> = others.collect();
        line.sort_unstable_by_key(|other| other.place());
        let mut tally = Tally::of(self);
        for other in &line {
            tally.admit(other);
        }
        match tally.obstacle(me) {
            None => Verdict::Admitted { full: tally.full(me) },
            Some(obstacle) => Verdict::Waits(self.limited(me, obstacle, &line)),
        }
    }

    fn limited(&self, me: &Candidate, obstacle: Obstacle, line: &[&Candidate]) -> Limited {
        let tally = Tally::of(self);
        let meets = |other: &&&Candidate| match (&me.nodes, &other.nodes) {
            (Some(mine), Some(others)) => !mine.is_disjoint(others),
            _ => false,
        };
        let ahead = |concerns: &dyn Fn(&&&Candidate) -> bool| line.iter().filter(concerns).count();
        let (what, running, limit, ahead) = match obstacle {
            Obstacle::Cluster => {
                ("of this cluster".to_owned(), tally.cluster, self.limits.cluster, line.len())
            }
            Obstacle::Namespace => (
                "of this namespace".to_owned(),
                tally.namespace(&me.namespace),
                self.limits.namespace,
                ahead(&|other| other.namespace == me.namespace),
            ),
            Obstacle::Nodes => {
                let nodes = me.nodes.iter().flatten();
                let running = nodes.clone().map(|node| tally.node(node)).min().unwrap_or_default();
                let what = match nodes.clone().collect::<Vec<_>>().as_slice() {
                    [node] => format!("of node {node}"),
                    nodes => format!("of each of {} nodes", nodes.len()),
                };
                (what, running, self.limits.node, ahead(&meets))
            }
        };
        Limited::By { what, running, limit, ahead }
    }

    /// Those that wait and need not, in the order in which they go.
    pub fn admitted(&self) -> Vec<String> {
        if self.is_uncounted {
            return Vec::new();
        }
        let mut line: Vec<&Candidate> = self.waiting.values().collect();
        line.sort_unstable_by_key(|candidate| candidate.place());
        let mut tally = Tally::of(self);
        line.retain(|candidate| tally.admit(candidate));
        line.into_iter().map(|candidate| candidate.uid.clone()).collect()
    }

    /// Since when a source waits.
    pub fn since(&self, uid: &str) -> Option<Timestamp> {
        self.waiting.get(uid).map(|candidate| candidate.since)
    }

    /// Enters a grant, if there is still room for it. `None`: there is not. Else whether it is a new one.
    pub fn take(&mut self, candidate: &Candidate, pod: &(String, String)) -> Option<bool> {
        let Verdict::Admitted { full } = self.judge(candidate) else {
            return None;
        };
        self.waiting.remove(&candidate.uid);
        let is_new = !self.grants.contains_key(&candidate.uid);
        if !self.pods.contains_key(pod) {
            let nodes = candidate.nodes.as_ref().map(|nodes| nodes - &full);
            let holder = Holder { namespace: candidate.namespace.clone(), node: None, nodes };
            self.grants.insert(candidate.uid.clone(), Grant { pod: pod.clone(), holder, full });
        }
        Some(is_new)
    }

    /// A source stands in the line, or does not any more.
    pub fn wait(&mut self, uid: &str, candidate: Option<&Candidate>) {
        match candidate {
            Some(candidate) => drop(self.waiting.insert(uid.to_owned(), candidate.clone())),
            None => drop(self.waiting.remove(uid)),
        }
    }

    /// A grant is not needed any more.
    pub fn give_back(&mut self, uid: &str) {
        self.grants.remove(uid);
    }

    /// A mover's pod was seen, on its node, if it has one. From here on it counts for itself, and the grant is not needed.
    pub fn pod_runs(&mut self, pod: (String, String), node: Option<String>) {
        let granted = self.grants.iter().find(|(_, grant)| grant.pod == pod).map(|(uid, _)| uid.clone());
        let grant = granted.and_then(|uid| self.grants.remove(&uid));
        let known = grant.map(|grant| grant.holder).or_else(|| self.pods.remove(&pod));
        let nodes = known.and_then(|holder| holder.nodes);
        let holder = Holder { namespace: pod.0.clone(), node, nodes };
        self.pods.insert(pod, holder);
    }

    /// A mover's pod has ended, or is gone.
    pub fn pod_ended(&mut self, pod: &(String, String)) {
        self.pods.remove(pod);
    }
}

/// The limit that stands against a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Obstacle {
    Cluster,
    Namespace,
    Nodes,
}

/// What is in use, and what will be when those that go first have had theirs.
struct Tally<'a> {
    limits: Limits,
    cluster: u32,
    namespaces: BTreeMap<&'a str, u32>,
    nodes: BTreeMap<&'a str, u32>,
    /// The namespaces in which a place is kept for somebody who waits for a node.
    kept: BTreeSet<&'a str>,
}

impl<'a> Tally<'a> {
    fn of(slots: &'a Slots) -> Self {
        let mut tally = Self {
            limits: slots.limits,
            cluster: 0,
            namespaces: BTreeMap::new(),
            nodes: BTreeMap::new(),
            kept: BTreeSet::new(),
        };
        for holder in slots.pods.values().chain(slots.grants.values().map(|grant| &grant.holder)) {
            tally.cluster += 1;
            *tally.namespaces.entry(&holder.namespace).or_default() += 1;
            for node in slots.nodes.keys().filter(|node| holder.counts_on(node)) {
                *tally.nodes.entry(node).or_default() += 1;
            }
        }
        tally
    }

    fn namespace(&self, namespace: &str) -> u32 {
        self.namespaces.get(namespace).copied().unwrap_or_default()
    }

    fn node(&self, node: &str) -> u32 {
        self.nodes.get(node).copied().unwrap_or_default()
    }

    /// The widest limit that leaves no room. A candidate of which no node is known is not kept from any: the scheduler has the words for
    /// that.
    fn obstacle(&self, candidate: &Candidate) -> Option<Obstacle> {
        let is_full = |used: u32, limit: u32| limit > 0 && used >= limit;
        if is_full(self.cluster, self.limits.cluster) {
            Some(Obstacle::Cluster)
        } else if is_full(self.namespace(&candidate.namespace), self.limits.namespace) {
            Some(Obstacle::Namespace)
        } else if candidate.nodes.as_ref().is_some_and(|nodes| {
            !nodes.is_empty() && nodes.iter().all(|node| is_full(self.node(node), self.limits.node))
        }) {
            Some(Obstacle::Nodes)
        } else {
            None
        }
    }

    /// The nodes that a candidate's pod has to keep away from.
    fn full(&self, candidate: &Candidate) -> BTreeSet<String> {
        let nodes = candidate.nodes.iter().flatten();
        let full = nodes.filter(|node| self.limits.node > 0 && self.node(node) >= self.limits.node);
        full.cloned().collect()
    }

    /// Gives a candidate what it wants, if it is there. A pod that is not scheduled counts on every node that it may go to.
    ///
    /// A node and a place in the namespace need not become free at the same moment: whoever waits for a node, and is the first of its
    /// namespace to do so, keeps the place, or others could take both in turn for ever. The cluster's place comes with the node.
    fn admit(&mut self, candidate: &'a Candidate) -> bool {
        match self.obstacle(candidate) {
            None => {}
            Some(Obstacle::Nodes) => {
                if self.kept.insert(&candidate.namespace) {
                    *self.namespaces.entry(&candidate.namespace).or_default() += 1;
                }
                return false;
            }
            Some(Obstacle::Cluster | Obstacle::Namespace) => return false,
        }
        let full = self.full(candidate);
        self.cluster += 1;
        *self.namespaces.entry(&candidate.namespace).or_default() += 1;
        for node in candidate.nodes.iter().flatten().filter(|node| !full.contains(*node)) {
            *self.nodes.entry(node).or_default() += 1;
        }
        true
    }
}
