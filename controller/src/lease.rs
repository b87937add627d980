//! One controller works at a time: who it is stands in a Lease.
//!
//! No clock of another machine is trusted. A candidate takes the Lease when it has seen no change of it for as long as the holder asked
//! for, by its own clock; the holder counts from before the request that renewed it, and stops a fifth early. So its term is over before
//! anybody else's begins, unless its machine was suspended, for which clocks stand still, or somebody deletes the Lease. And a write that it
//! sent in time may arrive late. So the Lease only saves work: what makes two controllers harmless is that every write is under the version
//! that was observed.

mod record;

#[cfg(test)]
mod tests;

use crate::watches::Synced;
use anyhow::bail;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::PostParams;
use record::{Candidate, Standing};
use scribe_crds::names::FIELD_MANAGER;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// Whether this controller may write.
#[derive(Debug)]
pub struct Term(watch::Sender<State>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Somebody else's turn.
    Waiting,
    /// Ours, until then.
    Until(Instant),
    /// Never again: this controller ends.
    Over,
}

impl Default for Term {
    fn default() -> Self {
        Self(watch::Sender::new(State::Waiting))
    }
}

impl Term {
    /// Whether this controller may write now.
    pub fn holds(&self) -> bool {
        matches!(*self.0.borrow(), State::Until(end) if Instant::now() < end)
    }

    /// Waits until this controller may write. `false`: it will not any more.
    pub async fn begins(&self) -> bool {
        let mut states = self.0.subscribe();
        let decided = |state: &State| match state {
            State::Waiting => false,
            State::Until(end) => Instant::now() < *end,
            State::Over => true,
        };
        // The sender is here, so the channel cannot be closed.
        states.wait_for(decided).await.is_ok_and(|state| *state != State::Over)
    }

    /// Lets go of everybody who waits for a term: there will be none. One that runs goes on, so that what was begun can end.
    pub fn give_up(&self) {
        let now = Instant::now();
        self.0.send_if_modified(|state| {
            let runs = matches!(*state, State::Until(end) if now < end);
            if !runs {
                *state = State::Over;
            }
            !runs
        });
    }

    fn lasts_until(&self, end: Instant) {
        self.0.send_if_modified(|state| {
            let goes_on = *state != State::Over;
            if goes_on {
                *state = State::Until(end);
            }
            goes_on
        });
    }

    fn end(&self) {
        self.0.send_replace(State::Over);
    }
}

/// How long things take.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// For how long the Lease is the holder's after each renewal.
    pub duration: Duration,
    /// How often the holder renews it, and how long a request may take.
    pub renewal: Duration,
    /// How often a candidate looks at it.
    pub retry: Duration,
}

/// Holds the Lease, or waits for it.
pub struct Election {
    api: Api<Lease>,
    candidate: Candidate,
    timing: Timing,
    term: Arc<Term>,
    /// Whether the Lease was ever looked at: a controller that may not do that is not ready.
    looked_at: Synced,
    /// The Lease as we wrote it last.
    held: Option<Lease>,
    has_led: bool,
}

impl Election {
    /// A candidate: `instance` is what no other process calls itself at the same time, such as the name of its pod.
    pub fn new(
        api: Api<Lease>,
        (name, instance): (String, String),
        timing: Timing,
        term: Arc<Term>,
        looked_at: Synced,
    ) -> Self {
        let candidate = Candidate::new(name, instance, timing.duration);
        Self { api, candidate, timing, term, looked_at, held: None, has_led: false }
    }

