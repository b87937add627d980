//! What the user sees: phase, conditions, replicas, progress.

use super::claim;
use super::class;
use super::direct;
use super::draft::{Draft, Hold, Weight};
use super::guards;
use super::hooks;
use super::publish::{self, Publication};
use super::retain::Retention;
use super::session;
use super::validate::{MAX_REPLICAS, ValidDestination};
use super::view::View;
use crate::decision::Note;
use crate::quantity;
use crate::rpo;
use scribe_crds::conditions::{self, Reason, Severity, Status};
use scribe_crds::v1alpha1::{Phase, Progress, RecoveryPoint};
use scribe_mover_contract::control;
use scribe_mover_contract::peer::Abilities;

/// Writes into the status what follows from everything else.
pub(super) fn report(
    view: &View<'_>,
    valid: Option<&ValidDestination<'_>>,
    retention: &Retention<'_, '_>,
    draft: &mut Draft,
) {
    replicas(view, retention, draft);
    let standing = standing(view, draft);
    if let Some(valid) = valid {
        draft.status.effective = Some(claim::effective(view, valid));
    }
    if let Some(abilities) = view.mover().and_then(|mover| mover.abilities.as_ref()) {
        draft.status.fidelity = cannot_keep(abilities);
    }
    draft.status.progress = (standing.phase == Phase::Transferring)
        .then(|| view.mover()?.progress.as_ref().map(progress))
        .flatten();
    if standing.reason.severity() == Severity::Warning {
        // The reporter drops what it has said before.
        draft.events.push(Note { reason: standing.reason, message: standing.message.clone() });
    }
    draft.status.phase = Some(standing.phase);
    hooks::report(view, draft);
    objective(view, draft);
    set(view, draft, conditions::SYNCHRONIZING, standing.is_on, standing.reason, &standing.message);
}

fn set(
    view: &View<'_>,
    draft: &mut Draft,
    kind: &str,
    status: impl Into<Status>,
    reason: Reason,
    message: &str,
) {
    let generation = draft.status.observed_generation;
    conditions::set(&mut draft.status.conditions, kind, status, reason, message, generation, view.now);
}

/// Whether the source's objective is kept here, and whether syncs fail.
fn objective(view: &View<'_>, draft: &mut Draft) {
    let objective = draft.status.objective.as_ref().and_then(|objective| objective.rpo_seconds);
    let point = draft.status.recovery_point.as_ref().map(|point| point.data_time.0);
    let created = view.seen.destination.metadata.creation_timestamp.as_ref().map_or(view.now, |time| time.0);
    let verdict = rpo::judge(objective, point, created, view.now);
    if let Some(ends) = verdict.ends {
        draft.wake_at(ends);
    }
    if verdict.reason.severity() == Severity::Warning {
        let message = format!("{}. {}", verdict.message, verdict.reason.action());
        draft.events.push(Note { reason: verdict.reason, message });
    }
    set(view, draft, conditions::WITHIN_RPO, verdict.status, verdict.reason, &verdict.message);
    let failures = draft.status.consecutive_failures;
    let (reason, message) = match (guards::refusal(&draft.status), failures) {
        (Some(refusal), _) => refusal,
        (None, 0) => class::trouble(view, draft)
            .or_else(|| hook_trouble(draft))
            .unwrap_or((Reason::AsExpected, "nothing is known to be wrong".to_owned())),
        (None, 1) => (Reason::SyncsFail, "1 sync has failed since the last successful one".to_owned()),
        (None, _) => {
            (Reason::SyncsFail, format!("{failures} syncs have failed since the last successful one"))
        }
    };
    let is_degraded = reason.severity() == Severity::Warning;
    // Of syncs that fail or are refused is told where that happens.
    let is_told = hook_trouble(draft).is_some_and(|(trouble, _)| trouble == reason);
    if is_degraded && failures == 0 && guards::refusal(&draft.status).is_none() && !is_told {
        // The reporter drops what it has said before.
        draft.note(reason, format!("{message}. {}", reason.action()));
    }
    set(view, draft, conditions::DEGRADED, is_degraded, reason, &message);
}

/// What is wrong with the hooks. It is told where the condition about them is set.
fn hook_trouble(draft: &Draft) -> Option<(Reason, String)> {
    let (status, reason, message) = draft.roll.verdict()?;
    (status == Status::False).then_some((reason, message))
}

/// Replicas are what is seen, never what was remembered: one that somebody deleted is gone.
fn replicas(view: &View<'_>, retention: &Retention<'_, '_>, draft: &mut Draft) {
    let shown = retention.keep.iter().take(MAX_REPLICAS as usize);
    draft.status.replicas = shown.map(|(replica, why)| replica.to_status(why)).collect();
    if view.is_direct() {
        let (is_promotable, reason, message) = direct::report(view, &mut draft.status);
        return set(view, draft, conditions::PROMOTABLE, is_promotable, reason, &message);
    }
    let status = &mut draft.status;
    let Some(newest) = view.replicas.iter().find(|replica| replica.ready) else {
        status.latest_image = None;
        status.recovery_point = None;
        let message = "nothing has been published yet";
        return set(view, draft, conditions::PROMOTABLE, false, Reason::NoReplica, message);
    };
    // A sync that found nothing to change has moved the point on without a new replica.
    let is_same = status.latest_image.as_ref().is_some_and(|image| image.name == newest.name);
    let is_kept =
        status.recovery_point.as_ref().is_some_and(|point| is_same && point.data_time.0 >= newest.data_time);
    if !is_kept {
        let data_time = newest.data_time;
        status.recovery_point = Some(RecoveryPoint {
            data_time: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(data_time),
            sync_id: newest.sync_id.to_owned(),
        });
    }
    status.latest_image = Some(newest.to_image());
    let message = format!("{} holds the data of {}", newest.name, newest.data_time);
    set(view, draft, conditions::PROMOTABLE, true, Reason::ReplicaAvailable, &message);
}

