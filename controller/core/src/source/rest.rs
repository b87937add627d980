//! No sync runs: what does the next one wait for?

use super::cut;
use super::decision_hook::{self, Gate, Occasion};
use super::sync::{begin_cut, go_on, usable_claim};
use super::trigger::{self, Due};
use super::validate::{Hold, Plan, ValidSource};
use super::{Pass, guards, report, slot, snapshots};
use crate::decision::ChildKind;
use crate::quantity;
use crate::text::sentences;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use scribe_crds::conditions::{Reason, Severity};
use scribe_crds::v1alpha1::{CurrentSync, Failure, Phase, SourceCopyMethod, TriggerKind};

/// Waits for a trigger, or starts a sync.
pub fn decide(pass: &mut Pass<'_>, plan: &Plan) {
    pass.status.next_sync_time = None;
    let (valid, claim) = match ready(pass, plan) {
        Ok(ready) => ready,
        Err(hold) => return report::held(pass, &hold),
    };
    let created = pass.seen.source.metadata.creation_timestamp.as_ref().map_or(pass.now, |time| time.0);
    let due = trigger::due(&valid.trigger, &pass.status, created, pass.settings, pass.now);
    if let Due::At(at) = due {
        pass.status.next_sync_time = Some(Time(at));
        pass.wake_at(at);
    }
    match due {
        Due::Now { trigger, tag } => match left_over(pass) {
            Some(what) => cleaning_up(pass, &what),
            None => start(pass, plan, valid, claim, Occasion { trigger, tag }),
        },
        Due::At(at) => waiting(pass, valid, claim, Some(at)),
        Due::OnTag => waiting(pass, valid, claim, None),
    }
}

/// Everything that a sync needs, or what is missing.
fn ready<'p, 'a>(
    pass: &Pass<'a>,
    plan: &'p Plan,
) -> Result<(&'p ValidSource, &'a PersistentVolumeClaim), Hold> {
    let name = &pass.seen.source.spec.source_pvc;
    let hold = |phase, reason: Reason, message: String| Hold { phase, reason, message };
    let valid = match (&plan.hold, &plan.valid) {
        (Some(hold), _) => return Err(hold.clone()),
        (None, Some(valid)) => valid,
        // A spec that cannot be read always has a hold.
        (None, None) => {
            return Err(hold(Phase::Failed, Reason::InternalError, "the spec was not read".to_owned()));
        }
    };
    let Some(claim) = usable_claim(pass) else {
        let missing = if pass.seen.claim.is_none() { "does not exist" } else { "is being deleted" };
        let message = format!("Claim {name} {missing}. {}", Reason::SourceMissing.action());
        return Err(hold(Phase::Idle, Reason::SourceMissing, message));
    };
    if claim.spec.as_ref().and_then(|spec| spec.volume_mode.as_deref()) == Some("Block") {
        let reason = Reason::UnsupportedVolumeMode;
        let message = format!("Claim {name} is a block volume. {}", reason.action());
        return Err(hold(Phase::Failed, reason, message));
    }
    if cut::phase(claim) != "Bound" {
        let reason = Reason::ClaimPending;
        let message = format!("Claim {name} is not bound, so it cannot be copied. {}", reason.action());
        return Err(hold(Phase::Waiting, reason, message));
    }
    if valid.copy_method == SourceCopyMethod::Direct && cut::is_for_one_pod(claim) {
        let reason = Reason::UnsupportedAccessMode;
        let message = format!("Claim {name}: {} {}", reason.meaning(), reason.action());
        return Err(hold(Phase::Failed, reason, message));
    }
    if valid.copy_method == SourceCopyMethod::Snapshot && !pass.seen.snapshots_available {
        let reason = Reason::SnapshotsUnavailable;
        let message = format!("{} {}", reason.meaning(), reason.action());
        return Err(hold(Phase::Waiting, reason, message));
    }
    let size = cut::size(claim).and_then(quantity::bytes);
    if let (Some(given), Some(size)) = (&valid.capacity, size)
        && quantity::bytes(given).is_some_and(|given| given < size)
    {
        let message = format!(
            "spec.rsync.capacity: {} is less than claim {name} has ({}): remove it, or raise it.",
            given.0,
            quantity::display(size)
        );
        return Err(hold(Phase::Failed, Reason::InvalidSpec, message));
    }
    Ok((valid, claim))
}

/// What the last sync left, as long as it is there. A copy that cannot be deleted must not be joined by another at each sync.
fn left_over(pass: &Pass<'_>) -> Option<String> {
    let Some((kind, meta)) = pass.leftovers().into_iter().next() else {
        return snapshots::still_there(pass).next().map(|name| format!("VolumeSnapshotContent {name}"));
    };
    let kind = match kind {
        ChildKind::Pod => "pod",
        ChildKind::Snapshot => "VolumeSnapshot",
        ChildKind::Claim | ChildKind::Service | ChildKind::Secret => "claim",
    };
    Some(format!("{kind} {}", meta.name.as_deref().unwrap_or_default()))
}

