//! Brings PostgreSQL to rest, in one of two ways; `README.md` says which is for whom.

mod settings;
#[cfg(test)]
mod tests;

use scribe_hook_sdk::exec::{self, Command, Error};
use scribe_hook_sdk::quiesce::{Consistency, Frozen, Release};
use scribe_hook_sdk::{Context, Hook, HookError, Problem, Quiesce, export, freeze, log};

use crate::settings::{Mode, Settings};

/// Freezes a file system and thaws it when stdin ends or the time is over, whichever is first: so also where nobody is left to thaw it.
///
/// Signals are ignored until the trap is set, or one between the two would leave the file system frozen. The trap is set only after the
/// freeze, or it would thaw what somebody else has frozen. It ends with 124, as `timeout` does, where the time was over.
const FREEZE: &str = r#"trap '' HUP INT TERM
fsfreeze --freeze "$1" || exit
trap 'fsfreeze --unfreeze "$1"' EXIT
trap 'exit 143' HUP INT TERM
echo "scribe: frozen"
read -r -t "$2" _
test $? -le 128 || exit 124"#;

/// The line that says so.
const FROZEN: &str = "scribe: frozen";

/// Begins a backup with a checkpoint at once. It lasts as long as the session, and the session as long as psql's stdin.
const BACKUP: &str = "SELECT 'scribe: in backup mode' FROM pg_backup_start('scribe', true);\n";

/// The line that says so.
const IN_BACKUP: &str = "scribe: in backup mode";

struct PostgresQuiesce;

impl Hook for PostgresQuiesce {
    type Settings = Settings;
    const SCHEMA: Option<&'static str> = Some(include_str!("../settings.schema.json"));

    fn validate(settings: &Settings) -> Vec<Problem> {
        settings.problems()
    }
}

impl Quiesce for PostgresQuiesce {
    fn quiesce(ctx: &Context<Settings>) -> Result<Frozen, HookError> {
        match ctx.settings.mode {
            Mode::Fsfreeze => fsfreeze(&ctx.settings),
            Mode::Backup => backup(&ctx.settings),
        }
    }

    /// The host ends the sessions, and what they hold with them. But a shell that was killed has thawed nothing, and nothing else would: so
    /// this thaws too. Where nothing is frozen, `fsfreeze` fails and that is well.
    fn release(ctx: &Context<Settings>, _: &Release) -> Result<(), HookError> {
        let settings = &ctx.settings;
        if settings.mode != Mode::Fsfreeze {
            return Ok(());
        }
        let thaw = Command::new(["fsfreeze", "--unfreeze", &settings.directory]);
        match exec::run(&settings.freezer(), &thaw) {
            Ok(_) => Ok(()),
            // With the pod, its mount is gone.
            Err(Error::NoSuchTarget(why) | Error::NotRunning(why)) => {
                log::info(&format!("nothing to thaw: {why}"));
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// A checkpoint, so that recovery is short, and then nothing reaches the disk until the release.
fn fsfreeze(settings: &Settings) -> Result<Frozen, HookError> {
    exec::check(&settings.database(), &settings.psql(&["--command=CHECKPOINT"]))?;
    let seconds = settings.max_seconds.to_string();
    let argv = ["bash", "-c", FREEZE, "freeze", &settings.directory, &seconds];
    let hold = Command::new(argv).timeout_seconds(settings.max_seconds);
    freeze::hold_session(&settings.freezer(), &hold, FROZEN)?;
    // PostgreSQL was not stopped: started from the copy, it replays what it has logged since the checkpoint.
    Ok(Frozen::new(Consistency::Filesystem).with_note("checkpoint, then the file system was frozen"))
}

/// Backup mode, and what was written until then is brought to the disk. Writing goes on meanwhile.
fn backup(settings: &Settings) -> Result<Frozen, HookError> {
    let hold = settings.psql(&[]).stdin(BACKUP).timeout_seconds(settings.max_seconds);
    freeze::hold_session(&settings.database(), &hold, IN_BACKUP)?;
    let sync = Command::new(["sync", "-f", &settings.directory]);
    match exec::check(&settings.database(), &sync) {
        Ok(_) => {
            Ok(Frozen::new(Consistency::Filesystem)
                .with_note("in backup mode, and the file system was synced"))
        }
        Err(error) => {
            log::warn(&format!("the file system was not synced: {error}"));
            Ok(Frozen::new(Consistency::Crash)
                .with_note("in backup mode, but the file system was not synced"))
        }
    }
}

export!(PostgresQuiesce: Quiesce);
