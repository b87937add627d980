//! `cargo xtask cluster`: development clusters by name.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use scribe_tests::cluster::{Cluster, Options, repository};

#[derive(Debug, Args)]
pub struct Name {
    /// The cluster's name
    #[arg(long, default_value = "west")]
    name: String,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a cluster and wait until it is ready; a healthy one is left alone
    Up {
        #[command(flatten)]
        name: Name,
        /// Start without the CSI driver for tests
        #[arg(long)]
        without_csi: bool,
        /// OCI archives to load into the node
        #[arg(long)]
        image: Vec<PathBuf>,
    },
    /// Remove a cluster with everything it made
    Down {
        #[command(flatten)]
        name: Name,
        /// Remove all of them
        #[arg(long, conflicts_with = "name")]
        all: bool,
    },
    /// Say which clusters there are and whether their components run
    Status,
    /// Run kubectl against a cluster: `cargo xtask cluster kubectl --name west -- get pods -A`
    Kubectl {
        #[command(flatten)]
        name: Name,
        /// What kubectl is told
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

pub async fn run(command: Command) -> Result<()> {
    match command {
        Command::Up { name, without_csi, image } => up(&name.name, without_csi, &image).await,
        Command::Down { name, all } => {
            let names = if all { Cluster::names()? } else { vec![name.name] };
            names.iter().try_for_each(|name| Cluster::down(name))
        }
        Command::Status => status(),
        Command::Kubectl { name, args } => kubectl(&name.name, &args),
    }
}

async fn up(name: &str, without_csi: bool, images: &[PathBuf]) -> Result<()> {
    let csi_driver = if without_csi { None } else { Some(build_csi_driver()?) };
    let cluster = Cluster::up(name, &Options { csi_driver }).await?;
    for archive in images {
        cluster.import_image(archive)?;
    }
    println!("export KUBECONFIG={}", cluster.kubeconfig().display());
    Ok(())
}

/// Builds the driver and returns its path.
pub fn build_csi_driver() -> Result<PathBuf> {
    crate::image::build_workspace().context("build the CSI driver for tests")?;
    Ok(target_dir().join("debug/scribe-test-csi"))
}

/// Where cargo puts what it builds.
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from)
}

fn status() -> Result<()> {
    for name in Cluster::names()? {
        let Ok(cluster) = Cluster::attach(&name) else {
            println!("{name}: does not run");
            continue;
        };
        println!("{name}: node {}, kubeconfig {}", cluster.node_ip(), cluster.kubeconfig().display());
        for component in cluster.components() {
            let state =
                component.pid.map_or_else(|| "not running".to_owned(), |pid| format!("process {pid}"));
            println!("  {:<24} {state}", component.name);
        }
    }
    Ok(())
}

fn kubectl(name: &str, args: &[String]) -> Result<()> {
    let cluster = Cluster::attach(name)?;
    let mut kubectl = process::Command::new(cluster.binaries().program("kubectl"));
    // `exec` returns only when it failed: kubectl takes over the terminal, its signals and the exit code.
    let error = kubectl.env("KUBECONFIG", cluster.kubeconfig()).args(args).exec();
    Err(error).context("start kubectl")
}
