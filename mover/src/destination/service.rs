//! Serves the forced commands, and passes answers and orders of the controller on.

use super::processes::Processes;
use super::questions::Questions;
use std::io::ErrorKind;

use super::sessions::{Hindrance, NotNow, Sealed, Sessions};
use super::volume;
use super::wire::{Reply, Wanted, Wire};
use crate::control::{Orders, Stale};
use crate::reason::Reason;
use crate::state::StateCell;
use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use rustix::process::Pid;
use scribe_mover_contract::control::{Answer, AnswerTo, CommitVerdict, Order, QuestionKind};
use scribe_mover_contract::guards::{Guarded, GuardedAnswer};
use scribe_mover_contract::job::DestinationJob;
use scribe_mover_contract::peer::{
    Commit, CommitAnswer, Handshake, HandshakeAnswer, ProgressNoted, PublicationState, Published, Verdict,
};
use scribe_mover_contract::{OLDEST_PROTOCOL, PROTOCOL};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};

/// When to come back, in seconds, while the controller is away or the volume is not ready.
const COME_BACK: u64 = 5;
/// The same where only a moment has to pass.
const COME_BACK_SOON: u64 = 1;
/// After an error of the socket itself; without a pause it would be met again at once.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// The destination.
pub struct Service {
    sessions: Sessions,
    processes: Processes,
    questions: Questions,
    answer_limit: Duration,
    claim_uid: String,
}

/// The destination, as its controller may use it.
pub struct Controlled(pub Arc<Service>);

impl Orders for Controlled {
    async fn answer(&self, answer: AnswerTo) -> Result<(), Stale> {
        self.0.questions.answer(answer)
    }

    async fn order(&self, order: Order) -> Result<(), Stale> {
        match order {
            Order::Unseal { seal } => self.0.sessions.unseal(seal).await,
            Order::EndSession { token } => self.0.sessions.end_session(token).await,
        }
    }
}

impl Service {
    /// A sealed destination.
    ///
    /// # Errors
    /// The volume is not there.
    pub fn new(data: PathBuf, job: &DestinationJob, state: StateCell) -> Result<Self> {
        let room = volume::room(&data)?;
        state.change(|state| {
            (state.free_bytes, state.capacity_bytes) = (Some(room.free), Some(room.capacity));
        });
        let processes = Processes::new();
        Ok(Self {
            sessions: Sessions::new(data, state.clone(), processes.clone()),
            processes,
            questions: Questions::new(state),
            answer_limit: Duration::from_secs(job.timeouts.answer),
            claim_uid: job.claim_uid.clone(),
        })
    }

