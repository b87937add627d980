//! `cargo xtask image`: container images without a container engine.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use scribe_tests::cluster::{Cluster, ensure_packages, repository};
use scribe_tests::command::run as run_program;
use scribe_tests::images;
use tracing::info;

use crate::cluster::target_dir;
use crate::hooks;
use crate::process::cargo;

/// The programs of Scribe's image, each of a package of the same name.
const PROGRAMS: [&str; 2] = ["scribe-controller", "scribe-mover"];

#[derive(Debug, Args)]
pub struct Command {
    /// The images to build
    #[arg(value_enum, default_values = ["scribe"])]
    images: Vec<Kind>,
    /// Load them into this cluster; may be given more than once
    #[arg(long)]
    cluster: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Controller and mover
    Scribe,
    /// PostgreSQL, the workload of the demo
    Postgres,
    /// A shell and tools, the workload of the tests
    Workload,
    /// The example modules of hooks, to be mounted into the controller
    Hooks,
}

pub fn run(command: &Command) -> Result<()> {
    for kind in &command.images {
        let archive = build(*kind)?;
        println!("{}", archive.display());
        for name in &command.cluster {
            Cluster::attach(name)?.import_image(&archive)?;
            info!("cluster {name} holds {kind:?}");
        }
    }
    Ok(())
}

/// Builds one image and returns its archive.
pub fn build(kind: Kind) -> Result<PathBuf> {
    ensure_packages()?;
    match kind {
        Kind::Scribe => images::scribe(&build_programs()?),
        Kind::Postgres => images::postgres(),
        Kind::Workload => images::workload(),
        Kind::Hooks => images::hooks(&hooks::modules()?),
    }
}

/// Builds Scribe's image as it is shipped: optimised.
pub fn build_release() -> Result<PathBuf> {
    ensure_packages()?;
    let mut cargo = cargo(&["build", "--quiet", "--release", "--locked"]);
    cargo.args(PROGRAMS.map(|program| format!("--package={program}")));
    run_program(cargo.current_dir(repository())).context("build the programs of the image")?;
    images::scribe(&PROGRAMS.map(|program| target_dir().join("release").join(program)))
}

fn build_programs() -> Result<Vec<PathBuf>> {
    build_workspace().context("build the programs of the image")?;
    Ok(PROGRAMS.map(|program| target_dir().join("debug").join(program)).to_vec())
}

/// Builds every program at once: one at a time, each would have the dependencies built with features of its own.
pub fn build_workspace() -> Result<()> {
    let mut cargo = cargo(&["build", "--quiet", "--workspace", "--bins"]);
    run_program(cargo.current_dir(repository())).map(drop)
}
