//! What to do with a ReplicationSource.

use crate::chance::Chance;
use crate::decision::Decision;
use crate::observed::SourceObserved;
use crate::settings::Settings;
use jiff::Timestamp;
use scribe_crds::v1alpha1::SourceStatus;

/// Decides what to do next with a ReplicationSource.
pub fn decide(seen: &SourceObserved, settings: &Settings, now: Timestamp, chance: &mut dyn Chance) -> Decision<SourceStatus> {
    let _ = (seen, settings, now, chance);
    Decision::default()
}
