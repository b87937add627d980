//! Guards: what a source refuses to do to a receiving claim unless its user says that it is meant, and how it says that it has refused.
//!
//! A source judges by counts of a dry run. *Files* are all entries but folders; *bytes* are the sizes of files, as their readers see
//! them.

use serde::{Deserialize, Serialize};

/// Shares are not judged of a claim with fewer files than this: where there is little, most of it may well change.
pub const LEAST_FILES: u64 = 100;
/// Shares of bytes are not judged of a claim that holds less than this, in bytes. Apart from [`LEAST_FILES`]: a few large files are worth
/// guarding too.
pub const LEAST_BYTES: u64 = 64 << 20;

/// What is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Guards {
    /// That a source without any file empties a claim with some.
    pub empty_source: bool,
    /// That more than this share of the claim's files, or of its bytes, is deleted, in percent. 100: nothing.
    pub max_deleted_percent: u8,
    /// That more than this share of the claim's files is rewritten, in percent. 100: nothing.
    pub max_rewritten_percent: u8,
}

/// Which guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Guard {
    /// The source holds no file.
    EmptySource,
    /// Too many files would be deleted.
    DeletedFiles,
    /// Too many bytes would be deleted.
    DeletedBytes,
    /// Too many files would be rewritten.
    RewrittenFiles,
}

/// What a sync would do to the receiving claim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    /// Files of the source.
    pub source_files: u64,
    /// Files of the receiving claim.
    pub files: u64,
    /// Those of them that would be deleted.
    pub deleted_files: u64,
    /// Those of them that differ in size or time, and would be rewritten.
    pub rewritten_files: u64,
    /// Bytes that the last commit brought into the claim; nothing if there was none, and then bytes are not judged.
    pub bytes: Option<u64>,
    /// Those of them that would be deleted: what the source has that is not new is still there, and the rest is not.
    pub deleted_bytes: u64,
}

/// A source says that a guard keeps it from sending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Guarded {
    /// The sync.
    pub sync_id: String,
    /// Its attempt.
    pub attempt: u32,
    /// The uid of the source claim.
    pub claim_uid: String,
    /// Which guard.
    pub guard: Guard,
    /// What it allows, in percent; of no meaning for [`Guard::EmptySource`].
    pub percent: u8,
    /// What the sync would have done.
    pub forecast: Forecast,
}

/// The destination's answer to [`Guarded`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "camelCase")]
pub enum GuardedAnswer {
    /// It is recorded, and the session is over.
    Noted,
    /// Not recorded yet: say it again (the controller is away).
    Wait {
        /// When, in seconds.
        seconds: u64,
    },
}

impl Guards {
    /// The first guard that finds fault with what a sync would do, with what it allows, in percent.
    pub fn judge(&self, forecast: &Forecast) -> Option<(Guard, u8)> {
        let Forecast { source_files, files, deleted_files, rewritten_files, bytes, deleted_bytes } =
            *forecast;
        // However little there is: nothing may be left of it.
        if self.empty_source && source_files == 0 && deleted_files > 0 {
            return Some((Guard::EmptySource, 0));
        }
        let (deleted, rewritten) = (self.max_deleted_percent, self.max_rewritten_percent);
        if files >= LEAST_FILES && is_more(deleted_files, files, deleted) {
            return Some((Guard::DeletedFiles, deleted));
        }
        if bytes.is_some_and(|bytes| bytes >= LEAST_BYTES && is_more(deleted_bytes, bytes, deleted)) {
            return Some((Guard::DeletedBytes, deleted));
        }
        let too_many = files >= LEAST_FILES && is_more(rewritten_files, files, rewritten);
        too_many.then_some((Guard::RewrittenFiles, rewritten))
    }
}

/// Whether a part of a whole is more than that many percent of it, and not everything is allowed.
fn is_more(part: u64, whole: u64, percent: u8) -> bool {
    percent < 100 && u128::from(part) * 100 > u128::from(whole) * u128::from(percent)
}

