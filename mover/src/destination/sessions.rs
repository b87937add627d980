//! The session and the seal: who may write to the volume now.
//!
//! Every change happens under one lock, and only after the processes that wrote before are gone. So there is one writer at most,
//! and none while the volume is sealed.

use super::processes::{Kind, Processes, Registration};
use super::volume;
use crate::abilities;
use crate::control::Stale;
use crate::state::StateCell;
use anyhow::{Context, Result};
use rustix::process::Pid;
use scribe_mover_contract::control::{Activity, Progress, SessionFailure, SessionState};
use scribe_mover_contract::guards::Guarded;
use scribe_mover_contract::peer::{Abilities, Commit, CommitAnswer, Handshake};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::Mutex;

/// The source's rsync has seen the end of ours before it commits; only the news may be under way.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The session and the seal.
pub struct Sessions {
    data: PathBuf,
    state: StateCell,
    processes: Processes,
    now: Mutex<Now>,
}

struct Now {
    /// The number of the seal, while every write is refused.
    seal: Option<u64>,
    last_seal: u64,
    session: Option<Session>,
}

struct Session {
    handshake: Handshake,
    token: u64,
    committed: Option<Committed>,
    /// An rsync was let in that writes.
    is_written: bool,
    /// A guard keeps its source from sending.
    is_stopped: bool,
}

struct Committed {
    commit: Commit,
    seal: u64,
    answer: Option<CommitAnswer>,
}

/// A commit, after every writer is gone.
pub enum Sealed {
    /// Flushed and sealed: the controller is to record it.
    Ask {
        /// The seal that was set for it.
        seal: u64,
    },
    /// An exact repeat of one that was answered.
    Answered(CommitAnswer),
    /// It cannot be accepted.
    Refused(String),
}

/// What was asked is not possible now; the words say why.
#[derive(Debug)]
pub struct NotNow(pub String);

/// Why a session does not begin.
#[derive(Debug)]
pub enum Hindrance {
    /// It may in a moment, and waiting for that uses no attempt.
    Passing(String),
    /// It will not by waiting: the attempt has failed.
    Lasting(anyhow::Error),
}

impl Sessions {
    /// Sealed, with no session.
    pub fn new(data: PathBuf, state: StateCell, processes: Processes) -> Self {
        let seal = 1;
        state.change(|state| state.seal = Some(seal));
        let now = Now { seal: Some(seal), last_seal: seal, session: None };
        Self { data, state, processes, now: Mutex::new(now) }
    }

    /// Begins the session that the controller has allowed, after the one before and all its processes are gone.
    ///
    /// # Errors
    /// Not now: the volume is sealed, or the token is older than the current one. Not at all: processes of the session before do not
    /// end, or the volume cannot be written.
    pub async fn begin(&self, handshake: &Handshake, token: u64) -> Result<Abilities, Hindrance> {
        let mut now = self.now.lock().await;
        if now.seal.is_some() {
            return Err(Hindrance::Passing("the volume is sealed".to_owned()));
        }
        if now.session.as_ref().is_some_and(|session| token < session.token) {
            return Err(Hindrance::Passing("a newer session has begun".to_owned()));
        }
        self.end_processes(None)
            .await
            .map_err(|NotNow(message)| Hindrance::Lasting(anyhow::anyhow!(message)))?;
        if let Some(old) = now.session.take() {
            self.report_replaced(&old, handshake);
        }
        self.show_progress(None);
        let abilities = self.probe().await.map_err(Hindrance::Lasting)?;
        let handshake = handshake.clone();
        let (sync, attempt) = (handshake.sync_id.clone(), handshake.attempt);
        now.session =
            Some(Session { handshake, token, committed: None, is_written: false, is_stopped: false });
        self.show(&now, Activity::Transferring);
        tracing::info!(sync, attempt, token, "session begins");
        Ok(abilities)
    }

    /// Lets an rsync server start: of the current session only, only one at a time, and never while sealed. One that only rehearses has
    /// written nothing.
    ///
    /// # Errors
    /// One of those does not hold.
    pub async fn admit_rsync(&self, token: u64, rehearses: bool, group: Pid) -> Result<Registration, NotNow> {
        let mut now = self.now.lock().await;
        if now.check(token)?.is_stopped {
            return Err(NotNow("a guard keeps this session from sending".to_owned()));
        }
        if now.seal.is_some() {
            return Err(NotNow("the volume is sealed".to_owned()));
        }
        // A source that comes again with the same token has lost its connection, but the server may not have noticed.
        self.end_processes(Some(Kind::Rsync)).await?;
        if let Some(session) = &mut now.session {
            session.is_written |= !rehearses;
        }
        Ok(self.processes.register(group, token, Kind::Rsync))
    }

