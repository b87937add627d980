//! Running a case.

use std::sync::Arc;
use std::time::Duration;

use scribe_hooks::contract::context::Context;
use scribe_hooks::contract::measure::{Bytes, Span};
use scribe_hooks::{Module, Usage};
use serde_json::Value;

use super::compare;
use crate::hook::case::call::{Call, Function};
use crate::hook::case::expect::{Expect, ExpectedError};
use crate::hook::case::{Case, Step};
use crate::hook::perform::{Caller, Performed};
use crate::hook::scripted::{Scripted, Seen};
use crate::hook::show::log_line;

/// What came of a case.
pub struct Report {
    pub description: Option<String>,
    /// What the module says against the settings.
    pub refused: Vec<String>,
    pub steps: Vec<StepReport>,
}

/// What came of a step.
pub struct StepReport {
    pub function: Function,
    pub expected: Expect,
    /// Everything that was observed, in the words of an expectation.
    pub observed: Expect,
    pub usage: Usage,
    /// By the case's own clock.
    pub took: Span,
    /// Where it differs from what is expected.
    pub differences: Vec<String>,
    /// What is wrong whatever is expected: what the script does not have, or has in vain.
    pub problems: Vec<String>,
}

impl Report {
    /// Whether all is as it should be. Once what was observed has been written down, it is what is expected.
    pub fn has_passed(&self, is_updated: bool) -> bool {
        let is_good =
            |step: &StepReport| step.problems.is_empty() && (is_updated || step.differences.is_empty());
        self.refused.is_empty() && self.steps.iter().all(is_good)
    }
}

/// Runs a case to its end, on a clock that stands still.
pub async fn perform(case: Case, module: Module) -> Report {
    let Case { description, grants, limits, mut context, state, steps, .. } = case;
    let host = Arc::new(Scripted::new(context.attempt.now, state));
    let caller = Caller { module, limits, grants, host: host.clone() };
    let mut reports = Vec::new();
    let mut token = None;
    let refused = refused(&caller, &context, &steps).await;
    for step in steps {
        advance(&host, &mut context, step.now).await;
        let (report, given) = one(&caller, &host, context.clone(), step, token.take()).await;
        token = given;
        reports.push(report);
    }
    Report { description, refused, steps: reports }
}

/// What the module says against the settings: the controller would not call it with these.
async fn refused(caller: &Caller, context: &Context, steps: &[Step]) -> Vec<String> {
    if steps.iter().all(|step| matches!(step.call, Call::Validate)) {
        return Vec::new();
    }
    match caller.module.pure(caller.limits).validate(context.settings_json.clone()).await.outcome {
        Ok(problems) => problems
            .iter()
            .map(|problem| {
                format!("settings{}: {}", problem.path.as_deref().unwrap_or_default(), problem.message)
            })
            .collect(),
        Err(error) => vec![format!("settings: {}: {error}", error.reason())],
    }
}

/// Moves on to when the step is, and tells it so.
async fn advance(host: &Scripted, context: &mut Context, now: Option<u64>) {
    if let Some(wait) = now.and_then(|now| now.checked_sub(host.time())) {
        tokio::time::advance(Duration::from_millis(wait)).await;
    }
    let attempt = &mut context.attempt;
    let passed = host.time().saturating_sub(attempt.now);
    attempt.now += passed;
    attempt.deadline += passed;
}

/// The report, and the token for a release that follows.
async fn one(
    caller: &Caller,
    host: &Scripted,
    context: Context,
    step: Step,
    token: Option<String>,
) -> (StepReport, Option<String>) {
    let Step { mut call, now: _, host: script, expect } = step;
    if let Call::Release { token: own @ None, .. } = &mut call {
        *own = token;
    }
    host.begin(script);
    let began = host.time();
    let performed = caller.perform(&call, context).await;
    let took = Span(Duration::from_millis(host.time() - began));
    let seen = host.seen();
    if matches!(call, Call::Release { .. }) {
        host.undone();
    }
    let token =
        performed.outcome.as_ref().ok().and_then(|answer| answer.get("token")?.as_str().map(str::to_owned));
    let problems = problems(&seen);
    let observed = observe(&call, &performed, seen);
    let differences = compare::differences(&expect, &observed, &performed.usage);
    let usage = performed.usage;
    let function = call.function();
    let report = StepReport { function, expected: expect, observed, usage, took, differences, problems };
    (report, token)
}

fn problems(seen: &Seen) -> Vec<String> {
    let unscripted = seen.unscripted.iter().map(|call| {
        let entry = serde_saphyr::to_string(&[call]).unwrap_or_default();
        format!("the script has no answer for this call: add one under `host`\n{}", entry.trim_end())
    });
    unscripted.chain(seen.unused.iter().cloned()).collect()
}

/// Everything that was observed.
fn observe(call: &Call, performed: &Performed, seen: Seen) -> Expect {
    let Performed { outcome, usage, log, plan } = performed;
    let error = outcome.as_ref().err();
    let can_freeze = matches!(call, Call::Quiesce | Call::Release { .. });
    Expect {
        output: outcome.as_ref().ok().cloned(),
        error: error.map(|error| ExpectedError { reason: error.reason(), message: Some(error.to_string()) }),
        plan: plan.as_ref().map(value),
        undo: can_freeze.then_some(seen.undo),
        events: Some(seen.events),
        state: Some(seen.store),
        denied: Some(usage.denied.clone()),
        calls: Some(seen.calls.iter().map(value).collect()),
        log: Some(log.iter().map(log_line).collect()),
        max_fuel: Some(usage.fuel),
        max_memory: Some(Bytes(usage.memory)),
    }
}

/// Plain data: there is nothing in it that JSON has no word for.
fn value<T: serde::Serialize>(data: &T) -> Value {
    serde_json::to_value(data).unwrap_or_default()
}