    /// Waits for the Lease and holds it, until `stop` resolves; then it is given back, so that the next one need not wait.
    ///
    /// # Errors
    /// Fails if another controller is seen to hold the Lease after this one did: what this one remembers is old.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
        let mut stop = std::pin::pin!(stop);
        loop {
            // Not interrupted: what is written in it has to be known to give it back.
            let pause = self.step().await?;
            tokio::select! {
                () = sleep(pause) => {}
                () = &mut stop => break,
            }
        }
        self.term.end();
        self.release().await;
        Ok(())
    }

    /// One look or one renewal. How long to pause before the next.
    async fn step(&mut self) -> anyhow::Result<Duration> {
        match timeout(self.timing.renewal, self.take_or_renew()).await {
            Ok(Ok(pause)) => {
                self.looked_at.done();
                return Ok(pause);
            }
            Ok(Err(StepError::Taken(holder))) => {
                self.term.end();
                bail!("the Lease {} was taken by {holder}: this controller ends", self.candidate.name);
            }
            Ok(Err(StepError::Api(error))) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "renew or look at the Lease")
            }
            Err(_) => tracing::warn!(patience = ?self.timing.renewal, "the Lease: no answer in time"),
        }
        // What was sent may have been written, so what is there now has to be read first.
        self.held = None;
        Ok(self.timing.retry.min(self.timing.renewal))
    }

    async fn take_or_renew(&mut self) -> Result<Duration, StepError> {
        let sent = Instant::now();
        let written = if let Some(held) = &self.held {
            self.put(self.candidate.renewed(held, Timestamp::now())).await?
        } else {
            let found = self.api.get_opt(&self.candidate.name).await.map_err(StepError::Api)?;
            let Some(found) = found else {
                let first = self.candidate.first(Timestamp::now());
                let written = written(self.api.create(&params(), &first).await, &[409])?;
                return Ok(self.wrote(sent, written));
            };
            let sent = Instant::now();
            match self.candidate.standing(&found, sent) {
                Standing::Ours => self.put(self.candidate.renewed(&found, Timestamp::now())).await?,
                Standing::Free => self.put(self.candidate.taken(&found, Timestamp::now())).await?,
                Standing::Held(holder) if self.has_led => return Err(StepError::Taken(holder)),
                Standing::Held(_) => return Ok(self.timing.retry),
            }
        };
        Ok(self.wrote(sent, written))
    }

    /// `None`: somebody else was faster, or changed something; that has to be looked at.
    async fn put(&self, lease: Lease) -> Result<Option<Lease>, StepError> {
        written(self.api.replace(&self.candidate.name, &params(), &lease).await, &[404, 409])
    }

    fn wrote(&mut self, sent: Instant, written: Option<Lease>) -> Duration {
        self.held = written;
        if self.held.is_none() {
            return self.timing.retry.min(self.timing.renewal);
        }
        if !std::mem::replace(&mut self.has_led, true) {
            tracing::info!(lease = self.candidate.name, "this controller leads");
        }
        self.term.lasts_until(sent + self.timing.duration.mul_f64(0.8));
        self.timing.renewal
    }

    /// Gives the Lease back, if it is ours.
    async fn release(&mut self) {
        if !self.has_led {
            return;
        }
        let lease = self.candidate.name.clone();
        match timeout(self.timing.renewal, self.give_back()).await {
            Ok(Ok(Some(_))) => tracing::info!(lease, "gave the Lease back"),
            Ok(Ok(None) | Err(_)) | Err(_) => {
                tracing::info!(lease, "did not give the Lease back: it runs out by itself")
            }
        }
    }

    async fn give_back(&mut self) -> Result<Option<Lease>, StepError> {
        let found = match self.held.take() {
            Some(held) => Some(held),
            // The last renewal was not answered.
            None => self.api.get_opt(&self.candidate.name).await.map_err(StepError::Api)?,
        };
        match found.filter(|lease| self.candidate.standing(lease, Instant::now()) == Standing::Ours) {
            Some(ours) => self.put(self.candidate.released(&ours)).await,
            None => Ok(None),
        }
    }
}

enum StepError {
    /// Somebody else has it now.
    Taken(String),
    Api(kube::Error),
}

fn params() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

/// `None`: an answer with one of these codes.
fn written(answer: kube::Result<Lease>, lost: &[u16]) -> Result<Option<Lease>, StepError> {
    match answer {
        Ok(lease) => Ok(Some(lease)),
        Err(kube::Error::Api(status)) if lost.contains(&status.code) => Ok(None),
        Err(error) => Err(StepError::Api(error)),
    }
}