    /// Shows how far the source of the session says that it is.
    ///
    /// # Errors
    /// It is not the current session, or it has committed.
    pub async fn progress(&self, token: u64, progress: &Progress) -> Result<(), NotNow> {
        let now = self.now.lock().await;
        if now.check(token)?.committed.is_some() {
            return Err(NotNow("this session has committed".to_owned()));
        }
        self.show_progress(Some(Progress {
            bytes_done: progress.bytes_done.min(progress.bytes_total),
            files_done: progress.files_done.min(progress.files_total),
            ..progress.clone()
        }));
        Ok(())
    }

    /// Lets nothing more be sent in a session whose source says that a guard keeps it from sending. Whether nothing was written in it.
    ///
    /// # Errors
    /// It is not the current session, it has committed, or it says so of another sync.
    pub async fn stop_guarded(&self, token: u64, guarded: &Guarded) -> Result<bool, NotNow> {
        let mut now = self.now.lock().await;
        let session = now.check(token)?;
        let announced = (&session.handshake.sync_id, session.handshake.attempt, &session.handshake.claim_uid);
        if session.committed.is_some() {
            return Err(NotNow("this session has committed".to_owned()));
        }
        if announced != (&guarded.sync_id, guarded.attempt, &guarded.claim_uid) {
            return Err(NotNow("the session is of another sync".to_owned()));
        }
        let untouched = !session.is_written;
        if let Some(session) = &mut now.session {
            session.is_stopped = true;
        }
        Ok(untouched)
    }

    /// Takes note of a process that carries a commit, so that it ends with its session.
    ///
    /// # Errors
    /// It is not of the current session.
    pub async fn admit_commit(&self, token: u64, group: Pid) -> Result<Registration, NotNow> {
        let now = self.now.lock().await;
        now.check(token)?;
        Ok(self.processes.register(group, token, Kind::Commit))
    }

    /// Flushes and seals what was received.
    ///
    /// *Guarantees*: when it returns [`Sealed::Ask`], no process of the session that could write is alive, everything is on the
    /// volume, and nothing will write until the controller lifts that seal.
    ///
    /// # Errors
    /// The session is not the current one, or a writer does not end.
    pub async fn seal(&self, token: u64, commit: &Commit) -> Result<Sealed, NotNow> {
        let mut now = self.now.lock().await;
        let session = now.check(token)?;
        if let Some(committed) = &session.committed {
            return Ok(committed.repeat(commit));
        }
        if !is_of(commit, &session.handshake) {
            return Ok(Sealed::Refused(
                "the commit is not of the cut that the handshake announced".to_owned(),
            ));
        }
        if now.seal.is_some() {
            return Err(NotNow("the volume is sealed".to_owned()));
        }
        if !self.processes.went(Kind::Rsync, LAST_WORDS).await {
            // Not what our source does. What that rsync was about to write, and its temporary files, are in the way of a replica.
            self.end_processes(Some(Kind::Rsync)).await?;
            return Ok(Sealed::Refused("a transfer was still running".to_owned()));
        }
        self.show(&now, Activity::Committing);
        self.show_progress(Some(commit.counts.all_done()));
        if let Err(error) = volume::flush(&self.data).await {
            self.show(&now, Activity::Listening);
            self.show_progress(None);
            return Ok(Sealed::Refused(format!("{error:#}")));
        }
        let seal = now.next_seal();
        if let Some(session) = &mut now.session {
            session.committed = Some(Committed { commit: commit.clone(), seal, answer: None });
        }
        self.show(&now, Activity::Committing);
        tracing::info!(sync = commit.sync_id, seal, "flushed and sealed");
        Ok(Sealed::Ask { seal })
    }

    /// Remembers what the controller said to a commit, for repeats.
    pub async fn answered(&self, token: u64, answer: &CommitAnswer) {
        let mut now = self.now.lock().await;
        let session = now.session.as_mut().filter(|session| session.token == token);
        if let Some(committed) = session.and_then(|session| session.committed.as_mut()) {
            committed.answer = Some(answer.clone());
            self.show(&now, Activity::Listening);
            self.show_progress(None);
        }
    }

    /// Allows writes again, to whoever shakes hands next.
    ///
    /// # Errors
    /// The seal is another one.
    pub async fn unseal(&self, seal: u64) -> Result<(), Stale> {
        let mut now = self.now.lock().await;
        if now.seal != Some(seal) {
            return Err(Stale(format!("the current seal is {:?}", now.seal)));
        }
        now.seal = None;
        // The token of the session that was sealed must not open the volume again.
        now.session = None;
        self.show(&now, Activity::Listening);
        self.show_progress(None);
        tracing::info!(seal, "unsealed");
        Ok(())
    }

