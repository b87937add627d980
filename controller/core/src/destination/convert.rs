//! What the contract between movers says, in the words of the API.

use jiff::Timestamp;
use scribe_crds::v1alpha1::{Comparison, Consistency};
use scribe_mover_contract::peer;

pub(super) fn consistency(said: peer::Consistency) -> Consistency {
    match said {
        peer::Consistency::Application => Consistency::Application,
        peer::Consistency::Filesystem => Consistency::Filesystem,
        peer::Consistency::Crash => Consistency::Crash,
        peer::Consistency::None => Consistency::None,
    }
}

pub(super) fn comparison(said: peer::Comparison) -> Comparison {
    match said {
        peer::Comparison::Content => Comparison::Content,
        peer::Comparison::Metadata => Comparison::Metadata,
    }
}

/// Kubernetes keeps seconds. Rounded down: a data time is never later than the true one.
pub(super) fn to_seconds(time: Timestamp) -> Timestamp {
    let below = time.as_second() - i64::from(time.subsec_nanosecond() < 0);
    Timestamp::from_second(below).unwrap_or(time)
}
