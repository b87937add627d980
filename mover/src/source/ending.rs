//! The last words of a source mover, for its controller.

use crate::reason::Failure;
use anyhow::{Context, Result};
use jiff::Timestamp;
use scribe_mover_contract::PROTOCOL;
use scribe_mover_contract::guards::Guarded;
use scribe_mover_contract::job::{MAX_TERMINATION, Outcome, SourceJob, Termination};
use scribe_mover_contract::peer::Counts;
use std::path::Path;

/// The message and the lists share what the kubelet keeps.
const MAX_MESSAGE: usize = 1024;

/// What is learnt on the way, whatever the end is.
#[derive(Debug, Default)]
pub struct Notes {
    pub counts: Counts,
    pub fidelity: Vec<String>,
    pub warnings: Vec<String>,
    pub recovery_point: Option<(Timestamp, String)>,
    pub unchanged: bool,
    pub guarded: Option<Guarded>,
    pub guards_passed: bool,
}

/// Puts the end into the form in which the controller reads it.
pub fn termination(job: &SourceJob, end: Result<(), Failure>, notes: Notes) -> Termination {
    let (result, reason, message) = match end {
        Ok(()) if notes.unchanged => {
            (Outcome::Done, None, "nothing had changed since the newest replica".to_owned())
        }
        Ok(()) => (Outcome::Done, None, "published".to_owned()),
        Err(failure) => (failure.outcome, Some(failure.reason), cut(&failure.message, MAX_MESSAGE)),
    };
    let mut termination = Termination {
        protocol: PROTOCOL,
        sync_id: job.sync_id.clone(),
        published: result == Outcome::Done,
        unchanged: result == Outcome::Done && notes.unchanged,
        result,
        reason,
        message,
        counts: notes.counts,
        fidelity: notes.fidelity,
        warnings: notes.warnings,
        recovery_point: notes.recovery_point,
        guarded: notes.guarded,
        guards_passed: notes.guards_passed,
    };
    fit(&mut termination);
    termination
}

/// Drops the least important until it fits.
fn fit(termination: &mut Termination) {
    while serde_json::to_vec(termination).map_or(0, |text| text.len()) > MAX_TERMINATION {
        if termination.fidelity.pop().is_none() && termination.warnings.pop().is_none() {
            let half = termination.message.chars().count() / 2;
            if half == 0 {
                return;
            }
            termination.message = cut(&termination.message, half);
        }
    }
}

fn cut(text: &str, length: usize) -> String {
    text.chars().take(length).collect()
}

/// Leaves the last words where the kubelet reads them.
///
/// # Errors
/// They cannot be written.
pub fn leave(termination: &Termination, path: &Path) -> Result<()> {
    let text = serde_json::to_vec(termination).context("write the termination message")?;
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Reason;

    #[test]
    fn last_words_always_fit() {
        let job: SourceJob = serde_json::from_value(serde_json::json!({
            "protocol": 1, "syncId": "s", "attempt": 1, "clusterId": "c", "claimUid": "u", "cutUid": "k",
            "dataTime": "2026-01-01T00:00:00Z", "consistency": "crash", "comparison": "content",
            "strictFidelity": false, "generation": 1, "sourceName": "ns/rs"
        }))
        .unwrap();
        let notes = Notes {
            fidelity: vec!["f".repeat(1000); 9],
            warnings: vec!["\n".repeat(1000); 9],
            ..Notes::default()
        };
        let failure = Failure::transient(Reason::TransferFailed, "\u{1}".repeat(10_000));
        let termination = termination(&job, Err(failure), notes);
        assert!(serde_json::to_vec(&termination).unwrap().len() <= MAX_TERMINATION);
        assert_eq!(termination.reason.as_deref(), Some("TransferFailed"));
        assert!(!termination.message.is_empty() && !termination.published);
    }
}
