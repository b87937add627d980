//! Answers what the mover asks. Every answer follows the status: the record is ahead of the deed.

use super::commit;
use super::convert::{comparison, consistency, to_seconds};
use super::direct;
use super::draft::{Draft, after};
use super::guards;
use super::handshake::{Case, Ruling};
use super::leftovers;
use super::publish;
use super::session;
use super::validate::ValidDestination;
use super::view::{View, clipped, name_of};
use crate::decision::{Action, SyncResult};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use scribe_crds::conditions::Reason;
use scribe_crds::v1alpha1::{
    CurrentSync, DestinationStatus, Dirty, Objective, Received, RecoveryPoint, Session,
};
use scribe_mover_contract::PROTOCOL;
use scribe_mover_contract::control::{Answer, CommitVerdict, MoverState, Order, Question, QuestionKind};
use scribe_mover_contract::peer::{Commit, Handshake, HandshakeAnswer, PublicationState, Verdict};

/// Answers every open question that can be answered. At most one handshake is admitted in one pass: the next is judged when the mover
/// has heard of this one.
pub(super) fn answer_all(view: &View<'_>, valid: Option<&ValidDestination<'_>>, draft: &mut Draft) {
    let Some(mover) = view.mover() else { return };
    end_unknown_session(view, mover, draft);
    for question in &mover.questions {
        match &question.about {
            QuestionKind::Handshake(hello) => handshake(view, valid, draft, mover, question, hello),
            QuestionKind::Commit { commit, seal } => {
                let verdict = record_commit(view, valid, draft, mover, commit, *seal);
                draft.answer(view, mover, question, Answer::Commit(verdict));
            }
            QuestionKind::Guarded { guarded, untouched } => {
                guards::record(view, draft, mover, guarded, *untouched);
                draft.answer(view, mover, question, Answer::Guarded);
            }
            QuestionKind::Published(asked) => {
                let state = published(view, &draft.status, &asked.sync_id);
                match kept_open(view, question).filter(|_| matches!(state, PublicationState::NotYet { .. })) {
                    Some(until) => draft.wake_at(until),
                    None => draft.answer(view, mover, question, Answer::Published(state)),
                }
            }
        }
    }
}

/// Until when a question whose answer would be "not yet" stays open: a source that waits hears at once when there is news, and one that
/// is told nothing new every second would cost two passes each time.
fn kept_open(view: &View<'_>, question: &Question) -> Option<Timestamp> {
    const LONGEST: i64 = 10;
    // The mover closes it when its own limit is over, and then its peer does not learn what is waited for.
    let limit = i64::try_from(view.settings.mover_timeouts.answer / 2).unwrap_or(LONGEST).min(LONGEST);
    let until = after(to_seconds(question.asked_at), limit);
    // A mover's clock that is ahead must not keep it open for longer.
    (until > view.now && until <= after(view.now, limit + 1)).then_some(until)
}

/// A mover that serves a session later than any on record writes without one: the status was lost, or set back. An earlier one is only
/// about to be replaced, and can commit nothing.
fn end_unknown_session(view: &View<'_>, mover: &MoverState, draft: &mut Draft) {
    if let Some(unknown) = &mover.session
        && mover.seal.is_none()
        && draft.status.sessions.last().is_none_or(|last| last.token < unknown.token)
    {
        let order = Order::EndSession { token: unknown.token };
        draft.then.push(Action::Order { pod: view.base.clone(), order });
    }
}

