//! What to do with a ReplicationDestination.

use crate::chance::Chance;
use crate::decision::Decision;
use crate::observed::DestinationObserved;
use crate::settings::Settings;
use jiff::Timestamp;
use scribe_crds::v1alpha1::DestinationStatus;

/// Decides what to do next with a ReplicationDestination.
pub fn decide(
    seen: &DestinationObserved,
    settings: &Settings,
    now: Timestamp,
    chance: &mut dyn Chance,
) -> Decision<DestinationStatus> {
    let _ = (seen, settings, now, chance);
    Decision::default()
}
