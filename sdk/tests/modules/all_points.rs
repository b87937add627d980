//! A module that stands at every point, and does at each as little as can be told from nothing.

use scribe_hook_sdk::decision::Verdict;
use scribe_hook_sdk::failure::{Reaction, Report};
use scribe_hook_sdk::promotion::Candidate;
use scribe_hook_sdk::quiesce::{Consistency, Frozen, Release};
use scribe_hook_sdk::retention::{Keep, Point};
use scribe_hook_sdk::transfer::Options;
use scribe_hook_sdk::{
    Context, Decision, Failure, Hook, HookError, Lifecycle, Promotion, Quiesce, Retention, SyncStats,
    Transfer, export, log,
};

/// None are known.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {}

struct AllPoints;

impl Hook for AllPoints {
    type Settings = Settings;
}

impl Decision for AllPoints {
    fn decide(ctx: &Context<Settings>) -> Verdict {
        Verdict::defer(ctx.attempt.number, "as often as it was tried")
    }
}

impl Transfer for AllPoints {
    fn tune(_: &Context<Settings>, defaults: Options) -> Result<Options, String> {
        Ok(Options { bandwidth_kib: Some(1), ..defaults })
    }
}

impl Retention for AllPoints {
    fn choose(_: &Context<Settings>, points: &[Point]) -> Result<Vec<Keep>, String> {
        Ok(points.iter().map(|point| Keep::new(point, "all are kept")).collect())
    }
}

impl Quiesce for AllPoints {
    fn quiesce(ctx: &Context<Settings>) -> Result<Frozen, HookError> {
        Frozen::new(Consistency::Crash).with_token(&ctx.attempt.attempt_id)
    }

    fn release(_: &Context<Settings>, release: &Release) -> Result<(), HookError> {
        let token: Option<String> = release.token()?;
        log::info(&format!("{:?}, try {}, token {token:?}", release.reason, release.try_number));
        Ok(())
    }
}

impl Lifecycle for AllPoints {
    fn pre_sync(_: &Context<Settings>) -> Result<(), HookError> {
        Err(HookError::retry_after(1, "not yet"))
    }

    fn post_sync(_: &Context<Settings>, stats: &SyncStats) -> Result<(), HookError> {
        log::info(&format!("{} bytes", stats.bytes_sent));
        Ok(())
    }
}

impl Failure for AllPoints {
    fn on_failure(_: &Context<Settings>, report: &Report) -> Result<Reaction, HookError> {
        Ok(Reaction::Suspend(report.code.clone()))
    }
}

impl Promotion for AllPoints {
    fn before_promotion(_: &Context<Settings>, candidate: &Candidate) -> Result<(), HookError> {
        Err(HookError::rejected(candidate.volume.name.clone()))
    }
}

export!(AllPoints: Decision, Transfer, Retention, Quiesce, Lifecycle, Failure, Promotion);

#[cfg(test)]
mod tests {
    use scribe_hook_sdk::quiesce::ReleaseReason;
    use scribe_hook_sdk::testing::{Host, context};

    use super::*;

    #[test]
    fn what_quiesce_has_answered_comes_back_at_release() {
        let host = Host::new();
        let ctx = context(&serde_json::json!({}));
        let token = AllPoints::quiesce(&ctx).map(|frozen| Some(frozen.token)).unwrap();
        AllPoints::release(&ctx, &Release { token, reason: ReleaseReason::CutTaken, try_number: 2 }).unwrap();
        let nothing = Release { token: None, reason: ReleaseReason::WindowExpired, try_number: 1 };
        AllPoints::release(&ctx, &nothing).unwrap();
        let said: Vec<_> = host.logs().into_iter().map(|log| log.message).collect();
        assert_eq!(
            said,
            [
                r#"ReleaseReason::CutTaken, try 2, token Some("00000000-0000-0000-0000-000000000001")"#,
                "ReleaseReason::WindowExpired, try 1, token None"
            ]
        );
    }
}
