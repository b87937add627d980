//! Limits the bandwidth.

use scribe_hook_sdk::transfer::Options;
use scribe_hook_sdk::{Context, Hook, Problem, Transfer, export};
use serde::Deserialize;

/// What the user sets.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    /// KiB per second.
    bandwidth_kib: u32,
}

struct Limited;

impl Hook for Limited {
    type Settings = Settings;

    fn validate(settings: &Settings) -> Vec<Problem> {
        match settings.bandwidth_kib {
            0 => vec![Problem::at("/bandwidthKib", "is 0: use at least 1")],
            _ => Vec::new(),
        }
    }
}

impl Transfer for Limited {
    fn tune(ctx: &Context<Settings>, defaults: Options) -> Result<Options, String> {
        Ok(Options { bandwidth_kib: Some(ctx.settings.bandwidth_kib), ..defaults })
    }
}

export!(Limited: Transfer);

#[cfg(test)]
mod tests {
    use scribe_hook_sdk::testing::context;

    use super::*;

    #[test]
    fn only_the_bandwidth_changes() {
        let ctx = context(&serde_json::json!({ "bandwidthKib": 100 }));
        let defaults =
            Options { bandwidth_kib: None, comparison: None, excludes: vec![], timeout_seconds: Some(7) };
        let tuned = Limited::tune(&ctx, defaults.clone()).unwrap();
        assert_eq!(tuned, Options { bandwidth_kib: Some(100), ..defaults });
    }
}
