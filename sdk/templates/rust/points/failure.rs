//! Gives up after some failures in a row.

use scribe_hook_sdk::failure::{Reaction, Report};
use scribe_hook_sdk::{Context, Failure, Hook, HookError, Problem, export};
use serde::Deserialize;

/// What the user sets.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    /// After how many.
    after: u32,
}

struct GiveUp;

impl Hook for GiveUp {
    type Settings = Settings;

    fn validate(settings: &Settings) -> Vec<Problem> {
        match settings.after {
            0 => vec![Problem::at("/after", "is 0: use 1 to give up at once")],
            _ => Vec::new(),
        }
    }
}

impl Failure for GiveUp {
    fn on_failure(ctx: &Context<Settings>, report: &Report) -> Result<Reaction, HookError> {
        let failures = ctx.last.consecutive_failures;
        match failures >= ctx.settings.after {
            true => Ok(Reaction::Suspend(format!("failed {failures} times, last with {}", report.code))),
            false => Ok(Reaction::Default),
        }
    }
}

export!(GiveUp: Failure);

#[cfg(test)]
mod tests {
    use scribe_hook_sdk::failure::Phase;
    use scribe_hook_sdk::testing::context;

    use super::*;

    #[test]
    fn it_gives_up_in_time() {
        let mut ctx = context(&serde_json::json!({ "after": 3 }));
        let report = Report {
            phase: Phase::Transfer,
            code: "DestinationFull".to_owned(),
            message: String::new(),
            mover_exit: None,
            retryable: true,
        };
        ctx.last.consecutive_failures = 2;
        assert_eq!(GiveUp::on_failure(&ctx, &report), Ok(Reaction::Default));
        ctx.last.consecutive_failures = 3;
        let why = "failed 3 times, last with DestinationFull".to_owned();
        assert_eq!(GiveUp::on_failure(&ctx, &report), Ok(Reaction::Suspend(why)));
    }
}
