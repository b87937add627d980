//! Which replicas to keep.

use crate::bindings::retention::exports::scribe::hooks::retention::{Context as RawContext, Guest};
use crate::{Context, Hook};

pub use crate::bindings::retention::exports::scribe::hooks::retention::{Keep, Point};

/// Chooses which replicas are kept. Pure, and deterministic: the same points and the same time give the same answer.
pub trait Retention: Hook {
    /// `points` are sorted by `created`, then by `id`: the newest is the last. What is not named may be deleted, except the newest ready
    /// one and what is pinned or in use.
    ///
    /// # Errors
    /// Keeps everything.
    fn choose(ctx: &Context<Self::Settings>, points: &[Point]) -> Result<Vec<Keep>, String>;
}

impl Keep {
    /// Keeps `point`. The reason is shown beside the replica.
    pub fn new(point: &Point, reason: impl Into<String>) -> Self {
        Self { id: point.id.clone(), reason: reason.into() }
    }
}

impl Point {
    /// The value of one of its labels.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        crate::types::label(&self.labels, key)
    }
}

impl<T: Retention> Guest for T {
    fn choose(ctx: RawContext, points: Vec<Point>) -> Result<Vec<Keep>, String> {
        crate::panics::report();
        let ctx = Context::read(ctx).map_err(|problem| format!("settings: {}", problem.line()))?;
        <T as Retention>::choose(&ctx, &points)
    }
}
