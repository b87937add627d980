//! What the controller was started with, as far as decisions depend on it.

use crate::slots::Limits;
use scribe_mover_contract::job::Timeouts;

/// Limits and names that come from the controller's flags. Durations are in seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The image of mover pods.
    pub mover_image: String,
    /// The pull policy of that image; none: Kubernetes' default.
    pub mover_image_pull_policy: Option<String>,
    /// How long a cut may take where `spec.rsync.cutTimeout` is not set.
    pub cut_timeout: i64,
    /// How long a snapshot may take where `spec.rsync.publishTimeout` is not set.
    pub publish_timeout: i64,
    /// How long a mover pod may take to start.
    pub mover_start_timeout: i64,
    /// How many mover attempts a sync has.
    pub max_attempts: u32,
    /// The pause before the second attempt; it doubles each time.
    pub retry_base: i64,
    /// The longest pause between two attempts.
    pub retry_max: i64,
    /// How long a manual or continuous sync looks for its peer before it ends with `DestinationUnreachable`.
    pub unreachable_timeout: i64,
    /// The pause between two syncs of a continuous source that sets none.
    pub min_interval: i64,
    /// How many source movers may run at a time.
    pub limits: Limits,
    /// Time limits of movers.
    pub mover_timeouts: Timeouts,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mover_image: String::new(),
            mover_image_pull_policy: None,
            cut_timeout: 600,
            publish_timeout: 600,
            mover_start_timeout: 300,
            max_attempts: 5,
            retry_base: 10,
            retry_max: 300,
            unreachable_timeout: 3600,
            min_interval: 30,
            limits: Limits::default(),
            mover_timeouts: Timeouts::default(),
        }
    }
}
