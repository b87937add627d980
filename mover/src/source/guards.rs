//! The guards: what the sync would do to the receiving claim is looked at before the first write, and refused if it is out of
//! proportion.

use super::connect::Route;
use super::exchange::{NoAnswer, exchange_within};
use super::handshake::Holding;
use super::transfer::{Sender, Sent};
use super::{MAX_SESSIONS, Source, pause};
use crate::reason::{Failure, Reason};
use openssh::Session;
use scribe_mover_contract::control::Activity;
use scribe_mover_contract::guards::{Guarded, GuardedAnswer};

impl Source<'_> {
    /// Lets the sync pass, or refuses it and tells the destination. The words are those of a session that is over.
    pub(super) async fn guard(
        &mut self,
        route: &Route,
        session: &Session,
        sender: &Sender<'_>,
        holding: Holding,
    ) -> Result<Option<String>, Failure> {
        // What they have let pass changes the receiving claim, and they do not judge how much of that is left to do.
        let Some(guards) = self.job.guards.filter(|_| !self.notes.guards_passed) else { return Ok(None) };
        match holding.is_empty {
            Some(false) => {}
            // Nothing can be lost where nothing is.
            Some(true) => {
                self.notes.guards_passed = true;
                return Ok(None);
            }
            None => {
                self.warn("the destination is older than this source, and cannot be asked what a sync would delete: the guards were not judged");
                self.notes.guards_passed = true;
                return Ok(None);
            }
        }
        self.show(Activity::Surveying);
        let tally = match sender.rehearse().await? {
            Sent::SessionOver(message) => return Ok(Some(message)),
            // What changes meanwhile on a live source is within what a forecast may miss.
            Sent::All { summary, .. } | Sent::Restless { summary, .. } => summary,
        };
        // What is not known is not let pass.
        let forecast = tally.forecast(holding.bytes).ok_or_else(|| {
            Failure::transient(Reason::TransferFailed, "the dry run did not say what the sync would do")
        })?;
        tracing::info!(?forecast, "what the sync would do");
        let Some((guard, percent)) = guards.judge(&forecast) else {
            self.notes.guards_passed = true;
            return Ok(None);
        };
        let (sync_id, attempt) = (self.job.sync_id.clone(), self.job.attempt);
        let claim_uid = self.job.claim_uid.clone();
        let guarded = Guarded { sync_id, attempt, claim_uid, guard, percent, forecast };
        self.tell_of_guard(route, session, sender.transfer.token, &guarded).await;
        let words = guarded.words();
        self.notes.guarded = Some(guarded);
        Err(Failure::permanent(Reason::SyncGuarded, words))
    }

    /// Tells the destination, which keeps its old replicas from then on. If it cannot be told, the sync is refused all the same.
    async fn tell_of_guard(&mut self, route: &Route, session: &Session, token: u64, guarded: &Guarded) {
        let request = format!("scribe guarded {token}");
        let mut newer = None;
        let mut why = String::new();
        for _ in 0..MAX_SESSIONS {
            let session = newer.as_ref().unwrap_or(session);
            match exchange_within(self.limit(), session, &request, guarded).await {
                Ok(GuardedAnswer::Noted) => return,
                Ok(GuardedAnswer::Wait { seconds }) => {
                    "its controller does not answer".clone_into(&mut why);
                    pause(seconds).await;
                }
                // The session is over: maybe because it was told, and the answer was lost.
                Err(NoAnswer::Refused(message)) => {
                    why = message;
                    break;
                }
                Err(NoAnswer::Lost(message)) => {
                    why = message;
                    pause(1).await;
                    match route.connect().await {
                        Ok(connected) => newer = Some(connected),
                        Err(failure) => {
                            why = failure.message;
                            break;
                        }
                    }
                }
            }
        }
        self.warn(&format!(
            "the destination may not know that a guard has refused the sync, and may prune: {why}"
        ));
    }

    fn warn(&mut self, warning: &str) {
        tracing::warn!("{warning}");
        self.notes.warnings.push(warning.to_owned());
    }
}
