//! Tells a URL of what failed.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use scribe_hook_sdk::failure::{Reaction, Report};
use scribe_hook_sdk::http::Request;
use scribe_hook_sdk::{Context, Failure, Hook, HookError, Problem, Role, export, log};
use serde::{Deserialize, Serialize};

/// What the user sets.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    /// Where to POST it.
    url: String,
    /// Headers whose values are secret: for each its name, and the key in the Secret of the HookModule's grant.
    #[serde(default)]
    secret_headers: BTreeMap<String, String>,
    /// How many attempts in a row have to fail before it is told: 1 tells each.
    #[serde(default = "one")]
    after: u32,
}

fn one() -> u32 {
    1
}

/// What is sent.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Notification<'a> {
    kind: &'a str,
    namespace: &'a str,
    name: &'a str,
    role: &'a str,
    phase: &'a str,
    code: &'a str,
    message: &'a str,
    attempt_id: &'a str,
    attempt: u32,
    /// This one included.
    consecutive_failures: u32,
    retryable: bool,
}

struct NotifyHttp;

impl Hook for NotifyHttp {
    type Settings = Settings;
    const SCHEMA: Option<&'static str> = Some(include_str!("../settings.schema.json"));

    fn validate(settings: &Settings) -> Vec<Problem> {
        let mut problems = Vec::new();
        if !["https://", "http://"].iter().any(|scheme| settings.url.starts_with(scheme)) {
            problems.push(Problem::at("/url", "has no scheme: write it as https://host/path"));
        }
        if settings.after == 0 {
            problems.push(Problem::at("/after", "is 0: use 1 to be told of each failure"));
        }
        problems
    }
}

impl Failure for NotifyHttp {
    fn on_failure(ctx: &Context<Settings>, report: &Report) -> Result<Reaction, HookError> {
        let failures = ctx.last.consecutive_failures.max(1);
        if failures < ctx.settings.after {
            log::debug(&format!("{failures} of {} failures in a row: not told", ctx.settings.after));
            return Ok(Reaction::Default);
        }
        let response = request(ctx, report, failures)?.send()?;
        if !response.is_success() {
            // An error is shown in the object's status; the sync goes on as without this hook.
            return Err(HookError::failed(format!("{} answered {}", ctx.settings.url, response.status)));
        }
        Ok(Reaction::Default)
    }
}

fn request(
    ctx: &Context<Settings>,
    report: &Report,
    consecutive_failures: u32,
) -> Result<Request, HookError> {
    let object = &ctx.replication.ref_;
    let notification = Notification {
        kind: &object.kind,
        namespace: &object.namespace,
        name: &object.name,
        role: match ctx.replication.role {
            Role::Source => "source",
            Role::Destination => "destination",
        },
        phase: report.phase.name(),
        code: &report.code,
        message: &report.message,
        attempt_id: &ctx.attempt.attempt_id,
        attempt: ctx.attempt.number,
        consecutive_failures,
        retryable: report.retryable,
    };
    // The same failure may be told twice, as when the controller restarts: by this the receiver can know it again.
    let key = format!("{}-{}", ctx.attempt.attempt_id, ctx.attempt.number);
    let mut request = Request::post(&ctx.settings.url).header("Idempotency-Key", key).json(&notification)?;
    for (header, secret) in &ctx.settings.secret_headers {
        request = request.secret_header(header, secret);
    }
    Ok(request)
}

export!(NotifyHttp: Failure);
