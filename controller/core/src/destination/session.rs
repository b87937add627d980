//! Sessions as the status remembers them, and how a sync comes to its end.

use super::draft::{Draft, after};
use super::mover::has_ended;
use super::view::{View, clipped, is_leaving};
use crate::decision::{SyncEnded, SyncResult};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use scribe_crds::conditions::Reason;
use scribe_crds::v1alpha1::{DestinationStatus, Failure, MoverResult, MoverStatus, Session, Transfer};
use scribe_mover_contract::control::{MoverState, SessionState};

/// How many admitted syncs are remembered: one that another has replaced is refused for good.
pub(super) const REMEMBERED: usize = 32;

/// Who asked, unmistakably: numbers of questions begin anew with every start of the mover.
pub(super) fn question_key(mover: &MoverState, question: u64) -> String {
    format!("{}/{question}", mover.instance)
}

/// The next fencing token: above every one that was recorded, and above the mover's, should the status have been lost.
pub(super) fn next_token(status: &DestinationStatus, mover: &MoverState) -> u64 {
    let recorded = status.sessions.last().map_or(0, |session| session.token);
    let known = mover.session.as_ref().map_or(0, |session| session.token);
    recorded.max(known).saturating_add(1)
}

/// The mover's session, if it is the one that was admitted last.
pub(super) fn current<'a>(status: &DestinationStatus, mover: &'a MoverState) -> Option<&'a SessionState> {
    let session = mover.session.as_ref()?;
    (status.sessions.last()?.token == session.token).then_some(session)
}

/// Remembers an admission.
pub(super) fn remember(status: &mut DestinationStatus, session: Session) {
    match status.sessions.last_mut().filter(|last| last.sync_id == session.sync_id) {
        Some(last) => *last = session,
        None => status.sessions.push(session),
    }
    let surplus = status.sessions.len().saturating_sub(REMEMBERED);
    status.sessions.drain(..surplus);
}

/// Notices that the session of the current sync was lost before its commit, and says so.
pub(super) fn watch(view: &View<'_>, draft: &mut Draft) {
    let status = &draft.status;
    let Some(sync) = &status.current_sync else { return };
    let received = status.received.as_ref();
    if received
        .is_some_and(|received| received.sync_id == sync.id && view.claim_uid() == Some(&received.claim_uid))
    {
        return;
    }
    if let Some((reason, message)) = loss(view, status) {
        return fail(draft, reason, &message);
    }
    disconnection(view, draft);
}

/// Gives a session without a connection some time: between a handshake and the first byte, and between two attempts of a source, there
/// is none, and nothing is wrong.
fn disconnection(view: &View<'_>, draft: &mut Draft) {
    let Some(mover) = view.mover() else { return };
    let connected = current(&draft.status, mover).is_some_and(|session| session.connected);
    let Some(last) = draft.status.sessions.last_mut() else { return };
    let asked =
        mover.questions.iter().any(|open| last.question.as_ref() == Some(&question_key(mover, open.id)));
    if asked {
        return;
    }
    if connected {
        last.disconnected_since = None;
        return;
    }
    let since = last.disconnected_since.get_or_insert(Time(view.now)).0;
    let grace = i64::try_from(view.settings.mover_timeouts.silence).unwrap_or(i64::MAX);
    let due = after(since, grace);
    if view.now < due {
        draft.wake_at(due);
    } else {
        fail(draft, Reason::ConnectionLost, "the source is not connected, and has not come back");
    }
}

fn loss(view: &View<'_>, status: &DestinationStatus) -> Option<(Reason, String)> {
    let session = status.sessions.last()?;
    let Some(mover) = view.mover() else {
        let gone = view.pod().is_none_or(|pod| is_leaving(&pod.metadata) || has_ended(pod));
        return gone
            .then(|| (Reason::MoverFailed, "the destination's mover ended during the sync".to_owned()));
    };
    if current(status, mover).is_some_and(|session| session.connected) {
        return None;
    }
    let told = mover.last_failure.as_ref();
    if let Some(told) = told.filter(|told| told.sync_id == session.sync_id && told.attempt >= session.attempt)
    {
        return Some((told.reason.parse().unwrap_or(Reason::TransferFailed), clipped(&told.message)));
    }
    let restarted =
        session.question.as_deref().is_some_and(|key| !key.starts_with(&format!("{}/", mover.instance)));
    (restarted && current(status, mover).is_none())
        .then(|| (Reason::MoverFailed, "the destination's mover was started anew during the sync".to_owned()))
}

/// Records a failure of the current sync. Its source may come again, with the next attempt: so it counts once.
pub(super) fn fail(draft: &mut Draft, reason: Reason, message: &str) {
    let Some(sync) = &mut draft.status.current_sync else { return };
    let failure = Failure { reason: reason.to_string(), message: message.to_owned() };
    if sync.last_failure.as_ref() == Some(&failure) {
        return;
    }
    let first = sync.last_failure.replace(failure).is_none();
    let note = format!("sync {}, attempt {}: {message}", sync.id, sync.attempt);
    draft.status.consecutive_failures += u32::from(first);
    draft.status.latest_mover_status = Some(MoverStatus {
        result: MoverResult::Failed,
        reason: Some(reason.to_string()),
        logs: clipped(message),
        transfer: None,
    });
    draft.note(reason, note);
}

/// Ends the current sync because another takes its place.
pub(super) fn replace(draft: &mut Draft, by: &str) {
    let Some(sync) = draft.status.current_sync.take_if(|sync| sync.id != by) else { return };
    let reason = sync.last_failure.as_ref().and_then(|failure| failure.reason.parse().ok());
    draft.status.consecutive_failures += u32::from(sync.last_failure.is_none());
    draft.ended =
        Some(SyncEnded { result: SyncResult::Failure, reason: Some(reason.unwrap_or(Reason::SyncReplaced)) });
}

/// Ends the sync that was received last: it is published.
pub(super) fn succeed(draft: &mut Draft, result: SyncResult, now: Timestamp) {
    let status = &mut draft.status;
    let Some(received) = &mut status.received else { return };
    received.published_at = Some(Time(now));
    received.gave_up = None;
    status.last_sync_time = Some(Time(now));
    status.consecutive_failures = 0;
    status.latest_mover_status = Some(MoverStatus {
        result: MoverResult::Successful,
        reason: None,
        logs: String::new(),
        transfer: Some(received.transfer.clone()),
    });
    if let Some(sync) = status.current_sync.take_if(|sync| sync.id == received.sync_id) {
        let seconds = u64::try_from(now.duration_since(sync.started_at.0).as_secs()).unwrap_or_default();
        status.last_sync_duration = Some(std::time::Duration::from_secs(seconds).into());
    }
    draft.ended = Some(SyncEnded { result, reason: None });
}

/// The counts of a commit as they stand in the status.
pub(super) fn transfer(counts: &scribe_mover_contract::peer::Counts) -> Transfer {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    Transfer {
        bytes_total: number(counts.bytes_total),
        bytes_sent: number(counts.bytes_sent),
        bytes_literal: number(counts.bytes_literal),
        files_total: number(counts.files_total),
        files_sent: number(counts.files_sent),
        files_deleted: number(counts.files_deleted),
    }
}