    /// Ends a session and its processes, and seals. Without any session it seals all the same: its controller may only know one that
    /// has gone, and must be able to rely on it that nobody writes.
    ///
    /// # Errors
    /// It is another session, or its processes do not end.
    pub async fn end_session(&self, token: u64) -> Result<(), Stale> {
        let mut now = self.now.lock().await;
        if now.session.is_some() {
            now.check(token).map_err(|NotNow(message)| Stale(message))?;
        }
        self.end_processes(None).await.map_err(|NotNow(message)| Stale(message))?;
        now.session = None;
        if now.seal.is_none() {
            now.next_seal();
        }
        self.show(&now, Activity::Listening);
        self.show_progress(None);
        tracing::info!(token, "session ended by its controller");
        Ok(())
    }

    /// Ends every process; the pod is about to go.
    pub async fn shut_down(&self) {
        let _ = self.processes.end(None).await;
    }

    /// Shows whether the session is connected.
    pub async fn show_connection(&self) {
        let now = self.now.lock().await;
        let activity = self.state.current().activity;
        self.show(&now, activity);
    }

    async fn end_processes(&self, kind: Option<Kind>) -> Result<(), NotNow> {
        let ended = self.processes.end(kind).await;
        ended.map_err(|_| {
            NotNow("processes of an earlier transfer do not end; its storage may hang".to_owned())
        })
    }

    async fn probe(&self) -> Result<Abilities> {
        let (data, instance) = (self.data.clone(), self.state.instance());
        let probed = tokio::task::spawn_blocking(move || abilities::probe(&data, &instance)).await;
        let abilities = probed.context("wait for the probe")?.context("probe the file system")?;
        self.state.change(|state| state.abilities = Some(abilities.clone()));
        Ok(abilities)
    }

    fn report_replaced(&self, old: &Session, new: &Handshake) {
        if old.committed.is_some() {
            return;
        }
        let (sync, attempt) = (&old.handshake.sync_id, old.handshake.attempt);
        let failure = SessionFailure {
            sync_id: sync.clone(),
            attempt,
            reason: crate::reason::Reason::ConnectionLost.as_str().to_owned(),
            message: format!(
                "sync {} (attempt {}) took its place before it had committed",
                new.sync_id, new.attempt
            ),
        };
        self.state.change(|state| state.last_failure = Some(failure));
    }

    fn show(&self, now: &Now, activity: Activity) {
        let room = self.room();
        self.state.change(|state| {
            state.activity = activity;
            state.seal = now.seal;
            state.session = now.session.as_ref().map(|session| SessionState {
                sync_id: session.handshake.sync_id.clone(),
                attempt: session.handshake.attempt,
                token: session.token,
                connected: self.processes.is_connected(session.token),
            });
            if let Some(room) = room {
                (state.free_bytes, state.capacity_bytes) = (Some(room.free), Some(room.capacity));
            }
        });
    }

    fn show_progress(&self, progress: Option<Progress>) {
        self.state.change(|state| state.progress = progress);
    }

    fn room(&self) -> Option<volume::Room> {
        volume::room(&self.data).inspect_err(|error| tracing::warn!("{error:#}")).ok()
    }

    /// Where the volume is mounted.
    pub fn data(&self) -> &Path {
        &self.data
    }
}

impl Now {
    fn check(&self, token: u64) -> Result<&Session, NotNow> {
        let current = self.session.as_ref().filter(|session| session.token == token);
        current.ok_or_else(|| NotNow(format!("token {token} is not that of the current session")))
    }

    fn next_seal(&mut self) -> u64 {
        self.last_seal += 1;
        self.seal = Some(self.last_seal);
        self.last_seal
    }
}

impl Committed {
    fn repeat(&self, commit: &Commit) -> Sealed {
        if *commit != self.commit {
            return Sealed::Refused("this session has committed something else".to_owned());
        }
        match &self.answer {
            Some(answer) => Sealed::Answered(answer.clone()),
            None => Sealed::Ask { seal: self.seal },
        }
    }
}

fn is_of(commit: &Commit, handshake: &Handshake) -> bool {
    let announced = (
        &handshake.sync_id,
        handshake.attempt,
        &handshake.claim_uid,
        &handshake.cut_uid,
        handshake.data_time,
    );
    announced == (&commit.sync_id, commit.attempt, &commit.claim_uid, &commit.cut_uid, commit.data_time)
}

#[cfg(test)]
mod tests;
