//! The sending end: one attempt to bring one cut to the destination and to see it published.

mod connect;
mod ending;
mod exchange;
mod guards;
mod handshake;
mod live;
mod reporting;
mod skew;
mod survey;
mod transfer;
mod waiting;

use crate::args::RunArgs;
use crate::reason::{Failure, Reason};
use crate::rsync::arguments::Transfer;
use crate::state::StateCell;
use anyhow::Result;
use connect::Route;
use ending::Notes;
use exchange::{NoAnswer, exchange, exchange_within};
use handshake::{Allowed, Next, used};
use jiff::Timestamp;
use openssh::Session;
use reporting::Reporter;
use scribe_mover_contract::control::{Activity, Progress};
use scribe_mover_contract::job::{Outcome, SourceJob};
use scribe_mover_contract::peer::{
    Abilities, Commit, CommitAnswer, Comparison, Consistency, ProgressNoted, PublicationState, Published,
};
use std::time::Duration;
use survey::Survey;
use tokio::time::Instant;
use transfer::{Sender, Sent};

/// How often a session may be lost to the destination's restarts before this attempt ends.
const MAX_SESSIONS: u32 = 5;
/// A peer that asks for longer pauses does not get them: it may be well again sooner than it thinks.
const MAX_PAUSE: u64 = 60;
/// What the destination does around its controller's answer: ending processes that do not want to, trying out the file system.
const ANSWER_MARGIN: Duration = Duration::from_secs(120);
/// A commit may take long: the destination flushes all that it still holds in memory to storage that may be slow, and its
/// controller may be away. But a destination that hangs must not hold the cut and the source for ever.
const COMMIT_LIMIT: Duration = Duration::from_secs(3600);

/// How long a mover whose sync is published waits until its controller has heard so. The pod says it too, but the kubelet looks for ended
/// containers once a second only.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long it waits for a controller that has not asked for anything yet: it does when the kubelet says that the pod runs.
const FIRST_WORDS: Duration = Duration::from_millis(250);

/// Does the job; returns the exit code.
///
/// # Errors
/// The last words cannot be left.
pub async fn run(
    args: &RunArgs,
    job: SourceJob,
    state: &StateCell,
    stop: impl Future<Output = ()>,
) -> Result<u8> {
    tracing::info!(sync = job.sync_id, attempt = job.attempt, "the mover starts");
    let mut source = Source { args, job, state, notes: Notes::default() };
    let end = tokio::select! {
        end = source.sync() => end,
        () = stop => Err(Failure::transient(Reason::ConnectionLost, "the mover was told to end before it was done")),
    };
    match &end {
        Ok(()) => tracing::info!(sync = source.job.sync_id, "published"),
        Err(failure) => tracing::error!(sync = source.job.sync_id, "{failure}"),
    }
    let termination = ending::termination(&source.job, end, source.notes);
    ending::leave(&termination, &args.termination_file)?;
    let (code, is_published) = (termination.result.exit_code(), termination.published);
    state.change(|state| {
        (state.activity, state.waiting) = (Activity::Finished, None);
        state.ended = Some(Box::new(termination));
    });
    if is_published && !state.heard(FIRST_WORDS, LAST_WORDS).await {
        tracing::debug!("the controller has not heard it, and will read it from the pod");
    }
    Ok(code)
}

struct Source<'a> {
    args: &'a RunArgs,
    job: SourceJob,
    state: &'a StateCell,
    notes: Notes,
}

/// What a session leads to.
enum Committed {
    Received { deadline: Duration },
    Published { data_time: Timestamp, unchanged: bool },
    SessionOver(String),
}

