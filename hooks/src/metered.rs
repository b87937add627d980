//! How long a call computes, waiting not counted.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Polls until the polls have taken more processor time than they may. Then it answers nothing.
///
/// By the thread's clock: a busy machine does not make a module slower. A poll of a module ends at the next tick at the latest.
pub(crate) struct Metered<F> {
    work: Pin<Box<F>>,
    left: Duration,
}

impl<F> Metered<F> {
    pub fn new(most: Duration, work: F) -> Self {
        Self { work: Box::pin(work), left: most }
    }
}

impl<F: Future> Future for Metered<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let began = computed();
        let polled = self.work.as_mut().poll(context).map(Some);
        if polled.is_ready() {
            return polled;
        }
        match self.left.checked_sub(computed().saturating_sub(began)) {
            Some(left) => {
                self.left = left;
                Poll::Pending
            }
            None => Poll::Ready(None),
        }
    }
}

/// What this thread has computed.
fn computed() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default()
}
