//! Hooks in Python: `componentize-py` in a virtual environment, and the hook's own packages beside it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use scribe_tests::command;
use tracing::info;

use super::stage::{Stage, wit};
use super::{Hook, tools};
use crate::process::run;

/// The tools, and what the module brings with it: only that comes near the module.
struct Tools {
    programs: PathBuf,
    packages: PathBuf,
}

impl Tools {
    fn ensure(hook: &Hook) -> Result<Self> {
        let (build, module) =
            (hook.sources().join("requirements-build.txt"), hook.sources().join("requirements.txt"));
        let root = tools::cached("python", &[&build, &module], |root| {
            tools::ensure(&["python3", "-c", "import ensurepip, venv"], &["python3", "python3-venv"])?;
            info!("installing {} and {}", build.display(), module.display());
            let venv = root.join("venv");
            command::run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
            let pip = || {
                let mut pip = Command::new(venv.join("bin/pip"));
                pip.args(["install", "--quiet", "--disable-pip-version-check", "--requirement"]);
                pip
            };
            command::run(pip().arg(&build))?;
            command::run(pip().arg(&module).arg("--target").arg(root.join("packages")))?;
            Ok(())
        })?;
        Ok(Self { programs: root.join("venv/bin"), packages: root.join("packages") })
    }

    fn componentize(&self, hook: &Hook) -> Command {
        let mut componentize = Command::new(self.programs.join("componentize-py"));
        componentize.arg("--quiet").arg("--wit-path").arg(wit()).args(["--world", &hook.world()]);
        componentize
    }
}

/// Builds the module unless it is up to date.
pub fn build(hook: &Hook) -> Result<bool> {
    build_with(hook, hook)
}

/// Builds the module unless it is up to date, with the tools and packages of a hook, which may be another.
pub fn build_with(hook: &Hook, like: &Hook) -> Result<bool> {
    let tools = Tools::ensure(like)?;
    let stage = Stage::of(hook, "componentize --stub-wasi app")?;
    if stage.is_built() {
        return Ok(false);
    }
    stage.build(|module| {
        let mut componentize = tools.componentize(hook);
        componentize.args(["componentize", "--stub-wasi", "--python-path"]).arg(&stage.folder);
        componentize.arg("--python-path").arg(&tools.packages).args(["app", "--output"]).arg(module);
        command::run(&mut componentize).map(drop)
    })?;
    Ok(true)
}

/// Runs its tests.
pub fn test(hook: &Hook) -> Result<()> {
    unittest(hook, &Stage::of(hook, "")?.folder)
}

/// Runs the tests of a folder for the world and with the packages of a hook; bindings stand in for the module's boundary.
pub fn unittest(hook: &Hook, folder: &Path) -> Result<()> {
    let tools = Tools::ensure(hook)?;
    let bindings = folder.join("bindings");
    command::run(tools.componentize(hook).arg("bindings").arg(&bindings))?;
    let path = std::env::join_paths([&bindings, &tools.packages, &folder.to_path_buf()])?;
    let mut python = Command::new(tools.programs.join("python"));
    python.args(["-m", "unittest", "discover", "--start-directory"]).arg(folder);
    run(python.env("PYTHONPATH", path))
}
