//! A made-up cluster: it carries decisions out as the API server, the snapshotter and the mover would, and objects to every one that
//! would break an invariant.

mod acts;
mod invariants;
mod mover;
mod secrets;

pub use mover::{commit, hello};
use secrets::StoredSecret;

use crate::hooks::Modules;
use crate::render;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use scribe_core::chance::{Chance, KeyPair, Redacted};
use scribe_core::decision::Decision;
use scribe_core::destination::decide;
use scribe_core::hooks::HooksSeen;
use scribe_core::observed::{DestinationObserved, Surroundings};
use scribe_core::settings::Settings;
use scribe_crds::names;
use scribe_crds::snapshots::{VolumeSnapshot, VolumeSnapshotContent, VolumeSnapshotStatus};
use scribe_crds::v1alpha1::{DestinationStatus, ReplicationDestination};
use scribe_mover_contract::control::Answer;
use std::collections::BTreeMap;

/// Keys, ids and tokens that a reader recognises.
#[derive(Default)]
pub struct Counter(u32);

impl Chance for Counter {
    fn sync_id(&mut self) -> String {
        unreachable!("a destination makes no syncs")
    }
    fn relationship(&mut self) -> String {
        self.0 += 1;
        format!("relationship-{}", self.0)
    }
    fn key_pair(&mut self) -> KeyPair {
        self.0 += 1;
        KeyPair {
            private: Redacted(format!("private-{}", self.0)),
            public: format!("public-{}", self.0),
            fingerprint: format!("SHA256:{}", self.0),
        }
    }
    fn fraction(&mut self) -> f64 {
        0.0
    }
}

pub struct World {
    pub seen: DestinationObserved,
    pub settings: Settings,
    pub now: Timestamp,
    pub chance: Counter,
    pub secrets: BTreeMap<String, StoredSecret>,
    /// What the mover was told, newest last: question and answer.
    pub answers: Vec<(u64, Answer)>,
    /// Whether contents of deleted snapshots stay until somebody sees to it.
    pub contents_linger: bool,
    /// The deletion policy of new contents.
    pub content_policy: &'static str,
    /// Contents that the cluster holds, observed or not.
    contents: Vec<VolumeSnapshotContent>,
    /// Whether the finalizer was taken off after the deletion.
    pub is_gone: bool,
    /// The highest fencing token that the mover was given.
    pub highest_token: u64,
    /// What there is to be asked, and how often something was asked for the first time.
    pub modules: Modules,
    pub asked: usize,
    serial: u64,
    /// Of the destination and of Secrets.
    version: u64,
}

pub const START: &str = "2026-03-04T05:00:00Z";
/// Of the data of a first and of a second sync.
pub const T1: &str = START;
pub const T2: &str = "2026-03-04T05:05:00Z";

pub const RD: &str = "
apiVersion: scribe.dev/v1alpha1
kind: ReplicationDestination
metadata: {name: db, namespace: east, uid: rd-uid, generation: 1, creationTimestamp: 2026-03-04T04:59:00Z}
spec:
  rsync: {capacity: 10Gi, accessModes: [ReadWriteOnce]}
";

impl World {
    pub fn new(yaml: &str) -> Self {
        let destination: ReplicationDestination =
            serde_saphyr::from_str(yaml).expect("a ReplicationDestination");
        Self {
            seen: DestinationObserved {
                destination,
                around: Surroundings {
                    cluster_id: "east-cluster".into(),
                    privileged_movers: false,
                    paused_by: None,
                    control_token: Redacted("token".into()),
                    warnings: Vec::new(),
                    refusals: Vec::new(),
                },
                key_secrets: None,
                claim: None,
                service: None,
                pods: Vec::new(),
                snapshots_available: true,
                snapshot_class: None,
                snapshots: Vec::new(),
                restores: Vec::new(),
                contents: Vec::new(),
                mover: None,
                hooks: HooksSeen::default(),
            },
            settings: Settings { mover_image: "mover:1".into(), ..Settings::default() },
            now: START.parse().unwrap(),
            chance: Counter::default(),
            secrets: BTreeMap::new(),
            answers: Vec::new(),
            contents_linger: false,
            content_policy: "Delete",
            contents: Vec::new(),
            is_gone: false,
            highest_token: 0,
            modules: Modules::default(),
            asked: 0,
            serial: 0,
            version: 0,
        }
    }

    /// A destination that listens.
    pub fn listening() -> Self {
        let mut world = Self::new(RD);
        world.settle();
        world
    }

    pub fn status(&self) -> &DestinationStatus {
        self.seen.destination.status.as_ref().expect("a status")
    }

    pub fn spec(&mut self, change: impl FnOnce(&mut scribe_crds::v1alpha1::ReplicationDestinationSpec)) {
        change(&mut self.seen.destination.spec);
        *self.seen.destination.metadata.generation.as_mut().unwrap() += 1;
    }

