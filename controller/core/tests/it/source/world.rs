//! A small world: one ReplicationSource, what Kubernetes would make of each decision, and a transcript of it.

mod cluster;
mod told;

use crate::hooks::Modules;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use scribe_core::chance::{Chance, KeyPair, Redacted};
use scribe_core::decision::{Action, Decision};
use scribe_core::hooks::HooksSeen;
use scribe_core::observed::{SourceObserved, Surroundings};
use scribe_core::settings::Settings;
use scribe_core::slots::SlotsSeen;
use scribe_core::source::decide;
use scribe_crds::names;
use scribe_crds::v1alpha1::{CurrentSync, ReplicationSource, SourceStatus};
use scribe_mover_contract::job::{JOB_VARIABLE, Job, SourceJob};
use serde::Serialize;
use std::fmt::Write;
use told::{changes, describe};

/// Chance without surprises: ids count up, jitter takes nothing off.
#[derive(Clone, Debug, Default)]
pub struct Counting(pub u32);

impl Chance for Counting {
    fn sync_id(&mut self) -> String {
        self.0 += 1;
        format!("sync{:04}", self.0)
    }

    fn relationship(&mut self) -> String {
        unreachable!("a source makes no relationship")
    }

    fn key_pair(&mut self) -> KeyPair {
        unreachable!("a source makes no keys")
    }

    fn fraction(&mut self) -> f64 {
        0.0
    }
}

pub struct World {
    pub seen: SourceObserved,
    pub settings: Settings,
    pub now: Timestamp,
    pub chance: Counting,
    /// What happened so far, for people.
    pub transcript: String,
    /// Every pod that was ever made.
    pub jobs: Vec<SourceJob>,
    /// What there is to be asked, and how often something was asked for the first time.
    pub modules: Modules,
    pub asked: usize,
    /// Claims and pods stay, marked as being deleted, until [`World::sweep`].
    pub slow_deletion: bool,
    uids: u32,
}

pub fn yaml<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_saphyr::from_str(text).unwrap()
}

pub fn to_yaml<T: Serialize>(value: &T) -> String {
    serde_saphyr::to_string(value).unwrap()
}

pub fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

const CLAIM: &str = "
metadata: {name: data, namespace: shop, uid: claim-uid, creationTimestamp: 2026-01-01T00:00:00Z}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: fast
  volumeMode: Filesystem
  resources: {requests: {storage: 10Gi}}
status: {phase: Bound, capacity: {storage: 10Gi}}
";

impl World {
    /// A source in the namespace `shop`, made at midnight, with this spec (YAML).
    pub fn new(spec: &str) -> Self {
        let mut source: ReplicationSource = yaml("{metadata: {}, spec: {sourcePVC: data}}");
        source.spec = yaml(spec);
        source.metadata = yaml(
            "{name: db, namespace: shop, uid: source-uid, generation: 1, creationTimestamp: 2026-03-01T00:00:00Z}",
        );
        let around = Surroundings {
            cluster_id: "cluster-uid".to_owned(),
            privileged_movers: false,
            paused_by: None,
            control_token: Redacted("a secret token".to_owned()),
            warnings: Vec::new(),
            refusals: Vec::new(),
        };
        Self {
            seen: SourceObserved {
                source,
                around,
                claim: Some(yaml(CLAIM)),
                cuts: Vec::new(),
                snapshots_available: true,
                snapshots: Vec::new(),
                contents: Vec::new(),
                users: Vec::new(),
                pods: Vec::new(),
                mover: None,
                slots: SlotsSeen::default(),
                hooks: HooksSeen::default(),
            },
            settings: Settings { mover_image: "scribe-mover:test".to_owned(), ..Settings::default() },
            now: time("2026-03-01T00:00:10Z"),
            chance: Counting::default(),
            transcript: String::new(),
            jobs: Vec::new(),
            modules: Modules::default(),
            asked: 0,
            slow_deletion: false,
            uids: 0,
        }
    }

    pub fn status(&self) -> SourceStatus {
        self.seen.source.status.clone().unwrap_or_default()
    }

    pub fn sync(&self) -> CurrentSync {
        self.status().current_sync.expect("a sync runs")
    }

    /// `status reason` of the condition, for short.
    pub fn condition(&self) -> String {
        let status = self.status();
        let condition = &status.conditions[0];
        format!("{} {}", condition.status, condition.reason)
    }

    pub fn message(&self) -> String {
        self.status().conditions[0].message.clone()
    }

    pub fn later(&mut self, seconds: i64) {
        self.now = self.now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
    }

