//! The commands of the Scribe repository: `cargo xtask help`.

mod bench;
mod cluster;
mod codegen;
mod demo;
mod hooks;
mod image;
mod lint;
mod process;
mod test;

use std::io::IsTerminal;
use std::time::Instant;

use clap::{Parser, Subcommand};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "The commands of the Scribe repository")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Replicate a database between two real clusters, lose one, bring it back
    Demo(demo::Options),
    /// Measure what things cost
    #[command(subcommand)]
    Bench(bench::Command),
    /// Development clusters on this machine
    #[command(subcommand)]
    Cluster(cluster::Command),
    /// Build container images, and load them into clusters
    Image(image::Command),
    /// Build the example hooks as modules, in `target/hooks`
    Hooks(hooks::Options),
    /// Write the files that are generated from the API types
    Codegen,
    /// Check formatting, clippy's advice, and licences
    Lint,
    /// Run the tests: every tier, or those named
    Test(test::Options),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Args { command } = Args::parse();
    tracing_subscriber::fmt()
        .with_timer(Elapsed(Instant::now()))
        .with_ansi(std::io::stderr().is_terminal())
        .with_level(false)
        .with_target(false)
        .with_writer(std::io::stderr)
        .with_env_filter(filter())
        .init();
    match command {
        Command::Cluster(command) => cluster::run(command).await,
        Command::Image(command) => image::run(&command),
        Command::Demo(options) => demo::run(&options).await,
        Command::Bench(command) => bench::run(&command).await,
        Command::Hooks(options) => hooks::run(&options),
        Command::Codegen => codegen::run(),
        Command::Lint => lint::lint(),
        Command::Test(options) => test::test(&options).await,
    }
}

/// Seconds since the command began, which is what one wants to know of a step that takes long.
struct Elapsed(Instant);

impl FormatTime for Elapsed {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        write!(writer, "{:6.1} s", self.0.elapsed().as_secs_f32())
    }
}

/// `RUST_LOG` decides; without it, what the commands themselves say.
fn filter() -> tracing_subscriber::EnvFilter {
    tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info,kube_client=off".into())
}
