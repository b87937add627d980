//! `cargo xtask test`: every tier of tests, from the least powerful to the real clusters.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use scribe_tests::cluster::{Binaries, Cluster, Options as ClusterOptions, ensure_prerequisites};
use scribe_tests::kubectl::Kubectl;
use scribe_tests::world;
use tracing::{error, info};

use crate::cluster::target_dir;
use crate::hooks;
use crate::image::{self, Kind};
use crate::lint::lint;
use crate::process::{cargo, run};

#[derive(Debug, Args)]
pub struct Options {
    /// The tiers to run; all of them if none is named
    #[arg(value_enum)]
    tiers: Vec<Tier>,
    /// Only the tests whose name contains this
    #[arg(long)]
    filter: Option<String>,
    /// Run longer: more rounds of what is random, larger trees
    #[arg(long)]
    exhaustive: bool,
    /// Leave the clusters of the e2e tier running, for a next run or a closer look
    #[arg(long)]
    keep: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Tier {
    /// Formatting, clippy, licences
    Lint,
    /// In-process, real ssh and rsync on loopback, and the example hooks in each of their languages
    Unit,
    /// Real etcd and kube-apiserver
    Apiserver,
    /// Two real clusters
    E2e,
}

const ALL: [Tier; 4] = [Tier::Lint, Tier::Unit, Tier::Apiserver, Tier::E2e];

/// Runs the tiers in their order, all of them even if one fails, and prints the time of each.
pub async fn test(options: &Options) -> Result<()> {
    let chosen = |tier: &Tier| options.tiers.is_empty() || options.tiers.contains(tier);
    let tiers: Vec<Tier> = ALL.into_iter().filter(chosen).collect();
    let mut times = Vec::new();
    let mut failed = Vec::new();
    let start = Instant::now();
    ensure_prerequisites()?;
    times.push(("packages", start.elapsed()));
    if tiers.iter().any(|tier| *tier != Tier::Lint) {
        let start = Instant::now();
        run(&mut cargo(&["test", "--workspace", "--no-run", "--quiet"]))?;
        // That builds a program itself only where tests of its package run it; the images hold all of them.
        run(&mut cargo(&["build", "--workspace", "--bins", "--quiet"]))?;
        times.push(("build", start.elapsed()));
    }
    if tiers.iter().any(|tier| matches!(tier, Tier::Apiserver | Tier::E2e)) {
        let start = Instant::now();
        Binaries::ensure()?;
        times.push(("binaries", start.elapsed()));
    }
    for tier in tiers {
        let start = Instant::now();
        if let Err(error) = run_tier(tier, options).await {
            error!("{}: {error:#}", tier.name());
            failed.push(tier.name());
        }
        times.push((tier.name(), start.elapsed()));
    }
    for (name, time) in times {
        info!("{name:>10} {:5.0} s", time.as_secs_f32());
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

impl Tier {
    fn name(self) -> &'static str {
        match self {
            Self::Lint => "lint",
            Self::Unit => "unit",
            Self::Apiserver => "apiserver",
            Self::E2e => "e2e",
        }
    }
}

async fn run_tier(tier: Tier, options: &Options) -> Result<()> {
    match tier {
        Tier::Lint => lint(),
        // Always the whole workspace: a part of it would be built anew with the features of that part.
        Tier::Unit => cargo_test(&["--workspace", "--lib", "--bins", "--test", "it"], options)
            .and_then(|()| cargo_test(&["--workspace", "--doc"], options))
            // What else runs there is not chosen by the names of tests.
            .and_then(|()| if options.filter.is_none() { hooks::test() } else { Ok(()) }),
        Tier::Apiserver => cargo_test(&["--workspace", "--test", "apiserver"], options),
        Tier::E2e => end_to_end(options).await,
    }
}

/// Two clusters with Scribe in both, the tests, and the clusters' end.
async fn end_to_end(options: &Options) -> Result<()> {
    hooks::ensure()?;
    let image = image::build(Kind::Scribe)?;
    // What the tests of the first cluster run besides.
    let others = [image::build(Kind::Postgres)?, image::build(Kind::Workload)?];
    let modules = image::build(Kind::Hooks)?;
    let csi_driver = Some(target_dir().join("debug/scribe-test-csi"));
    for name in world::CLUSTERS {
        let cluster = Cluster::up(name, &ClusterOptions { csi_driver: csi_driver.clone() }).await?;
        cluster.import_image(&image)?;
        cluster.import_image(&modules)?;
        if name == world::CLUSTERS[0] {
            others.iter().try_for_each(|archive| cluster.import_image(archive))?;
        }
        world::install(&Kubectl::of(&cluster), "deploy/overlays/e2e")
            .await
            .with_context(|| format!("install Scribe on {name}"))?;
    }
    let mut tests = test_command(&["--workspace", "--test", "e2e"], options);
    // They wait more than they work: two at a time, one for each core, take half as long again.
    tests.arg("--test-threads=6");
    let result = run(&mut tests);
    if options.keep {
        info!("the clusters {} are left running", world::CLUSTERS.join(" and "));
    } else {
        world::CLUSTERS.iter().try_for_each(|name| Cluster::down(name))?;
    }
    result
}

fn cargo_test(selection: &[&str], options: &Options) -> Result<()> {
    run(&mut test_command(selection, options))
}

fn test_command(selection: &[&str], options: &Options) -> Command {
    let mut command = cargo(&["test", "--no-fail-fast"]);
    command.args(selection);
    if options.exhaustive {
        command.env("SCRIBE_TEST_EXHAUSTIVE", "1");
    }
    command.arg("--").args(options.filter.as_deref());
    command
}
