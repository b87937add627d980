//! `kubectl scribe`: the command line of Scribe, as a plugin of kubectl.
#![deny(clippy::print_stdout, clippy::print_stderr, reason = "they panic where nobody reads: use `output`")]

mod hook;
mod output;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Replication of persistent volumes between namespaces, storage classes and clusters.
#[derive(Debug, Parser)]
#[command(name = "kubectl-scribe", bin_name = "kubectl scribe", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write, test and ship hooks: WASM modules that decide how volumes are replicated
    #[command(subcommand)]
    Hook(hook::Command),
}

fn main() -> ExitCode {
    // Before anything else: the compiler's process gets hostile input and nothing of ours.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == hook::COMPILER) {
        return scribe_hooks::worker_main();
    }
    let Args { command } = Args::parse();
    tracing_subscriber::fmt()
        .without_time()
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| "error".into()))
        .init();
    let result = match command {
        Command::Hook(command) => hook::run(command),
    };
    result.unwrap_or_else(|error| {
        output::note(format_args!("error: {error:#}"));
        ExitCode::FAILURE
    })
}
