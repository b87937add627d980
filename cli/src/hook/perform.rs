//! Calling a function of a module, whichever it is.

use std::collections::BTreeSet;
use std::sync::Arc;

use scribe_hooks::contract::context::Context;
use scribe_hooks::contract::grants::Grants;
use scribe_hooks::contract::limits::Effective;
use scribe_hooks::contract::retention::Plan;
use scribe_hooks::{CallError, Called, Host, LogLine, Module, Usage};
use serde::Serialize;
use serde_json::Value;

use super::case::call::{Call, Choice, DONE};

/// With what a function is called.
pub struct Caller {
    pub module: Module,
    pub limits: Effective,
    pub grants: Arc<Grants>,
    pub host: Arc<dyn Host>,
}

/// What came of a call.
#[derive(Debug)]
pub struct Performed {
    /// The answer, or why there is none.
    pub outcome: Result<Value, CallError>,
    /// What it cost.
    pub usage: Usage,
    /// What it logged.
    pub log: Vec<LogLine>,
    /// What becomes of the replicas, where that was the question.
    pub plan: Option<Plan>,
}

impl Caller {
    /// Calls a function.
    pub async fn perform(&self, call: &Call, ctx: Context) -> Performed {
        let pure = self.module.pure(self.limits);
        let effectful = || self.module.effectful(self.limits, self.grants.clone(), self.host.clone());
        match call.clone() {
            Call::Validate => answered(pure.validate(ctx.settings_json).await),
            Call::Decide => answered(pure.decide(ctx).await),
            Call::Tune { defaults } => answered(pure.tune(ctx, defaults).await),
            Call::Choose(choice) => choose(&pure, ctx, choice).await,
            Call::Quiesce => answered(effectful().quiesce(ctx).await),
            Call::Release { token, reason, try_number } => {
                done(effectful().release(ctx, token, reason, try_number).await)
            }
            Call::PreSync => done(effectful().pre_sync(ctx).await),
            Call::PostSync { stats } => done(effectful().post_sync(ctx, stats).await),
            Call::OnFailure { report } => answered(effectful().on_failure(ctx, report).await),
            Call::BeforePromotion { candidate } => done(effectful().before_promotion(ctx, candidate).await),
            Call::AfterPromotion { candidate } => done(effectful().after_promotion(ctx, candidate).await),
        }
    }
}

/// Asks which replicas stay, and applies the host's own rules: [`Plan::new`]. Without an answer everything stays.
async fn choose(pure: &scribe_hooks::Pure, ctx: Context, choice: Choice) -> Performed {
    let Choice { points, max_delete_per_run, verify } = choice;
    let called = pure.choose(ctx, points.clone(), verify).await;
    let everything = |why: &str| Plan::keep_everything(&points, why);
    let plan = match &called.outcome {
        Ok(keeps) => Plan::new(&points, keeps, &BTreeSet::new(), max_delete_per_run)
            .unwrap_or_else(|error| everything(&error.to_string())),
        Err(error) => everything(error.reason().as_str()),
    };
    Performed { plan: Some(plan), ..answered(called) }
}

fn answered<T: Serialize>(called: Called<T>) -> Performed {
    let Called { outcome, usage, log } = called;
    // Plain data: there is nothing in it that JSON has no word for.
    let outcome = outcome.map(|answer| serde_json::to_value(answer).unwrap_or_default());
    Performed { outcome, usage, log, plan: None }
}

fn done(called: Called<()>) -> Performed {
    let Called { outcome, usage, log } = called;
    Performed { outcome: outcome.map(|()| DONE.into()), usage, log, plan: None }
}
