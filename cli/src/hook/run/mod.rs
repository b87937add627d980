//! `kubectl scribe hook run`.

mod record;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use clap::{Args as ClapArgs, ValueEnum};
use scribe_hooks::contract::context::Context;
use serde_json::{Value, json};

use super::case::call::Function;
use super::case::expect::{Expect, ExpectedError};
use super::case::{Case, Step};
use super::clock::{running, still};
use super::modules::Modules;
use super::perform::{Caller, Performed};
use super::recorder::{Recorded, Recorder};
use super::scripted::Scripted;
use super::show::{log_line, usage};
use crate::output::{note, print};

/// Call a module once, and show what it answers
///
/// The input has the form of a test case. Its `host` answers what the module asks for; what it has no answer for is shown, ready to be added. The answer goes to standard output; the log and what it cost go to
/// standard error. With --record, all of it becomes a test case.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The module, as .wasm or .wasm.gz
    file: PathBuf,
    /// What it is called with, in the form of a test case
    #[arg(long, short, value_name = "FILE")]
    input: PathBuf,
    /// The function, where the input names none
    #[arg(long, value_enum)]
    call: Option<Function>,
    /// Write a test case of what happened; the file must not be there yet
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// How the answer is shown
    #[arg(long, short, value_enum, default_value = "yaml")]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Yaml,
    Json,
}

/// What came of a call, and what is to stand in a test case of it.
struct Happened {
    performed: Performed,
    recorded: Vec<Recorded>,
    undo: Vec<Value>,
    is_complete: bool,
}

/// Calls a module once.
pub fn run(args: Args) -> Result<ExitCode> {
    let Args { file, input, call, record, output } = args;
    let mut case = Case::read_input(&input, call)?;
    if record.as_ref().is_some_and(|path| path.exists()) {
        bail!("{} is there already: name another file", record.unwrap_or_default().display());
    }
    let [step] = case.steps.as_slice() else {
        bail!("{} has several steps: `hook run` makes one call, `hook test` a whole case", input.display());
    };
    let function = step.call.function();
    let step = case.steps.swap_remove(0);
    let module = running(Modules::new()?.load(&file))??;
    let Happened { performed, recorded, undo, is_complete } = still(scripted(case, step, module))??;
    show(&performed, output)?;
    if let Some(path) = record {
        let expect = observed(&performed, undo);
        record::write(&path, &input, &file, function, &recorded, &expect)
            .with_context(|| format!("record {}", path.display()))?;
        note(format_args!("wrote {}", path.display()));
    }
    Ok(if performed.outcome.is_ok() && is_complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn scripted(case: Case, step: Step, module: scribe_hooks::Module) -> Result<Happened> {
    let Case { grants, limits, context, state, .. } = case;
    let Step { call, host: script, .. } = step;
    let host = Arc::new(Scripted::new(context.attempt.now, state));
    host.begin(script);
    let recorder = Arc::new(Recorder::new(host.clone()));
    let caller = Caller { module, limits, grants, host: recorder.clone() };
    warn_of_settings(&caller, &context).await;
    let performed = caller.perform(&call, context).await;
    let seen = host.seen();
    for unscripted in &seen.unscripted {
        let entry = serde_saphyr::to_string(&[unscripted])?;
        note(format_args!("`host` has no answer for\n{}", entry.trim_end()));
    }
    let is_complete = seen.unscripted.is_empty();
    Ok(Happened { performed, recorded: recorder.recorded(), undo: seen.undo, is_complete })
}

/// The controller would not call it with settings that it refuses.
async fn warn_of_settings(caller: &Caller, context: &Context) {
    let called = caller.module.pure(caller.limits).validate(context.settings_json.clone()).await;
    for problem in called.outcome.into_iter().flatten() {
        note(format_args!("settings{}: {}", problem.path.unwrap_or_default(), problem.message));
    }
}

fn show(performed: &Performed, output: Output) -> Result<()> {
    let Performed { outcome, usage: used, log, plan } = performed;
    for line in log {
        note(log_line(line));
    }
    note(usage(used));
    let mut answer = match outcome {
        Ok(answer) => json!({ "output": answer }),
        Err(error) => json!({ "error": { "reason": error.reason(), "message": error.to_string() } }),
    };
    if let Some(plan) = plan {
        answer["plan"] = serde_json::to_value(plan)?;
    }
    match output {
        Output::Json => print(format_args!("{}\n", serde_json::to_string_pretty(&answer)?)),
        Output::Yaml => print(serde_saphyr::to_string(&answer)?),
    }
}

fn observed(performed: &Performed, undo: Vec<Value>) -> Expect {
    let Performed { outcome, usage, plan, .. } = performed;
    let error = outcome.as_ref().err();
    Expect {
        output: outcome.as_ref().ok().cloned(),
        error: error.map(|error| ExpectedError { reason: error.reason(), message: Some(error.to_string()) }),
        plan: plan.as_ref().and_then(|plan| serde_json::to_value(plan).ok()),
        undo: (!undo.is_empty()).then_some(undo),
        denied: (!usage.denied.is_empty()).then(|| usage.denied.clone()),
        ..Expect::default()
    }
}
