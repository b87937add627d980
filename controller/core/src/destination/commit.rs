//! Judges a commit.

use super::session;
use super::view::{View, name_of};
use scribe_crds::v1alpha1::{CurrentSync, DestinationStatus, Received, Session};
use scribe_mover_contract::control::MoverState;
use scribe_mover_contract::peer::Commit;

/// What a commit amounts to.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Ruling {
    /// It stands in the status already.
    Repeated,
    /// It is to be recorded. Nothing differs from the named replica, if one is named.
    Record {
        /// The replica that it equals.
        unchanged_from: Option<String>,
    },
    /// It is not what was agreed upon.
    Refuse(String),
}

/// Judges. A commit is recorded only if it is of the session that was admitted last, from the cut that was announced, into the claim
/// of today, and sealed now.
pub(super) fn judge(
    view: &View<'_>,
    status: &DestinationStatus,
    mover: &MoverState,
    commit: &Commit,
    seal: u64,
) -> Ruling {
    if let Some(received) = &status.received
        && received.sync_id == commit.sync_id
        && view.claim_uid() == Some(&received.claim_uid)
    {
        return match difference(&received.cut, received.data_time.0, commit) {
            Some(difference) => {
                Ruling::Refuse(format!("sync {} was committed before, with {difference}", commit.sync_id))
            }
            None => Ruling::Repeated,
        };
    }
    let (Some(last), Some(sync)) = (status.sessions.last(), &status.current_sync) else {
        return Ruling::Refuse(format!("sync {} was not admitted", commit.sync_id));
    };
    let refusal = not_admitted(view, status, mover, commit, last, sync).or_else(|| {
        (mover.seal != Some(seal)).then(|| format!("seal {seal}, set for the commit, is no longer in force"))
    });
    if let Some(message) = refusal {
        return Ruling::Refuse(message);
    }
    if !commit.unchanged {
        return Ruling::Record { unchanged_from: None };
    }
    if !last.clean {
        let message = "the receiving claim did not equal a published replica when the sync began, so it cannot be unchanged";
        return Ruling::Refuse(message.to_owned());
    }
    Ruling::Record { unchanged_from: equal_replica(view, status.received.as_ref()) }
}

fn not_admitted(
    view: &View<'_>,
    status: &DestinationStatus,
    mover: &MoverState,
    commit: &Commit,
    last: &Session,
    sync: &CurrentSync,
) -> Option<String> {
    if last.sync_id != commit.sync_id || sync.id != commit.sync_id || last.attempt != commit.attempt {
        return Some(format!(
            "attempt {} of sync {} was replaced by attempt {} of sync {}",
            commit.attempt, commit.sync_id, last.attempt, last.sync_id
        ));
    }
    if session::current(status, mover).is_none() {
        return Some("the commit comes from a session with another fencing token".to_owned());
    }
    if status.source.as_ref().is_none_or(|source| source.claim_uid != commit.claim_uid) {
        return Some(format!("the commit is of source claim {}, which was not admitted", commit.claim_uid));
    }
    if view.claim_uid().is_none() {
        return Some("the receiving claim is gone".to_owned());
    }
    let announced = sync.cut.as_deref().zip(sync.cut_time.as_ref());
    match announced {
        Some((cut, time)) => {
            difference(cut, time.0, commit).map(|what| format!("the handshake announced {what}"))
        }
        None => Some("the handshake announced no cut".to_owned()),
    }
}

/// In what a commit differs from what stands on record.
fn difference(cut: &str, data_time: jiff::Timestamp, commit: &Commit) -> Option<String> {
    if cut != commit.cut_uid {
        return Some(format!("cut {cut} in place of {}", commit.cut_uid));
    }
    (data_time != super::convert::to_seconds(commit.data_time))
        .then(|| format!("data time {data_time} in place of {}", commit.data_time))
}

/// The replica that the claim equalled before a session that changed nothing. If it has gone meanwhile, there is none, and a new one is
/// made: the claim equals the cut either way.
fn equal_replica(view: &View<'_>, before: Option<&Received>) -> Option<String> {
    if view.is_direct() {
        return view.claim().map(|claim| name_of(&claim.metadata));
    }
    let (newest, before) = (view.replicas.first()?, before?);
    let same = newest.sync_id == before.sync_id || before.unchanged_from.as_deref() == Some(newest.name);
    (same && newest.ready).then(|| newest.name.to_owned())
}
