//! The two clocks.

use jiff::{SignedDuration, Timestamp};

/// Clocks that differ by more are reported: data times and schedules of the two sides are compared by people.
const MAX_SKEW: SignedDuration = SignedDuration::from_secs(5);

/// How wrong the destination's clock is, if it said `theirs` somewhere between `asked` and `answered` of ours.
pub fn skew(theirs: Timestamp, asked: Timestamp, answered: Timestamp) -> Option<String> {
    let (by, side) = if theirs < asked {
        (asked.duration_since(theirs), "behind")
    } else {
        (theirs.duration_since(answered), "ahead of")
    };
    (by > MAX_SKEW).then(|| format!("the destination's clock is {} s {side} the source's", by.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clocks_that_differ_by_more_than_the_answer_took_are_reported() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        assert_eq!(skew(at(100), at(100), at(160)), None);
        assert_eq!(skew(at(160), at(100), at(160)), None);
        assert_eq!(skew(at(95), at(100), at(160)), None);
        assert_eq!(
            skew(at(80), at(100), at(160)).unwrap(),
            "the destination's clock is 20 s behind the source's"
        );
        assert_eq!(
            skew(at(190), at(100), at(160)).unwrap(),
            "the destination's clock is 30 s ahead of the source's"
        );
    }
}
