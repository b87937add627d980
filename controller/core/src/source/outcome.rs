//! How a mover pod ended. What it left behind is judged here: it may be cut off, forged or about another sync.

use super::attempt::container;
use crate::observed::Warning;
use crate::text::{bounded, clean};
use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod};
use scribe_crds::conditions::{Reason, Severity};
use scribe_crds::v1alpha1::{MoverResult, MoverStatus, Transfer};
use scribe_mover_contract::control::MoverState;
use scribe_mover_contract::job::{MAX_TERMINATION, Outcome, Termination};
use scribe_mover_contract::{OLDEST_PROTOCOL, PROTOCOL};

/// The longest text taken over into a message of ours, in bytes. An Event holds 1024.
const MAX_MESSAGE: usize = 600;
/// The longest `latestMoverStatus.logs`, in bytes.
const MAX_LOGS: usize = 1024;
const MAX_FIDELITY: usize = 64;

/// How a mover pod ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// The sync is published.
    Published(Termination),
    /// It is not.
    Failed {
        /// Whether another attempt may work.
        transient: bool,
        /// Why.
        reason: Reason,
        /// In words.
        message: String,
        /// What the mover left behind, if it can be read.
        left: Option<Termination>,
    },
}

/// Reads how a pod ended; `None` while it runs.
pub fn of(pod: &Pod, sync_id: &str) -> Option<Ending> {
    let ended = container(pod).and_then(|status| status.state.as_ref()?.terminated.as_ref());
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    match (ended, phase) {
        (Some(ended), _) => Some(judge(pod, ended, sync_id)),
        // Evicted before its container began, for example.
        (None, Some("Failed" | "Succeeded")) => Some(silent(pod_words(pod))),
        (None, _) => None,
    }
}

/// What a mover that still runs says of its end, if that is that the sync is published. Everything else is read when the pod has ended: it may
/// be about to fail in yet another way, and its attempt is not over before nothing of it runs.
pub fn told(state: &MoverState, sync_id: &str) -> Option<Ending> {
    let left = accept((**state.ended.as_ref()?).clone(), sync_id).ok()?;
    let ending = conclude(left, i32::from(Outcome::Done.exit_code()));
    matches!(ending, Ending::Published(_)).then_some(ending)
}

fn silent(message: String) -> Ending {
    Ending::Failed { transient: true, reason: Reason::MoverFailed, message, left: None }
}

/// Why a pod failed as a whole: eviction, a node that shuts down, a deadline.
fn pod_words(pod: &Pod) -> String {
    let status = pod.status.as_ref();
    let reason = status.and_then(|status| status.reason.as_deref()).unwrap_or("it did not say why");
    let message = status.and_then(|status| status.message.as_deref()).unwrap_or_default();
    format!("the mover pod ended: {} {}", clean(reason, 100), clean(message, MAX_MESSAGE))
        .trim_end()
        .to_owned()
}

fn judge(pod: &Pod, ended: &ContainerStateTerminated, sync_id: &str) -> Ending {
    let text = ended.message.as_deref().unwrap_or_default();
    match read(text, sync_id) {
        Ok(left) => conclude(left, ended.exit_code),
        Err(cause) => {
            let evicted = pod.status.as_ref().is_some_and(|status| status.reason.is_some());
            let why = ended.reason.as_deref().unwrap_or("no reason");
            let mut message =
                format!("the mover ended with exit code {} ({}), {cause}", ended.exit_code, clean(why, 100));
            if evicted {
                message = format!("{message}; {}", pod_words(pod));
            }
            silent(message)
        }
    }
}

fn read(text: &str, sync_id: &str) -> Result<Termination, &'static str> {
    if text.is_empty() {
        return Err("and left no message");
    }
    if text.len() > MAX_TERMINATION {
        return Err("and left a message that is too long");
    }
    let left = serde_json::from_str(text).map_err(|_| "and left a message that cannot be read")?;
    accept(left, sync_id)
}

fn accept(mut left: Termination, sync_id: &str) -> Result<Termination, &'static str> {
    if !(OLDEST_PROTOCOL..=PROTOCOL).contains(&left.protocol) {
        return Err("and left a message of another protocol version");
    }
    if left.sync_id != sync_id {
        return Err("and left a message about another sync");
    }
    left.message = clean(&left.message, MAX_MESSAGE);
    left.fidelity.truncate(MAX_FIDELITY);
    left.fidelity.iter_mut().for_each(|item| *item = clean(item, 256));
    left.warnings.truncate(MAX_FIDELITY);
    left.warnings.iter_mut().for_each(|item| *item = clean(item, 256));
    Ok(left)
}

fn conclude(left: Termination, exit_code: i32) -> Ending {
    let failed = |transient, fallback, left: Termination| {
        let given = left.reason.as_deref().unwrap_or_default();
        let reason = given.parse().ok().filter(|reason| is_movers(*reason));
        let words = if left.message.is_empty() { "the mover gave no message" } else { &left.message };
        let message = match reason {
            None if !given.is_empty() => format!("{}: {words}", clean(given, 100)),
            _ => words.to_owned(),
        };
        let reason = reason.unwrap_or(fallback);
        Ending::Failed { transient, reason, message, left: Some(left) }
    };
    match left.result {
        Outcome::Done if left.published && exit_code == i32::from(Outcome::Done.exit_code()) => {
            Ending::Published(left)
        }
        // It says that it is done, and does not say that it is published, or was killed after it said so: the next attempt asks the
        // destination again, which knows.
        Outcome::Done => {
            failed(true, Reason::MoverFailed, Termination { published: false, reason: None, ..left })
        }
        Outcome::Transient => failed(true, Reason::MoverFailed, left),
        // A reason that this controller does not know, of a newer mover or destination.
        Outcome::Permanent | Outcome::Refused => failed(false, Reason::InternalError, left),
    }
}

/// Whether a reason is one that a mover may give: trouble, and not one of those by which the controller steers itself.
fn is_movers(reason: Reason) -> bool {
    use Reason::{
        CutFailed, CutTimeout, CutVanished, InvalidSpec, MoverStartTimeout, PrivilegedMoversNotAllowed,
    };
    let ours =
        [CutFailed, CutTimeout, CutVanished, InvalidSpec, MoverStartTimeout, PrivilegedMoversNotAllowed]
            .contains(&reason);
    reason.severity() == Severity::Warning && !ours
}

/// What of it goes into the status.
pub fn mover_status(
    result: MoverResult,
    reason: Option<Reason>,
    left: Option<&Termination>,
    words: &str,
) -> MoverStatus {
    let warnings = left.iter().flat_map(|left| &left.warnings);
    let lines: Vec<&str> = std::iter::once(words).chain(warnings.map(String::as_str)).collect();
    MoverStatus {
        result,
        reason: reason.map(|reason| reason.as_str().to_owned()),
        logs: bounded(&lines.join("\n"), MAX_LOGS).to_owned(),
        transfer: left.map(transfer),
    }
}

/// What was moved, in the numbers of the API.
pub fn transfer(left: &Termination) -> Transfer {
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    Transfer {
        bytes_total: number(left.counts.bytes_total),
        bytes_sent: number(left.counts.bytes_sent),
        bytes_literal: number(left.counts.bytes_literal),
        files_total: number(left.counts.files_total),
        files_sent: number(left.counts.files_sent),
        files_deleted: number(left.counts.files_deleted),
    }
}

/// A warning of Kubernetes', as one bounded line.
pub fn warned(warning: &Warning) -> String {
    format!("{}: {}", clean(&warning.reason, 64), clean(&warning.message, 400))
}
