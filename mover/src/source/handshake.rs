//! The first words of a session, and how much room the source says it needs.

use super::connect::Route;
use super::exchange::exchange_within;
use super::skew::skew;
use super::survey::Survey;
use super::waiting::{self, Patience};
use super::{MAX_SESSIONS, Source, pause};
use crate::reason::{Failure, Reason};
use anyhow::{Context, Result};
use jiff::Timestamp;
use openssh::Session;
use scribe_mover_contract::PROTOCOL;
use scribe_mover_contract::control::Activity;
use scribe_mover_contract::job::Outcome;
use scribe_mover_contract::peer::{Abilities, Handshake, HandshakeAnswer, Verdict, VolumeMode};
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

/// What a handshake leads to.
pub(super) enum Next {
    Send(Allowed),
    AskPublished { deadline: Duration },
}

/// A session that the destination has allowed.
pub(super) struct Allowed {
    pub token: u64,
    pub clean: bool,
    pub abilities: Abilities,
    pub holding: Holding,
}

/// What the destination says that its claim holds.
pub(super) struct Holding {
    /// An older destination does not say.
    pub is_empty: Option<bool>,
    /// The size of all files that the last commit named, in bytes.
    pub bytes: Option<u64>,
}

impl Source<'_> {
    /// Connects and asks until the destination says something else than "wait".
    pub(super) async fn shake_hands(
        &mut self,
        route: &Route,
        mut connected: Option<Session>,
        survey: &Survey,
    ) -> Result<(Session, Next), Failure> {
        self.show(Activity::Connecting);
        let (mut lost, mut patience) = (0, Patience::new(&self.job.timeouts));
        loop {
            let session = match connected.take() {
                Some(session) => session,
                None => route.connect().await?,
            };
            loop {
                let asked_at = Timestamp::now();
                let handshake = self.handshake(route, survey, asked_at);
                let handshake = handshake.map_err(|error| Failure::internal(&error))?;
                match exchange_within(self.limit(), &session, "scribe handshake", &handshake).await {
                    Ok(answer) => {
                        lost = 0;
                        if let Some(next) = self.heed(answer, asked_at, &mut patience).await? {
                            return Ok((session, next));
                        }
                    }
                    Err(error) => {
                        lost += 1;
                        tracing::warn!("{error}");
                        if lost >= MAX_SESSIONS {
                            return Err(Failure::transient(Reason::ConnectionLost, error.to_string()));
                        }
                        break;
                    }
                }
            }
            pause(1).await;
        }
    }

    /// What to do after an answer; nothing if it was "wait", and the wait is over.
    async fn heed(
        &mut self,
        answer: HandshakeAnswer,
        asked_at: Timestamp,
        patience: &mut Patience,
    ) -> Result<Option<Next>, Failure> {
        self.note_skew(&answer, asked_at);
        if answer.published.is_some() {
            self.notes.recovery_point = answer.published;
        }
        match answer.verdict {
            Verdict::Send { token, clean, .. } => {
                let abilities = answer.abilities.ok_or_else(|| {
                    Failure::transient(
                        Reason::ProtocolMismatch,
                        "the destination did not say what it can keep",
                    )
                })?;
                let holding = Holding { is_empty: answer.is_empty, bytes: answer.received_bytes };
                Ok(Some(Next::Send(Allowed { token, clean, abilities, holding })))
            }
            Verdict::Received { publish_deadline } => {
                Ok(Some(Next::AskPublished { deadline: Duration::from_secs(publish_deadline) }))
            }
            Verdict::Wait { seconds, message } => {
                tracing::info!("the destination asks to wait: {message}");
                patience.told_to_wait(Instant::now(), &message)?;
                let waiting = Some(waiting::shown(&message));
                self.state.change(|state| (state.activity, state.waiting) = (Activity::Waiting, waiting));
                pause(seconds).await;
                Ok(None)
            }
            Verdict::Refused { reason, message, permanent } => {
                let outcome = if permanent { Outcome::Refused } else { Outcome::Transient };
                Err(Failure { outcome, reason, message })
            }
        }
    }

    fn handshake(&self, route: &Route, survey: &Survey, sent_at: Timestamp) -> Result<Handshake> {
        let job = &self.job;
        let used = used(&self.args.data_dir)?;
        // The volume may be a part of a file system that others use too, and then only the survey knows how much of it is ours.
        // But the survey counts a file with several names several times.
        let (bytes, files) = (used.bytes.min(survey.allocated), used.files.min(survey.files));
        Ok(Handshake {
            protocol: PROTOCOL,
            sync_id: job.sync_id.clone(),
            attempt: job.attempt,
            cluster_id: job.cluster_id.clone(),
            claim_uid: job.claim_uid.clone(),
            cut_uid: job.cut_uid.clone(),
            data_time: job.data_time,
            consistency: job.consistency,
            comparison: job.comparison,
            relationship: route.relationship.clone(),
            generation: job.generation,
            source_name: job.source_name.clone(),
            rpo_seconds: job.rpo_seconds,
            schedule: job.schedule.clone(),
            time_zone: job.time_zone.clone(),
            volume_mode: VolumeMode::Filesystem,
            // With exclusions nobody knows before the transfer, and a destination must not refuse what would fit.
            expected_bytes: if job.excludes.is_empty() { bytes } else { 0 },
            expected_files: if job.excludes.is_empty() { files } else { 0 },
            sent_at,
        })
    }

    fn note_skew(&mut self, answer: &HandshakeAnswer, asked_at: Timestamp) {
        let warning = answer.answered_at.and_then(|theirs| skew(theirs, asked_at, Timestamp::now()));
        if let Some(warning) = warning.filter(|_| self.notes.warnings.is_empty()) {
            tracing::warn!("{warning}");
            self.notes.warnings.push(warning);
        }
    }
}

/// What is in use on the whole file system.
pub(super) struct Used {
    pub bytes: u64,
    pub files: u64,
}

pub(super) fn used(data: &Path) -> Result<Used> {
    let stat = rustix::fs::statvfs(data).with_context(|| format!("measure {}", data.display()))?;
    Ok(Used {
        bytes: stat.f_blocks.saturating_sub(stat.f_bfree).saturating_mul(stat.f_frsize),
        files: stat.f_files.saturating_sub(stat.f_ffree),
    })
}
