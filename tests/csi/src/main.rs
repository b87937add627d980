//! A CSI driver for tests: volumes are image files on an XFS pool, clones are reflinks.
//!
//! README.md says how to run it, which faults it can be told to make and what it journals.

mod call;
mod cleanup;
mod controller;
mod faults;
mod filesystem;
mod identity;
mod journal;
mod locks;
mod loops;
mod mounts;
mod node;
mod pool;
mod proto;
mod registration;
mod request;
#[cfg(test)]
mod root_tests;
mod serve;
mod snapshot;
mod stage;
mod volume;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// A CSI driver for tests: volumes are sparse images on an XFS pool, snapshots and clones are reflinks.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Cli {
    #[command(flatten)]
    serve: Option<ServeArgs>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Unmount and detach everything that belongs to a state directory. The files stay.
    Cleanup {
        /// The state directory of the driver that ran.
        #[arg(long)]
        state_dir: PathBuf,
    },
}

/// How to serve: one driver for one node.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The CSI socket. Its folder is made; a stale socket is replaced.
    #[arg(long)]
    pub endpoint: PathBuf,
    /// The kubelet's plugins_registry folder, where this driver registers itself. Without it, it does not register.
    #[arg(long)]
    pub registration_dir: Option<PathBuf>,
    /// Where the pool, the faults and the journal live.
    #[arg(long)]
    pub state_dir: PathBuf,
    /// The name of the node in the cluster.
    #[arg(long)]
    pub node_id: String,
    /// The driver's name, as in the CSIDriver object.
    #[arg(long, default_value = "csi.scribe.test")]
    pub driver_name: String,
    /// The size of the pool when it is first made, as a Kubernetes quantity. The pool itself is sparse.
    #[arg(long, default_value = "20Gi", value_parser = request::parse_quantity)]
    pub pool_size: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")))
        .with_writer(std::io::stderr)
        .init();
    match Cli::parse() {
        Cli { command: Some(Command::Cleanup { state_dir }), .. } => cleanup::cleanup(&state_dir),
        Cli { serve: Some(args), .. } => serve::serve(args).await,
        // Clap requires the arguments of `serve` wherever there is no subcommand.
        Cli { .. } => anyhow::bail!("neither a command nor the arguments to serve were given; see --help"),
    }
}
