//! Brings what was written to the disk before the cut.

use scribe_hook_sdk::exec::{self, Command, Target};
use scribe_hook_sdk::quiesce::{Consistency, Frozen};
use scribe_hook_sdk::{Context, Hook, HookError, Problem, Quiesce, export};
use serde::Deserialize;

/// What the user sets.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    /// A label selector of the one pod that writes to the volume.
    pod_selector: String,
    /// Where the volume is mounted there.
    directory: String,
}

struct SyncFirst;

impl Hook for SyncFirst {
    type Settings = Settings;

    fn validate(settings: &Settings) -> Vec<Problem> {
        match settings.directory.starts_with('/') {
            true => Vec::new(),
            false => vec![Problem::at("/directory", "is not an absolute path")],
        }
    }
}

/// What has to be undone at release is best done with `scribe_hook_sdk::freeze`: the host undoes it, whatever becomes of the hook.
impl Quiesce for SyncFirst {
    fn quiesce(ctx: &Context<Settings>) -> Result<Frozen, HookError> {
        let sync = Command::new(["sync", "-f", &ctx.settings.directory]);
        exec::check(&Target::labels(&ctx.settings.pod_selector), &sync)?;
        Ok(Frozen::new(Consistency::Filesystem))
    }
}

export!(SyncFirst: Quiesce);

#[cfg(test)]
mod tests {
    use scribe_hook_sdk::exec::Outcome;
    use scribe_hook_sdk::testing::{Host, context};

    use super::*;

    fn quiesce(exit_code: i32) -> Result<Frozen, HookError> {
        let host = Host::new();
        host.exec(Ok(vec![Outcome {
            pod: "web-0".to_owned(),
            exit_code,
            stdout: vec![],
            stderr: b"no space".to_vec(),
            truncated: false,
        }]));
        SyncFirst::quiesce(&context(&serde_json::json!({ "podSelector": "app=web", "directory": "/data" })))
    }

    #[test]
    fn no_more_is_said_than_was_achieved() {
        assert_eq!(quiesce(0).unwrap().achieved, Consistency::Filesystem);
        assert_eq!(quiesce(1), Err(HookError::failed("the command in pod web-0 ended with 1: no space")));
    }
}
