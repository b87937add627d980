//! Hooks in Rust: all at once, with cargo alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use scribe_tests::cluster::repository;
use scribe_tests::command;

use super::{Hook, Language, folder};
use crate::cluster::target_dir;
use crate::process::{cargo, run};

/// Its only imports are those of the contract.
const TARGET: &str = "wasm32-unknown-unknown";

/// Needs no line in `.cargo/config.toml`, and imports a part of WASI: one module is built for it too, so that the host is tested with such.
const WASI_TARGET: &str = "wasm32-wasip2";
const WASI_HOOK: &str = "tune-rsync";

/// Builds them; cargo knows what is up to date.
pub fn build(hooks: &[Hook]) -> Result<Vec<(PathBuf, Language)>> {
    [TARGET, WASI_TARGET].into_iter().try_for_each(ensure_target)?;
    let names: Vec<&str> =
        hooks.iter().filter(|hook| hook.language == Language::Rust).map(|hook| hook.name).collect();
    compile(TARGET, &names)?;
    compile(WASI_TARGET, &[WASI_HOOK])?;
    let mut modules = Vec::new();
    for name in names {
        modules.push((publish(TARGET, name, &format!("{name}.wasm"))?, Language::Rust));
    }
    modules.push((publish(WASI_TARGET, WASI_HOOK, &format!("{WASI_HOOK}-wasip2.wasm"))?, Language::Rust));
    Ok(modules)
}

fn compile(target: &str, packages: &[&str]) -> Result<()> {
    let mut cargo = cargo(&["build", "--quiet", "--profile=hook", "--target", target]);
    cargo.args(packages.iter().map(|package| format!("--package={package}")));
    run(&mut cargo)
}

/// Copies a module under the name by which it is known, unless it is there: the time of a file tells others that it has changed.
fn publish(target: &str, package: &str, name: &str) -> Result<PathBuf> {
    let file = format!("{}.wasm", package.replace('-', "_"));
    let built = target_dir().join(target).join("hook").join(file);
    let module = folder().join(name);
    let wasm = fs::read(&built).with_context(|| format!("read {}", built.display()))?;
    if fs::read(&module).is_ok_and(|there| there == wasm) {
        return Ok(module);
    }
    super::stage::write(&module, &wasm)?;
    Ok(module)
}

/// The standard library for a target comes with rustup.
fn ensure_target(target: &str) -> Result<()> {
    let mut rustc = Command::new("rustc");
    rustc.current_dir(repository()).args(["--print=target-libdir", "--target", target]);
    let library = command::run(&mut rustc).context("ask rustc for its libraries")?;
    if Path::new(library.trim()).exists() {
        return Ok(());
    }
    if run(Command::new("rustup").args(["target", "add", target])).is_err() {
        bail!(
            "Rust's standard library for {target} is missing, and rustup could not add it: install it where rustc looks for it, {}",
            library.trim()
        );
    }
    Ok(())
}
