//! A decision in the making.

use super::view::View;
use crate::decision::{Action, Child, ChildKind, ChildRef, Decision, Note, SyncEnded};
use crate::hooks::Roll;
use jiff::{SignedDuration, Timestamp};
use scribe_crds::conditions::Reason;
use scribe_crds::v1alpha1::{DestinationStatus, Guard};
use scribe_mover_contract::control::{Answer, MoverState, Question};

/// What a [`Hold`] stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// Everything, until somebody changes the spec or what the message names.
    Fatal,
    /// No sync is admitted meanwhile.
    Blocking,
    /// Nothing: it is only not complete yet.
    Passing,
}

/// Why the destination is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hold {
    pub reason: Reason,
    pub message: String,
    pub weight: Weight,
}

impl Hold {
    pub fn fatal(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), weight: Weight::Fatal }
    }

    pub fn blocking(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), weight: Weight::Blocking }
    }

    pub fn passing(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), weight: Weight::Passing }
    }
}

/// The decision, and what its parts have found out for each other.
pub(super) struct Draft {
    pub status: DestinationStatus,
    pub first: Vec<Action>,
    pub then: Vec<Action>,
    pub events: Vec<Note>,
    pub ended: Option<SyncEnded>,
    pub tripped: Option<Guard>,
    pub wake: Option<Timestamp>,
    /// Whether a handshake was admitted in this pass, or is about to be: the next has to wait for another.
    pub is_taken: bool,
    /// Whether a handshake was admitted in this pass.
    pub admitted: bool,
    /// What is missing, if anything.
    pub hold: Option<Hold>,
    /// What is known of the hooks.
    pub roll: Roll,
}

impl Draft {
    pub fn new(view: &View<'_>) -> Self {
        let mut status = view.seen.destination.status.clone().unwrap_or_default();
        status.observed_generation = view.seen.destination.metadata.generation;
        Self {
            status,
            first: Vec::new(),
            then: Vec::new(),
            events: Vec::new(),
            ended: None,
            tripped: None,
            wake: None,
            is_taken: false,
            admitted: false,
            hold: None,
            roll: Roll::default(),
        }
    }

    /// Remembers what is missing. What stops more is told first, and of equals the first.
    pub fn hold(&mut self, hold: Hold) {
        let rank = |hold: &Hold| match hold.weight {
            Weight::Fatal => 0,
            Weight::Blocking => 1,
            Weight::Passing => 2,
        };
        if self.hold.as_ref().is_none_or(|before| rank(&hold) < rank(before)) {
            self.hold = Some(hold);
        }
    }

    /// Look again at `at`, or earlier.
    pub fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    /// Look again after `seconds`, or earlier.
    pub fn wake_in(&mut self, now: Timestamp, seconds: i64) {
        self.wake_at(after(now, seconds));
    }

    pub fn note(&mut self, reason: Reason, message: impl Into<String>) {
        self.events.push(Note { reason, message: message.into() });
    }

    /// Answers a question, once the status is written.
    pub fn answer(&mut self, view: &View<'_>, mover: &MoverState, question: &Question, answer: Answer) {
        self.then.push(Action::Answer {
            pod: view.base.clone(),
            instance: mover.instance.clone(),
            question: question.id,
            answer: Box::new(answer),
        });
    }

    /// The decision. The first write that is refused ends a pass, and may be refused in every one: so a mover and its peer get their
    /// answers first, and what has been waited for longest does not wait for what is likely to be refused.
    pub fn finish(mut self) -> Decision<DestinationStatus> {
        self.then.sort_by_key(rank);
        Decision {
            first: self.first,
            status: Some(self.status),
            then: self.then,
            events: self.events,
            ended: self.ended,
            tripped: self.tripped,
            wake: self.wake,
            ..Decision::default()
        }
    }
}

/// The order of what is done after the status is written. Within a rank the order of decisions stays.
fn rank(action: &Action) -> u8 {
    match action {
        Action::Answer { .. }
        | Action::Order { .. }
        | Action::CallHook(_)
        | Action::RememberHook { .. }
        | Action::AnswerHook { .. }
        | Action::EndSessions => 0,
        // Somebody may have forbidden that an old replica goes; the next one does not wait for that.
        Action::Delete(ChildRef { kind: ChildKind::Snapshot, .. }) => 2,
        Action::ReleaseContent { .. }
        | Action::Delete(_)
        | Action::UnlabelClaim { .. }
        | Action::PublishSnapshot { .. }
        | Action::AdoptSnapshot { .. }
        | Action::Create(Child::Snapshot(_)) => 1,
        Action::AddFinalizer
        | Action::Create(_)
        | Action::LabelClaim { .. }
        | Action::ApplyAddress { .. } => 3,
        Action::Apply(Child::Secret(_) | Child::Pod(_) | Child::Snapshot(_)) => 3,
        // Of a user's annotations, and of whether a class allows expansion, nothing is known before.
        Action::Apply(Child::Service(_)) => 4,
        Action::Apply(Child::Claim(_)) => 5,
        Action::RemoveFinalizer => 6,
    }
}

/// `seconds` after `from`; the end of time is far enough where the sum is beyond it.
pub(super) fn after(from: Timestamp, seconds: i64) -> Timestamp {
    from.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}
