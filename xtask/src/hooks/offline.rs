//! Modules as the controller would call them, without a cluster: the test cases of the examples, and of a new project for each point.

use std::process::Command;

use anyhow::{Context, Result};
use scribe_tests::cluster::repository;

use super::{HOOKS, POINTS, templates};
use crate::cluster::target_dir;
use crate::process::{cargo, run};

/// Runs the cases.
pub fn test() -> Result<()> {
    // Always the whole workspace: a part of it would be built anew with the features of that part.
    run(&mut cargo(&["build", "--workspace", "--bins", "--quiet"]))?;
    for hook in &HOOKS {
        let mut test = kubectl_scribe(&["test", "--module"]);
        run(test.arg(hook.module()).arg(hook.sources().join("tests")))?;
    }
    POINTS.into_iter().try_for_each(new_project)
}

fn kubectl_scribe(arguments: &[&str]) -> Command {
    let mut command = Command::new(target_dir().join("debug/kubectl-scribe"));
    command.arg("hook").args(arguments);
    command
}

/// What `hook new` makes builds with cargo alone, and its first case passes.
fn new_project(point: &str) -> Result<()> {
    let outside = tempfile::tempdir().context("make a folder for the project")?;
    let name = format!("new-{point}");
    let mut new = kubectl_scribe(&["new", &name, "--language=rust", "--point", point, "--directory"]);
    run(new.arg(outside.path()).arg("--sdk-path").arg(repository().join("sdk")))?;
    let project = outside.path().join(&name);
    let module = templates::module(&project, &name)?;
    run(kubectl_scribe(&["test", "--module"]).arg(module).arg(project.join("tests")))
}
