//! Tells a URL of what failed, and another one of what succeeded.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use scribe_hook_sdk::failure::{Reaction, Report};
use scribe_hook_sdk::http::Request;
use scribe_hook_sdk::{Context, Failure, Hook, HookError, Lifecycle, Problem, Role, SyncStats, export, log};
use serde::{Deserialize, Serialize};

/// What the user sets.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    /// Where to POST failures.
    #[serde(default)]
    url: Option<String>,
    /// Where to POST each sync that was published: what watches there raises the alarm when it hears nothing, whatever has died.
    #[serde(default)]
    success_url: Option<String>,
    /// Headers whose values are secret: for each its name, and the `name` of the value in the HookModule's `capabilities.http.secrets`.
    #[serde(default)]
    secret_headers: BTreeMap<String, String>,
    /// How many attempts in a row have to fail before it is told: 1 tells each.
    #[serde(default = "one")]
    after: u32,
}

fn one() -> u32 {
    1
}

/// What is sent when an attempt has failed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Failed<'a> {
    #[serde(flatten)]
    object: Object<'a>,
    phase: &'a str,
    code: &'a str,
    message: &'a str,
    attempt_id: &'a str,
    attempt: u32,
    /// This one included.
    consecutive_failures: u32,
    retryable: bool,
}

/// What is sent when a sync has succeeded.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Succeeded<'a> {
    #[serde(flatten)]
    object: Object<'a>,
    attempt_id: &'a str,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    started: u64,
    finished: u64,
    bytes_sent: u64,
    bytes_total: u64,
    files_changed: u64,
    files_deleted: u64,
}

/// Of what is told.
#[derive(Debug, Serialize)]
struct Object<'a> {
    kind: &'a str,
    namespace: &'a str,
    name: &'a str,
    role: &'a str,
}

impl<'a> Object<'a> {
    fn of(ctx: &'a Context<Settings>) -> Self {
        let object = &ctx.replication.ref_;
        let role = match ctx.replication.role {
            Role::Source => "source",
            Role::Destination => "destination",
        };
        Self { kind: &object.kind, namespace: &object.namespace, name: &object.name, role }
    }
}

struct NotifyHttp;

impl Hook for NotifyHttp {
    type Settings = Settings;
    const SCHEMA: Option<&'static str> = Some(include_str!("../settings.schema.json"));

    fn validate(settings: &Settings) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (path, url) in [("/url", &settings.url), ("/successUrl", &settings.success_url)] {
            let is_url = |url: &String| ["https://", "http://"].iter().any(|scheme| url.starts_with(scheme));
            if !url.as_ref().is_none_or(is_url) {
                problems.push(Problem::at(path, "has no scheme: write it as https://host/path"));
            }
        }
        if settings.url.is_none() && settings.success_url.is_none() {
            problems.push(Problem::at("/url", "nobody is told: set url, successUrl or both"));
        }
        if settings.after == 0 {
            problems.push(Problem::at("/after", "is 0: use 1 to be told of each failure"));
        }
        problems
    }
}

impl Failure for NotifyHttp {
    fn on_failure(ctx: &Context<Settings>, report: &Report) -> Result<Reaction, HookError> {
        let Some(url) = &ctx.settings.url else { return Ok(Reaction::Default) };
        let failures = ctx.last.consecutive_failures.max(1);
        if failures < ctx.settings.after {
            log::debug(&format!("{failures} of {} failures in a row: not told", ctx.settings.after));
            return Ok(Reaction::Default);
        }
        let failed = Failed {
            object: Object::of(ctx),
            phase: report.phase.name(),
            code: &report.code,
            message: &report.message,
            attempt_id: &ctx.attempt.attempt_id,
            attempt: ctx.attempt.number,
            consecutive_failures: failures,
            retryable: report.retryable,
        };
        // An error is shown in the object's status; the sync goes on as without this hook.
        tell(ctx, url, &failed)?;
        Ok(Reaction::Default)
    }
}

impl Lifecycle for NotifyHttp {
    fn post_sync(ctx: &Context<Settings>, stats: &SyncStats) -> Result<(), HookError> {
        let Some(url) = &ctx.settings.success_url else { return Ok(()) };
        let succeeded = Succeeded {
            object: Object::of(ctx),
            attempt_id: &ctx.attempt.attempt_id,
            started: stats.started,
            finished: stats.finished,
            bytes_sent: stats.bytes_sent,
            bytes_total: stats.bytes_total,
            files_changed: stats.files_changed,
            files_deleted: stats.files_deleted,
        };
        tell(ctx, url, &succeeded)
    }
}

fn tell(ctx: &Context<Settings>, url: &str, body: &impl Serialize) -> Result<(), HookError> {
    // The same may be told twice, as when the controller restarts: by this the receiver can know it again.
    let key = format!("{}-{}", ctx.attempt.attempt_id, ctx.attempt.number);
    let mut request = Request::post(url).header("Idempotency-Key", key).json(body)?;
    for (header, secret) in &ctx.settings.secret_headers {
        request = request.secret_header(header, secret);
    }
    let response = request.send()?;
    if !response.is_success() {
        return Err(HookError::failed(format!("{url} answered {}", response.status)));
    }
    Ok(())
}

export!(NotifyHttp: Failure, Lifecycle);
