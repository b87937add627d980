//! Refuses to promote what is too old.

use scribe_hook_sdk::promotion::Candidate;
use scribe_hook_sdk::{Context, Hook, HookError, Promotion, export};
use serde::Deserialize;

/// What the user sets.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    /// Older data is not promoted.
    max_age_seconds: u64,
}

struct NotTooOld;

impl Hook for NotTooOld {
    type Settings = Settings;
}

impl Promotion for NotTooOld {
    fn before_promotion(ctx: &Context<Settings>, candidate: &Candidate) -> Result<(), HookError> {
        let (age, limit) = (candidate.recovery_point_age_seconds, ctx.settings.max_age_seconds);
        if age > limit {
            return Err(HookError::rejected(format!("the data is {age} s old, and {limit} s are allowed")));
        }
        Ok(())
    }
}

export!(NotTooOld: Promotion);

#[cfg(test)]
mod tests {
    use scribe_hook_sdk::testing::{context, object};

    use super::*;

    #[test]
    fn old_data_is_refused() {
        let ctx = context(&serde_json::json!({ "maxAgeSeconds": 60 }));
        let candidate = |recovery_point_age_seconds| Candidate {
            volume: object("v1", "PersistentVolumeClaim", "db"),
            taken: 0,
            recovery_point_age_seconds,
        };
        assert_eq!(NotTooOld::before_promotion(&ctx, &candidate(60)), Ok(()));
        let refused = HookError::rejected("the data is 61 s old, and 60 s are allowed");
        assert_eq!(NotTooOld::before_promotion(&ctx, &candidate(61)), Err(refused));
    }
}