/// Phase and condition.
struct Standing {
    phase: Phase,
    is_on: bool,
    reason: Reason,
    message: String,
}

impl Standing {
    fn new(phase: Phase, is_on: bool, reason: Reason, message: impl Into<String>) -> Self {
        Self { phase, is_on, reason, message: message.into() }
    }
}

/// What is told, when there is more than one thing to tell: what needs somebody first, then what goes on, then what is missing.
fn standing(view: &View<'_>, draft: &Draft) -> Standing {
    if let Some(hold) = draft.hold.as_ref().filter(|hold| hold.weight == Weight::Fatal) {
        return Standing::new(Phase::Failed, false, hold.reason, hold.message.clone());
    }
    match publish::standing(view, &draft.status) {
        Publication::Pending(received) => {
            let Hold { reason, message, .. } = publish::progress(view, received);
            return Standing::new(Phase::Publishing, true, reason, message);
        }
        Publication::Leaving(message) => {
            let gave_up = draft.status.received.as_ref().and_then(|received| received.gave_up.as_deref());
            let message = gave_up.map_or(message.clone(), |words| format!("{words}; {message}"));
            return Standing::new(Phase::Publishing, false, Reason::PublicationFailed, message);
        }
        Publication::Over => {}
    }
    running(view, draft).unwrap_or_else(|| resting(view, draft))
}

/// The sync that runs.
fn running(view: &View<'_>, draft: &Draft) -> Option<Standing> {
    let sync = draft.status.current_sync.as_ref()?;
    let session = view.mover().and_then(|mover| session::current(&draft.status, mover));
    let is_connected = session.is_some_and(|session| session.connected);
    // Between the answer to a handshake and the first byte there is no connection, and nothing wrong.
    let is_expected = session.is_some() && sync.last_failure.is_none();
    let gave_up = draft.status.received.as_ref().is_some_and(|received| received.sync_id == sync.id);
    ((draft.admitted || is_connected || is_expected) && !gave_up).then(|| {
        let source = draft.status.source.as_ref().map(|source| source.name.as_str()).unwrap_or_default();
        let message = format!("receives sync {} of {source}, attempt {}", sync.id, sync.attempt);
        Standing::new(Phase::Transferring, true, Reason::SyncInProgress, message)
    })
}

/// Nothing runs.
fn resting(view: &View<'_>, draft: &Draft) -> Standing {
    if let Some(why) = view.pause() {
        return Standing::new(Phase::Paused, false, Reason::Paused, format!("{why}: syncs are refused"));
    }
    if let Some(Hold { reason, message, .. }) = &draft.hold {
        let phase = if *reason == Reason::Preparing { Phase::Starting } else { Phase::Waiting };
        return Standing::new(phase, false, *reason, message.clone());
    }
    let sync = draft.status.current_sync.as_ref();
    if let Some((sync, failure)) = sync.and_then(|sync| Some((sync, sync.last_failure.as_ref()?))) {
        let reason = failure.reason.parse().unwrap_or(Reason::TransferFailed);
        let message = format!("sync {}: {}; waits for its next attempt", sync.id, failure.message);
        return Standing::new(Phase::Waiting, false, reason, message);
    }
    let tag = view.seen.destination.spec.trigger.as_ref().and_then(|trigger| trigger.manual.as_ref());
    if let Some(tag) = tag.filter(|tag| draft.status.last_manual_sync.as_ref() == Some(tag)) {
        let message =
            format!("spec.trigger.manual `{tag}` has had its sync: set a new value to accept another");
        return Standing::new(Phase::Waiting, false, Reason::WaitingForManual, message);
    }
    Standing::new(Phase::Listening, false, Reason::Listening, "waits for its source")
}

/// Progress as the status shows it.
fn progress(seen: &control::Progress) -> Progress {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let percent =
        (u128::from(seen.bytes_done) * 100).checked_div(u128::from(seen.bytes_total)).unwrap_or(0).min(100);
    let left = seen.bytes_total.saturating_sub(seen.bytes_done);
    Progress {
        summary: format!(
            "{percent}% {} of {}",
            quantity::display(seen.bytes_done),
            quantity::display(seen.bytes_total)
        ),
        bytes_done: number(seen.bytes_done),
        bytes_total: number(seen.bytes_total),
        files_done: number(seen.files_done),
        files_total: number(seen.files_total),
        rate: number(seen.rate),
        eta_seconds: left.checked_div(seen.rate).map(number),
    }
}

/// What this destination drops.
fn cannot_keep(abilities: &Abilities) -> Vec<String> {
    let list = [
        (abilities.owners, "owners and groups"),
        (abilities.devices, "device nodes"),
        (abilities.file_capabilities, "security.capability"),
        (abilities.acls, "POSIX ACLs"),
        (abilities.user_xattrs, "user.* extended attributes"),
        (abilities.hard_links, "hard links"),
        (abilities.symlinks, "symbolic links"),
        (abilities.holes, "holes in files"),
        (abilities.case_sensitive, "names that differ only in case"),
    ];
    let mut missing: Vec<String> =
        list.iter().filter(|(kept, _)| !kept).map(|(_, what)| (*what).to_owned()).collect();
    if abilities.time_grain > 1 {
        missing.push(format!("times finer than {} ns", abilities.time_grain));
    }
    missing
}
