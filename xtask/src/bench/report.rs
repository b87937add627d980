//! What benchmarks say, for people and for machines.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

/// One benchmark: Scribe, and what it is compared with, which may be a goal.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    pub name: String,
    /// The median of Scribe's runs, unless the name says another.
    pub ours: f64,
    /// The median of the runs that it is compared with, or the most that it may be.
    pub baseline: f64,
    pub unit: &'static str,
    /// `ours` by `baseline`.
    pub ratio: f64,
}

impl Row {
    /// A row of times, in seconds.
    pub fn seconds(name: &str, ours: f64, baseline: f64) -> Self {
        Self::of(name, ours, baseline, "s")
    }

    /// A row in that unit.
    pub fn of(name: &str, ours: f64, baseline: f64, unit: &'static str) -> Self {
        let (ours, baseline) = (milli(ours), milli(baseline));
        Self { name: name.to_owned(), ours, baseline, unit, ratio: milli(ours / baseline) }
    }
}

/// Nothing that is measured here is known to less than a thousandth.
fn milli(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

/// Writes `{"rows": […]}`.
///
/// # Errors
/// The file cannot be written.
pub fn write(rows: &[Row], path: &Path) -> Result<()> {
    #[derive(Serialize)]
    struct File<'a> {
        rows: &'a [Row],
    }
    let mut text = serde_json::to_string_pretty(&File { rows }).context("write the rows")?;
    text.push('\n');
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// The least, the middle and the most of some runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

impl Spread {
    /// `None`: there were no runs.
    pub fn of(runs: &[f64]) -> Option<Self> {
        let mut sorted = runs.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let half = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[half] } else { f64::midpoint(sorted[half - 1], sorted[half]) };
        Some(Self { min, median, max })
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:7.3} {:7.3} {:7.3}", self.min, self.median, self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(Spread::of(&[4.0, 1.0, 2.0, 3.0]), Some(Spread { min: 1.0, median: 2.5, max: 4.0 }));
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), Some(Spread { min: 1.0, median: 2.0, max: 3.0 }));
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn rows_are_written_as_they_are_read_by_machines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.json");
        write(&[Row::seconds("sync/nothing", 1.5, 0.5)], &path).unwrap();
        let read: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let expected = serde_json::json!({
            "rows": [{ "name": "sync/nothing", "ours": 1.5, "baseline": 0.5, "unit": "s", "ratio": 3.0 }]
        });
        assert_eq!(read, expected);
    }
}