fn handshake(
    view: &View<'_>,
    valid: Option<&ValidDestination<'_>>,
    draft: &mut Draft,
    mover: &MoverState,
    question: &Question,
    hello: &Handshake,
) {
    let key = session::question_key(mover, question.id);
    let ruling =
        Case { view, status: &draft.status, hold: draft.hold.as_ref(), mover, hello, question: key.clone() }
            .judge();
    let publish_deadline = publish::deadline(view, valid);
    let verdict = match ruling {
        Ruling::Refuse { reason, message, permanent } => {
            if reason == Reason::OtherSourcePinned {
                guards::refuse_source(view, draft, hello);
            }
            draft.note(
                reason,
                format!("refused {}: {message}", clipped(&hello.source_name.escape_debug().to_string())),
            );
            Verdict::Refused { reason: reason.to_string(), message, permanent }
        }
        Ruling::Wait { seconds, message } => Verdict::Wait { seconds, message },
        Ruling::Unseal { seal } => {
            if !draft.is_taken {
                unseal(view, draft, seal);
                draft.is_taken = true;
            }
            return;
        }
        Ruling::Received { restart } => {
            received_again(draft, hello, restart);
            Verdict::Received { publish_deadline }
        }
        Ruling::Send { token, clean, is_repeated, unseal } => {
            if !is_repeated {
                if draft.is_taken {
                    return;
                }
                admit(
                    view,
                    draft,
                    hello,
                    Session {
                        sync_id: hello.sync_id.clone(),
                        attempt: hello.attempt,
                        token,
                        clean,
                        disconnected_since: Some(Time(view.now)),
                        question: Some(key),
                    },
                );
            }
            if let Some(seal) = unseal {
                self::unseal(view, draft, seal);
            }
            draft.is_taken = true;
            draft.admitted = true;
            Verdict::Send { token, clean, publish_deadline }
        }
    };
    let answer = HandshakeAnswer {
        protocol: hello.protocol.min(PROTOCOL),
        verdict,
        published: recovery_point_of(view, &draft.status, &hello.claim_uid),
        received_bytes: received_bytes(view, &draft.status),
        is_empty: None,
        abilities: None,
        free_bytes: None,
        free_files: None,
        answered_at: None,
    };
    draft.answer(view, mover, question, Answer::Handshake(Box::new(answer)));
}

/// Has the mover write again. The admission of whoever may write then stands in the status by that time.
fn unseal(view: &View<'_>, draft: &mut Draft, seal: u64) {
    note_foreign_snapshots(view, draft);
    draft.then.push(Action::Order { pod: view.base.clone(), order: Order::Unseal { seal } });
}

/// Our recovery point, if it is one of this source claim.
fn recovery_point_of(
    view: &View<'_>,
    status: &DestinationStatus,
    claim_uid: &str,
) -> Option<(jiff::Timestamp, String)> {
    let point = status.recovery_point.as_ref()?;
    if view.is_direct() {
        let is_its_own = status.source.as_ref().is_some_and(|source| source.claim_uid == claim_uid);
        let stands = is_its_own && direct::published(view, status).is_some();
        return stands.then(|| (point.data_time.0, point.sync_id.clone()));
    }
    let newest = view.replicas.iter().find(|replica| replica.ready)?;
    (newest.source_uid == Some(claim_uid)).then(|| (point.data_time.0, point.sync_id.clone()))
}

/// What the last commit brought into the claim of today. It may have been written to since, but only by a sync that the guards let pass.
fn received_bytes(view: &View<'_>, status: &DestinationStatus) -> Option<u64> {
    let received = status.received.as_ref()?;
    let here = view.claim_uid() == Some(&received.claim_uid);
    here.then(|| u64::try_from(received.transfer.bytes_total).unwrap_or_default())
}

/// Somebody else's snapshot of the claim does not hold the seal, but its owner should know what it is going to hold.
fn note_foreign_snapshots(view: &View<'_>, draft: &mut Draft) {
    for snapshot in view.seen.snapshots.iter().filter(|snapshot| !view.owner.owns(&snapshot.metadata)) {
        if snapshot.status.as_ref().is_none_or(|status| status.creation_time.is_none()) {
            let name = name_of(&snapshot.metadata);
            draft.note(
                Reason::ForeignSnapshot,
                format!(
                    "VolumeSnapshot {name} of the receiving claim is not cut yet, and a sync begins to write"
                ),
            );
        }
    }
}

/// A further attempt of a sync that is here already.
fn received_again(draft: &mut Draft, hello: &Handshake, restart: bool) {
    let status = &mut draft.status;
    if let Some(last) = status.sessions.last_mut().filter(|last| last.sync_id == hello.sync_id) {
        last.attempt = last.attempt.max(hello.attempt);
    }
    if let Some(sync) = status.current_sync.as_mut().filter(|sync| sync.id == hello.sync_id) {
        sync.attempt = sync.attempt.max(hello.attempt);
    }
    if let Some(received) = status.received.as_mut().filter(|_| restart) {
        received.gave_up = None;
        received.publication = received.publication.saturating_add(1);
    }
}

