//! Judges a handshake. Judging changes nothing; what follows from the ruling is in [`super::questions`].

use super::claim::capacity_bytes;
use super::direct;
use super::draft::{Hold, Weight, after};
use super::guards;
use super::publish::{self, Publication};
use super::session;
use super::view::{View, clipped};
use crate::quantity;
use scribe_crds::conditions::Reason;
use scribe_crds::v1alpha1::DestinationStatus;
use scribe_mover_contract::OLDEST_PROTOCOL;
use scribe_mover_contract::control::{Activity, MoverState, QuestionKind};
use scribe_mover_contract::peer::{Handshake, VolumeMode};

/// The only generation of a relationship that there is until promotions raise it.
const GENERATION: u64 = 1;

/// How far ahead of this cluster's clock a data time may be, in seconds: what two clocks that are looked after never differ by, and a
/// replica may be wrong by. A time beyond it would outlive, as the newest, all that is received until it has come.
const CLOCK_TOLERANCE: i64 = 300;

/// What comes of a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ruling {
    /// No.
    Refuse { reason: Reason, message: String, permanent: bool },
    /// Not now.
    Wait { seconds: u64, message: String },
    /// Yes, as was recorded before; but the mover is still sealed, and the question stays open until it is not.
    Unseal { seal: u64 },
    /// It is here already.
    Received {
        /// Publication was given up, and this attempt has it tried again.
        restart: bool,
    },
    /// Yes. A seal that is named is lifted once that is recorded: from then on nobody publishes any more what it protects, so that whoever
    /// is late with the same order, or with a commit, does no harm.
    Send { token: u64, clean: bool, is_repeated: bool, unseal: Option<u64> },
}

/// A handshake and all that its ruling depends on.
pub(super) struct Case<'a, 'b> {
    pub view: &'a View<'b>,
    pub status: &'a DestinationStatus,
    pub hold: Option<&'a Hold>,
    pub mover: &'a MoverState,
    pub hello: &'a Handshake,
    /// See [`session::question_key`].
    pub question: String,
}

impl Case<'_, '_> {
    /// Judges. The order is part of the contract: who one is comes before what one wants.
    pub fn judge(&self) -> Ruling {
        self.malformed()
            .or_else(|| self.protocol())
            .or_else(|| self.relationship())
            .or_else(|| self.repeated())
            .or_else(|| self.paused())
            .or_else(|| self.pin())
            .or_else(|| self.clock())
            .or_else(|| self.volume_mode())
            .or_else(|| self.trigger())
            .or_else(|| self.replaced())
            .or_else(|| self.hold())
            .or_else(|| self.received())
            .or_else(|| self.room())
            .or_else(|| self.publishing())
            .unwrap_or_else(|| self.admit())
    }

    fn admit(&self) -> Ruling {
        let unseal = match self.sealed() {
            Some(Ruling::Unseal { seal }) => Some(seal),
            Some(wait) => return wait,
            None => None,
        };
        let token = session::next_token(self.status, self.mover);
        Ruling::Send { token, clean: self.is_clean(), is_repeated: false, unseal }
    }

    /// What it says ends up in names, labels and messages.
    fn malformed(&self) -> Option<Ruling> {
        let what = self.hello.check().err()?;
        let message = format!("the source's handshake is not one: {}", clipped(&what));
        Some(refuse(Reason::ProtocolMismatch, message))
    }

    fn protocol(&self) -> Option<Ruling> {
        let spoken = self.hello.protocol;
        (spoken < OLDEST_PROTOCOL).then(|| {
            refuse(
                Reason::ProtocolMismatch,
                format!(
                    "the source speaks protocol {spoken}, this destination {OLDEST_PROTOCOL} and newer: upgrade Scribe there"
                ),
            )
        })
    }

    /// With keys of the user's own there is no relationship on record, and the keys alone have to do.
    fn relationship(&self) -> Option<Ruling> {
        let keys = self.status.key_fingerprints.as_ref();
        if keys.is_some_and(|keys| keys.relationship != self.hello.relationship) {
            let message = "the source's Secret belongs to other keys than this destination's: carry the Secret over again";
            return Some(refuse(Reason::RelationshipMismatch, message.to_owned()));
        }
        let generation = self.hello.generation;
        (generation != GENERATION).then(|| {
            let message = format!("the source is of generation {generation} of the relationship, this destination of {GENERATION}");
            refuse(Reason::RelationshipMismatch, message)
        })
    }

    /// The same question once more: its answer was recorded, and may not have arrived.
    fn repeated(&self) -> Option<Ruling> {
        let last = self.status.sessions.last()?;
        if last.question.as_ref() != Some(&self.question) || last.sync_id != self.hello.sync_id {
            return None;
        }
        let again = Ruling::Send { token: last.token, clean: last.clean, is_repeated: true, unseal: None };
        self.publishing().or_else(|| self.sealed()).or(Some(again))
    }

    fn paused(&self) -> Option<Ruling> {
        self.view.pause().map(|why| Ruling::Refuse {
            reason: Reason::DestinationPaused,
            message: format!("ReplicationDestination {} is paused ({why})", self.view.owner.name),
            permanent: false,
        })
    }

    fn pin(&self) -> Option<Ruling> {
        let message = guards::other_source(self.view, self.status, self.hello)?;
        Some(refuse(Reason::OtherSourcePinned, message))
    }

    fn clock(&self) -> Option<Ruling> {
        let (data_time, now) = (self.hello.data_time, self.view.now);
        (data_time > after(now, CLOCK_TOLERANCE)).then(|| Ruling::Refuse {
            reason: Reason::ClockSkew,
            message: format!(
                "the source's data is of {data_time}, and by the destination's clock it is {now}"
            ),
            permanent: false,
        })
    }