impl Source<'_> {
    async fn sync(&mut self) -> Result<(), Failure> {
        let route = Route::prepare(self.args, &self.job)
            .map_err(|error| Failure::permanent(Reason::KeysMissing, format!("{error:#}")))?;
        self.show(Activity::Connecting);
        // First of all, so that an unreachable destination is found at once. If the survey takes longer than the connection
        // lasts, there is another one.
        let mut connected = Some(route.connect().await?);
        tracing::info!("connected");
        let survey = self.survey().await?;
        let mut last_words = String::new();
        for _ in 0..MAX_SESSIONS {
            let (session, next) = self.shake_hands(&route, connected.take(), &survey).await?;
            let deadline = match next {
                Next::AskPublished { deadline } => deadline,
                Next::Send(allowed) => {
                    match self.transfer_and_commit(&route, session, &survey, allowed).await? {
                        Committed::Received { deadline } => deadline,
                        Committed::Published { data_time, unchanged } => {
                            self.note_published(data_time, unchanged);
                            return Ok(());
                        }
                        Committed::SessionOver(message) => {
                            tracing::warn!("the session is over: {message}");
                            last_words = message;
                            continue;
                        }
                    }
                }
            };
            return self.await_publication(&route, deadline).await;
        }
        Err(Failure::transient(
            Reason::ConnectionLost,
            format!("the session was lost again and again: {last_words}"),
        ))
    }

    async fn transfer_and_commit(
        &mut self,
        route: &Route,
        session: Session,
        survey: &Survey,
        Allowed { token, clean, abilities, holding }: Allowed,
    ) -> Result<Committed, Failure> {
        let (bytes_total, files_total) = (survey.bytes, survey.files);
        self.show_progress(Progress { bytes_total, files_total, ..Progress::default() });
        self.weigh(survey, &abilities)?;
        // A claim that was written to and not committed can hold anything under the right size and time.
        let comparison = if clean { self.job.comparison } else { Comparison::Content };
        let excludes = self.job.excludes.clone();
        let sender = Sender {
            data: &self.args.data_dir,
            state: self.state,
            transfer: Transfer {
                abilities: &abilities,
                comparison,
                bandwidth_limit: self.job.bandwidth_limit,
                is_live: self.job.consistency == Consistency::None,
                excludes: &excludes,
                token,
                ssh_config: &route.config,
                control: session.control_socket(),
            },
            has_special_acls: survey.has_special_acls,
        };
        if let Some(message) = self.guard(route, &session, &sender, holding).await? {
            return Ok(Committed::SessionOver(message));
        }
        self.show(Activity::Transferring);
        let request = format!("scribe progress {token}");
        let telling = Reporter::new(self.state)
            .tell(async |progress| exchange::<ProgressNoted>(&session, &request, progress).await);
        let sent = tokio::select! {
            sent = sender.send() => sent?,
            never = telling => match never {},
        };
        let summary = match sent {
            // Never from the whole of it.
            Sent::Restless { words, .. } | Sent::SessionOver(words) => {
                return Ok(Committed::SessionOver(words));
            }
            Sent::All { summary, warnings } => {
                self.notes.warnings.extend(warnings);
                summary
            }
        };
        self.notes.counts = summary.counts.clone();
        self.show_progress(summary.counts.all_done());
        tracing::info!(differences = summary.differences, counts = ?summary.counts, "sent");
        let commit = self.commit(comparison, clean && summary.differences == 0);
        let committed = self.commit_until_answered(route, session, token, &commit);
        tokio::time::timeout(COMMIT_LIMIT, committed).await.unwrap_or_else(|_| {
            let message = format!("the commit was not answered in {} s", COMMIT_LIMIT.as_secs());
            Err(Failure::transient(Reason::ConnectionLost, message))
        })
    }

    /// Looks at what there is. Not yet at what gets lost: that depends on the destination.
    async fn survey(&self) -> Result<Survey, Failure> {
        self.show(Activity::Surveying);
        if let Ok(used) = used(&self.args.data_dir) {
            let (bytes_total, files_total) = (used.bytes, used.files);
            self.show_progress(Progress { bytes_total, files_total, ..Progress::default() });
        }
        let survey = survey::survey(&self.args.data_dir, !self.job.excludes.is_empty()).await?;
        tracing::info!(entries = survey.files, bytes = survey.bytes, "surveyed");
        Ok(survey)
    }

    /// Takes note of what gets lost at a destination of those abilities.
    fn weigh(&mut self, survey: &Survey, abilities: &Abilities) -> Result<(), Failure> {
        self.notes.fidelity = survey.lost(abilities);
        if self.job.strict_fidelity && !self.notes.fidelity.is_empty() {
            let message = format!("the destination cannot keep: {}", self.notes.fidelity.join("; "));
            return Err(Failure::permanent(Reason::FidelityRefused, message));
        }
        Ok(())
    }

    fn commit(&self, comparison: Comparison, unchanged: bool) -> Commit {
        let job = &self.job;
        Commit {
            sync_id: job.sync_id.clone(),
            attempt: job.attempt,
            claim_uid: job.claim_uid.clone(),
            cut_uid: job.cut_uid.clone(),
            data_time: job.data_time,
            consistency: job.consistency,
            comparison,
            unchanged,
            counts: self.notes.counts.clone(),
        }
    }

    async fn commit_until_answered(
        &self,
        route: &Route,
        mut session: Session,
        token: u64,
        commit: &Commit,
    ) -> Result<Committed, Failure> {
        self.show(Activity::Committing);
        let request = format!("scribe commit {token}");
        loop {
            match exchange(&session, &request, commit).await {
                Ok(CommitAnswer::Received {
                    published: Some(PublicationState::Yes { data_time, unchanged }),
                    ..
                }) => return Ok(Committed::Published { data_time, unchanged }),
                Ok(CommitAnswer::Received { publish_deadline, .. }) => {
                    tracing::info!("received by the destination");
                    return Ok(Committed::Received { deadline: Duration::from_secs(publish_deadline) });
                }
                Ok(CommitAnswer::Wait { seconds }) => pause(seconds).await,
                Ok(CommitAnswer::Refused { reason, message }) => {
                    return Err(Failure { outcome: Outcome::Refused, reason, message });
                }
                Err(NoAnswer::Refused(message)) => return Ok(Committed::SessionOver(message)),
                Err(NoAnswer::Lost(message)) => {
                    tracing::warn!("{message}");
                    pause(1).await;
                    session = route.connect().await?;
                }
            }
        }
    }

    async fn await_publication(&mut self, route: &Route, limit: Duration) -> Result<(), Failure> {
        self.show(Activity::AwaitingPublication);
        let deadline = Instant::now() + limit;
        let question = Published { sync_id: self.job.sync_id.clone(), attempt: self.job.attempt };
        let mut waits_for = "the destination has not said anything about it".to_owned();
        let mut session = None;
        while Instant::now() < deadline {
            let connected = match session.take() {
                Some(session) => session,
                None => route.connect().await?,
            };
            match exchange_within(self.limit(), &connected, "scribe published", &question).await {
                Ok(PublicationState::Yes { data_time, unchanged }) => {
                    self.note_published(data_time, unchanged);
                    return Ok(());
                }
                Ok(PublicationState::NotYet { message }) => {
                    waits_for = message;
                    session = Some(connected);
                }
                Ok(PublicationState::GaveUp { message }) => {
                    return Err(Failure::transient(Reason::PublicationFailed, message));
                }
                Ok(PublicationState::Unknown) => {
                    let message = "the destination does not know this sync any more";
                    return Err(Failure::transient(Reason::PublicationFailed, message));
                }
                Err(error) => tracing::warn!("{error}"),
            }
            pause(self.job.timeouts.poll).await;
        }
        Err(Failure::transient(Reason::PublicationTimeout, format!("not published in time: {waits_for}")))
    }

    fn note_published(&mut self, data_time: Timestamp, unchanged: bool) {
        self.notes.unchanged = unchanged;
        self.notes.recovery_point = Some((data_time, self.job.sync_id.clone()));
    }

    /// How long an answer may take that needs the controller of the other side, and at most the end of an earlier transfer.
    fn limit(&self) -> Duration {
        Duration::from_secs(self.job.timeouts.answer) + ANSWER_MARGIN
    }

    fn show(&self, activity: Activity) {
        self.state.change(|state| (state.activity, state.waiting) = (activity, None));
    }

    fn show_progress(&self, progress: Progress) {
        self.state.change(|state| state.progress = Some(progress));
    }
}

async fn pause(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds.clamp(1, MAX_PAUSE))).await;
}
