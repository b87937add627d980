//! A made-up cluster: it carries decisions out as the API server, the snapshotter and the mover would, and objects to every one that
//! would break an invariant.

mod invariants;
mod mover;
mod secrets;

pub use mover::{commit, hello};
use secrets::{Conflict, StoredSecret};

use crate::hooks::Modules;
use crate::render;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use scribe_core::chance::{Chance, KeyPair, Redacted};
use scribe_core::decision::{Action, Child, ChildKind, ChildRef, Decision};
use scribe_core::destination::decide;
use scribe_core::hooks::HooksSeen;
use scribe_core::observed::{DestinationObserved, Surroundings};
use scribe_core::settings::Settings;
use scribe_crds::names;
use scribe_crds::snapshots::{
    VolumeSnapshot, VolumeSnapshotContent, VolumeSnapshotContentSpec, VolumeSnapshotStatus,
};
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

    /// One write.
    pub fn act(&mut self, action: &Action) -> Result<(), Conflict> {
        match action {
            Action::AddFinalizer => {
                self.seen.destination.metadata.finalizers = Some(vec![names::FINALIZER.to_owned()]);
                self.destination_changed();
            }
            Action::RemoveFinalizer => {
                self.check_gone();
                self.is_gone = true;
            }
            Action::Create(Child::Secret(secret)) => return self.create_secret(&secret.0),
            Action::Apply(Child::Secret(secret)) => return self.apply_secret(&secret.0),
            Action::Create(child) => self.create(child),
            Action::Apply(child) => self.apply(child),
            Action::ApplyAddress { secret, resource_version, address, port } => {
                let address = [("address", address.clone()), ("port", port.to_string())];
                return self.write_address(secret, resource_version.as_deref(), address);
            }
            Action::Delete(child) => self.delete(child),
            Action::LabelClaim { uid, resource_version, .. } => {
                let meta = &mut self.seen.claim.as_mut().expect("the claim").metadata;
                assert_eq!(
                    (meta.uid.as_ref(), meta.resource_version.as_ref()),
                    (Some(uid), Some(resource_version))
                );
                meta.labels.get_or_insert_default().insert(names::OWNER_UID.into(), "rd-uid".into());
                meta.resource_version = Some("2".into());
            }
            Action::UnlabelClaim { uid, labels, annotations, .. } => {
                let meta = &mut self.seen.claim.as_mut().expect("the claim").metadata;
                assert_eq!(meta.uid.as_ref(), Some(uid));
                for label in labels {
                    meta.labels.as_mut().unwrap().remove(*label);
                }
                meta.annotations.get_or_insert_default().extend(annotations.clone());
            }
            Action::PublishSnapshot { name, resource_version, annotations, .. } => {
                let snapshot = self.snapshot(name);
                assert_eq!(snapshot.metadata.resource_version.as_ref(), Some(resource_version));
                let status = snapshot.status.as_ref().expect("a snapshot with a status");
                assert_eq!(status.ready_to_use, Some(true), "published before it was ready");
                assert!(status.creation_time.is_some(), "published before it was cut");
                snapshot.metadata.annotations = Some(annotations.clone());
                snapshot.metadata.owner_references = None;
                snapshot.metadata.resource_version = Some(format!("{resource_version}-published"));
            }
            Action::AdoptSnapshot { name, uid, resource_version, from } => {
                let meta = &mut self.snapshot(name).metadata;
                assert_eq!(
                    (meta.uid.as_ref(), meta.resource_version.as_ref()),
                    (Some(uid), Some(resource_version))
                );
                let before =
                    meta.labels.get_or_insert_default().insert(names::OWNER_UID.into(), "rd-uid".into());
                assert_eq!(before.as_ref(), Some(from), "taken over from somebody else");
                meta.annotations.get_or_insert_default().insert(names::ADOPTED_FROM.into(), from.clone());
                meta.resource_version = Some(format!("{resource_version}-adopted"));
            }
            Action::ReleaseContent { name } => {
                let content =
                    self.contents.iter_mut().find(|content| content.metadata.name.as_ref() == Some(name));
                content.expect("the content").spec.deletion_policy = "Delete".into();
            }
            Action::Answer { instance, question, answer, .. } => self.answered(instance, *question, answer),
            Action::Order { order, .. } => self.ordered(order),
            Action::CallHook(_) | Action::RememberHook { .. } | Action::AnswerHook { .. } => {}
        }
        Ok(())
    }

    fn meta(&mut self, meta: &ObjectMeta, kind: &str) -> ObjectMeta {
        self.serial += 1;
        ObjectMeta {
            uid: Some(format!("{kind}-{}", self.serial)),
            resource_version: Some(self.serial.to_string()),
            creation_timestamp: Some(Time(self.now)),
            ..meta.clone()
        }
    }

    fn create(&mut self, child: &Child) {
        match child {
            Child::Claim(claim) if self.seen.claim.is_none() => {
                let metadata = self.meta(&claim.metadata, "claim");
                self.seen.claim = Some(PersistentVolumeClaim { metadata, ..(**claim).clone() });
                self.bind();
            }
            Child::Pod(pod) if self.seen.pods.is_empty() => {
                let metadata = self.meta(&pod.metadata, "pod");
                let status =
                    serde_json::from_value(serde_json::json!({"phase": "Running", "hostIP": "192.0.2.7"}));
                self.seen.pods.push(Pod { metadata, status: status.unwrap(), ..(**pod).clone() });
                self.start_mover();
            }
            Child::Snapshot(snapshot) => {
                assert!(self.status().dirty.is_none(), "a snapshot of a dirty claim");
                let seal = self.seen.mover.as_ref().map(|(_, mover)| mover.seal);
                assert!(seal != Some(None), "a snapshot of a claim that is not sealed");
                let exists =
                    self.seen.snapshots.iter().any(|other| other.metadata.name == snapshot.metadata.name);
                if !exists {
                    let metadata = self.meta(&snapshot.metadata, "snap");
                    self.add_content(&metadata);
                    self.seen.snapshots.push(VolumeSnapshot { metadata, ..(**snapshot).clone() });
                }
            }
            Child::Claim(_) | Child::Pod(_) | Child::Service(_) | Child::Secret(_) => {}
        }
    }

    fn add_content(&mut self, snapshot: &ObjectMeta) {
        let uid = snapshot.uid.clone().unwrap();
        let mut content = VolumeSnapshotContent::new(
            &format!("snapcontent-{uid}"),
            VolumeSnapshotContentSpec { deletion_policy: self.content_policy.into(), ..Default::default() },
        );
        content.spec.volume_snapshot_ref.uid = Some(uid);
        self.contents.push(content);
    }

    fn apply(&mut self, child: &Child) {
        match child {
            Child::Service(service) => {
                let metadata = match &self.seen.service {
                    Some(before) => ObjectMeta {
                        uid: before.metadata.uid.clone(),
                        resource_version: before.metadata.resource_version.clone(),
                        creation_timestamp: before.metadata.creation_timestamp.clone(),
                        ..service.metadata.clone()
                    },
                    None => self.meta(&service.metadata, "service"),
                };
                let mut service = Service { metadata, ..(**service).clone() };
                let spec = service.spec.as_mut().unwrap();
                // What an API server fills in, and what must not be fought over.
                spec.cluster_ip = Some("10.0.0.9".into());
                spec.session_affinity = Some("None".into());
                spec.internal_traffic_policy = Some("Cluster".into());
                if spec.type_.as_deref() != Some("ClusterIP") {
                    spec.ports.as_mut().unwrap()[0].node_port = Some(30022);
                }
                self.seen.service = Some(service);
            }
            Child::Claim(claim) => {
                let spec = self.seen.claim.as_mut().expect("the claim").spec.as_mut().unwrap();
                spec.resources = claim.spec.as_ref().unwrap().resources.clone();
            }
            Child::Pod(_) | Child::Snapshot(_) | Child::Secret(_) => panic!("applied: {child:?}"),
        }
    }

    fn delete(&mut self, child: &ChildRef) {
        match child.kind {
            ChildKind::Claim => {
                assert_eq!(self.seen.claim.as_ref().unwrap().metadata.uid, child.uid);
                self.seen.claim = None;
            }
            ChildKind::Service => self.seen.service = None,
            ChildKind::Pod => {
                self.seen.pods.retain(|pod| pod.metadata.uid != child.uid);
                self.seen.mover = None;
            }
            ChildKind::Secret => drop(self.secrets.remove(&child.name)),
            ChildKind::Snapshot => self.delete_snapshot(child),
        }
    }

    fn delete_snapshot(&mut self, child: &ChildRef) {
        let at = self.seen.snapshots.iter().position(|snapshot| snapshot.metadata.uid == child.uid);
        let Some(at) = at else { return };
        let version = &self.seen.snapshots[at].metadata.resource_version;
        if child.resource_version.is_some() && child.resource_version != *version {
            // It has changed, and is not the one that was meant any more.
            return;
        }
        let good = |snapshot: &VolumeSnapshot| {
            has_annotation(&snapshot.metadata, names::PUBLISHED)
                && snapshot.status.as_ref().is_some_and(|status| status.ready_to_use == Some(true))
        };
        let goods = self.seen.snapshots.iter().filter(|snapshot| good(snapshot)).count();
        let policy = self.seen.destination.spec.deletion_policy;
        let is_ending = self.seen.destination.metadata.deletion_timestamp.is_some();
        if !(is_ending && policy == scribe_crds::v1alpha1::DeletionPolicy::Delete) {
            assert!(!good(&self.seen.snapshots[at]) || goods > 1, "the last good replica is deleted");
            assert!(!good(&self.seen.snapshots[at]) || !is_ending, "a replica goes with its destination");
        }
        self.seen.snapshots.remove(at);
        let content = format!("snapcontent-{}", child.uid.clone().unwrap());
        if !self.contents_linger {
            self.contents.retain(|other| {
                other.metadata.name.as_ref() != Some(&content) || other.spec.deletion_policy != "Delete"
            });
        }
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
