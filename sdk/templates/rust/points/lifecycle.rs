//! Says with an Event what was replicated.

use scribe_hook_sdk::{Context, Hook, HookError, Lifecycle, SyncStats, events, export};
use serde::Deserialize;

/// What the user sets.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    /// Below so many bytes nothing is said.
    #[serde(default)]
    above_bytes: u64,
}

struct Announce;

impl Hook for Announce {
    type Settings = Settings;
}

impl Lifecycle for Announce {
    fn post_sync(ctx: &Context<Settings>, stats: &SyncStats) -> Result<(), HookError> {
        if stats.bytes_sent >= ctx.settings.above_bytes {
            events::normal("Replicated", &format!("{} bytes were sent", stats.bytes_sent))?;
        }
        Ok(())
    }
}

export!(Announce: Lifecycle);

#[cfg(test)]
mod tests {
    use scribe_hook_sdk::testing::{Host, context};

    use super::*;

    #[test]
    fn small_syncs_pass_in_silence() {
        let host = Host::new();
        let ctx = context(&serde_json::json!({ "aboveBytes": 100 }));
        let stats = |bytes_sent| SyncStats {
            started: 0,
            finished: 1,
            bytes_sent,
            bytes_total: 0,
            files_changed: 0,
            files_deleted: 0,
            mover_exit: Some(0),
        };
        Announce::post_sync(&ctx, &stats(99)).unwrap();
        assert_eq!(host.calls().len(), 0);
        Announce::post_sync(&ctx, &stats(100)).unwrap();
        assert_eq!(host.calls().len(), 1);
    }
}
