//! A source that is written while it is read: what of it has changed meanwhile.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tokio::sync::oneshot;

/// The kernel stamps changes with a clock that ticks this coarsely at most.
const TICK: Duration = Duration::from_millis(10);
/// How many are named.
const NAMED: usize = 3;
/// Longer names are cut: they stand in a status.
const MAX_PATH: usize = 100;

/// What was changed since a moment, for people; nothing if nothing was. Dropped, it ends the walk.
pub async fn changed_since(data: &Path, moment: SystemTime) -> Option<String> {
    let data = data.to_owned();
    let (asker, walked) = oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let changed = walk(&data, moment - TICK, || asker.is_closed());
        // Who asked may have gone.
        let _ = asker.send(changed);
    });
    let (count, names) = walked.await.unwrap_or_default();
    (count > 0).then(|| {
        let names = names.join(", ");
        format!("{count} entries changed while they were read, for example {names}: the replica is of no single point in time")
    })
}

/// How many entries were changed, and the first of them. What cannot be looked at is not the concern of a warning.
fn walk(data: &Path, since: SystemTime, is_over: impl Fn() -> bool) -> (u64, Vec<String>) {
    let (mut count, mut names) = (0, Vec::new());
    let device = fs::symlink_metadata(data).map(|root| root.dev()).unwrap_or_default();
    let mut folders = vec![data.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in entries(&folder) {
            if is_over() {
                return (count, names);
            }
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            if is_changed(&metadata, since) && !metadata.is_dir() {
                count += 1;
                if names.len() < NAMED {
                    names.push(shown(path.strip_prefix(data).unwrap_or(&path)));
                }
            }
            if metadata.is_dir() && metadata.dev() == device {
                folders.push(path);
            }
        }
    }
    (count, names)
}

/// In the order of their names, so that the same ones are named each time.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// By the time of its last change of any kind: what it was modified at can be set to anything.
fn is_changed(metadata: &fs::Metadata, since: SystemTime) -> bool {
    let since = since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (seconds, nanoseconds) = (metadata.ctime(), metadata.ctime_nsec());
    (i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds))
        >= i128::try_from(since.as_nanos()).unwrap_or(i128::MAX)
}

/// A path as it may stand in a status: on one line, with a bound.
fn shown(path: &Path) -> String {
    path.to_string_lossy().escape_debug().take(MAX_PATH).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_changed_is_counted_and_some_of_it_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("deep")).unwrap();
        for name in ["old", "deep/a", "deep/b", "deep/c", "deep/d"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        let after = SystemTime::now() + Duration::from_secs(1);
        assert_eq!(changed_since(folder.path(), after).await, None);
        let newest = fs::metadata(folder.path().join("old")).unwrap();
        let own = SystemTime::UNIX_EPOCH
            + Duration::new(newest.ctime().try_into().unwrap(), newest.ctime_nsec().try_into().unwrap());
        let words = changed_since(folder.path(), own - Duration::from_secs(1)).await.unwrap();
        assert_eq!(
            words,
            "5 entries changed while they were read, for example old, deep/a, deep/b: the replica is of no single point in time"
        );
    }
}