fn cleaning_up(pass: &mut Pass<'_>, what: &str) {
    let reason = Reason::CleaningUp;
    let message =
        format!("A sync is due, and starts when {what} of the last one is gone. {}", reason.action());
    report::set(pass, Phase::Waiting, false, reason, &message);
}

fn start(
    pass: &mut Pass<'_>,
    plan: &Plan,
    valid: &ValidSource,
    claim: &PersistentVolumeClaim,
    occasion: Occasion,
) {
    if decision_hook::is_put_off(pass, &occasion) {
        return;
    }
    let Some(admission) = slot::ask(pass, &cut::mover(pass, valid, valid.copy_method), None) else { return };
    match decision_hook::gate(pass, valid, &occasion) {
        Gate::Open => {}
        Gate::Shut => return,
        // What comes next is not the same again.
        Gate::Skipped => return decide(pass, plan),
    }
    let Occasion { trigger, tag } = occasion;
    let mut sync = CurrentSync {
        id: pass.chance.sync_id(),
        copy_method: Some(valid.copy_method).filter(|method| *method != SourceCopyMethod::default()),
        trigger: Some(trigger),
        tag,
        attempt: 1,
        started_at: Time(pass.now),
        cut_time: None,
        cut: None,
        consistency: None,
        pre_synced: false,
        put_off: false,
        unquiesced: None,
        retry_at: None,
        last_failure: None,
        admits: guards::admitted(pass, claim),
        guards_passed: false,
    };
    cut::record_at_start(&mut sync, claim);
    if let Some(refused) = &sync.admits {
        pass.status.guarded = None;
        pass.note(
            Reason::SyncInProgress,
            format!("Sync {} is let through by the guards, since sync {refused} was admitted.", sync.id),
        );
    }
    let why = match (&sync.tag, trigger) {
        (Some(tag), _) => format!("spec.trigger.manual is {tag}"),
        (None, TriggerKind::Schedule) => "the schedule says so".to_owned(),
        (None, TriggerKind::OnCreate) => "the source is new".to_owned(),
        (None, TriggerKind::Continuous | TriggerKind::Manual) => "replication is continuous".to_owned(),
    };
    pass.note(Reason::SyncInProgress, format!("Sync {} starts: {why}.", sync.id));
    if sync.cut.is_some() {
        pass.status.current_sync = Some(sync);
        return go_on(pass, plan);
    }
    begin_cut(pass, plan, (valid, admission), sync, claim);
}

/// Waits for the next trigger, and still says why the last sync failed, if it did.
fn waiting(pass: &mut Pass<'_>, valid: &ValidSource, claim: &PersistentVolumeClaim, at: Option<Timestamp>) {
    let mut next = match at {
        Some(at) => format!("The next sync starts at {at}."),
        None => Reason::WaitingForManual.action().to_owned(),
    };
    next.push_str(&guards::announced(pass, claim));
    let skipped = skipped(pass);
    let failure = pass.status.last_attempt.as_ref().and_then(|last| last.failure.clone());
    if let Some((reason, Failure { message, .. })) =
        failure.and_then(|failure| Some((failure.reason.parse::<Reason>().ok()?, failure)))
        && reason.severity() == Severity::Warning
    {
        return report::set(
            pass,
            Phase::Failed,
            false,
            reason,
            &format!("The last sync failed: {message} {next}"),
        );
    }
    if let Some(words) = skipped {
        let phase = if at.is_some() { Phase::Waiting } else { Phase::Idle };
        return report::set(pass, phase, false, Reason::HookSkipped, &format!("{words} {next}"));
    }
    let (phase, reason) = match at {
        None => (Phase::Idle, Reason::WaitingForManual),
        Some(_) if valid.trigger.schedule.is_some() => (Phase::Waiting, Reason::WaitingForSchedule),
        Some(_) => (Phase::Waiting, Reason::WaitingForInterval),
    };
    report::set(pass, phase, false, reason, &next);
}

/// What a hook said that skipped the last sync that was due, if nothing has run since.
fn skipped(pass: &Pass<'_>) -> Option<String> {
    let skip = pass.status.last_skip.as_ref()?;
    let last = pass.status.last_attempt.as_ref().map(|last| last.ended_at.0);
    let is_last = last.is_none_or(|ended| ended <= skip.time.0);
    let words = format!("HookModule {} skipped the last sync that was due: {}", skip.module, skip.message);
    is_last.then(|| sentences(&words, ""))
}
