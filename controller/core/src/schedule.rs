//! When a cron schedule ticks.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};

/// How far ahead ticks are looked at, to find the longest time between two.
const HORIZON: SignedDuration = SignedDuration::from_hours(8 * 24);
const MOST_TICKS: usize = 100;

/// The zone of a schedule for which none is given.
pub const DEFAULT_ZONE: &str = "UTC";

/// A cron expression of five fields, or a nickname such as `@hourly`, in a time zone.
///
/// When the clocks go forward, a fixed time of day that does not exist that day ticks at the first moment after the gap. When they go
/// back, it ticks once; an expression with a wildcard or a step (`*/15`) goes on ticking through the repeated hour.
#[derive(Clone, Debug)]
pub struct Schedule {
    cron: Cron,
    zone: TimeZone,
    expression: String,
    zone_name: String,
}

/// Why a schedule cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Not a cron expression of five fields.
    #[error(
        "`{expression}` is not a cron expression of five fields ({cause}): write for example `*/15 * * * *`, or `@hourly`"
    )]
    Expression {
        /// What was given.
        expression: String,
        /// The parser's words.
        cause: String,
    },
    /// An expression that no day fits.
    #[error("`{expression}` never comes to pass: no day fits it")]
    Never {
        /// What was given.
        expression: String,
    },
    /// Not a name of the IANA time zone database.
    #[error("`{zone}` is not in the IANA time zone database: write for example `Europe/Berlin` or `UTC`")]
    Zone {
        /// What was given.
        zone: String,
    },
}

impl Schedule {
    /// Reads an expression and the name of a zone.
    ///
    /// # Errors
    /// Fails if either cannot be read, or if no day ever fits the expression.
    pub fn parse(expression: &str, zone: Option<&str>) -> Result<Self, ScheduleError> {
        let zone_name = zone.unwrap_or(DEFAULT_ZONE);
        // The bundled database, never the host's: every replica of the controller has to come to the same ticks.
        let time_zone = TimeZoneDatabase::bundled()
            .get(zone_name)
            .map_err(|_| ScheduleError::Zone { zone: zone_name.to_owned() })?;
        let cron = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build()
            .parse(expression)
            .map_err(|error| ScheduleError::Expression {
                expression: expression.to_owned(),
                cause: error.to_string(),
            })?;
        let schedule = Self {
            cron,
            zone: time_zone,
            expression: expression.to_owned(),
            zone_name: zone_name.to_owned(),
        };
        match schedule.next_after(Timestamp::UNIX_EPOCH) {
            Some(_) => Ok(schedule),
            None => Err(ScheduleError::Never { expression: expression.to_owned() }),
        }
    }

    /// The first tick after a moment, if there is one before the end of time.
    pub fn next_after(&self, moment: Timestamp) -> Option<Timestamp> {
        let moment = moment.to_zoned(self.zone.clone());
        self.cron.find_next_occurrence(&moment, false).ok().map(|tick| tick.timestamp())
    }

    /// The longest time between two ticks, in seconds, from the last one before a moment on: among those of the next eight days, so that a
    /// weekend is seen, and 100 of them at most, as this is asked in every pass.
    pub fn longest_gap(&self, moment: Timestamp) -> Option<i64> {
        let horizon = moment.checked_add(HORIZON).unwrap_or(Timestamp::MAX);
        // Not from the moment itself: what is left of a pause gets ever shorter.
        let last = self.cron.find_previous_occurrence(&moment.to_zoned(self.zone.clone()), true).ok();
        let (mut longest, mut before) = (None, last.map_or(moment, |tick| tick.timestamp()));
        for _ in 0..MOST_TICKS {
            let Some(tick) = self.next_after(before) else { break };
            longest = longest.max(Some(tick.duration_since(before).as_secs()));
            // One that begins beyond the horizon counts if it is the first between two ticks: a rare one.
            if before >= horizon {
                break;
            }
            before = tick;
        }
        longest
    }

