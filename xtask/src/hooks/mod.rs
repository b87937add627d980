//! `cargo xtask hooks`: builds the modules of `sdk/examples`, and what it takes to build them.

mod component;
mod javascript;
mod offline;
mod python;
mod rust;
mod stage;
mod templates;
mod tools;

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;
use scribe_tests::cluster::{Lock, repository};
use tracing::info;

use self::component::Component;
use crate::cluster::target_dir;

/// A hook that is built as a module.
struct Hook {
    /// The name of its folder, and of its package where it has one.
    name: &'static str,
    /// Where its folder is.
    home: &'static str,
    language: Language,
    /// The hook point at which it stands, as its interface is called.
    points: &'static [&'static str],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Language {
    Rust,
    Python,
    JavaScript,
}

/// All points of the contract.
const POINTS: [&str; 7] =
    ["decision", "transfer", "retention", "quiesce", "lifecycle", "failure", "promotion"];

const fn example(name: &'static str, language: Language, points: &'static [&'static str]) -> Hook {
    Hook { name, home: "sdk/examples", language, points }
}

const HOOKS: [Hook; 6] = [
    example("change-window", Language::Python, &["decision"]),
    example("keep-by-label", Language::JavaScript, &["retention"]),
    example("notify-http", Language::Rust, &["failure", "lifecycle"]),
    example("postgres-quiesce", Language::Rust, &["quiesce"]),
    example("scale-deployment", Language::Rust, &["quiesce"]),
    example("tune-rsync", Language::Rust, &["transfer"]),
];

/// No example in Python is one of retention, and no other point gets as much to judge.
const MEASURED: Hook = Hook {
    name: "keep-last-python",
    home: "benches/hooks",
    language: Language::Python,
    points: &["retention"],
};

#[derive(Debug, Args)]
pub struct Options {
    /// Run the tests of those that are not in Rust, and of the templates
    #[arg(long)]
    test: bool,
}

/// Builds all that is not up to date, and prints what there is.
pub fn run(options: &Options) -> Result<()> {
    let _alone = alone()?;
    let built = build()?;
    if options.test {
        run_tests()?;
    }
    println!("{:24} {:10} {:>10} {:>10}  exports", "module", "language", "bytes", "gzip");
    for (path, language) in built {
        let component = Component::read(&path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let (language, gzip) = (format!("{language:?}"), component.gzip_bytes()?);
        let exports = component.interfaces().join(" ");
        println!("{name:24} {language:10} {:>10} {gzip:>10}  {exports}", component.bytes);
    }
    println!("in {}", folder().display());
    Ok(())
}

/// Builds all modules, and runs the tests of those that cargo does not, and of the templates.
pub fn test() -> Result<()> {
    let _alone = alone()?;
    build()?;
    run_tests()
}

/// Builds all modules that are not up to date.
pub fn ensure() -> Result<()> {
    modules().map(drop)
}

/// The modules, built if they are not up to date.
pub fn modules() -> Result<Vec<PathBuf>> {
    let _alone = alone()?;
    Ok(build()?.into_iter().map(|(path, _)| path).collect())
}

/// Builds what is measured: all modules, and beside them `keep-last` and `keep-last-python`. The folder that they are in.
pub fn measured() -> Result<PathBuf> {
    let _alone = alone()?;
    build()?;
    let like = python_example()?;
    python::build_with(&MEASURED, like)?;
    Component::read(&MEASURED.module())?.check(MEASURED.points)?;
    let built = templates::build_retention()?;
    let wasm = fs::read(&built).with_context(|| format!("read {}", built.display()))?;
    stage::write(&folder().join("keep-last.wasm"), &wasm)?;
    Ok(folder())
}

/// One whose tools others are built with.
fn python_example() -> Result<&'static Hook> {
    HOOKS.iter().find(|hook| hook.language == Language::Python).context("no hook is in Python")
}

fn run_tests() -> Result<()> {
    HOOKS.iter().try_for_each(|hook| match hook.language {
        Language::Rust => Ok(()),
        Language::Python => python::test(hook),
        Language::JavaScript => javascript::test(hook),
    })?;
    templates::test()?;
    offline::test()
}

/// Two would build in the same folders.
fn alone() -> Result<Lock> {
    Lock::hold(&folder().join("lock"))
}

/// Where the modules are.
fn folder() -> PathBuf {
    target_dir().join("hooks")
}

impl Hook {
    fn sources(&self) -> PathBuf {
        repository().join(self.home).join(self.name)
    }

    fn world(&self) -> String {
        format!("{}-hook", self.points.concat())
    }

    fn module(&self) -> PathBuf {
        folder().join(format!("{}.wasm", self.name))
    }
}

/// Builds what is not up to date; every module, with its language.
fn build() -> Result<Vec<(PathBuf, Language)>> {
    fs::create_dir_all(folder()).with_context(|| format!("create {}", folder().display()))?;
    let mut modules = rust::build(&HOOKS)?;
    for hook in &HOOKS {
        let build = match hook.language {
            Language::Rust => continue,
            Language::Python => python::build,
            Language::JavaScript => javascript::build,
        };
        let start = Instant::now();
        if build(hook)? {
            info!("built {} in {:.0} s", hook.name, start.elapsed().as_secs_f32());
        }
        modules.push((hook.module(), hook.language));
    }
    for hook in &HOOKS {
        Component::read(&hook.module())?.check(hook.points)?;
    }
    modules.sort();
    Ok(modules)
}
