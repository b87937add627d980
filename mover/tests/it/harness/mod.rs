//! A source and a destination on one machine.

mod controller;
mod gate;
mod mover;
mod tree;
mod volume;

pub use controller::{Controller, Policy, Publishing};
pub use gate::Gate;
pub use mover::{Identity, Mover, SyncEnd};
pub use tree::describe;
pub use volume::Volume;

use scribe_mover_contract::guards::Guards;
use scribe_mover_contract::job::{DestinationJob, Job, SourceJob, Timeouts};
use scribe_mover_contract::peer::{Comparison, Consistency};
use ssh_key::{Algorithm, LineEnding, PrivateKey};
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

/// What has not happened by then will not, even on a machine that is busy with other things. A test fails then, and does not hang.
pub const LIMIT: Duration = Duration::from_secs(240);
/// The user that most movers run as: `nonroot` by convention, and in nobody's passwd.
pub const USER: u32 = 65532;
/// The group that the kubelet would give to a receiving volume.
pub const FS_GROUP: u32 = 2000;

/// Both ends, before they run.
pub struct Pair {
    pub source: Volume,
    pub destination: Volume,
    pub job: SourceJob,
    pub identity: Identity,
    /// What both ends use as the destination's address.
    pub address: String,
    ssh_port: u16,
    control_port: u16,
    /// The last field: what is mounted in it has to be unmounted before it can go.
    pub folder: TempDir,
}

impl Pair {
    /// Unprivileged movers, an empty source that belongs to their user, and a destination as the kubelet prepares it.
    pub fn new() -> Self {
        Self::with(Identity::User(USER), 64)
    }

    /// Movers of that identity, and a destination of that many MiB.
    pub fn with(identity: Identity, destination_mib: u64) -> Self {
        need();
        let folder = tempfile::Builder::new().prefix("scribe-it-").tempdir().unwrap();
        run("chmod", &["755", text(folder.path())]);
        let source = Volume::new(folder.path(), "source", 64);
        let destination = Volume::new(folder.path(), "destination", destination_mib);
        if let Identity::User(user) = identity {
            run("chown", &["-R", &format!("{user}:{user}"), text(source.path())]);
            run("chown", &[&format!("root:{FS_GROUP}"), text(destination.path())]);
            run("chmod", &["2775", text(destination.path())]);
        }
        let (ssh_port, control_port) = (free_port(), free_port());
        write_keys(folder.path(), ssh_port);
        Self {
            folder,
            source,
            destination,
            job: job("first"),
            identity,
            address: "127.0.0.1".to_owned(),
            ssh_port,
            control_port,
        }
    }

    /// Starts the destination and a controller that says yes to everything.
    pub async fn listen(&self) -> (Mover, Controller) {
        self.listen_with(Policy::default()).await
    }

    /// Starts the destination and its controller.
    pub async fn listen_with(&self, policy: Policy) -> (Mover, Controller) {
        let timeouts = Timeouts { answer: 10, silence: 6, ..Timeouts::default() };
        let job = DestinationJob { protocol: 1, claim_uid: "receiving".to_owned(), timeouts };
        let data = self.destination.path();
        let job = Job::Destination(job);
        let mover = Mover::start(self, "destination", &job, data, self.ssh_port, self.control_port);
        let controller = Controller::start(&self.address, self.control_port, policy).await;
        (mover, controller)
    }

    /// Starts the source.
    pub fn send(&self) -> Mover {
        let job = SourceJob { address: Some(self.address.clone()), ..self.job.clone() };
        let job = Job::Source(Box::new(job));
        Mover::start(self, "source", &job, self.source.path(), 0, free_port())
    }

    /// Runs the source to its end.
    pub async fn sync(&self) -> SyncEnd {
        self.send().end().await
    }

    /// A sync that has to end well.
    pub async fn sync_well(&self) -> SyncEnd {
        let end = self.sync().await;
        assert_eq!(
            (end.code, &end.termination.reason),
            (Some(0), &None),
            "{:?}\n{}",
            end.termination,
            end.log
        );
        assert!(end.termination.published);
        end
    }

    /// The next sync of the same source.
    pub fn next(&mut self, sync_id: &str) {
        self.job = SourceJob { sync_id: sync_id.to_owned(), attempt: 1, ..self.job.clone() };
    }

