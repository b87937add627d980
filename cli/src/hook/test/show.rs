//! What is shown of a case.

use std::fmt::Write;
use std::path::Path;

use serde_json::json;

use super::run::{Report, StepReport};
use super::yaml_block::yaml;
use crate::hook::case::expect::Expect;
use crate::hook::show::{bytes, indented, number, usage};

/// Passed or not, what it cost, and what is not as it should be.
pub fn report(file: &Path, report: &Report, is_updated: bool, is_verbose: bool) -> String {
    let word = match (report.has_passed(is_updated), is_updated) {
        (false, _) => "FAIL",
        (true, true) => "new ",
        (true, false) => "ok  ",
    };
    let fuel = report.steps.iter().map(|step| step.usage.fuel).sum();
    let memory = report.steps.iter().map(|step| step.usage.memory).max().unwrap_or(0);
    let mut shown = format!("{word} {}  fuel {}, memory {}", file.display(), number(fuel), bytes(memory));
    if let Some(description) = &report.description {
        let _ = write!(shown, "\n     {description}");
    }
    shown.push('\n');
    for problem in &report.refused {
        shown.push_str(&indented(problem, 5));
    }
    let has_many = report.steps.len() > 1;
    for (index, step) in report.steps.iter().enumerate() {
        let name =
            if has_many { format!("step {}: {}", index + 1, step.function.name()) } else { String::new() };
        shown.push_str(&details(step, &name, is_updated, is_verbose));
    }
    shown
}

fn details(step: &StepReport, name: &str, is_updated: bool, is_verbose: bool) -> String {
    let mut shown = String::new();
    if is_verbose {
        let colon = if name.is_empty() { "" } else { "  " };
        let took = if step.took.0.is_zero() { String::new() } else { format!("time {}, ", step.took) };
        shown.push_str(&indented(&format!("{name}{colon}{took}{}", usage(&step.usage)), 5));
        for line in step.observed.log.iter().flatten() {
            shown.push_str(&indented(line, 7));
        }
        for call in step.observed.calls.iter().flatten() {
            shown.push_str(&indented(&format!("asked {}", yaml(call)), 7));
        }
        shown.push_str(&indented(&answer(&step.observed), 7));
        if let Some(plan) = &step.observed.plan {
            shown.push_str(&indented(&format!("plan\n{}", yaml(plan)), 7));
        }
        for undo in step.observed.undo.iter().flatten() {
            shown.push_str(&indented(&format!("undo {}", yaml(undo)), 7));
        }
    }
    let differences = if is_updated { &[] } else { step.differences.as_slice() };
    for difference in differences.iter().chain(&step.problems) {
        shown.push_str(&indented(difference, 5));
    }
    shown
}

/// How the call ended.
fn answer(observed: &Expect) -> String {
    match (&observed.output, &observed.error) {
        (_, Some(error)) => format!("error: {error}"),
        (output, None) => yaml(&json!({ "output": output })),
    }
}
