//! A sync comes to its end.

use super::{Pass, cut, failure_hook, lifecycle, outcome, report};
use crate::decision::{SyncEnded, SyncResult};
use crate::text::clean;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use scribe_crds::Duration;
use scribe_crds::conditions::Reason;
use scribe_crds::v1alpha1::{
    CurrentSync, Failure, LastAttempt, MoverResult, RecoveryPoint, SourceCopyMethod, TriggerKind,
};
use scribe_mover_contract::job::Termination;

/// Moves the recovery point forward. Never back: what was published once was published.
fn move_recovery_point(pass: &mut Pass<'_>, data_time: Timestamp, sync_id: &str) {
    if pass.status.recovery_point.as_ref().is_none_or(|before| data_time >= before.data_time.0) {
        pass.status.recovery_point =
            Some(RecoveryPoint { data_time: Time(data_time), sync_id: sync_id.to_owned() });
    }
}

/// Takes over a newer recovery point that the destination reported, of a sync whose end this side did not see.
pub fn learn_recovery_point(pass: &mut Pass<'_>, data_time: Timestamp, sync_id: &str) {
    let newer = pass.status.recovery_point.as_ref().is_none_or(|before| data_time > before.data_time.0);
    // It is the time of a cut that this cluster made: none is newer than now.
    let possible = data_time <= pass.now && !sync_id.is_empty() && sync_id.len() <= 63;
    if newer && possible {
        let data_time = Timestamp::from_second(data_time.as_second()).unwrap_or(data_time);
        move_recovery_point(pass, data_time, &clean(sync_id, 63));
    }
}

/// The destination has published it.
pub fn succeed(pass: &mut Pass<'_>, sync: CurrentSync, left: &Termination, ended_at: Timestamp) {
    let mut words = left.message.clone();
    if let Some(cut_time) = &sync.cut_time {
        move_recovery_point(pass, cut_time.0, &sync.id);
    }
    if let Some((data_time, id)) = &left.recovery_point {
        learn_recovery_point(pass, *data_time, id);
    }
    if words.is_empty() {
        "published".clone_into(&mut words);
    }
    let seconds = u64::try_from(ended_at.as_second() - sync.started_at.0.as_second()).unwrap_or(0);
    let status = &mut pass.status;
    status.latest_mover_status =
        Some(outcome::mover_status(MoverResult::Successful, None, Some(left), &words));
    status.last_sync_time = Some(Time(ended_at));
    status.last_sync_duration = Some(Duration::from(std::time::Duration::from_secs(seconds)));
    status.consecutive_failures = 0;
    status.fidelity.clone_from(&left.fidelity);
    status.guarded = None;
    if sync.trigger == Some(TriggerKind::Manual) {
        status.last_manual_sync.clone_from(&sync.tag);
    }
    let result = if left.unchanged { SyncResult::Unchanged } else { SyncResult::Success };
    pass.out.ended = Some(SyncEnded { result, reason: None });
    pass.status.full_resync = false;
    lifecycle::published(pass, &sync);
    failure_hook::published(pass);
    let message = report::published(&sync, left, seconds);
    pass.note(Reason::ReplicaAvailable, message);
    close(pass, sync, ended_at, None);
}

/// The sync is over. Its pod and its cut are leftovers from here on.
fn close(pass: &mut Pass<'_>, sync: CurrentSync, ended_at: Timestamp, failure: Option<Failure>) {
    let before = pass.status.last_attempt.take();
    pass.status.last_attempt = Some(LastAttempt {
        id: sync.id,
        trigger: sync.trigger.unwrap_or(TriggerKind::Continuous),
        // The last tag that was tried is remembered past a scheduled sync, or it would be tried again after each.
        tag: sync.tag.or_else(|| before.and_then(|before| before.tag)),
        started_at: sync.started_at,
        ended_at: Time(ended_at),
        failure,
    });
    pass.status.current_sync = None;
    pass.status.progress = None;
}

/// A failure as it stands in the status.
pub fn failure(reason: Reason, message: &str) -> Failure {
    Failure { reason: reason.as_str().to_owned(), message: format!("{message}.{}", report::advice(reason)) }
}

/// Nothing more is tried until the next trigger.
pub fn end_failed(pass: &mut Pass<'_>, sync: CurrentSync, reason: Reason, message: &str) {
    let message = message.trim_end_matches('.');
    failure_hook::due(pass, &sync, reason, message, false);
    pass.note(reason, format!("Sync {} failed: {message}.{}", sync.id, report::advice(reason)));
    pass.out.ended = Some(SyncEnded { result: SyncResult::Failure, reason: Some(reason) });
    pass.status.consecutive_failures = pass.status.consecutive_failures.saturating_add(1);
    close(pass, sync, pass.now, Some(failure(reason, message)));
}

/// The claim went away before a cut of it was complete, or while it was read itself. That is nobody's failure.
pub fn end_aborted(pass: &mut Pass<'_>, sync: CurrentSync) {
    let reason = Reason::SourceMissing;
    let claim = &pass.seen.source.spec.source_pvc;
    let when = match cut::method(&sync) {
        SourceCopyMethod::Clone | SourceCopyMethod::Snapshot => "before the point-in-time copy was made",
        SourceCopyMethod::Direct => "while it was read",
    };
    let message = format!("claim {claim} was deleted {when}");
    pass.note(reason, format!("Sync {} was given up: {message}.", sync.id));
    pass.out.ended = Some(SyncEnded { result: SyncResult::Aborted, reason: Some(reason) });
    // The tag has not had its sync: it gets one when the claim is there again.
    let sync = CurrentSync { tag: None, ..sync };
    close(pass, sync, pass.now, Some(failure(reason, &message)));
}
