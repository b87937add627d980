//! No copy: the mover reads the claim itself, beside whoever uses it.

use super::{Cut, CutState, Mount};
use crate::build::affinity;
use crate::source::Pass;
use crate::source::sync::usable_claim;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Toleration};
use scribe_crds::v1alpha1::{Consistency, CurrentSync, MoverConfig};

pub fn state<'a>(pass: &Pass<'a>, sync: &CurrentSync) -> CutState<'a> {
    // As long as the mover's pod is there, the claim that its owner deletes cannot go.
    let Some(claim) = usable_claim(pass).filter(|claim| claim.metadata.uid == sync.cut) else {
        return CutState::Abandoned;
    };
    CutState::There(Cut {
        what: format!("claim {}", pass.seen.source.spec.source_pvc),
        uid: sync.cut.clone(),
        time: sync.cut_time.clone(),
        consistency: Consistency::None,
        source_uid: sync.cut.clone().unwrap_or_default(),
        since: sync.started_at.0,
        is_cut: true,
        mount: Mount::of(claim),
        snapshot: None,
    })
}

/// Whether a claim allows only one pod, which then is the one that uses it.
pub fn is_for_one_pod(claim: &PersistentVolumeClaim) -> bool {
    modes(claim).any(|mode| mode == "ReadWriteOncePod")
}

fn is_for_one_node(claim: &PersistentVolumeClaim) -> bool {
    modes(claim).any(|mode| mode == "ReadWriteOnce") && !modes(claim).any(|mode| mode == "ReadWriteMany")
}

fn modes(claim: &PersistentVolumeClaim) -> impl Iterator<Item = &str> {
    let modes = claim.spec.as_ref().and_then(|spec| spec.access_modes.as_ref());
    modes.into_iter().flatten().map(String::as_str)
}

/// Where a mover that reads the source claim itself may run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MoverPlace {
    /// The one node that the claim is used on, if it can be used on one only.
    node: Option<String>,
    /// What the pod there tolerates.
    tolerations: Vec<Toleration>,
}

impl MoverPlace {
    /// Pods of others are not watched: as long as a mover shares its claim with one, they are looked at this often, in seconds.
    pub const LOOK: i64 = 15;

    /// Beside the pod that uses the claim; anywhere, if nobody does or it can be used everywhere. Where the volume itself can be reached is for
    /// the scheduler, who knows its node affinity.
    pub fn find(pass: &Pass<'_>) -> Self {
        let Some(claim) = usable_claim(pass).filter(|claim| is_for_one_node(claim)) else {
            return Self::default();
        };
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        let users =
            pass.seen.users.iter().filter(|pod| uses_claim(pod, name) && !pass.owner.owns(&pod.metadata));
        // Of a Deployment that moves, the old pod has the volume for as long as it runs, and the new one waits for it.
        let Some(user) = users.filter(|pod| node(pod).is_some()).max_by_key(|pod| runs(pod)) else {
            return Self::default();
        };
        let tolerations = user.spec.as_ref().and_then(|spec| spec.tolerations.clone()).unwrap_or_default();
        Self { node: node(user).map(str::to_owned), tolerations }
    }

    /// The mover's configuration with that place added to what the user asks for.
    pub fn apply(&self, mover: &MoverConfig) -> MoverConfig {
        let mut mover = mover.clone();
        let Some(node) = &self.node else { return mover };
        mover.mover_affinity = Some(affinity::on_node(mover.mover_affinity, node));
        for toleration in &self.tolerations {
            if !mover.mover_tolerations.contains(toleration) {
                mover.mover_tolerations.push(toleration.clone());
            }
        }
        mover
    }

    /// The node that a mover pod has to leave this claim to, if it runs, or waits to run, on another one: it would keep the claim's user
    /// from starting.
    pub fn conflict(&self, mover: &Pod) -> Option<&str> {
        let wanted = self.node.as_deref()?;
        let given = node(mover).or_else(|| affinity::node(mover.spec.as_ref()?.affinity.as_ref()?))?;
        (given != wanted).then_some(wanted)
    }
}

/// The node of a pod that runs and uses the claim.
pub fn used_on<'a>(pass: &Pass<'a>, claim: &PersistentVolumeClaim) -> Option<&'a str> {
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    let users = pass.seen.users.iter().filter(|pod| uses_claim(pod, name));
    users.filter(|pod| runs(pod) == (true, true)).find_map(node)
}

fn node(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

fn runs(pod: &Pod) -> (bool, bool) {
    (phase(pod) == "Running", pod.metadata.deletion_timestamp.is_none())
}

/// Whether a pod that has not ended mounts the claim of that name, or brought it along (a generic ephemeral volume).
pub fn uses_claim(pod: &Pod, claim: &str) -> bool {
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref());
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let mounts = volumes.into_iter().flatten().any(|volume| {
        let named = volume.persistent_volume_claim.as_ref().is_some_and(|source| source.claim_name == claim);
        named || (volume.ephemeral.is_some() && claim == format!("{name}-{}", volume.name))
    });
    mounts && !matches!(phase(pod), "Succeeded" | "Failed")
}
