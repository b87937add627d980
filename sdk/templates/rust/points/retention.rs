//! Keeps the newest replicas.

use scribe_hook_sdk::retention::{Keep, Point};
use scribe_hook_sdk::{Context, Hook, Problem, Retention, export};
use serde::Deserialize;

/// What the user sets.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    /// How many.
    last: usize,
}

struct KeepLast;

impl Hook for KeepLast {
    type Settings = Settings;

    fn validate(settings: &Settings) -> Vec<Problem> {
        match settings.last {
            0 => vec![Problem::at("/last", "is 0: keep at least one")],
            _ => Vec::new(),
        }
    }
}

impl Retention for KeepLast {
    fn choose(ctx: &Context<Settings>, points: &[Point]) -> Result<Vec<Keep>, String> {
        let ready = points.iter().rev().filter(|point| point.ready);
        Ok(ready.take(ctx.settings.last).map(|point| Keep::new(point, "one of the newest")).collect())
    }
}

export!(KeepLast: Retention);

#[cfg(test)]
mod tests {
    use scribe_hook_sdk::testing::{context, point};

    use super::*;

    #[test]
    fn the_newest_are_kept() {
        let ctx = context(&serde_json::json!({ "last": 2 }));
        let points = [point("a", 1), point("b", 2), point("c", 3)];
        let kept = KeepLast::choose(&ctx, &points).unwrap();
        assert_eq!(kept.iter().map(|keep| keep.id.as_str()).collect::<Vec<_>>(), ["c", "b"]);
    }
}
