//! `kubectl scribe hook test`.

mod compare;
mod find;
mod run;
mod show;
mod update;
pub mod yaml_block;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;

use super::case::Case;
use super::clock::{running, still};
use super::modules::Modules;
use super::show::indented;
use crate::output::print;
use run::{Report, perform};

/// Run test cases, without a cluster and the same each time
///
/// A case is a YAML file: the module's settings, grants and limits as in a HookModule, the function that is called with its input, the answers of a scripted
/// host, and what is expected. The module runs under the same rules as in the controller. A call of the host that the script has no answer for fails the case, and so
/// does an answer that is never asked for. Time stands still but where the hook sleeps.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Files, or folders: then all *.yaml in them
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// The module; default: what each case names as `module`
    #[arg(long, short, value_name = "FILE")]
    module: Option<PathBuf>,
    /// Write what was observed into `expect` of each case
    #[arg(long)]
    update: bool,
    /// Show what each call cost, what it asked for and what it logged, also where the case passed
    #[arg(long, short)]
    verbose: bool,
}

/// Runs the cases, all of them even if one fails.
pub fn run(args: Args) -> Result<ExitCode> {
    let Args { paths, module, update, verbose } = args;
    let files = find::cases(&paths)?;
    let mut modules = Modules::new()?;
    let mut failed = 0_usize;
    for file in &files {
        match one(file, module.as_deref(), &mut modules, update) {
            Ok((report, updated)) => {
                let has_passed = report.has_passed(updated);
                failed += usize::from(!has_passed);
                print(show::report(file, &report, updated, verbose || !has_passed))?;
            }
            Err(error) => {
                failed += 1;
                let words = indented(&format!("{error:#}"), 5);
                print(format_args!("FAIL {}\n{words}", file.display()))?;
            }
        }
    }
    print(format_args!("{} passed, {failed} failed\n", files.len() - failed))?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What came of a case, and whether it was changed.
fn one(file: &Path, module: Option<&Path>, modules: &mut Modules, update: bool) -> Result<(Report, bool)> {
    let case = Case::read(file)?;
    let path = module.or(case.module.as_deref());
    let path =
        path.context("module: is missing: write the module's path into the case, or pass --module FILE")?;
    let other = if module.is_some() { "" } else { ", or name it by --module" };
    let module = match running(modules.load(path))? {
        Err(error) if !path.exists() => bail!("module: {error:#}: build it first{other}"),
        loaded => loaded.context("module")?,
    };
    let mut report = still(perform(case, module))?;
    let updated = update && update::may_be_written(&mut report) && update::write(file, &report)?;
    Ok((report, updated))
}