    /// Serves forced commands, for ever.
    pub async fn serve(self: Arc<Self>, commands: UnixListener) {
        loop {
            match commands.accept().await {
                Ok((stream, _)) => {
                    let service = self.clone();
                    tokio::spawn(async move {
                        if let Err(error) = service.serve_one(stream).await {
                            tracing::warn!("a request failed: {error:#}");
                        }
                    });
                }
                // Too many open files, for example: that passes, and whoever provoked it must not end the mover.
                Err(error) => {
                    tracing::error!("accept a request: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Keeps the state's view of the session's connection true, for ever.
    pub async fn follow_processes(&self) {
        let mut changes = self.processes.changes();
        while changes.changed().await.is_ok() {
            self.sessions.show_connection().await;
        }
    }

    /// Ends what runs.
    pub async fn shut_down(&self) {
        self.sessions.shut_down().await;
    }

    async fn serve_one(&self, stream: UnixStream) -> Result<()> {
        let process = peer_process(&stream)?;
        let mut wire = Wire::new(stream);
        let reply = match wire.wanted().await? {
            Wanted::NotAllowed { message } => {
                tracing::warn!("refused a request: {message}");
                Reply::refused(message)
            }
            Wanted::Handshake { document } => Reply::document(&self.handshake(parse(&document)?).await)?,
            Wanted::Published { document } => Reply::document(&self.published(parse(&document)?).await)?,
            Wanted::Progress { token, document } => {
                match self.sessions.progress(token, &parse(&document)?).await {
                    Ok(()) => Reply::document(&ProgressNoted {})?,
                    Err(NotNow(message)) => refuse("progress", message),
                }
            }
            Wanted::Guarded { token, document } => match self.guarded(token, parse(&document)?).await {
                Ok(answer) => Reply::document(&answer)?,
                Err(NotNow(message)) => refuse("guarded", message),
            },
            Wanted::Commit { token, document } => match self.sessions.admit_commit(token, process).await {
                Ok(registration) => {
                    let reply = self.commit(token, &parse(&document)?).await;
                    wire.reply(&reply?).await?;
                    wire.closed().await;
                    drop(registration);
                    return Ok(());
                }
                Err(NotNow(message)) => refuse("commit", message),
            },
            Wanted::Rsync { token, rehearses } => {
                match self.sessions.admit_rsync(token, rehearses, process).await {
                    Ok(registration) => {
                        wire.reply(&Reply::Go).await?;
                        wire.closed().await;
                        drop(registration);
                        return Ok(());
                    }
                    Err(NotNow(message)) => refuse("rsync", message),
                }
            }
        };
        wire.reply(&reply).await
    }

    async fn handshake(&self, handshake: Handshake) -> HandshakeAnswer {
        // The controller judges by the room that is shown, and the volume may have grown since.
        self.sessions.show_connection().await;
        let mut answer = self.judge(&handshake).await;
        if let Verdict::Send { token, .. } = answer.verdict {
            match self.sessions.begin(&handshake, token).await {
                Ok(abilities) => answer.abilities = Some(abilities),
                Err(Hindrance::Passing(message)) => {
                    answer.verdict = Verdict::Wait { seconds: COME_BACK_SOON, message };
                }
                Err(Hindrance::Lasting(error)) => answer.verdict = cannot_be_written(&error),
            }
        }
        // Not known is not empty.
        answer.is_empty = Some(volume::is_empty(self.sessions.data()).unwrap_or(false));
        if let Ok(room) = volume::room(self.sessions.data()) {
            (answer.free_bytes, answer.free_files) = (Some(room.free), Some(room.free_files));
        }
        answer.protocol = handshake.protocol.min(PROTOCOL);
        answer.answered_at = Some(Timestamp::now());
        answer
    }

    async fn judge(&self, handshake: &Handshake) -> HandshakeAnswer {
        let only = |verdict| HandshakeAnswer {
            protocol: PROTOCOL,
            verdict,
            published: None,
            received_bytes: None,
            is_empty: None,
            abilities: None,
            free_bytes: None,
            free_files: None,
            answered_at: None,
        };
        if handshake.protocol < OLDEST_PROTOCOL {
            return only(Verdict::Refused {
                reason: Reason::ProtocolMismatch.as_str().to_owned(),
                message: format!(
                    "the source speaks protocol {}, the destination {OLDEST_PROTOCOL} to {PROTOCOL}",
                    handshake.protocol
                ),
                permanent: true,
            });
        }
        // Nobody else has to cope with what could not be a name, a label or a line of a status.
        if let Err(message) = handshake.check() {
            return only(Verdict::Refused {
                reason: Reason::ProtocolMismatch.as_str().to_owned(),
                message,
                permanent: true,
            });
        }
        let question = QuestionKind::Handshake(Box::new(handshake.clone()));
        match self.questions.ask(question, self.answer_limit).await {
            Some(Answer::Handshake(answer)) => *answer,
            _ => only(Verdict::Wait {
                seconds: COME_BACK,
                message: "the destination's controller does not answer".to_owned(),
            }),
        }
    }

    async fn commit(&self, token: u64, commit: &Commit) -> Result<Reply> {
        let seal = match self.sessions.seal(token, commit).await {
            Err(NotNow(message)) => return Ok(refuse("commit", message)),
            Ok(Sealed::Answered(answer)) => return Reply::document(&answer),
            Ok(Sealed::Refused(message)) => {
                tracing::warn!(sync = commit.sync_id, "commit refused: {message}");
                let reason = Reason::CommitRefused.as_str().to_owned();
                return Reply::document(&CommitAnswer::Refused { reason, message });
            }
            Ok(Sealed::Ask { seal }) => seal,
        };
        let question = QuestionKind::Commit { commit: commit.clone(), seal };
        let answer = match self.questions.ask(question, self.answer_limit).await {
            Some(Answer::Commit(verdict)) => self.verdict(verdict),
            _ => return Reply::document(&CommitAnswer::Wait { seconds: COME_BACK_SOON }),
        };
        self.sessions.answered(token, &answer).await;
        Reply::document(&answer)
    }

    /// Has it recorded that a guard keeps the source of the session from sending, and ends the session.
    async fn guarded(&self, token: u64, guarded: Guarded) -> Result<GuardedAnswer, NotNow> {
        let untouched = self.sessions.stop_guarded(token, &guarded).await?;
        tracing::warn!(sync = guarded.sync_id, "a guard keeps the source from sending: {}", guarded.words());
        match self.questions.ask(QuestionKind::Guarded { guarded, untouched }, self.answer_limit).await {
            Some(Answer::Guarded) => {
                if let Err(Stale(message)) = self.sessions.end_session(token).await {
                    tracing::info!("the session of a guarded sync does not end: {message}");
                }
                Ok(GuardedAnswer::Noted)
            }
            _ => Ok(GuardedAnswer::Wait { seconds: COME_BACK_SOON }),
        }
    }

    fn verdict(&self, verdict: CommitVerdict) -> CommitAnswer {
        match verdict {
            CommitVerdict::Recorded { claim_uid, publish_deadline, published } => {
                if claim_uid != self.claim_uid {
                    tracing::warn!(
                        recorded = claim_uid,
                        mounted = self.claim_uid,
                        "recorded for another claim"
                    );
                }
                CommitAnswer::Received { claim_uid, publish_deadline, published }
            }
            CommitVerdict::Refused { reason, message } => CommitAnswer::Refused { reason, message },
        }
    }

    async fn published(&self, published: Published) -> PublicationState {
        match self.questions.ask(QuestionKind::Published(published), self.answer_limit).await {
            Some(Answer::Published(state)) => state,
            _ => PublicationState::NotYet {
                message: "the destination's controller does not answer".to_owned(),
            },
        }
    }
}

fn refuse(what: &str, message: String) -> Reply {
    tracing::warn!("refused {what}: {message}");
    Reply::Refused { message }
}

fn parse<T: serde::de::DeserializeOwned>(document: &str) -> Result<T> {
    serde_json::from_str(document).context("parse the source's document")
}

/// The process at the other end, which leads a process group of its own.
fn peer_process(stream: &UnixStream) -> Result<Pid> {
    let credentials = stream.peer_cred().context("find out who asks")?;
    ensure!(credentials.uid() == rustix::process::getuid().as_raw(), "another user asks");
    credentials.pid().and_then(Pid::from_raw).context("find out which process asks")
}
/// The refusal of a session for which the volume cannot be made ready. Not for good: another attempt may find it mended.
fn cannot_be_written(error: &anyhow::Error) -> Verdict {
    let kind = error.chain().find_map(|cause| {
        let errno = cause.downcast_ref::<rustix::io::Errno>().map(|errno| errno.kind());
        errno.or_else(|| cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind))
    });
    let reason = match kind {
        Some(ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => Reason::NeedsPrivilege,
        Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => Reason::DestinationFull,
        _ => Reason::TransferFailed,
    };
    Verdict::Refused {
        reason: reason.as_str().to_owned(),
        message: format!("the destination's mover cannot write to the receiving claim: {error:#}"),
        permanent: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_volume_that_cannot_be_written_uses_an_attempt() {
        let cases = [
            (std::io::Error::from(ErrorKind::PermissionDenied), "NeedsPrivilege"),
            (std::io::Error::from(ErrorKind::ReadOnlyFilesystem), "NeedsPrivilege"),
            (std::io::Error::from(ErrorKind::StorageFull), "DestinationFull"),
            (std::io::Error::from(ErrorKind::TimedOut), "TransferFailed"),
        ];
        for (error, expected) in cases {
            let error = Err::<(), _>(error).context("probe the file system").unwrap_err();
            let Verdict::Refused { reason, permanent, .. } = cannot_be_written(&error) else {
                panic!("waiting does not mend it")
            };
            assert_eq!((reason.as_str(), permanent), (expected, false));
        }
    }
}
