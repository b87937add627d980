//! What comes of each write.

use super::secrets::Conflict;
use super::{World, has_annotation};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use scribe_core::decision::{Action, Child, ChildKind, ChildRef};
use scribe_crds::names;
use scribe_crds::snapshots::{VolumeSnapshot, VolumeSnapshotContent, VolumeSnapshotContentSpec};

impl World {
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
            Action::EndSessions => panic!("a destination holds none"),
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
}
