//! Bugs that are put in by hand: each stands between the world and the core, and makes the whole behave as if the core had it.

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// A snapshot that is cut is said to be ready.
    PublishBeforeReady,
    /// Whenever a source is told to wait, the mover is unsealed all the same.
    UnsealBeforeCut,
    /// Old replicas are deleted when the next one is about to be published.
    PruneBeforePublish,
    /// The cut is applied in every pass, and known by its name alone.
    AppliedCut,
    /// A commit is heard, and recorded, once more after the next session has begun.
    RepeatedCommit,
    /// A controller that died still remembers that it holds an application at rest.
    RememberedRest,
}