    /// Logs in as a source does that is not ours, and runs a command with that input.
    pub async fn ssh(&self, command: &str, input: &str) -> Output {
        let config = self.folder.path().join("ssh_config");
        // ssh wants it to be nobody else's, and our sources have to read theirs.
        let (key, port) = (self.folder.path().join("stranger"), self.ssh_port);
        fs::copy(self.keys("source").join("source"), &key).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let lines = format!(
            "Host *\nHostName 127.0.0.1\nPort {port}\nUser scribe\nIdentityFile {}\nIdentitiesOnly yes\n\
             StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nLogLevel ERROR\nBatchMode yes\n",
            text(&key)
        );
        fs::write(&config, lines).unwrap();
        let mut child = tokio::process::Command::new("ssh")
            .args(["-F", text(&config), "destination", command])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // It may refuse before it reads.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        child.wait_with_output().await.unwrap()
    }

    /// The folder with the keys of one end.
    pub fn keys(&self, end: &str) -> PathBuf {
        self.folder.path().join(format!("{end}-keys"))
    }

    /// Fails unless both volumes hold the same.
    pub fn assert_same(&self) {
        let (source, destination) =
            (describe(self.source.path(), self.identity), describe(self.destination.path(), self.identity));
        for line in source.iter().filter(|line| !destination.contains(line)) {
            println!("only at the source:      {line}");
        }
        for line in destination.iter().filter(|line| !source.contains(line)) {
            println!("only at the destination: {line}");
        }
        assert!(source == destination, "the volumes differ, see above");
    }

    /// Makes a file of the source, with its folders.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.source.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        self.own();
        path
    }

    /// Gives everything of the source to the user of the mover.
    pub fn own(&self) {
        if let Identity::User(user) = self.identity {
            run("chown", &["-hR", &format!("{user}:{user}"), text(self.source.path())]);
        }
    }
}

fn job(sync_id: &str) -> SourceJob {
    SourceJob {
        protocol: 1,
        sync_id: sync_id.to_owned(),
        attempt: 1,
        cluster_id: "cluster".to_owned(),
        claim_uid: "claim".to_owned(),
        cut_uid: "cut".to_owned(),
        data_time: "2026-01-01T00:00:00Z".parse().unwrap(),
        consistency: Consistency::Crash,
        comparison: Comparison::Content,
        strict_fidelity: false,
        generation: 1,
        source_name: "ns/source".to_owned(),
        rpo_seconds: None,
        schedule: None,
        time_zone: None,
        address: None,
        port: None,
        bandwidth_limit: None,
        excludes: Vec::new(),
        // As a ReplicationSource has them that says nothing of guards.
        guards: Some(Guards { empty_source: true, max_deleted_percent: 50, max_rewritten_percent: 80 }),
        timeouts: Timeouts { connect: 5, silence: 6, unreachable: 60, poll: 1, answer: 10 },
    }
}

fn write_keys(folder: &Path, port: u16) {
    let pair = || PrivateKey::random(&mut ssh_key::rand_core::OsRng, Algorithm::Ed25519).unwrap();
    let (source, destination) = (pair(), pair());
    let private = |key: &PrivateKey| key.to_openssh(LineEnding::LF).unwrap().to_string();
    let public = |key: &PrivateKey| key.public_key().to_openssh().unwrap();
    let write = |end: &str, name: &str, text: &str| {
        let folder = folder.join(format!("{end}-keys"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), text).unwrap();
    };
    write("source", "source", &private(&source));
    write("source", "source.pub", &public(&source));
    write("source", "destination.pub", &public(&destination));
    write("source", "address", "127.0.0.1");
    write("source", "port", &port.to_string());
    write("source", "relationship", "relationship");
    write("destination", "destination", &private(&destination));
    write("destination", "destination.pub", &public(&destination));
    write("destination", "source.pub", &public(&source));
}

/// Fails with what is missing on this machine.
fn need() {
    assert!(rustix::process::geteuid().is_root(), "these tests need root: loop mounts, other users");
    for (program, package) in [
        ("/usr/sbin/sshd", "openssh-server"),
        ("/usr/bin/ssh", "openssh-client"),
        ("/usr/bin/rsync", "rsync (3.5 or newer)"),
        ("/usr/bin/setfacl", "acl"),
        ("/usr/bin/setpriv", "util-linux"),
        ("/sbin/mkfs.ext4", "e2fsprogs"),
        ("/sbin/setcap", "libcap2-bin"),
    ] {
        assert!(Path::new(program).exists(), "{program} is missing; install {package}");
    }
}

/// Runs a program that has to succeed.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output =
        Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A path of ours, which is plain text.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}
