//! `cargo xtask bench hooks`: what calls of modules cost, what modules take, and how soon they are there after a start.
//!
//! The numbers come from a program, `hooks/benches/hooks`, that uses modules as the controller does. Here they are held against the goals. What it takes to
//! bring a database to rest is measured on a development cluster: see [`quiesce`](super::quiesce).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use clap::Args;
use scribe_tests::cluster::repository;

use super::quiesce;
use super::report::{self, Row, Spread};
use crate::hooks;
use crate::process::cargo;

#[derive(Debug, Args)]
pub struct Options {
    /// How often each call is made
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..))]
    calls: u32,
    /// Write the rows to this file, as JSON
    #[arg(long)]
    json: Option<PathBuf>,
    /// Leave out what needs a cluster
    #[arg(long)]
    no_cluster: bool,
}

/// What of a measurement is held against its goal.
#[derive(Clone, Copy)]
enum Of {
    /// What 99 of 100 keep to.
    P99,
    Median,
}

struct Goal {
    name: &'static str,
    /// The measurement that it is about.
    of: (&'static str, Of),
    most: f64,
    unit: &'static str,
}

const GOALS: [Goal; 6] = [
    Goal { name: "hooks/choose-50/rust/p99", of: ("choose-rust", Of::P99), most: 150.0, unit: "µs" },
    Goal {
        name: "hooks/choose-50/javascript/p99",
        of: ("choose-javascript", Of::P99),
        most: 5000.0,
        unit: "µs",
    },
    Goal { name: "hooks/choose-50/python/p99", of: ("choose-python", Of::P99), most: 5000.0, unit: "µs" },
    Goal { name: "hooks/compiled-copies-of-1000", of: ("copies", Of::Median), most: 1.0, unit: "copies" },
    Goal { name: "hooks/start-50", of: ("start", Of::Median), most: 1.0, unit: "s" },
    Goal { name: "hooks/resident/rust", of: ("resident", Of::Median), most: 1.0, unit: "MiB" },
];

/// Builds the modules and the programs, and runs them.
pub async fn run(options: &Options) -> Result<()> {
    let folder = hooks::measured()?;
    let mut cargo = cargo(&["bench", "--quiet", "--locked", "--package=scribe-hooks", "--bench=hooks", "--"]);
    cargo.arg(&folder).arg(options.calls.to_string()).current_dir(repository());
    let output = cargo.stderr(Stdio::inherit()).output().context("start cargo")?;
    ensure!(output.status.success(), "what measures hooks ended with {}", output.status);
    let numbers: BTreeMap<String, Vec<f64>> =
        serde_json::from_slice(&output.stdout).context("read what was measured")?;
    let mut rows = summarise(&numbers)?;
    if !options.no_cluster {
        rows.push(quiesce::run(&folder).await?);
    }
    options.json.as_deref().map_or(Ok(()), |path| report::write(&rows, path))
}

/// Prints all that was measured, and the goals.
fn summarise(numbers: &BTreeMap<String, Vec<f64>>) -> Result<Vec<Row>> {
    println!("{:20} {:>6} {:>10} {:>10} {:>10} {:>10}", "", "n", "min", "median", "p99", "max");
    for (name, values) in numbers {
        let spread = Spread::of(values).context("there is no number")?;
        let Spread { min, median, max } = spread;
        let p99 = percentile(values, 99).context("there is no number")?;
        println!("{name:20} {:>6} {min:10.3} {median:10.3} {p99:10.3} {max:10.3}", values.len());
    }
    println!("\n{:32} {:>10} {:>10} {:6} {:>8}", "", "ours", "goal", "", "ratio");
    let mut rows = Vec::new();
    for Goal { name, of: (measured, of), most, unit } in GOALS {
        let values = numbers.get(measured).with_context(|| format!("{measured} was not measured"))?;
        let ours = match of {
            Of::P99 => percentile(values, 99),
            Of::Median => Spread::of(values).map(|spread| spread.median),
        };
        let row = Row::of(name, ours.with_context(|| format!("{measured} has no number"))?, most, unit);
        println!("{name:32} {:10.3} {most:10} {unit:6} {:8.3}", row.ours, row.ratio);
        rows.push(row);
    }
    Ok(rows)
}

/// The least of these numbers that so many of a hundred do not exceed.
fn percentile(values: &[f64], hundredths: usize) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * hundredths).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_numbers() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&hundred, 99), Some(99.0));
        assert_eq!(percentile(&hundred[..50], 99), Some(100.0));
        assert_eq!(percentile(&[7.0], 99), Some(7.0));
        assert_eq!(percentile(&[], 99), None);
    }
}