    /// Decides, and asserts that it makes no difference whether the process dies after the status is written: the next pass decides
    /// the same deeds again, claims nothing new, and tells nobody twice. Where an application is at rest it does make one, of which the tests of
    /// `quiesce` tell: who has not called the hook himself does not know what it did.
    pub fn decide(&mut self) -> Decision<SourceStatus> {
        let decision = decide(&self.seen, &self.settings, self.now, &mut self.chance);
        let is_quiesced = |status: &&SourceStatus| status.quiesce.is_some();
        let was_quiesced = self.seen.source.status.as_ref().filter(is_quiesced).is_some();
        let status = decision.status.as_ref().filter(|status| !was_quiesced && !is_quiesced(status));
        if let Some(status) = status {
            let mut crashed = self.seen.clone();
            crashed.source.status = Some(status.clone());
            if decision.first.contains(&Action::AddFinalizer) {
                crashed.source.metadata.finalizers = Some(vec![names::FINALIZER.to_owned()]);
            }
            let again = decide(&crashed, &self.settings, self.now, &mut self.chance);
            let expected = Decision {
                first: Vec::new(),
                events: Vec::new(),
                ended: None,
                tripped: None,
                ..decision.clone()
            };
            assert_eq!(again, expected, "a pass after a crash decides otherwise");
        }
        decision
    }

    /// One reconcile. `what` says what happened before it.
    pub fn pass(&mut self, what: &str) -> Decision<SourceStatus> {
        let decision = self.decide();
        self.write_down(what, &decision);
        self.carry_out(&decision, true);
        decision
    }

    /// One reconcile that dies after it has written the status.
    pub fn crash(&mut self, what: &str) {
        let decision = self.decide();
        self.write_down(&format!("{what} — and the controller dies after the status is written"), &decision);
        self.carry_out(&decision, false);
    }

    /// Passes until nothing changes any more, which has to be soon.
    pub fn settle(&mut self, what: &str) {
        for _ in 0..8 {
            let before = self.seen.clone();
            self.pass(what);
            if self.seen == before {
                return;
            }
        }
        panic!("still not settled after {what}:\n{}", self.transcript);
    }

    fn write_down(&mut self, what: &str, decision: &Decision<SourceStatus>) {
        let before = serde_json::to_value(self.status()).unwrap();
        let mut entry = String::new();
        for action in &decision.first {
            let _ = writeln!(entry, "  first: {}", describe(action));
        }
        if let Some(status) = &decision.status {
            let after = serde_json::to_value(status).unwrap();
            changes(&mut entry, &before, &after);
        }
        for action in &decision.then {
            let _ = writeln!(entry, "  then: {}", describe(action));
        }
        for note in &decision.events {
            let _ = writeln!(entry, "  event: {} {}", note.reason, note.message);
        }
        if let Some(ended) = &decision.ended {
            let _ = writeln!(entry, "  ended: {ended:?}");
        }
        if entry.is_empty() {
            return;
        }
        if let Some(guard) = decision.tripped {
            let _ = writeln!(entry, "  tripped: {}", guard.as_str());
        }
        if let Some(wake) = decision.wake {
            let _ = writeln!(entry, "  wake: {wake}");
        }
        let _ = writeln!(self.transcript, "{} {what}\n{entry}", self.now);
    }

    /// Does what the API server would do.
    pub fn carry_out(&mut self, decision: &Decision<SourceStatus>, then: bool) {
        for action in &decision.first {
            self.act(action);
        }
        if let Some(status) = &decision.status {
            // What is stored is what is read: a field that does not survive that would be written again and again.
            let read = serde_json::from_value(serde_json::to_value(status).unwrap()).unwrap();
            assert_eq!(*status, read);
            self.seen.source.status = Some(read);
        }
        for action in decision.then.iter().filter(|_| then) {
            self.act(action);
        }
        if then {
            let asked = decision.first.iter().chain(&decision.then);
            self.asked += self.modules.run(&mut self.seen.hooks, asked);
        }
    }

    /// The modules are these from now on.
    pub fn modules(&mut self, change: impl FnOnce(&mut Modules)) {
        change(&mut self.modules);
        self.modules.show(&mut self.seen.hooks);
    }

    /// Another process takes over, which remembers nothing.
    pub fn restart(&mut self) {
        self.seen.hooks.calls.clear();
    }
}

pub fn job(pod: &Pod) -> SourceJob {
    let env = pod.spec.as_ref().unwrap().containers[0].env.as_ref().unwrap();
    let text = env.iter().find(|env| env.name == JOB_VARIABLE).unwrap().value.as_ref().unwrap();
    match serde_json::from_str(text).unwrap() {
        Job::Source(job) => *job,
        Job::Destination(_) => panic!("a source's mover is told to receive"),
    }
}

fn claim_of(pod: &Pod) -> String {
    let volumes = pod.spec.as_ref().unwrap().volumes.as_ref().unwrap();
    volumes
        .iter()
        .find_map(|volume| Some(volume.persistent_volume_claim.as_ref()?.claim_name.clone()))
        .unwrap()
}