/// Records an admission: from here on the claim is dirty, until a commit.
fn admit(view: &View<'_>, draft: &mut Draft, hello: &Handshake, session: Session) {
    session::replace(draft, &hello.sync_id);
    let status = &mut draft.status;
    guards::belong_to(status, hello);
    session::remember(status, session);
    let since = status.dirty.take().map_or(Time(view.now), |dirty| dirty.since);
    status.dirty = Some(Dirty { sync_id: hello.sync_id.clone(), since });
    let started_at = status.current_sync.as_ref().map_or(Time(view.now), |sync| sync.started_at.clone());
    let last_failure = status.current_sync.take().and_then(|sync| sync.last_failure);
    let tag = view.seen.destination.spec.trigger.as_ref().and_then(|trigger| trigger.manual.clone());
    status.current_sync = Some(CurrentSync {
        id: hello.sync_id.clone(),
        trigger: None,
        tag: tag.clone(),
        copy_method: None,
        attempt: hello.attempt,
        started_at,
        cut_time: Some(Time(to_seconds(hello.data_time))),
        cut: Some(hello.cut_uid.clone()),
        consistency: Some(consistency(hello.consistency)),
        pre_synced: false,
        put_off: false,
        unquiesced: None,
        retry_at: None,
        last_failure,
        admits: None,
        guards_passed: false,
    });
    status.last_manual_sync = tag.or(status.last_manual_sync.take());
    status.objective = Some(Objective {
        rpo_seconds: hello.rpo_seconds,
        schedule: hello.schedule.clone(),
        time_zone: hello.time_zone.clone(),
    });
}

fn record_commit(
    view: &View<'_>,
    valid: Option<&ValidDestination<'_>>,
    draft: &mut Draft,
    mover: &MoverState,
    commit: &Commit,
    seal: u64,
) -> CommitVerdict {
    let claim_uid = view.claim_uid().unwrap_or_default().to_owned();
    match commit::judge(view, &draft.status, mover, commit, seal) {
        commit::Ruling::Refuse(message) => {
            if draft.status.current_sync.as_ref().is_some_and(|sync| sync.id == commit.sync_id) {
                session::fail(draft, Reason::CommitRefused, &message);
            }
            return CommitVerdict::Refused { reason: Reason::CommitRefused.to_string(), message };
        }
        commit::Ruling::Repeated => {}
        commit::Ruling::Record { unchanged_from } => {
            record(view, draft, commit, claim_uid.clone(), unchanged_from);
        }
    }
    let state = published(view, &draft.status, &commit.sync_id);
    CommitVerdict::Recorded {
        claim_uid,
        publish_deadline: publish::deadline(view, valid),
        // A source that is told so now need not ask.
        published: Some(state).filter(|state| matches!(state, PublicationState::Yes { .. })),
    }
}

fn record(
    view: &View<'_>,
    draft: &mut Draft,
    commit: &Commit,
    claim_uid: String,
    unchanged_from: Option<String>,
) {
    let status = &mut draft.status;
    let data_time = Time(to_seconds(commit.data_time));
    status.dirty = None;
    status.guarded = None;
    let is_unchanged = unchanged_from.is_some();
    status.received = Some(Received {
        sync_id: commit.sync_id.clone(),
        attempt: commit.attempt,
        data_time: data_time.clone(),
        cut: commit.cut_uid.clone(),
        claim_uid,
        consistency: consistency(commit.consistency),
        comparison: comparison(commit.comparison),
        received_at: Time(view.now),
        transfer: session::transfer(&commit.counts),
        unchanged_from,
        publication: 1,
        gave_up: None,
        published_at: None,
    });
    // The newest replica is what the source was at this time, too; or it is the claim itself, and this record its publication.
    if is_unchanged || view.is_direct() {
        status.recovery_point = Some(RecoveryPoint { data_time, sync_id: commit.sync_id.clone() });
        let result = if is_unchanged { SyncResult::Unchanged } else { SyncResult::Success };
        session::succeed(draft, result, view.now);
    }
}

/// What has become of a sync.
pub(super) fn published(view: &View<'_>, status: &DestinationStatus, sync_id: &str) -> PublicationState {
    let received = status.received.as_ref().filter(|received| received.sync_id == sync_id);
    if let Some(received) = received.filter(|received| received.published_at.is_some()) {
        let unchanged = received.unchanged_from.is_some();
        return PublicationState::Yes { data_time: received.data_time.0, unchanged };
    }
    if let Some(replica) = view.replicas.iter().find(|replica| replica.sync_id == sync_id) {
        return PublicationState::Yes { data_time: replica.data_time, unchanged: false };
    }
    match received.filter(|received| view.claim_uid() == Some(&received.claim_uid)) {
        None => PublicationState::Unknown,
        Some(received) => match (&received.gave_up, leftovers::waiting(view, status)) {
            (Some(words), None) => PublicationState::GaveUp { message: words.clone() },
            (Some(_), Some(message)) | (None, Some(message)) => PublicationState::NotYet { message },
            (None, None) => PublicationState::NotYet { message: publish::progress(view, received).message },
        },
    }
}
