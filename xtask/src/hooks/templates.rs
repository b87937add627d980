//! The templates of hooks: that what is made of them builds and passes its own tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use scribe_tests::cluster::repository;
use scribe_tests::command;
use tracing::info;

use super::component::Component;
use super::{POINTS, folder, python};
use crate::cluster::target_dir;
use crate::process::{cargo, run};

const NAME: &str = "from-template";

/// Makes a project of each and tests it.
pub fn test() -> Result<()> {
    rust()?;
    let javascript = project("javascript")?;
    run(Command::new("node").arg("--test").arg(javascript.join("hook.test.js")))?;
    python::unittest(super::python_example()?, &project("python")?)
}

/// Its tests are also the SDK's own, and that each point makes a module `offline` shows; here, that all do together.
fn rust() -> Result<()> {
    build_rust(&repository().join("sdk/tests/modules/all_points.rs"), &POINTS).map(drop)
}

/// Builds a module of the template for Rust that stands at the point of retention. Where it is, until another is built of a template.
pub fn build_retention() -> Result<PathBuf> {
    build_rust(&templates().join("rust/points/retention.rs"), &["retention"])
}

/// Builds a project outside of the repository, whose settings for cargo would else stand in for its own.
fn build_rust(source: &Path, points: &[&str]) -> Result<PathBuf> {
    let outside = tempfile::tempdir().context("make a folder for the project")?;
    let project = outside.path().join(NAME);
    fill(&templates().join("rust"), &project)?;
    let folder = project.join("src");
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    fs::copy(source, folder.join("lib.rs")).with_context(|| format!("copy {}", source.display()))?;
    info!("building a project of the template with {}", source.display());
    let module = module(&project, NAME)?;
    Component::read(&module)?.check(points)?;
    Ok(module)
}

/// The module of a project outside of the repository.
pub fn module(project: &Path, name: &str) -> Result<PathBuf> {
    // What was built for the examples need not be built again, and nothing is asked of a registry.
    fs::copy(repository().join("Cargo.lock"), project.join("Cargo.lock")).context("copy Cargo.lock")?;
    let mut cargo =
        cargo(&["build", "--quiet", "--offline", "--target=wasm32-unknown-unknown", "--profile=hook"]);
    cargo.args(["--config", "profile.hook.inherits='release'", "--target-dir"]).arg(target_dir());
    command::run(cargo.current_dir(project))?;
    let module = format!("{}.wasm", name.replace('-', "_"));
    Ok(target_dir().join("wasm32-unknown-unknown/hook").join(module))
}

fn templates() -> PathBuf {
    repository().join("sdk/templates")
}

/// A project made of a template.
fn project(template: &str) -> Result<PathBuf> {
    let project = folder().join("work").join(format!("template-{template}"));
    let _ = fs::remove_dir_all(&project);
    fill(&templates().join(template), &project)
        .with_context(|| format!("make a project of the template {template}"))?;
    Ok(project)
}

fn fill(template: &Path, project: &Path) -> Result<()> {
    fs::create_dir_all(project)?;
    for entry in fs::read_dir(template)? {
        let source = entry?.path();
        let name = source.file_name().context("a file has no name")?.to_string_lossy().into_owned();
        let target = project.join(name.trim_end_matches(".template"));
        if source.is_dir() {
            fill(&source, &target)?;
            continue;
        }
        let sdk = format!("path = \"{}\"", repository().join("sdk").display());
        let text = fs::read_to_string(&source).with_context(|| format!("read {}", source.display()))?;
        let text = text.replace("{{name}}", NAME).replace("{{sdk}}", &sdk);
        ensure!(!text.contains("{{"), "{} has a placeholder that nobody knows", source.display());
        fs::write(&target, text).with_context(|| format!("write {}", target.display()))?;
    }
    Ok(())
}
