//! Bytes and durations as they stand in a manifest.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A number of bytes, written like a Kubernetes quantity: `64Mi`, `1Gi`, `262144`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Bytes(pub u64);

const UNITS: [(&str, u64); 6] =
    [("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10), ("G", 1_000_000_000), ("M", 1_000_000), ("k", 1000)];

impl Bytes {
    /// So many mebibytes.
    pub const fn mebi(count: u64) -> Self {
        Self(count << 20)
    }

    /// So many kibibytes.
    pub const fn kibi(count: u64) -> Self {
        Self(count << 10)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = &UNITS[..3];
        match binary.iter().find(|(_, size)| self.0 > 0 && self.0.is_multiple_of(*size)) {
            Some((unit, size)) => write!(f, "{}{unit}", self.0 / size),
            None => write!(f, "{}", self.0),
        }
    }
}

/// Text that is not a number of bytes, or not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MeasureError {
    /// Not a number of bytes.
    #[error("`{0}` is not a number of bytes: write it like 64Mi, 1Gi or 262144")]
    Bytes(String),
    /// Not a duration.
    #[error("`{0}` is not a duration: write it like 500ms, 30s, 2m or 1m30s")]
    Span(String),
}

impl FromStr for Bytes {
    type Err = MeasureError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || MeasureError::Bytes(text.to_owned());
        let (digits, size) = UNITS
            .iter()
            .find_map(|(unit, size)| text.strip_suffix(unit).map(|digits| (digits, *size)))
            .unwrap_or((text, 1));
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        digits.parse::<u64>().ok().and_then(|count| count.checked_mul(size)).map(Self).ok_or_else(wrong)
    }
}

impl From<Bytes> for String {
    fn from(bytes: Bytes) -> Self {
        bytes.to_string()
    }
}

impl TryFrom<String> for Bytes {
    type Error = MeasureError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl JsonSchema for Bytes {
    fn schema_name() -> Cow<'static, str> {
        "Bytes".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": 20, "pattern": "^[0-9]+(k|M|G|Ki|Mi|Gi)?$" })
    }
}

/// A length of time, to the millisecond: `500ms`, `30s`, `1m30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Span(pub Duration);

impl Span {
    /// So many seconds.
    pub const fn seconds(count: u64) -> Self {
        Self(Duration::from_secs(count))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        match (millis / 60_000, millis % 60_000) {
            (0, rest) if rest % 1000 != 0 => write!(f, "{rest}ms"),
            (0, rest) => write!(f, "{}s", rest / 1000),
            (minutes, 0) => write!(f, "{minutes}m"),
            (minutes, rest) if rest % 1000 != 0 => write!(f, "{minutes}m{rest}ms"),
            (minutes, rest) => write!(f, "{minutes}m{}s", rest / 1000),
        }
    }
}

impl FromStr for Span {
    type Err = MeasureError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || MeasureError::Span(text.to_owned());
        let mut millis: u64 = 0;
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let count: u64 = rest[..digits].parse().map_err(|_| wrong())?;
            rest = &rest[digits..];
            let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
            let unit: u64 = match &rest[..letters] {
                "ms" => 1,
                "s" => 1000,
                "m" => 60_000,
                "h" => 3_600_000,
                _ => return Err(wrong()),
            };
            rest = &rest[letters..];
            millis = count.checked_mul(unit).and_then(|part| millis.checked_add(part)).ok_or_else(wrong)?;
        }
        if text.is_empty() { Err(wrong()) } else { Ok(Self(Duration::from_millis(millis))) }
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

impl TryFrom<String> for Span {
    type Error = MeasureError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": 20, "pattern": "^([0-9]+(ms|s|m|h))+$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_and_written_as_in_a_manifest() {
        for (text, bytes) in
            [("64Mi", 64 << 20), ("1Gi", 1 << 30), ("262144", 262_144), ("5M", 5_000_000), ("0", 0)]
        {
            assert_eq!(text.parse::<Bytes>(), Ok(Bytes(bytes)), "{text}");
        }
        assert_eq!(Bytes(262_144).to_string(), "256Ki");
        assert_eq!(Bytes(100).to_string(), "100");
        for text in ["", "Mi", "-1", "+1", "1.5Gi", "1 Gi", "99999999999Gi", "1Ti"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
    }

    #[test]
    fn spans_are_read_and_written_as_in_a_manifest() {
        for (text, millis) in
            [("500ms", 500), ("30s", 30_000), ("1m30s", 90_000), ("2h", 7_200_000), ("0s", 0)]
        {
            assert_eq!(text.parse::<Span>(), Ok(Span(Duration::from_millis(millis))), "{text}");
        }
        // A bare number would be read as what nobody meant.
        for text in ["", "300", "s", "-1s", "1.5s", "1s ", "99999999999999999h", "1d"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_can_be_read(count in 0_u64..1 << 50) {
            proptest::prop_assert_eq!(Bytes(count).to_string().parse(), Ok(Bytes(count)));
            let span = Span(Duration::from_millis(count));
            proptest::prop_assert_eq!(span.to_string().parse(), Ok(span));
        }
    }
}