impl Guarded {
    /// What it found, in words, for people.
    pub fn words(&self) -> String {
        let Forecast { files, deleted_files, rewritten_files, bytes, deleted_bytes, .. } = self.forecast;
        let allowed = self.percent;
        match self.guard {
            Guard::EmptySource => format!(
                "the source holds no file, and the {deleted_files} files of the receiving claim would be deleted"
            ),
            Guard::DeletedFiles => format!(
                "{deleted_files} of the {files} files of the receiving claim would be deleted, and {allowed} % of them may be"
            ),
            Guard::DeletedBytes => format!(
                "{} of the {} MiB of the receiving claim would be deleted, and {allowed} % of them may be",
                deleted_bytes >> 20,
                bytes.unwrap_or_default() >> 20
            ),
            Guard::RewrittenFiles => format!(
                "{rewritten_files} of the {files} files of the receiving claim would be rewritten, and {allowed} % of them may be"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUARDS: Guards = Guards { empty_source: true, max_deleted_percent: 50, max_rewritten_percent: 80 };

    /// Of a claim with 1000 files and 1 GiB.
    fn forecast(deleted_files: u64, rewritten_files: u64, deleted_bytes: u64) -> Forecast {
        Forecast {
            source_files: 1000 - deleted_files,
            files: 1000,
            deleted_files,
            rewritten_files,
            bytes: Some(1 << 30),
            deleted_bytes,
        }
    }

    #[test]
    fn a_guard_allows_its_share_and_no_more() {
        let half = 1 << 29;
        for (forecast, verdict) in [
            (forecast(500, 800, half), None),
            (forecast(501, 0, 0), Some((Guard::DeletedFiles, 50))),
            (forecast(0, 801, 0), Some((Guard::RewrittenFiles, 80))),
            (forecast(0, 0, half + 1), Some((Guard::DeletedBytes, 50))),
            (forecast(1000, 0, 1 << 30), Some((Guard::EmptySource, 0))),
        ] {
            assert_eq!(GUARDS.judge(&forecast), verdict, "{forecast:?}");
        }
    }

    #[test]
    fn of_little_only_the_end_of_all_is_judged() {
        let little = Forecast {
            source_files: 1,
            files: LEAST_FILES - 1,
            deleted_files: LEAST_FILES - 1,
            rewritten_files: LEAST_FILES - 1,
            bytes: Some(LEAST_BYTES - 1),
            deleted_bytes: LEAST_BYTES - 1,
        };
        assert_eq!(GUARDS.judge(&little), None);
        let gone = Forecast { source_files: 0, files: 1, deleted_files: 1, ..Forecast::default() };
        assert_eq!(GUARDS.judge(&gone), Some((Guard::EmptySource, 0)));
        // A few large files, as of virtual machines.
        let large = Forecast { source_files: 1, files: 3, deleted_files: 2, ..forecast(0, 0, 1 << 30) };
        assert_eq!(GUARDS.judge(&large), Some((Guard::DeletedBytes, 50)));
        // Nobody knows how many bytes there are.
        assert_eq!(GUARDS.judge(&Forecast { bytes: None, ..large }), None);
    }

    #[test]
    fn what_holds_nothing_loses_nothing() {
        assert_eq!(GUARDS.judge(&Forecast::default()), None);
        assert_eq!(GUARDS.judge(&Forecast { bytes: Some(0), ..Forecast::default() }), None);
    }

    #[test]
    fn each_guard_can_be_turned_off() {
        let off = Guards { empty_source: false, max_deleted_percent: 100, max_rewritten_percent: 100 };
        // Sizes that do not go together, as of a claim that somebody else has written to.
        let worst = Forecast { files: 200, rewritten_files: 999, ..forecast(1000, 0, u64::MAX) };
        assert_eq!(off.judge(&worst), None);
        let shares = Guards { empty_source: false, ..GUARDS };
        assert_eq!(shares.judge(&forecast(1000, 0, 0)), Some((Guard::DeletedFiles, 50)));
    }
}
