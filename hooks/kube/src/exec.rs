//! Running commands to their end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use kube::Client;
use scribe_hooks_contract::effects::{Command, ExecError, Outcome};
use scribe_hooks_contract::limits::fixed;
use scribe_hooks_contract::undo::Place;

use crate::stream::{End, Output, open};

/// Commands of one call that run at the same time.
const AT_ONCE: usize = 8;

/// Runs the command in all these places, for as long as it may take. The first that cannot be run ends the others.
pub(crate) async fn run_all(
    client: &Client,
    namespace: &str,
    places: &[Place],
    command: &Command,
) -> Result<Vec<Outcome>, ExecError> {
    let all = run_to_the_end(client, namespace, places, command);
    let limit = Duration::from_secs(command.timeout_seconds.max(1).into());
    tokio::time::timeout(limit, all).await.unwrap_or(Err(ExecError::TimedOut))
}

/// The same, however long it takes.
pub(crate) async fn run_to_the_end(
    client: &Client,
    namespace: &str,
    places: &[Place],
    command: &Command,
) -> Result<Vec<Outcome>, ExecError> {
    // All of them together: what a call may bring home does not grow with the number of pods.
    let budget = AtomicU64::new(fixed::EXEC_OUTPUT_BYTES);
    let mut runs = Vec::with_capacity(places.len());
    for place in places {
        runs.push(run(client, namespace, place, command, &budget).boxed());
    }
    stream::iter(runs).buffered(AT_ONCE).try_collect().await
}

async fn run(
    client: &Client,
    namespace: &str,
    place: &Place,
    command: &Command,
    budget: &AtomicU64,
) -> Result<Outcome, ExecError> {
    let stream = open(client, namespace, place, &command.argv).await?;
    let most = command.max_output as usize;
    let mut outcome = Outcome {
        pod: place.pod.clone(),
        exit_code: 0,
        stdout: Vec::new(),
        stderr: Vec::new(),
        truncated: false,
    };
    let end = stream
        .run(&command.stdin, std::future::ready(()), |output, bytes| {
            let kept = match output {
                Output::Stdout => &mut outcome.stdout,
                Output::Stderr => &mut outcome.stderr,
            };
            let room = most.saturating_sub(kept.len()).min(bytes.len());
            let room = take(budget, room);
            kept.extend_from_slice(&bytes[..room]);
            outcome.truncated |= room < bytes.len();
        })
        .await;
    match end {
        End::Exited(code) => {
            outcome.exit_code = code;
            Ok(outcome)
        }
        End::Lost(why) if is_no_program(&why) => {
            let program = command.argv.first().map_or("", String::as_str);
            Err(ExecError::NoSuchTarget(format!("{place} has no program {program}")))
        }
        End::Lost(why) => Err(ExecError::Unavailable(format!("{place}: {why}"))),
    }
}

/// Whether that is what runtimes say of a program that is not there. There is no code for it; in other words it is an error like any other.
fn is_no_program(why: &str) -> bool {
    ["executable file not found", "no such file or directory"].iter().any(|words| why.contains(words))
}

/// Takes as much as there is, and at most this.
fn take(budget: &AtomicU64, wanted: usize) -> usize {
    let wanted = wanted as u64;
    let before =
        budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(wanted)));
    let (Ok(left) | Err(left)) = before;
    usize::try_from(wanted.min(left)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_taken_once() {
        let budget = AtomicU64::new(10);
        assert_eq!((take(&budget, 6), take(&budget, 6), take(&budget, 6)), (6, 4, 0));
    }
}
