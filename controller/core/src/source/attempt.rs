//! The mover pod of one attempt: what it is made from, and why it does not start.

use super::validate::ValidSource;
use super::{Pass, after, guards, outcome};
use crate::build::affinity::away_from;
use crate::build::pod::{CONTAINER, PodPlan, TOKEN_KEY, mover_pod};
use crate::decision::{Action, Child, SecretChild};
use crate::observed::Warning;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, Secret};
use scribe_crds::names;
use scribe_crds::v1alpha1::{self, Consistency, CurrentSync, MoverConfig, SourceCopyMethod, TransferRecord};
use scribe_mover_contract::PROTOCOL;
use scribe_mover_contract::job::{Job, SourceJob, Timeouts};
use scribe_mover_contract::peer;
use std::collections::{BTreeMap, BTreeSet};

/// The generation of every relationship, until promotion counts them.
const GENERATION: u64 = 1;

/// Sees to the Secret with the movers' token, which is the same for all of them.
pub fn apply_token(pass: &Pass<'_>) -> Action {
    let token = ByteString(pass.seen.around.control_token.0.clone().into_bytes());
    let secret = Secret {
        metadata: pass.owner.child(names::source_base(&pass.owner.name), None),
        data: Some(BTreeMap::from([(TOKEN_KEY.to_owned(), token)])),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    };
    Action::Apply(Child::Secret(SecretChild(Box::new(secret))))
}

/// Makes the mover pod of the current attempt, away from nodes that are full.
///
/// The token was seen to while the copy was made. It is once more, in case that was never done, but then the pod does not wait for it. Without
/// a copy it comes first.
pub fn make(
    pass: &Pass<'_>,
    valid: &ValidSource,
    sync: &CurrentSync,
    source_uid: &str,
    (mover, tuned): (&MoverConfig, Option<&TransferRecord>),
    full: &BTreeSet<String>,
) -> [Action; 2] {
    let claim = match super::cut::method(sync) {
        SourceCopyMethod::Clone | SourceCopyMethod::Snapshot => pass.cut_name(sync),
        SourceCopyMethod::Direct => pass.seen.source.spec.source_pvc.clone(),
    };
    let affinity = away_from(mover.mover_affinity.clone(), full);
    let mover = MoverConfig { mover_affinity: affinity, ..mover.clone() };
    let pod = mover_pod(&PodPlan {
        owner: &pass.owner,
        name: &pass.pod_name(sync),
        sync: Some(&sync.id),
        job: &Job::Source(Box::new(job(pass, valid, sync, source_uid, tuned))),
        claim: &claim,
        keys: &valid.ssh_keys,
        control: &names::source_base(&pass.owner.name),
        mover: &mover,
        settings: pass.settings,
    });
    let pod = Action::Create(Child::Pod(Box::new(pod)));
    match super::cut::method(sync) {
        SourceCopyMethod::Clone | SourceCopyMethod::Snapshot => [pod, apply_token(pass)],
        SourceCopyMethod::Direct => [apply_token(pass), pod],
    }
}