    fn volume_mode(&self) -> Option<Ruling> {
        match self.hello.volume_mode {
            VolumeMode::Filesystem => None,
            VolumeMode::Block => {
                let message = "the source claim is a block volume; only file systems are received";
                Some(refuse(Reason::UnsupportedVolumeMode, message.to_owned()))
            }
        }
    }

    /// A tag admits one sync; its further attempts are still that sync.
    fn trigger(&self) -> Option<Ruling> {
        let tag = self.view.seen.destination.spec.trigger.as_ref()?.manual.as_ref()?;
        let goes_on = self.status.sessions.last().is_some_and(|last| last.sync_id == self.hello.sync_id);
        (self.status.last_manual_sync.as_ref() == Some(tag) && !goes_on).then(|| Ruling::Refuse {
            reason: Reason::DestinationNotTriggered,
            message: format!(
                "spec.trigger.manual of the ReplicationDestination is `{tag}`, and has had its sync"
            ),
            permanent: false,
        })
    }

    fn replaced(&self) -> Option<Ruling> {
        let (sync, attempt) = (&self.hello.sync_id, self.hello.attempt);
        let sessions = &self.status.sessions;
        let at = sessions.iter().rposition(|session| session.sync_id == *sync)?;
        if let Some(newer) = sessions.get(at + 1..).and_then(<[_]>::last) {
            return Some(refuse(
                Reason::SyncReplaced,
                format!("sync {sync} was replaced by sync {}", newer.sync_id),
            ));
        }
        let highest = sessions[at].attempt;
        (attempt < highest).then(|| {
            refuse(
                Reason::SyncReplaced,
                format!("attempt {attempt} of sync {sync} was replaced by attempt {highest}"),
            )
        })
    }

    fn hold(&self) -> Option<Ruling> {
        let hold = self.hold.filter(|hold| hold.weight != Weight::Passing)?;
        Some(wait(30, format!("the destination cannot receive ({}): {}", hold.reason, hold.message)))
    }

    fn received(&self) -> Option<Ruling> {
        let received = self.status.received.as_ref()?;
        let here = self.view.claim_uid() == Some(&received.claim_uid);
        if received.sync_id != self.hello.sync_id || !here {
            return None;
        }
        if received.cut != self.hello.cut_uid {
            let message = format!(
                "sync {} was received from cut {}, and is now offered from cut {}",
                received.sync_id, received.cut, self.hello.cut_uid
            );
            return Some(refuse(Reason::CommitRefused, message));
        }
        let known = self.status.sessions.last().map_or(0, |session| session.attempt);
        if received.gave_up.is_none() || self.hello.attempt <= known {
            return Some(Ruling::Received { restart: false });
        }
        // What is still on its way out could not be told from what is made next.
        self.publishing().or(Some(Ruling::Received { restart: true }))
    }

    /// Refuses what obviously has no room. What only turns out later ends the transfer with the same reason.
    fn room(&self) -> Option<Ruling> {
        let claim = self.view.claim()?;
        let capacity = self.mover.capacity_bytes.or_else(|| capacity_bytes(claim))?;
        let expected = self.hello.expected_bytes;
        (expected > capacity).then(|| {
            let message = format!(
                "the source holds {}, the receiving volume has {}: raise spec.rsync.capacity of the ReplicationDestination",
                quantity::display(expected),
                quantity::display(capacity)
            );
            refuse(Reason::DestinationFull, message)
        })
    }

    fn publishing(&self) -> Option<Ruling> {
        match publish::standing(self.view, self.status) {
            Publication::Over => None,
            Publication::Pending(received) => {
                Some(wait(2, format!("sync {} is received and being published", received.sync_id)))
            }
            Publication::Leaving(message) => Some(wait(2, message)),
        }
    }

    /// A seal that has just been set may belong to a commit of which nothing is known here yet: it is not lifted while its source is
    /// there. Lifting it would not harm the data, but would have it sent once more.
    fn sealed(&self) -> Option<Ruling> {
        let commits =
            self.mover.questions.iter().any(|question| matches!(question.about, QuestionKind::Commit { .. }));
        let connected = self.mover.session.as_ref().is_some_and(|session| session.connected);
        match (self.mover.activity, self.mover.seal) {
            (Activity::Starting, _) => Some(wait(1, "the mover starts".to_owned())),
            // Without a connection there is nobody left whose commit it could be.
            (Activity::Committing, _) if connected => Some(wait(1, "the mover flushes and seals".to_owned())),
            _ if commits => Some(wait(1, "another sync is being committed".to_owned())),
            (_, Some(seal)) => Some(Ruling::Unseal { seal }),
            (_, None) => None,
        }
    }

    /// Whether the receiving claim equals the newest published replica, so that a commit may say that nothing changed.
    fn is_clean(&self) -> bool {
        if self.view.is_direct() {
            return direct::published(self.view, self.status).is_some();
        }
        let (Some(received), Some(newest)) = (&self.status.received, self.view.replicas.first()) else {
            return false;
        };
        self.status.dirty.is_none()
            && newest.ready
            && received.published_at.is_some()
            && self.view.claim_uid() == Some(&received.claim_uid)
            && (newest.sync_id == received.sync_id || received.unchanged_from.as_deref() == Some(newest.name))
    }
}

fn refuse(reason: Reason, message: String) -> Ruling {
    Ruling::Refuse { reason, message, permanent: true }
}

fn wait(seconds: u64, message: String) -> Ruling {
    Ruling::Wait { seconds, message }
}
