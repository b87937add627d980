//! Points in time, as people write them.

use std::fmt;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

/// The end of the year 9999, in milliseconds since 1970-01-01T00:00:00Z.
const MOST: u64 = 253_402_300_799_999;

/// Milliseconds since 1970-01-01T00:00:00Z. Written like `2026-01-05T22:30:00Z`, or as that number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl Visitor<'_> for Reader {
            type Value = Moment;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time like 2026-01-05T22:30:00Z, or milliseconds since 1970")
            }

            fn visit_u64<E: de::Error>(self, millis: u64) -> Result<Moment, E> {
                let wrong = || E::invalid_value(de::Unexpected::Unsigned(millis), &self);
                if millis <= MOST { Ok(Moment(millis)) } else { Err(wrong()) }
            }

            fn visit_i64<E: de::Error>(self, millis: i64) -> Result<Moment, E> {
                let wrong = |_| E::invalid_value(de::Unexpected::Signed(millis), &self);
                u64::try_from(millis).map_err(wrong).and_then(|millis| self.visit_u64(millis))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Moment, E> {
                let wrong = || E::invalid_value(de::Unexpected::Str(text), &self);
                if let Ok(millis) = text.parse() {
                    return self.visit_u64(millis);
                }
                let time: Timestamp = text.parse().map_err(|_| wrong())?;
                u64::try_from(time.as_millisecond()).map(Moment).map_err(|_| wrong())
            }
        }

        deserializer.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_text_or_milliseconds() {
        for text in ["\"2026-01-05T22:30:00.5Z\"", "1767652200500", "\"2026-01-05T23:30:00.5+01:00\""] {
            assert_eq!(serde_json::from_str::<Moment>(text).unwrap(), Moment(1_767_652_200_500), "{text}");
        }
        for text in
            ["\"2026-01-05\"", "-1", "253402300800000", "\"1969-01-01T00:00:00Z\"", "true", "\"soon\""]
        {
            let error = serde_json::from_str::<Moment>(text).unwrap_err().to_string();
            assert!(error.contains("a time like 2026-01-05T22:30:00Z"), "{text}: {error}");
        }
    }
}