    pub fn pass_time(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    pub fn decide(&mut self) -> Decision<DestinationStatus> {
        self.observe_contents();
        self.observe_secrets();
        decide(&self.seen, &self.settings, self.now, &mut self.chance)
    }

    /// What the controller reads of contents: those of unpublished snapshots of ours, and those that the status names.
    fn observe_contents(&mut self) {
        let named = self.seen.destination.status.clone().unwrap_or_default().releasing;
        let unpublished: Vec<String> = self
            .seen
            .snapshots
            .iter()
            .filter(|snapshot| {
                !has_annotation(&snapshot.metadata, names::PUBLISHED) && is_ours(&snapshot.metadata)
            })
            .map(|snapshot| format!("snapcontent-{}", snapshot.metadata.uid.clone().unwrap()))
            .collect();
        let wanted = |content: &&VolumeSnapshotContent| {
            let name = content.metadata.name.as_ref().unwrap();
            named.contains(name) || unpublished.contains(name)
        };
        self.seen.contents = self.contents.iter().filter(wanted).cloned().collect();
    }

    /// One pass: decide and carry out.
    pub fn pass(&mut self) -> Decision<DestinationStatus> {
        let decision = self.decide();
        self.carry_out(&decision, usize::MAX);
        decision
    }

    /// The process dies after `steps` writes, the status being one of them.
    pub fn carry_out(&mut self, decision: &Decision<DestinationStatus>, steps: usize) {
        let mut budget = steps;
        for action in &decision.first {
            if budget == 0 {
                return;
            }
            budget -= 1;
            self.act(action).expect("nobody else writes");
        }
        if budget == 0 {
            return;
        }
        if let Some(status) = &decision.status
            && self.seen.destination.status.as_ref() != Some(status)
        {
            budget -= 1;
            self.write_status(status);
        }
        for action in &decision.then {
            if budget == 0 {
                return;
            }
            budget -= 1;
            self.act(action).expect("nobody else writes");
        }
        self.asked += self.modules.run(&mut self.seen.hooks, decision.then.iter());
    }

    /// The modules are these from now on.
    pub fn modules(&mut self, change: impl FnOnce(&mut Modules)) {
        change(&mut self.modules);
        self.modules.show(&mut self.seen.hooks);
    }

    fn write_status(&mut self, status: &DestinationStatus) {
        // As the API server would give it back.
        let text = serde_json::to_string(status).unwrap();
        let stored: DestinationStatus = serde_json::from_str(&text).unwrap();
        assert_eq!(&stored, status, "the status does not survive being stored");
        self.seen.destination.status = Some(stored);
        self.destination_changed();
        self.check_status();
        self.check_keys();
    }

    fn destination_changed(&mut self) {
        self.version += 1;
        self.seen.destination.metadata.resource_version = Some(self.version.to_string());
    }

    /// Passes until nothing changes any more, then asserts that one more does nothing. What was done, as text.
    pub fn settle(&mut self) -> String {
        let mut log = String::new();
        for _ in 0..12 {
            let before = (self.seen.clone(), self.answers.len());
            let decision = self.pass();
            log.push_str(&render::decision(&decision, before.0.destination.status.as_ref()));
            if (&before.0, before.1) == (&self.seen, self.answers.len()) {
                return log;
            }
            if self.is_gone {
                return log;
            }
        }
        panic!("it does not settle:\n{log}");
    }

    /// The storage system has let go of every released content.
    pub fn contents_go(&mut self) {
        self.contents.retain(|content| content.spec.deletion_policy != "Delete");
    }

    pub fn contents(&self) -> Vec<String> {
        self.contents.iter().map(|content| content.metadata.name.clone().unwrap()).collect()
    }

    pub fn bind(&mut self) {
        let claim = self.seen.claim.as_mut().expect("a claim");
        let status = serde_json::json!({"phase": "Bound", "capacity": {"storage": "10Gi"}});
        claim.status = serde_json::from_value(status).unwrap();
    }

    pub fn snapshot(&mut self, name: &str) -> &mut VolumeSnapshot {
        let found =
            self.seen.snapshots.iter_mut().find(|snapshot| snapshot.metadata.name.as_deref() == Some(name));
        found.unwrap_or_else(|| panic!("no snapshot {name}"))
    }

    /// The names of the snapshots, with a star at those that are published.
    pub fn snapshots(&self) -> Vec<String> {
        let name = |snapshot: &VolumeSnapshot| {
            let star = if has_annotation(&snapshot.metadata, names::PUBLISHED) { "*" } else { "" };
            format!("{}{star}", snapshot.metadata.name.clone().unwrap())
        };
        self.seen.snapshots.iter().map(name).collect()
    }

    pub fn set_snapshot(&mut self, name: &str, is_cut: bool, is_ready: bool, error: Option<&str>) {
        let now = self.now;
        let snapshot = self.snapshot(name);
        snapshot.status = Some(VolumeSnapshotStatus {
            creation_time: is_cut.then_some(Time(now)),
            ready_to_use: Some(is_ready),
            error: error.map(|message| scribe_crds::snapshots::VolumeSnapshotError {
                time: None,
                message: Some(message.into()),
            }),
            ..Default::default()
        });
    }

    /// Every unpublished snapshot becomes ready.
    pub fn snapshots_ready(&mut self) {
        let waiting: Vec<String> = self.snapshots().into_iter().filter(|name| !name.ends_with('*')).collect();
        for name in waiting {
            self.set_snapshot(&name, true, true, None);
        }
    }

    pub fn start_deletion(&mut self) {
        self.seen.destination.metadata.deletion_timestamp = Some(Time(self.now));
    }
}

fn has_annotation(meta: &ObjectMeta, key: &str) -> bool {
    meta.annotations.as_ref().is_some_and(|all| all.contains_key(key))
}

pub fn is_ours(meta: &ObjectMeta) -> bool {
    meta.labels.as_ref().and_then(|labels| labels.get(names::OWNER_UID)).is_some_and(|uid| uid == "rd-uid")
}
