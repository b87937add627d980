//! `cargo xtask bench`: what things cost, each next to something that anybody can repeat without Scribe.

mod hooks;
mod quiesce;
mod report;
mod sync;

use anyhow::Result;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// The cost of a sync on a development cluster, step by step, next to plain rsync over ssh
    Sync(sync::Options),
    /// The cost of hooks: calls, modules, and starts with many of them
    Hooks(hooks::Options),
}

pub async fn run(command: &Command) -> Result<()> {
    match command {
        Command::Sync(options) => sync::run(options).await,
        Command::Hooks(options) => hooks::run(options).await,
    }
}