    /// The expression as it was given.
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// The name of the time zone.
    pub fn zone_name(&self) -> &str {
        &self.zone_name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(expression: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let schedule = Schedule::parse(expression, Some(zone)).unwrap();
        let mut at: Timestamp = after.parse().unwrap();
        (0..count)
            .map(|_| {
                at = schedule.next_after(at).unwrap();
                at.to_string()
            })
            .collect()
    }

    #[test]
    fn a_tick_is_later_than_the_moment_it_follows() {
        assert_eq!(
            ticks("*/15 * * * *", "UTC", "2026-01-01T00:15:00Z", 2),
            ["2026-01-01T00:30:00Z", "2026-01-01T00:45:00Z"]
        );
        assert_eq!(ticks("@daily", "UTC", "2026-01-01T00:00:00Z", 1), ["2026-01-02T00:00:00Z"]);
        assert_eq!(ticks("0 9 * * MON", "Asia/Kolkata", "2026-01-01T00:00:00Z", 1), ["2026-01-05T03:30:00Z"]);
    }

    #[test]
    fn a_time_that_the_clocks_skip_ticks_after_the_gap() {
        // Berlin, 29 March 2026: 02:00 becomes 03:00.
        assert_eq!(
            ticks("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2),
            ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
        );
        assert_eq!(
            ticks("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:29:00Z", 3),
            ["2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"]
        );
    }

    #[test]
    fn a_time_that_the_clocks_repeat_ticks_once_and_a_step_goes_on() {
        // Berlin, 25 October 2026: 03:00 becomes 02:00.
        assert_eq!(
            ticks("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
            ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
        );
        assert_eq!(
            ticks("*/30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", 4),
            ["2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:00:00Z"]
        );
    }

    #[test]
    fn ticks_rise_through_a_whole_year_of_every_kind_of_zone() {
        for zone in ["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Africa/Casablanca"] {
            let schedule = Schedule::parse("*/20 * * * *", Some(zone)).unwrap();
            let mut at: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
            let end: Timestamp = "2027-01-01T00:00:00Z".parse().unwrap();
            while at < end {
                let next = schedule.next_after(at).unwrap();
                assert!(next > at && next.as_second() - at.as_second() <= 1800, "{zone}: {at} then {next}");
                at = next;
            }
        }
    }

    #[test]
    fn the_longest_gap_is_that_of_the_next_ticks() {
        let gap = |expression: &str, from: &str| {
            Schedule::parse(expression, Some("Europe/Berlin")).unwrap().longest_gap(from.parse().unwrap())
        };
        const HOUR: i64 = 3600;
        assert_eq!(gap("*/15 * * * *", "2026-01-02T12:00:00Z"), Some(900));
        assert_eq!(gap("0 9 * * 1-5", "2026-01-07T12:00:00Z"), Some(72 * HOUR));
        // It is the same throughout a pause, to its end.
        for moment in ["2026-01-02T12:00:00Z", "2026-01-04T12:00:00Z", "2026-01-05T07:59:59Z"] {
            assert_eq!(gap("0 9 * * 1-5", moment), Some(72 * HOUR));
        }
        assert_eq!(gap("0 0 1,2 * *", "2026-01-25T12:00:00Z"), Some(30 * 24 * HOUR));
        assert_eq!(gap("*/5 9-17 * * 1-5", "2026-01-02T12:00:00Z"), Some(63 * HOUR + 300));
        // Ticks that are further apart than the horizon are looked at all the same, and so is the hour that the clocks give or take.
        assert_eq!(gap("0 0 1 * *", "2026-02-02T12:00:00Z"), Some((30 * 24 + 23) * HOUR));
        assert_eq!(gap("0 0 29 2 *", "2026-02-02T12:00:00Z"), Some(4 * 365 * 24 * HOUR + 24 * HOUR));
    }

    #[test]
    fn a_leap_day_has_its_ticks() {
        assert_eq!(
            ticks("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", 2),
            ["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]
        );
        assert_eq!(
            ticks("@daily", "UTC", "2028-02-27T12:00:00Z", 3),
            ["2028-02-28T00:00:00Z", "2028-02-29T00:00:00Z", "2028-03-01T00:00:00Z"]
        );
    }

    #[test]
    fn what_cannot_be_used_is_refused_in_words() {
        let words =
            |expression: &str, zone: Option<&str>| Schedule::parse(expression, zone).unwrap_err().to_string();
        for expression in
            ["", "* * * *", "* * * * * *", "61 * * * *", "* * 31 FEBRUARY *", "@reboot", "tomorrow"]
        {
            let error = words(expression, None);
            assert!(error.contains("is not a cron expression of five fields"), "{expression}: {error}");
        }
        assert_eq!(words("0 0 30 2 *", None), "`0 0 30 2 *` never comes to pass: no day fits it");
        assert!(words("@hourly", Some("Europe/Atlantis")).contains("`Europe/Atlantis` is not in the IANA"));
        assert!(words("@hourly", Some("../../etc/passwd")).contains("IANA"));
    }
}
