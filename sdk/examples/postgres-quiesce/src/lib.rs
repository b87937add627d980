//! Brings PostgreSQL to rest, in one of two ways; `README.md` says which is for whom.

mod settings;
#[cfg(test)]
mod tests;

use scribe_hook_sdk::exec::{self, Command, Error, Outcome};
use scribe_hook_sdk::quiesce::{Consistency, Frozen, Release};
use scribe_hook_sdk::{Context, Hook, HookError, Problem, Quiesce, export, freeze, log};

use crate::settings::{Mode, Settings};

/// Freezes a file system and thaws it when stdin ends or the time is over, whichever is first: so also where nobody is left to thaw it.
///
/// Signals are ignored until the trap is set, or one between the two would leave the file system frozen. The trap is set only after the
/// freeze, or it would thaw what somebody else has frozen. It ends with 124, as `timeout` does, where the time was over.
///
/// As long as it lives it has a lock on the directory: so the release can tell what it is about to thaw from what nobody will.
const FREEZE: &str = r#"trap '' HUP INT TERM
exec 9< "$1" || exit
flock -n 9 || { echo "$1 is held by another session" >&2; exit 75; }
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
    /// this thaws too, unless such a shell lives, be it this hook's or that of another source of the same volume.
    fn release(ctx: &Context<Settings>, _: &Release) -> Result<(), HookError> {
        let settings = &ctx.settings;
        if settings.mode != Mode::Fsfreeze {
            return Ok(());
        }
        let directory = settings.directory.as_str();
        let thaw = Command::new(["flock", "-n", directory, "fsfreeze", "--unfreeze", directory]);
        // All of them: in the middle of a rollout there may be two, and nobody knows any more which it was.
        match exec::run(&settings.freezer().all(), &thaw) {
            Ok(outcomes) => outcomes.iter().try_for_each(is_thawed),
            // With the pod, its mount is gone. A container that does not run is another matter: the file system outlives it, frozen, and the
            // database with it.
            Err(Error::NoSuchTarget(why)) => {
                log::info(&format!("nothing to thaw: {why}"));
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Nothing is frozen any more, or somebody lives who thaws it.
fn is_thawed(outcome: &Outcome) -> Result<(), HookError> {
    let said = String::from_utf8_lossy(&outcome.stderr);
    match (outcome.exit_code, said.trim()) {
        (0, _) => Ok(()),
        // Without a word: flock's way to say that the lock is taken.
        (1, "") => {
            log::debug(&format!("pod {}: a session holds it, and thaws it when it ends", outcome.pod));
            Ok(())
        }
        // Thus the kernel calls what is not frozen.
        (_, said) if said.contains("Invalid argument") => Ok(()),
        (code, said) => {
            Err(HookError::failed(format!("pod {}: fsfreeze ended with {code}: {said}", outcome.pod)))
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
