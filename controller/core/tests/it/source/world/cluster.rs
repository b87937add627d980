//! What the cluster makes of what was decided.

use super::{World, claim_of, job, yaml};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use scribe_core::decision::{Action, Child, ChildKind};
use scribe_core::observed::{Refusal, Warning};
use scribe_crds::names;
use serde_json::{Value, json};

impl World {
    pub fn act(&mut self, action: &Action) {
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
            | Action::AnswerHook { .. }
            | Action::EndSessions => {}
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