fn job(
    pass: &Pass<'_>,
    valid: &ValidSource,
    sync: &CurrentSync,
    source_uid: &str,
    tuned: Option<&TransferRecord>,
) -> SourceJob {
    let schedule = valid.trigger.schedule.as_ref();
    SourceJob {
        protocol: PROTOCOL,
        sync_id: sync.id.clone(),
        attempt: sync.attempt,
        cluster_id: pass.seen.around.cluster_id.clone(),
        claim_uid: source_uid.to_owned(),
        cut_uid: sync.cut.clone().unwrap_or_default(),
        data_time: sync.cut_time.as_ref().map_or(sync.started_at.0, |time| time.0),
        consistency: match sync.consistency.unwrap_or(Consistency::Crash) {
            Consistency::Application => peer::Consistency::Application,
            Consistency::Filesystem => peer::Consistency::Filesystem,
            Consistency::Crash => peer::Consistency::Crash,
            Consistency::None => peer::Consistency::None,
        },
        comparison: match tuned.and_then(|tuned| tuned.comparison) {
            _ if pass.status.full_resync => peer::Comparison::Content,
            Some(v1alpha1::Comparison::Content) => peer::Comparison::Content,
            Some(v1alpha1::Comparison::Metadata) => peer::Comparison::Metadata,
            None => valid.comparison,
        },
        strict_fidelity: valid.strict,
        generation: GENERATION,
        source_name: format!("{}/{}", pass.owner.namespace, pass.owner.name),
        rpo_seconds: pass.rpo,
        schedule: schedule.map(|schedule| schedule.expression().to_owned()),
        time_zone: schedule.map(|schedule| schedule.zone_name().to_owned()),
        address: valid.address.clone(),
        port: valid.port,
        bandwidth_limit: tuned.map_or(valid.bandwidth_limit, |tuned| tuned.bandwidth_limit),
        excludes: valid
            .excludes
            .iter()
            .chain(tuned.iter().flat_map(|tuned| &tuned.excludes))
            .cloned()
            .collect(),
        guards: guards::of(valid, sync),
        timeouts: Timeouts {
            silence: tuned
                .and_then(|tuned| tuned.timeout_seconds)
                .map_or(pass.settings.mover_timeouts.silence, u64::from),
            ..pass.settings.mover_timeouts.clone()
        },
    }
}

/// Whether the mover's process runs.
pub fn is_running(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    // Unknown: its node does not answer; the process may well run.
    matches!(phase, Some("Running" | "Unknown"))
}

/// Whether the mover's process has ended for good.
pub fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// By when a pod has to have started, `cut_deadline` being that of the claim that it mounts.
pub fn start_deadline(pass: &Pass<'_>, pod: &Pod, cut_deadline: Timestamp) -> Timestamp {
    let limit = pass.settings.mover_start_timeout;
    let made = pod.metadata.creation_timestamp.as_ref().map_or(pass.now, |time| time.0);
    let status = pod.status.as_ref();
    let scheduled = status.and_then(|status| {
        let condition =
            status.conditions.as_ref()?.iter().find(|condition| condition.type_ == "PodScheduled")?;
        (condition.status == "True").then(|| condition.last_transition_time.as_ref().map(|time| time.0))?
    });
    match scheduled {
        Some(scheduled) => after(scheduled.max(made), limit),
        // The first pod is made together with the cut, and may not be scheduled before that is bound: a slow driver uses up the time
        // for the cut, not that for the pod.
        None => after(made.max(cut_deadline), limit),
    }
}

/// The status of the mover's container.
pub fn container(pod: &Pod) -> Option<&ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.iter().find(|status| status.name == CONTAINER)
}

/// Why a pod has not started, in the words of those who work on it; empty while there is nothing to say.
pub fn words(pass: &Pass<'_>, pod: &Pod) -> String {
    let waiting = container(pod).and_then(|status| status.state.as_ref()?.waiting.as_ref());
    let waiting = waiting.and_then(|waiting| {
        let reason = waiting.reason.as_deref().unwrap_or_default();
        let usual = ["", "ContainerCreating", "PodInitializing"].contains(&reason);
        (!usual).then(|| format!("{reason}: {}", waiting.message.as_deref().unwrap_or_default()))
    });
    let unscheduled = || {
        let conditions = pod.status.as_ref()?.conditions.as_ref()?;
        let condition = conditions.iter().find(|condition| condition.type_ == "PodScheduled")?;
        (condition.status == "False").then(|| condition.message.clone())?
    };
    let warning = || pass.last_warning(pod.metadata.uid.as_deref()?);
    waiting.or_else(warning).or_else(unscheduled).unwrap_or_default()
}

/// The warning that the Secret with the ssh keys is not there, if it is that for which a pod waits. Others may be newer: each of the
/// pod's volumes is warned of apart.
pub fn keys_missing(pass: &Pass<'_>, valid: Option<&ValidSource>, pod: &Pod) -> Option<String> {
    let uid = pod.metadata.uid.as_deref()?;
    let missing = format!("secret \"{}\" not found", valid?.ssh_keys);
    let warnings = pass.seen.around.warnings.iter().rev();
    let found = |warning: &&Warning| warning.about == uid && warning.message.contains(&missing);
    warnings.into_iter().find(found).map(outcome::warned)
}
