//! Storage: volumes with content, clones and snapshots that are cut at a moment of their own choosing, fail, and are tried again.

use super::api::{Api, annotation, at, is_leaving, name, uid};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimStatus, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use scribe_crds::names;
use scribe_crds::snapshots::{
    VolumeSnapshot, VolumeSnapshotContent, VolumeSnapshotContentSpec, VolumeSnapshotContentStatus,
    VolumeSnapshotError, VolumeSnapshotStatus,
};
use std::collections::{BTreeMap, BTreeSet};

/// One file: which version of it, from 1, 0 being none. A writer that was stopped half-way leaves it torn, with the size and the time of
/// the version, so that only a comparison by content can tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct File {
    pub version: u32,
    pub torn: bool,
}

/// What a volume holds. Equal contents are of one moment, as no version is written twice.
pub type Content = [File; 4];

/// One storage system, with what its classes do.
#[derive(Clone, Debug, Default)]
pub struct Storage {
    /// By the uid of the claim.
    pub volumes: BTreeMap<String, Content>,
    /// By the name of the VolumeSnapshotContent.
    pub snapshots: BTreeMap<String, Content>,
    /// The uid of the claim that each VolumeSnapshotContent is, or is to be, cut from.
    pub handles: BTreeMap<String, String>,
    /// A volume is only made when a pod wants it.
    pub waits_for_consumer: bool,
    /// The deletion policy of snapshots is Retain.
    pub retains: bool,
    /// Snapshots fail.
    pub fails: bool,
    /// VolumeSnapshotContents that take their time.
    pub slow: BTreeSet<String>,
}

/// The claim that a pod mounts.
pub fn claim_of(pod: &Pod) -> &str {
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref());
    let mut claims =
        volumes.into_iter().flatten().filter_map(|volume| volume.persistent_volume_claim.as_ref());
    claims.next().map(|claim| claim.claim_name.as_str()).unwrap_or_default()
}

/// The phase of a pod; Pending if it has none yet.
pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

pub fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound")
}

fn origin(claim: &PersistentVolumeClaim) -> Option<&str> {
    Some(claim.spec.as_ref()?.data_source.as_ref()?.name.as_str())
}

fn is_used(api: &Api, claim: &str) -> bool {
    let ended = |pod: &Pod| matches!(phase(pod), "Succeeded" | "Failed");
    api.pods.values().any(|pod| claim_of(pod) == claim && !ended(pod))
}

impl Storage {
    fn may_make(&self, api: &Api, claim: &PersistentVolumeClaim) -> bool {
        !is_bound(claim) && !is_leaving(claim) && (!self.waits_for_consumer || is_used(api, &name(claim)))
    }

    /// Takes the content of a clone, if it is time for it: that of the source claim of this very moment. Its uid and the content.
    pub fn cut_clone(&mut self, api: &Api, claim: &str) -> Option<(String, Content)> {
        let claim = api.claims.get(claim).filter(|claim| self.may_make(api, claim))?;
        let source = api.claims.get(origin(claim)?).filter(|source| is_bound(source))?;
        let uid = uid(claim);
        if self.volumes.contains_key(&uid) {
            return None;
        }
        let content = *self.volumes.get(source.metadata.uid.as_ref()?)?;
        self.volumes.insert(uid.clone(), content);
        Some((uid, content))
    }

