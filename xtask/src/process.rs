//! Running cargo and other programs in the foreground, from the root of the repository.

use std::process::Command;

use anyhow::{Context, bail};
use scribe_tests::cluster::repository;

/// Runs a program, its output on the terminal, and fails if it does.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    tracing::info!("$ {line}");
    let status = command.current_dir(repository()).status().with_context(|| format!("start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// Cargo, the one that runs this.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What cargo tells the program that it runs, this one. ring's build script asks for it: with other values than outside, ring and all that
    // rests on it would be built anew each time.
    let told = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| told.iter().any(|start| name.starts_with(start))) {
            command.env_remove(&name);
        }
    }
    command.args(arguments);
    command
}
