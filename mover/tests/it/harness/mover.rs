//! A mover as a process, in namespaces of its own as in a pod: it is process 1, and all its processes end with it.

use super::{FS_GROUP, LIMIT, Pair, text};
use rustix::process::{Pid, Signal, kill_process};
use scribe_mover_contract::job::{JOB_VARIABLE, Job, Termination};
use scribe_mover_contract::{PRIVILEGED_DESTINATION_CAPABILITIES, PRIVILEGED_SOURCE_CAPABILITIES};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::{Child, Command};

/// Who a mover runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A user without any capability.
    User(u32),
    /// Root, with the capabilities that privileged movers have, and no others.
    Root,
}

/// A mover that runs. Killed when dropped.
pub struct Mover {
    child: Child,
    folder: PathBuf,
    end: String,
    /// Where its controller reaches it.
    pub control_port: u16,
}

/// How a source mover ended.
#[derive(Debug)]
pub struct SyncEnd {
    pub code: Option<i32>,
    pub termination: Termination,
    pub log: String,
}

/// The token of the control API.
pub const TOKEN: &str = "token-of-the-test";

/// Becomes process 1 of a pod: private mounts, the binary where any user can run it, nothing else of the capabilities.
const POD: &str = r#"
mount -t tmpfs -o mode=755 run /run
touch "$BINARY"
mount --bind "$ORIGINAL" "$BINARY"
if [ -n "$READ_ONLY" ]; then mount --bind "$READ_ONLY" "$READ_ONLY"; mount -o remount,bind,ro "$READ_ONLY"; fi
exec setpriv $PRIVILEGES --inh-caps=-all -- "$BINARY" run "$@"
"#;

impl Mover {
    pub fn start(pair: &Pair, end: &str, job: &Job, data: &Path, ssh_port: u16, control_port: u16) -> Self {
        let folder = pair.folder.path();
        let (run_dir, control) = (folder.join(format!("{end}-run")), folder.join("control"));
        for path in [&run_dir, &control] {
            fs::create_dir_all(path).unwrap();
        }
        fs::set_permissions(&run_dir, fs::Permissions::from_mode(0o777)).unwrap();
        fs::write(control.join("token"), TOKEN).unwrap();
        let termination = folder.join("termination");
        fs::write(&termination, "").unwrap();
        fs::set_permissions(&termination, fs::Permissions::from_mode(0o666)).unwrap();
        let log = fs::File::create(folder.join(format!("{end}.log"))).unwrap();
        let read_only = if end == "source" { text(data) } else { "" };
        let child = Command::new("unshare")
            .args([
                "--mount",
                "--pid",
                "--fork",
                "--kill-child=KILL",
                "--mount-proc",
                "--",
                "sh",
                "-ec",
                POD,
                "pod",
            ])
            .args(["--data-dir", text(data)])
            .args(["--keys-dir", text(&pair.keys(end))])
            .args(["--control-dir", text(&control)])
            .args(["--run-dir", text(&run_dir)])
            .args(["--listen", &pair.address])
            .args(["--ssh-port", &ssh_port.to_string()])
            .args(["--control-port", &control_port.to_string()])
            .args(["--termination-file", text(&termination)])
            .env("ORIGINAL", env!("CARGO_BIN_EXE_scribe-mover"))
            .env("BINARY", folder.join(format!("{end}-mover")))
            .env("READ_ONLY", read_only)
            .env("PRIVILEGES", privileges(pair.identity, end))
            .env(JOB_VARIABLE, serde_json::to_string(job).unwrap())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, folder: folder.to_owned(), end: end.to_owned(), control_port }
    }

    /// Waits until it ends. Fails after [`LIMIT`].
    pub async fn end(mut self) -> SyncEnd {
        let code = self.ended().await;
        let (log, text) = (self.log(), fs::read_to_string(self.folder.join("termination")).unwrap());
        let termination =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?}\n{log}"));
        SyncEnd { code, termination, log }
    }

    /// Waits until it ends; for one that leaves no last words.
    pub async fn code(mut self) -> Option<i32> {
        self.ended().await
    }

    async fn ended(&mut self) -> Option<i32> {
        match tokio::time::timeout(LIMIT, self.child.wait()).await {
            Ok(status) => status.unwrap().code(),
            Err(_) => panic!("it has not ended in {} s\n{}", LIMIT.as_secs(), self.log()),
        }
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.join(format!("{}.log", self.end))).unwrap())
            .into_owned()
    }

    /// Sends SIGTERM, as the kubelet does.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Process 1 of the mover, seen from outside. `unshare` cannot pass a death on to it: that is forgotten with the change of user.
    fn signal(&self, signal: Signal) {
        let Some(unshare) = self.child.id() else { return };
        let children =
            fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children")).unwrap_or_default();
        if let Some(init) = children.split_whitespace().next() {
            let init = Pid::from_raw(init.parse().unwrap()).unwrap();
            // It may just have ended.
            let _ = kill_process(init, signal);
        }
    }

    /// Stops all of its processes, as a network does that swallows everything.
    pub fn freeze(&self) {
        let mut stopped = vec![self.child.id().unwrap()];
        while let Some(process) = stopped.pop() {
            let tasks = format!("/proc/{process}/task/{process}/children");
            let children = fs::read_to_string(tasks).unwrap_or_default();
            for child in children.split_whitespace().map(|child| child.parse::<u32>().unwrap()) {
                let pid = Pid::from_raw(i32::try_from(child).unwrap()).unwrap();
                // It may just have ended.
                let _ = kill_process(pid, Signal::STOP);
                stopped.push(child);
            }
        }
    }

    /// Ends it as a node does that loses its power.
    pub async fn kill(mut self) {
        self.signal(Signal::KILL);
        self.child.wait().await.unwrap();
    }
}

impl Drop for Mover {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

fn privileges(identity: Identity, end: &str) -> String {
    match identity {
        Identity::User(user) => {
            let groups = if end == "destination" {
                format!("--groups={FS_GROUP}")
            } else {
                "--clear-groups".to_owned()
            };
            format!("--reuid={user} --regid={user} {groups} --no-new-privs --bounding-set=-all")
        }
        Identity::Root => {
            let allowed = match end {
                "source" => PRIVILEGED_SOURCE_CAPABILITIES,
                _ => PRIVILEGED_DESTINATION_CAPABILITIES,
            };
            let allowed: Vec<_> = allowed.iter().map(|name| format!("+{}", name.to_lowercase())).collect();
            format!("--clear-groups --no-new-privs --bounding-set=-all,{}", allowed.join(","))
        }
    }
}
