use jiff::civil::{DateTime, Time, Weekday};
use scribe_hook_sdk::Problem;
use serde::Deserialize;

/// What the user sets.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// An IANA name, such as `Europe/Vienna`.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// When the bandwidth is limited. Where two are open, the lower limit holds.
    #[serde(default)]
    pub windows: Vec<Window>,
    /// A sync is not limited if the last one has sent less than this.
    #[serde(default)]
    pub unlimited_below_bytes: u64,
    /// Compare by size and time, where spec.rsync.comparison of the source is Metadata too. Else every file is read.
    #[serde(default)]
    pub metadata: bool,
    /// But read every file on these days.
    #[serde(default)]
    pub content_on: Vec<Day>,
    /// rsync patterns, beside those of the spec.
    #[serde(default)]
    pub excludes: Vec<String>,
    /// Seconds without any byte after which the transfer is given up.
    #[serde(default)]
    pub timeout_seconds: Option<u32>,
}

/// Hours of some days. One that ends before it begins goes on into the next day.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Window {
    /// The days on which it begins; every day if there are none.
    #[serde(default)]
    pub days: Vec<Day>,
    /// As in `08:00`.
    #[cfg_attr(test, schemars(with = "String"))]
    pub from: Time,
    /// As in `18:00`; not within it any more.
    #[cfg_attr(test, schemars(with = "String"))]
    pub to: Time,
    /// KiB per second.
    pub bandwidth_kib: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

fn utc() -> String {
    "UTC".to_owned()
}

impl From<Weekday> for Day {
    fn from(day: Weekday) -> Self {
        match day {
            Weekday::Monday => Self::Mon,
            Weekday::Tuesday => Self::Tue,
            Weekday::Wednesday => Self::Wed,
            Weekday::Thursday => Self::Thu,
            Weekday::Friday => Self::Fri,
            Weekday::Saturday => Self::Sat,
            Weekday::Sunday => Self::Sun,
        }
    }
}

impl Window {
    /// Whether it is open at that hour of the wall's clock.
    pub fn contains(&self, now: DateTime) -> bool {
        let (time, day) = (now.time(), now.weekday());
        let begins = |day: Weekday| self.days.is_empty() || self.days.contains(&day.into());
        if self.from < self.to {
            return begins(day) && self.from <= time && time < self.to;
        }
        (begins(day) && self.from <= time) || (begins(day.previous()) && time < self.to)
    }
}

impl Settings {
    /// All that serde cannot see.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if crate::time_zone(&self.time_zone).is_err() {
            problems
                .push(Problem::at("/timeZone", "is no time zone: use an IANA name such as Europe/Vienna"));
        }
        for (index, window) in self.windows.iter().enumerate() {
            if window.from == window.to {
                let path = format!("/windows/{index}/to");
                problems.push(Problem::at(
                    path,
                    "is when it begins: leave the hours 00:00 to 23:59 for a whole day",
                ));
            }
            if window.bandwidth_kib == 0 {
                let path = format!("/windows/{index}/bandwidthKib");
                problems.push(Problem::at(path, "is 0, which rsync takes for no limit: use at least 1"));
            }
        }
        for (index, exclude) in self.excludes.iter().enumerate() {
            if exclude.is_empty() {
                problems.push(Problem::at(format!("/excludes/{index}"), "is empty"));
            }
        }
        if self.timeout_seconds == Some(0) {
            problems.push(Problem::at("/timeoutSeconds", "is 0: leave it out to keep the default"));
        }
        problems
    }
}
