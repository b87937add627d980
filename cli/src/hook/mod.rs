//! `kubectl scribe hook`: write, test and ship hooks.

mod bench;
mod case;
mod clock;
mod inspect;
mod modules;
mod new;
mod perform;
mod recorder;
mod registry;
mod run;
mod scripted;
mod show;
mod test;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

/// The hidden subcommand that compiles one module and does nothing else.
pub const COMPILER: &str = "compile-hook-module";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a project of a hook, with its tests
    New(new::Args),
    /// Run test cases, without a cluster and the same each time
    Test(test::Args),
    /// Call a module once, and show what it answers
    Run(run::Args),
    /// Show what a module is: its hook points, size, digest and settings, and what is wrong with it
    Inspect(inspect::Args),
    /// Measure what a module costs: to compile, to load, and to call
    Bench(bench::Args),
    /// Push a module to an OCI registry
    Push(registry::PushArgs),
    /// Pull a module from an OCI registry
    Pull(registry::PullArgs),
}

/// Runs a subcommand. The exit code is not 0 where what was looked at is not as it should be.
pub fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::New(args) => new::run(args),
        Command::Test(args) => test::run(args),
        Command::Run(args) => run::run(args),
        Command::Inspect(args) => clock::running(inspect::run(args))?,
        Command::Bench(args) => bench::run(args),
        Command::Push(args) => clock::running(registry::push(args))?,
        Command::Pull(args) => clock::running(registry::pull(args))?,
    }
}
