//! A small world: one ReplicationSource, what Kubernetes would make of each decision, and a transcript of it.

use crate::hooks::Modules;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use scribe_core::chance::{Chance, KeyPair, Redacted};
use scribe_core::decision::{Action, Child, ChildKind, Decision};
use scribe_core::hooks::HooksSeen;
use scribe_core::observed::{Refusal, SourceObserved, Surroundings, Warning};
use scribe_core::settings::Settings;
use scribe_core::slots::SlotsSeen;
use scribe_core::source::decide;
use scribe_crds::names;
use scribe_crds::v1alpha1::{CurrentSync, ReplicationSource, SourceStatus};
use scribe_mover_contract::job::{JOB_VARIABLE, Job, SourceJob};
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt::Write;

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

    fn act(&mut self, action: &Action) {
        match action {
            Action::AddFinalizer => {
                self.seen.source.metadata.finalizers = Some(vec![names::FINALIZER.to_owned()])
            }
            Action::RemoveFinalizer => self.seen.source.metadata.finalizers = None,
            Action::Create(Child::Claim(claim)) => {
                let mut claim = (**claim).clone();
                self.receive(&mut claim.metadata);
                claim.status = Some(yaml("{phase: Pending}"));
                assert!(
                    self.seen.cuts.iter().all(|cut| cut.metadata.name != claim.metadata.name),
                    "made twice"
                );
                self.seen.cuts.push(claim);
            }
            Action::Create(Child::Snapshot(snapshot)) => {
                let mut snapshot = (**snapshot).clone();
                self.receive(&mut snapshot.metadata);
                assert!(
                    self.seen.snapshots.iter().all(|old| old.metadata.name != snapshot.metadata.name),
                    "made twice"
                );
                self.seen.snapshots.push(snapshot);
            }
            Action::ReleaseContent { name } => {
                let mut contents = self.seen.contents.iter_mut();
                let content = contents.find(|content| content.metadata.name.as_ref() == Some(name)).unwrap();
                content.spec.deletion_policy = "Delete".to_owned();
            }
            Action::Create(Child::Pod(pod)) => {
                let mut pod = (**pod).clone();
                self.receive(&mut pod.metadata);
                pod.status = Some(yaml("{phase: Pending}"));
                assert!(
                    self.seen.pods.iter().all(|old| old.metadata.name != pod.metadata.name),
                    "made twice"
                );
                self.jobs.push(job(&pod));
                self.seen.pods.push(pod);
            }
            Action::Apply(Child::Secret(_))
            | Action::CallHook(_)
            | Action::RememberHook { .. }
            | Action::AnswerHook { .. } => {}
            Action::Delete(child) => self.delete(child.kind, &child.name, child.uid.as_deref()),
            other => panic!("a source does not do this: {other:?}"),
        }
    }

    fn receive(&mut self, meta: &mut ObjectMeta) {
        self.uids += 1;
        meta.uid = Some(format!("uid-{}", self.uids));
        meta.creation_timestamp = Some(Time(self.now));
    }

    pub fn delete(&mut self, kind: ChildKind, name: &str, uid: Option<&str>) {
        let now = Time(self.now);
        let metas: Vec<&mut ObjectMeta> = match kind {
            ChildKind::Pod => self.seen.pods.iter_mut().map(|pod| &mut pod.metadata).collect(),
            ChildKind::Claim => self.seen.cuts.iter_mut().map(|cut| &mut cut.metadata).collect(),
            ChildKind::Snapshot => {
                self.seen.snapshots.iter_mut().map(|snapshot| &mut snapshot.metadata).collect()
            }
            _ => return,
        };
        for meta in metas.into_iter().filter(|meta| meta.name.as_deref() == Some(name)) {
            assert!(uid.is_none() || uid == meta.uid.as_deref(), "deletes {name} under another uid");
            meta.deletion_timestamp.get_or_insert_with(|| now.clone());
        }
        if !self.slow_deletion {
            self.sweep();
        }
    }

    /// What is being deleted goes; a claim only when no pod uses it.
    pub fn sweep(&mut self) {
        self.seen.pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
        let used: Vec<String> = self.seen.pods.iter().map(claim_of).collect();
        self.seen.cuts.retain(|cut| {
            cut.metadata.deletion_timestamp.is_none() || used.contains(cut.metadata.name.as_ref().unwrap())
        });
        let going: Vec<_> = self
            .seen
            .snapshots
            .extract_if(.., |snapshot| snapshot.metadata.deletion_timestamp.is_some())
            .filter_map(|snapshot| snapshot.metadata.uid)
            .collect();
        // What is told to stay, stays.
        self.seen.contents.retain(|content| {
            let owner = content.spec.volume_snapshot_ref.uid.as_ref();
            content.spec.deletion_policy != "Delete" || !owner.is_some_and(|owner| going.contains(owner))
        });
    }

    /// The storage system has cut the newest snapshot, at this time by its own clock, under a class of that policy.
    pub fn cut_snapshot(&mut self, time: &str, policy: &str) {
        let snapshot = self.seen.snapshots.last_mut().expect("a snapshot");
        let uid = snapshot.metadata.uid.clone().unwrap();
        snapshot.status = Some(yaml(&format!(
            "{{boundVolumeSnapshotContentName: content-{uid}, creationTime: {time}, readyToUse: false, restoreSize: 11Gi}}"
        )));
        self.seen.contents.push(yaml(&format!(
            "{{metadata: {{name: content-{uid}}}, spec: {{deletionPolicy: {policy}, volumeSnapshotRef: {{uid: {uid}}}}}}}"
        )));
    }

    /// The newest snapshot can be used.
    pub fn ready_snapshot(&mut self) {
        let snapshot = self.seen.snapshots.last_mut().expect("a snapshot");
        snapshot.status.as_mut().expect("it is cut").ready_to_use = Some(true);
    }

    pub fn bind_cut(&mut self) {
        for cut in &mut self.seen.cuts {
            cut.status = Some(yaml("{phase: Bound, capacity: {storage: 10Gi}}"));
        }
    }

    /// The newest pod.
    pub fn pod(&mut self) -> &mut Pod {
        self.seen.pods.last_mut().expect("a pod")
    }

    pub fn run_pod(&mut self) {
        self.pod().status = Some(yaml("{phase: Running}"));
    }

    pub fn cut(&mut self) -> &mut PersistentVolumeClaim {
        self.seen.cuts.last_mut().expect("a cut")
    }

    /// The newest pod ends, with this exit code and this message.
    pub fn end_pod(&mut self, exit: i32, message: &str) {
        let now = self.now;
        let status = json!({
            "phase": if exit == 0 { "Succeeded" } else { "Failed" },
            "containerStatuses": [{
                "name": "mover", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"terminated": {
                    "exitCode": exit,
                    "message": message,
                    "reason": if exit == 0 { "Completed" } else { "Error" },
                    "finishedAt": now,
                }},
            }],
        });
        self.pod().status = Some(serde_json::from_value(status).unwrap());
    }

    /// The newest pod ends as a mover does, with these fields over those of a success.
    pub fn end_mover(&mut self, exit: i32, fields: Value) {
        let results = ["done", "transient", "permanent", "refused"];
        let result = results[usize::try_from(exit).unwrap()];
        let mut left = json!({
            "protocol": 1,
            "syncId": self.sync().id,
            "result": result,
            "message": "",
            "counts": {
                "bytesTotal": 3_000_000_000_u64, "bytesSent": 12_345_678, "bytesLiteral": 12_000_000,
                "filesTotal": 1200, "filesSent": 34, "filesDeleted": 5,
            },
            "published": exit == 0,
        });
        left.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        self.end_pod(exit, &left.to_string());
    }

    pub fn warn(&mut self, about: &str, reason: &str, message: &str) {
        let warning =
            Warning { about: about.to_owned(), reason: reason.to_owned(), message: message.to_owned() };
        self.seen.around.warnings.push(warning);
    }

    pub fn refuse(&mut self, object: &str, quota: bool, message: &str) {
        let refusal = Refusal { object: object.to_owned(), quota, message: message.to_owned() };
        self.seen.around.refusals = vec![refusal];
    }

    /// From nothing to a mover that runs.
    pub fn start_sync(&mut self) {
        self.settle("a sync starts");
        self.bind_cut();
        self.run_pod();
        self.settle("the mover runs");
    }

    /// From a sync that runs to its success.
    pub fn finish_sync(&mut self) {
        self.end_mover(0, json!({}));
        self.settle("the mover has ended");
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

fn describe(action: &Action) -> String {
    match action {
        Action::CallHook(_) | Action::RememberHook { .. } | Action::AnswerHook { .. } => {
            crate::render::action(action)
        }
        Action::Create(Child::Claim(claim)) => {
            format!("create claim {}", claim.metadata.name.as_ref().unwrap())
        }
        Action::Create(Child::Snapshot(snapshot)) => {
            format!("create snapshot {}", snapshot.metadata.name.as_ref().unwrap())
        }
        Action::ReleaseContent { name } => format!("release content {name}"),
        Action::Create(Child::Pod(pod)) => format!("create pod {}", pod.metadata.name.as_ref().unwrap()),
        Action::Apply(Child::Secret(secret)) => {
            format!("apply secret {}", secret.0.metadata.name.as_ref().unwrap())
        }
        Action::Delete(child) => {
            format!("delete {:?} {} ({})", child.kind, child.name, child.uid.as_deref().unwrap_or("any uid"))
        }
        other => format!("{other:?}"),
    }
}

/// The fields of a status that changed; a condition as one line.
fn changes(entry: &mut String, before: &Value, after: &Value) {
    let (before, after) = (before.as_object().unwrap(), after.as_object().unwrap());
    for (field, value) in after {
        if before.get(field) == Some(value) {
            continue;
        }
        if field == "conditions" {
            let known = before.get(field).and_then(Value::as_array);
            let is_known = |condition: &&Value| known.is_some_and(|known| known.contains(condition));
            for condition in value.as_array().unwrap().iter().filter(|condition| !is_known(condition)) {
                let text = |key: &str| condition[key].as_str().unwrap_or_default().to_owned();
                let _ = writeln!(
                    entry,
                    "  {}: {} {}, {}",
                    text("type"),
                    text("status"),
                    text("reason"),
                    text("message")
                );
            }
        } else {
            let _ = writeln!(entry, "  {field}: {}", flow(value));
        }
    }
    for field in before.keys().filter(|field| !after.contains_key(*field)) {
        let _ = writeln!(entry, "  {field}: gone");
    }
}

/// A value on one line, without quotes.
fn flow(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(k, v)| format!("{k}: {}", flow(v)))
                .collect();
            format!("{{{}}}", fields.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
