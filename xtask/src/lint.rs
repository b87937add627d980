//! `cargo xtask lint`: formatting, clippy, and what may come into the binaries.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;

use crate::process::{cargo, run};

/// The version of cargo-deny that is installed where none is.
const CARGO_DENY: &str = "0.20.2";

/// Runs all of it; the first that fails ends it.
pub fn lint() -> anyhow::Result<()> {
    run(&mut cargo(&["fmt", "--all", "--check"]))?;
    run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"]))?;
    run(Command::new(cargo_deny()?).args(["--log-level", "error", "check", "bans", "licenses", "sources"]))
}

/// cargo-deny: the one in the cache, made there if need be. Without optimisation it is built in half the time, and what it does
/// here takes a second either way.
fn cargo_deny() -> anyhow::Result<PathBuf> {
    let tools = scribe_tests::cluster::cache_dir()?.join(format!("cargo-deny-{CARGO_DENY}"));
    let program = tools.join("bin/cargo-deny");
    if !program.exists() {
        let root = tools.to_str().context("the cache's path is not UTF-8")?;
        run(&mut cargo(&[
            "install",
            "cargo-deny",
            "--version",
            CARGO_DENY,
            "--locked",
            "--debug",
            "--quiet",
            "--root",
            root,
        ]))?;
    }
    Ok(program)
}
