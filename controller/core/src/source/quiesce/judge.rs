//! What a cut is worth that was made while the application was at rest.

use super::{NOTE, belongs, call_id, expired, is_over_time, let_go, release, remember};
use crate::decision::Action;
use crate::hooks::{CallSeen, HookAnswer, HookCall, HookRequest, Trouble, id};
use crate::source::Pass;
use crate::source::cut::Cut;
use crate::text::clean;
use scribe_crds::conditions::Reason;
use scribe_crds::v1alpha1::{Consistency, CurrentSync, Quiesce, QuiesceState, ReleaseReason};
use scribe_hooks_contract::undo::{Change, Undo};

/// What becomes of a cut that was made while the application was at rest.
#[derive(Debug, PartialEq, Eq)]
pub enum AtRest {
    /// It has nothing to do with that, or has not any more.
    Over,
    /// It is complete, and worth that.
    Taken(Consistency),
    /// It is being made, and has its time.
    Waits,
    /// It is to be discarded.
    Discard(Reason, String),
}

/// Judges a cut that is there.
pub fn judge(pass: &mut Pass<'_>, sync: &CurrentSync, cut: &Cut<'_>) -> AtRest {
    let Some(quiesce) = pass.status.quiesce.clone().filter(|quiesce| belongs(quiesce, sync)) else {
        return AtRest::Over;
    };
    let achieved = match (quiesce.state, quiesce.achieved) {
        (QuiesceState::Releasing, _) => return AtRest::Over,
        (QuiesceState::Frozen, Some(achieved)) => achieved,
        // No cut is made before it is at rest: this one is not ours to use.
        (QuiesceState::Quiescing | QuiesceState::Frozen, _) => {
            release::start(pass, ReleaseReason::CutFailed);
            return AtRest::Discard(Reason::QuiesceLost, format!("{} was made before its time", cut.what));
        }
    };
    if let Some(why) = let_go(pass, &quiesce) {
        release::start(pass, ReleaseReason::ControllerRestarted);
        let message = format!(
            "{} is discarded, since the application is not known to have been at rest: {why}",
            cut.what
        );
        return AtRest::Discard(Reason::QuiesceLost, message);
    }
    if is_over_time(pass, &quiesce) {
        release::start(pass, ReleaseReason::WindowExpired);
        return AtRest::Discard(Reason::QuiesceWindowExpired, expired(&quiesce, "complete"));
    }
    if cut.is_cut {
        match still_holds(pass, &quiesce) {
            Some(Ok(())) => {
                release::start(pass, ReleaseReason::CutTaken);
                return AtRest::Taken(achieved);
            }
            Some(Err(why)) => {
                release::start(pass, ReleaseReason::CutFailed);
                let message = format!(
                    "{} is discarded, since the application was not at rest any more: {why}",
                    cut.what
                );
                return AtRest::Discard(Reason::QuiesceLost, message);
            }
            None => {}
        }
    }
    remember(pass, call_id(&quiesce));
    pass.wake_at(quiesce.deadline.0);
    AtRest::Waits
}

/// Whether all that was changed still is as it was set, now that the cut is complete; if so, it was all the time. Nobody else may have known of
/// the quiesce: an operator that scales back, another source's release. `None`: the host looks.
fn still_holds(pass: &mut Pass<'_>, quiesce: &Quiesce) -> Option<Result<(), String>> {
    let is_lasting = |entry: &&Undo| !matches!(entry.change, Change::Session { .. });
    let log: Vec<Undo> = quiesce.undo.iter().filter(is_lasting).cloned().collect();
    if log.is_empty() {
        return Some(Ok(()));
    }
    let call = HookCall {
        id: id(&("holds", &quiesce.sync_id, quiesce.attempt)),
        module: quiesce.module.clone(),
        digest: String::new(),
        request: HookRequest::Holds(log, quiesce.service_account_name.clone()),
    };
    let answer = match pass.seen.hooks.calls.get(&call.id) {
        Some(CallSeen::Done(answer)) => answer,
        Some(CallSeen::Running | CallSeen::Asks(_)) | None => {
            pass.then(Action::CallHook(Box::new(call)));
            return None;
        }
    };
    Some(match answer {
        Ok(HookAnswer::Lost(lost)) if lost.is_empty() => Ok(()),
        Ok(HookAnswer::Lost(lost)) => Err(clean(&lost.join("; "), NOTE)),
        Ok(_) => Err(Trouble::misunderstood().message),
        Err(failure) => Err(Trouble::of(failure).message),
    })
}
