//! What the destination is told while rsync runs: how far it is, for whoever looks there. Nothing waits for it, and nothing fails by it.

use super::ANSWER_MARGIN;
use super::exchange::NoAnswer;
use crate::state::StateCell;
use scribe_mover_contract::control::Progress;
use scribe_mover_contract::peer::ProgressNoted;
use std::convert::Infallible;
use std::time::Duration;

/// How often the destination is told at most.
const PAUSE: Duration = Duration::from_secs(5);
/// A destination that takes longer to say that it has heard is not told any more. It may hear late without hanging: what is told
/// waits there for the end of an earlier transfer.
const LIMIT: Duration = ANSWER_MARGIN;

/// Tells the destination of a session how far the transfer is.
pub struct Reporter<'a> {
    state: &'a StateCell,
    pause: Duration,
    limit: Duration,
}

impl<'a> Reporter<'a> {
    pub fn new(state: &'a StateCell) -> Self {
        Self { state, pause: PAUSE, limit: LIMIT }
    }

    /// Tells what is new, one thing at a time, until it is dropped.
    pub async fn tell(self, tell: impl AsyncFn(&Progress) -> Result<ProgressNoted, NoAnswer>) -> Infallible {
        let mut told = None;
        loop {
            tokio::time::sleep(self.pause).await;
            let progress = self.state.current().progress;
            if progress == told {
                continue;
            }
            if let Some(progress) = &progress {
                match tokio::time::timeout(self.limit, tell(progress)).await {
                    Ok(Ok(ProgressNoted {})) => {}
                    // The next one may get through; if the connection is gone, the commit will find out.
                    Ok(Err(NoAnswer::Lost(message))) => tracing::debug!("{message}"),
                    // It is older than this request, or serves somebody else by now.
                    Ok(Err(NoAnswer::Refused(message))) => {
                        tracing::info!("the destination does not take the progress: {message}");
                        break;
                    }
                    // Who hangs must not collect requests, which would leave no room for the commit.
                    Err(_) => {
                        tracing::info!("the destination does not take the progress: no answer");
                        break;
                    }
                }
            }
            told = progress;
        }
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    type Answer = Option<Result<ProgressNoted, NoAnswer>>;

    /// What was told of these steps, each of which is told before the next comes; the last answer is given again and again.
    async fn told(answers: &[fn() -> Answer], steps: &[u64]) -> Vec<u64> {
        let state = StateCell::new();
        let (pause, limit) = (Duration::from_millis(1), Duration::from_millis(20));
        let told = RefCell::new(Vec::new());
        let telling = Reporter { state: &state, pause, limit }.tell(async |progress| {
            let number = told.borrow().len();
            told.borrow_mut().push(progress.bytes_done);
            match answers[number.min(answers.len() - 1)]() {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        });
        let stepping = async {
            for &bytes_done in steps {
                let seen = told.borrow().len();
                state.change(|state| state.progress = Some(Progress { bytes_done, ..Progress::default() }));
                // Often enough to be sure that nothing comes.
                for _ in 0..100 {
                    if told.borrow().len() > seen {
                        break;
                    }
                    tokio::time::sleep(pause).await;
                }
            }
        };
        tokio::select! {
            never = telling => match never {},
            () = stepping => {}
        }
        told.into_inner()
    }

    fn noted() -> Answer {
        Some(Ok(ProgressNoted {}))
    }

    #[tokio::test]
    async fn only_what_is_new_is_told() {
        assert_eq!(told(&[noted], &[1, 1, 2, 2, 3]).await, [1, 2, 3]);
        assert_eq!(told(&[noted], &[]).await, [0; 0]);
    }

    #[tokio::test]
    async fn who_refuses_or_hangs_is_not_told_again_and_who_was_lost_is() {
        let refused = || Some(Err(NoAnswer::Refused("only handshake is served".to_owned())));
        let lost = || Some(Err(NoAnswer::Lost("the connection broke".to_owned())));
        assert_eq!(told(&[noted, refused], &[1, 2, 3, 4]).await, [1, 2]);
        assert_eq!(told(&[noted, || None], &[1, 2, 3, 4]).await, [1, 2]);
        assert_eq!(told(&[lost], &[1, 2, 3]).await, [1, 2, 3]);
    }

    #[tokio::test]
    async fn a_request_that_is_not_answered_is_given_up() {
        let state = StateCell::new();
        state.change(|state| state.progress = Some(Progress::default()));
        let (given_up, ended) = tokio::sync::oneshot::channel::<Infallible>();
        let given_up = RefCell::new(Some(given_up));
        let reporter = Reporter { state: &state, pause: Duration::ZERO, limit: Duration::from_millis(1) };
        let telling = reporter.tell(async |_| {
            let _held = given_up.take();
            std::future::pending().await
        });
        tokio::select! {
            never = telling => match never {},
            // An error, since it was dropped.
            end = ended => assert!(end.is_err()),
        }
    }
}
