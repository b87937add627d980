//! The processes of a session: who may write, and how to be sure that nobody does any more.

use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// rsync keeps a partial file under its name when it is told to end, so that the next transfer goes on there.
const GRACE: Duration = Duration::from_secs(5);
/// A process that is stuck in the kernel with its last write outlives any signal.
const LIMIT: Duration = Duration::from_secs(30);

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Rsync,
    Commit,
}

#[derive(Clone, Copy, Debug)]
struct Live {
    group: Pid,
    token: u64,
    kind: Kind,
}

/// The processes that are alive. Clones share them.
#[derive(Clone)]
pub struct Processes {
    live: Arc<watch::Sender<BTreeMap<u64, Live>>>,
}

/// Stands for one process group. Dropped when its last process is gone.
pub struct Registration {
    processes: Processes,
    id: u64,
}

/// Processes outlived even SIGKILL.
#[derive(Debug)]
pub struct StillAlive;

impl Processes {
    pub fn new() -> Self {
        Self { live: Arc::new(watch::Sender::new(BTreeMap::new())) }
    }

    /// Takes note of a process group.
    pub fn register(&self, group: Pid, token: u64, kind: Kind) -> Registration {
        let mut id = 0;
        self.live.send_modify(|live| {
            id = live.last_key_value().map_or(0, |(id, _)| id + 1);
            live.insert(id, Live { group, token, kind });
        });
        Registration { processes: self.clone(), id }
    }

    /// Whether any process of a session is alive.
    pub fn is_connected(&self, token: u64) -> bool {
        self.live.borrow().values().any(|live| live.token == token)
    }

    /// Waits until a process comes or goes.
    pub fn changes(&self) -> watch::Receiver<impl Sized + use<>> {
        self.live.subscribe()
    }

    /// Whether all processes of that kind went by themselves within a while.
    pub async fn went(&self, kind: Kind, within: Duration) -> bool {
        tokio::time::timeout(within, self.gone(|live| live.kind == kind)).await.is_ok()
    }

    /// Ends every process, and waits until they are gone.
    ///
    /// # Errors
    /// Some are not gone: the volume may still be written to.
    pub async fn end(&self, kind: Option<Kind>) -> Result<(), StillAlive> {
        let meant = |live: &Live| kind.is_none_or(|kind| live.kind == kind);
        for (signal, wait) in [(Signal::TERM, GRACE), (Signal::KILL, LIMIT)] {
            self.signal(meant, signal);
            if tokio::time::timeout(wait, self.gone(meant)).await.is_ok() {
                return Ok(());
            }
        }
        Err(StillAlive)
    }

    fn signal(&self, meant: impl Fn(&Live) -> bool, signal: Signal) {
        for live in self.live.borrow().values().filter(|live| meant(live)) {
            // It may just have gone.
            let _ = kill_process_group(live.group, signal);
        }
    }

    async fn gone(&self, meant: impl Fn(&Live) -> bool) {
        let mut live = self.live.subscribe();
        // The sender lives as long as `self`, so this cannot fail.
        let _ = live.wait_for(|live| !live.values().any(&meant)).await;
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.processes.live.send_modify(|live| {
            live.remove(&self.id);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    #[tokio::test]
    async fn a_process_that_ignores_sigterm_is_killed() {
        let processes = Processes::new();
        // The pipe's end is held by the whole group, as the socket is in the real thing.
        let mut child = Command::new("sh")
            .args(["-c", "trap '' TERM; echo ready; while :; do sleep 1; done"])
            .process_group(0)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = tokio::process::ChildStdout::from_std(child.stdout.take().unwrap()).unwrap();
        tokio::io::AsyncReadExt::read_u8(&mut output).await.unwrap();
        let registration = processes.register(Pid::from_child(&child), 1, Kind::Rsync);
        assert!(processes.is_connected(1) && !processes.is_connected(2));
        tokio::spawn(async move {
            let _ = tokio::io::copy(&mut output, &mut tokio::io::sink()).await;
            drop(registration);
        });
        assert!(!processes.went(Kind::Rsync, Duration::ZERO).await);
        processes.end(None).await.unwrap();
        assert!(!processes.is_connected(1));
        assert!(child.wait().unwrap().code().is_none());
    }
}