    /// Binds a claim whose volume is there, or that begins empty.
    pub fn bind(&mut self, api: &mut Api, claim: &str) -> bool {
        let Some(claim) = api.claims.get(claim).filter(|claim| self.may_make(api, claim)) else {
            return false;
        };
        let uid = uid(claim);
        if origin(claim).is_some() && !self.volumes.contains_key(&uid) {
            return false;
        }
        self.volumes.entry(uid).or_default();
        let name = name(claim);
        api.change(&name, |claim: &mut PersistentVolumeClaim| {
            let wanted = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref()?.requests.clone());
            let capacity = wanted
                .unwrap_or_else(|| BTreeMap::from([("storage".to_owned(), Quantity("10Gi".to_owned()))]));
            claim.status = Some(PersistentVolumeClaimStatus {
                phase: Some("Bound".to_owned()),
                capacity: Some(capacity),
                ..PersistentVolumeClaimStatus::default()
            });
        });
        true
    }

    /// Lets a claim go that is being deleted and that no pod uses any more.
    pub fn release(&mut self, api: &mut Api, claim: &str) -> bool {
        let Some(found) = api.claims.get(claim).filter(|found| is_leaving(*found)) else { return false };
        if is_used(api, claim) {
            return false;
        }
        self.volumes.remove(&uid(found));
        api.finalize::<PersistentVolumeClaim>(claim);
        true
    }

    /// The snapshot controller makes the content of a new snapshot.
    pub fn make_content(&mut self, api: &mut Api, snapshot: &str) -> bool {
        let Some(found) = api.snapshots.get(snapshot).filter(|found| !is_leaving(*found)) else {
            return false;
        };
        let bound =
            found.status.as_ref().and_then(|status| status.bound_volume_snapshot_content_name.as_ref());
        let claim = found.spec.source.persistent_volume_claim_name.as_ref();
        let claim = claim.and_then(|claim| api.claims.get(claim)).filter(|claim| is_bound(claim));
        let (None, Some(claim)) = (bound, claim) else { return false };
        let content_name = format!("snapcontent-{}", uid(found));
        let mut content = VolumeSnapshotContent::new(
            &content_name,
            VolumeSnapshotContentSpec {
                deletion_policy: if self.retains { "Retain" } else { "Delete" }.to_owned(),
                ..VolumeSnapshotContentSpec::default()
            },
        );
        content.spec.volume_snapshot_ref.uid = found.metadata.uid.clone();
        content.spec.volume_snapshot_ref.name = Some(snapshot.to_owned());
        self.handles.insert(content_name.clone(), uid(claim));
        // Made before, and the snapshot does not know it yet: then this only binds it.
        let _ = api.post(&content);
        api.change(snapshot, |snapshot: &mut VolumeSnapshot| {
            let status = VolumeSnapshotStatus {
                bound_volume_snapshot_content_name: Some(content_name),
                ready_to_use: Some(false),
                ..VolumeSnapshotStatus::default()
            };
            snapshot.status = Some(status);
        });
        true
    }

    /// The snapshotter's next step with a content: cut it, or fail to, and later have it ready. It goes on for as long as the content is
    /// there, whatever has become of its snapshot: also while it is being deleted.
    pub fn snapshotter(&mut self, api: &mut Api, content_name: &str) -> Option<&'static str> {
        let content = api.contents.get(content_name)?;
        let mut status = content.status.clone().unwrap_or_default();
        let volume = self.handles.get(content_name).and_then(|claim| self.volumes.get(claim));
        let what = match (status.creation_time, status.ready_to_use, volume) {
            (None, _, volume) if self.fails || volume.is_none() => {
                let message = "no space in the pool";
                if status.error.is_some() {
                    return None;
                }
                status.error = Some(VolumeSnapshotError { time: None, message: Some(message.to_owned()) });
                "fails to cut"
            }
            (None, _, Some(volume)) => {
                self.snapshots.insert(content_name.to_owned(), *volume);
                // Nanoseconds.
                status.creation_time = Some(api.clock.saturating_mul(1_000_000_000));
                status.error = None;
                "cuts"
            }
            (Some(_), ready, _) if ready != Some(true) => {
                status.ready_to_use = Some(true);
                "makes ready"
            }
            _ => return None,
        };
        api.change(content_name, |content: &mut VolumeSnapshotContent| content.status = Some(status));
        Some(what)
    }

    /// The snapshot controller shows in a snapshot what its content says.
    pub fn show(&self, api: &mut Api, snapshot: &str) -> bool {
        let Some(found) = api.snapshots.get(snapshot) else { return false };
        let Some(status) = found.status.clone() else { return false };
        let content =
            status.bound_volume_snapshot_content_name.as_ref().and_then(|name| api.contents.get(name));
        let Some(said) = content.and_then(|content| content.status.as_ref()) else { return false };
        let shown = VolumeSnapshotStatus {
            creation_time: said.creation_time.map(|nanoseconds| Time(at(nanoseconds / 1_000_000_000))),
            ready_to_use: said.ready_to_use.or(Some(false)),
            error: said.error.clone(),
            ..status.clone()
        };
        if shown == status {
            return false;
        }
        api.change(snapshot, |snapshot: &mut VolumeSnapshot| snapshot.status = Some(shown));
        true
    }

    /// The snapshot controller's next step with a snapshot that is being deleted: under Delete its content begins to go first, under
    /// Retain it stays behind.
    pub fn drop_snapshot(&self, api: &mut Api, snapshot: &str) -> bool {
        let Some(found) = api.snapshots.get(snapshot).filter(|found| is_leaving(*found)) else {
            return false;
        };
        let content = format!("snapcontent-{}", uid(found));
        match api.contents.get(&content) {
            Some(found) if found.spec.deletion_policy == "Delete" && !is_leaving(found) => {
                api.delete::<VolumeSnapshotContent>(&content, None, None);
            }
            Some(_) | None => api.finalize::<VolumeSnapshot>(snapshot),
        }
        true
    }

    /// A content that is being deleted goes, and what it holds with it; one under Delete whose snapshot is gone begins to.
    pub fn drop_content(&mut self, api: &mut Api, content: &str) -> bool {
        let Some(found) = api.contents.get(content) else { return false };
        if is_leaving(found) {
            self.snapshots.remove(content);
            self.handles.remove(content);
            api.finalize::<VolumeSnapshotContent>(content);
            return true;
        }
        let of = found.spec.volume_snapshot_ref.uid.as_ref();
        let is_orphan = api.snapshots.values().all(|snapshot| snapshot.metadata.uid.as_ref() != of);
        let goes = is_orphan && found.spec.deletion_policy == "Delete";
        if goes {
            api.delete::<VolumeSnapshotContent>(content, None, None);
        }
        goes
    }

    /// What a snapshot holds, if it was cut.
    pub fn held_by(&self, snapshot: &VolumeSnapshot) -> Option<Content> {
        self.snapshots.get(&format!("snapcontent-{}", uid(snapshot))).copied()
    }
}

/// Whether a snapshot is one that a claim can be made from, by the storage's own word.
pub fn is_ready(api: &Api, snapshot: &VolumeSnapshot) -> bool {
    let content = api.contents.get(&format!("snapcontent-{}", uid(snapshot)));
    let status = content.and_then(|content: &VolumeSnapshotContent| content.status.as_ref());
    status.is_some_and(|status: &VolumeSnapshotContentStatus| {
        status.creation_time.is_some() && status.ready_to_use == Some(true)
    })
}

pub fn is_published(snapshot: &VolumeSnapshot) -> bool {
    annotation(&snapshot.metadata, names::PUBLISHED).is_some()
}
