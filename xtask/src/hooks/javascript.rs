//! Hooks in JavaScript: `componentize-qjs` and what the tests need, as the hook's lock file pins them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use scribe_tests::command;
use tracing::info;

use super::stage::{Stage, wit};
use super::{Hook, tools};
use crate::process::run;

/// The folder of the packages. It is linked into the copy of the sources: there the tools look for it.
fn packages(hook: &Hook) -> Result<PathBuf> {
    let pins = ["package.json", "package-lock.json"].map(|name| hook.sources().join(name));
    let root = tools::cached("javascript", &[&pins[0], &pins[1]], |root| {
        tools::ensure(&["npm", "--version"], &["nodejs", "npm"])?;
        info!("installing what {} pins", pins[1].display());
        for pin in &pins {
            fs::copy(pin, root.join(pin.file_name().unwrap_or_default()))
                .with_context(|| format!("copy {}", pin.display()))?;
        }
        // Not `npm ci`: that refuses a lock file without the optional packages that were never published.
        let mut npm = Command::new("npm");
        npm.args(["install", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(root);
        command::run(&mut npm)?;
        let locked = |folder: &Path| fs::read(folder.join("package-lock.json"));
        ensure!(
            locked(root)? == locked(&hook.sources())?,
            "{} is not what package.json asks for: run `npm install` beside it, and commit it",
            pins[1].display()
        );
        Ok(())
    })?;
    Ok(root.join("node_modules"))
}

fn stage(hook: &Hook, packages: &Path) -> Result<Stage> {
    let stage = Stage::of(hook, "--stub-wasi --sync --opt-size")?;
    std::os::unix::fs::symlink(packages, stage.folder.join("node_modules")).context("link the packages")?;
    Ok(stage)
}

/// Builds the module unless it is up to date.
pub fn build(hook: &Hook) -> Result<bool> {
    let packages = packages(hook)?;
    let stage = stage(hook, &packages)?;
    if stage.is_built() {
        return Ok(false);
    }
    stage.build(|module| {
        let mut componentize = Command::new(packages.join(".bin/componentize-qjs"));
        componentize.arg("--wit").arg(wit()).args(["--world", &hook.world(), "--js", "hook.js"]);
        componentize.args(["--stub-wasi", "--sync", "--opt-size", "--output"]).arg(module);
        command::run(componentize.current_dir(&stage.folder)).map(drop)
    })?;
    Ok(true)
}

/// Runs its tests with Node.js.
pub fn test(hook: &Hook) -> Result<()> {
    let folder = stage(hook, &packages(hook)?)?.folder;
    run(Command::new("node").arg("--test").arg(folder.join("hook.test.js")))
}
