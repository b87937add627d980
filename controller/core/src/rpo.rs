//! Whether the newest replica is as young as it should be. Both sides judge by the same rule, each by what it knows.

use jiff::{SignedDuration, Timestamp};
use scribe_crds::conditions::{Reason, Status};

/// The condition `WithinRPO`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the objective is kept.
    pub status: Status,
    /// Why.
    pub reason: Reason,
    /// In words. They hold until something happens: no age that would be another one in every pass.
    pub message: String,
    /// When the objective will not be kept any more, if nothing happens before.
    pub ends: Option<Timestamp>,
}

/// Judges the age of the data of the newest published replica.
///
/// `objective` is in seconds. `since` is when the clock started where nothing has been published: the creation of the object.
pub fn judge(objective: Option<i64>, point: Option<Timestamp>, since: Timestamp, now: Timestamp) -> Verdict {
    let Some(seconds) = objective else {
        let message =
            "there is no objective: a schedule has one, and spec.rpo of the ReplicationSource sets one"
                .to_owned();
        return Verdict { status: Status::Unknown, reason: Reason::NoObjective, message, ends: None };
    };
    let objective = words(seconds);
    let end =
        point.unwrap_or(since).checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX);
    let (status, reason, message) = match point {
        Some(point) if now <= end => (
            Status::True,
            Reason::WithinObjective,
            format!(
                "the newest replica holds the data of {point}; the objective of {objective} is kept until {end}"
            ),
        ),
        Some(point) => (
            Status::False,
            Reason::ObjectiveExceeded,
            format!(
                "the newest replica holds the data of {point}; the objective of {objective} was kept until {end}"
            ),
        ),
        None if now <= end => (
            Status::Unknown,
            Reason::NoReplica,
            format!("there is no replica; the objective of {objective} gives the first one until {end}"),
        ),
        None => (
            Status::False,
            Reason::ObjectiveExceeded,
            format!("there is no replica; the objective of {objective} gave the first one until {end}"),
        ),
    };
    // Kept up to the very second: what comes after it is the next one.
    let ends = (now <= end).then(|| end.checked_add(SignedDuration::from_secs(1)).unwrap_or(Timestamp::MAX));
    Verdict { status, reason, message, ends }
}

/// Seconds, for people: `1h 30m`.
pub fn words(seconds: i64) -> String {
    format!("{:#}", SignedDuration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_objective_is_kept_up_to_its_last_second() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let judged = |objective, point: Option<i64>, now| {
            let Verdict { status, reason, ends, .. } = judge(objective, point.map(at), at(1000), at(now));
            (status, reason, ends.map(Timestamp::as_second))
        };
        assert_eq!(judged(Some(60), Some(2000), 2060), (Status::True, Reason::WithinObjective, Some(2061)));
        assert_eq!(judged(Some(60), Some(2000), 2061), (Status::False, Reason::ObjectiveExceeded, None));
        // A clock that went back does not make a replica bad.
        assert_eq!(judged(Some(60), Some(2000), 1900), (Status::True, Reason::WithinObjective, Some(2061)));
        assert_eq!(judged(Some(60), None, 1060), (Status::Unknown, Reason::NoReplica, Some(1061)));
        assert_eq!(judged(Some(60), None, 1061), (Status::False, Reason::ObjectiveExceeded, None));
        assert_eq!(judged(None, Some(2000), 9999), (Status::Unknown, Reason::NoObjective, None));
        assert_eq!(judged(Some(i64::MAX), Some(2000), 2000).0, Status::True);
    }

    #[test]
    fn durations_are_for_people() {
        assert_eq!(words(900), "15m");
        assert_eq!(words(5400), "1h 30m");
    }
}
