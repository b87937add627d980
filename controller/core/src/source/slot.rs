//! The limits on movers: whether this source may run one now.

use super::objective;
use super::{Pass, after, attempt, report};
use crate::slots::{Candidate, Claim, Limited, SlotsSeen, Verdict, eligible};
use k8s_openapi::api::core::v1::Pod;
use scribe_crds::v1alpha1::{CurrentSync, MoverConfig, Phase};
use std::collections::BTreeSet;

/// Leave to run a mover, as far as this observation goes.
pub struct Admission {
    candidate: Candidate,
    /// The nodes that its pod has to keep away from.
    pub full: BTreeSet<String>,
}

/// Asks for a mover of that configuration, for the next attempt of `sync`, or for a sync that has not begun. `None`: it has to wait, and that is said.
pub fn ask(pass: &mut Pass<'_>, mover: &MoverConfig, sync: Option<&CurrentSync>) -> Option<Admission> {
    let candidate = candidate(pass, mover);
    match pass.seen.slots.slots.judge(&candidate) {
        Verdict::Admitted { full } => Some(Admission { candidate, full }),
        Verdict::Waits(limited) => {
            pass.out.slot = Claim::Waits(candidate);
            let most = pass.settings.max_attempts;
            let what = match sync {
                Some(sync) => format!("Sync {}: attempt {} of {most} waits", sync.id, sync.attempt),
                None => "A sync is due, and waits".to_owned(),
            };
            let message = format!("{what}: {limited}.{}", report::advice(Limited::REASON));
            report::set(pass, Phase::Waiting, false, Limited::REASON, &message);
            None
        }
    }
}

fn candidate(pass: &Pass<'_>, mover: &MoverConfig) -> Candidate {
    let SlotsSeen { slots, volume } = &pass.seen.slots;
    let uid = pass.owner.uid.clone();
    // Who limits no nodes knows none.
    let nodes = (slots.limits.node > 0).then(|| eligible(&slots.nodes, volume.as_ref(), mover));
    Candidate {
        since: slots.since(&uid).unwrap_or(pass.now),
        uid,
        namespace: pass.owner.namespace.clone(),
        deadline: pass.rpo.map(|rpo| after(objective::since(pass), rpo)),
        nodes,
    }
}

/// Uses it, for the current attempt of this sync.
pub fn take(pass: &mut Pass<'_>, admission: Admission, sync: &CurrentSync) {
    let pod = (pass.owner.namespace.clone(), pass.pod_name(sync));
    pass.out.slot = Claim::Takes { candidate: admission.candidate, pod };
}

/// Whether this source stands in the line: then nothing is late because of itself.
pub fn is_waiting(pass: &Pass<'_>) -> bool {
    pass.seen.slots.slots.since(&pass.owner.uid).is_some()
}

/// What is to become of a grant in a pass that did not ask: it stays as long as there is a mover, which may not have been counted yet.
pub fn keep(pass: &mut Pass<'_>) {
    let runs = |pod: &Pod| !attempt::has_ended(pod);
    if pass.out.slot == Claim::Nothing && pass.pods().any(runs) {
        pass.out.slot = Claim::Keeps;
    }
}
