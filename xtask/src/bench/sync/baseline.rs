//! What Scribe is compared with: rsync over ssh between two folders of this machine, as one would type it.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use scribe_tests::cluster::cache_dir;
use scribe_tests::command::run;
use tempfile::TempDir;

use super::content::{self, Case};

/// How long sshd may take to listen.
const START: Duration = Duration::from_secs(10);

/// An sshd of our own on loopback, and two folders.
pub struct Baseline {
    folder: TempDir,
    sshd: Child,
}

impl Baseline {
    /// Starts sshd, fills the source, and copies it once: what is measured later are syncs, not the first copy.
    ///
    /// # Errors
    /// sshd or rsync does not work here.
    pub fn start() -> Result<Self> {
        let cache = cache_dir()?;
        fs::create_dir_all(&cache).with_context(|| format!("create {}", cache.display()))?;
        let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(cache).context("make a folder")?;
        let at = |name: &str| folder.path().join(name);
        for key in ["host", "user"] {
            run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(at(key)))?;
        }
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        fs::write(at("sshd_config"), sshd_config(folder.path(), port)).context("configure sshd")?;
        fs::write(at("ssh_config"), ssh_config(folder.path(), port)).context("configure ssh")?;
        // Where sshd locks its unprivileged half into.
        fs::create_dir_all("/run/sshd").context("create /run/sshd")?;
        let mut sshd = Command::new("/usr/sbin/sshd");
        sshd.args(["-D", "-e", "-f"]).arg(at("sshd_config"));
        let sshd = sshd.stdin(Stdio::null()).stderr(Stdio::null()).spawn().context("start sshd")?;
        let baseline = Self { folder, sshd };
        let deadline = Instant::now() + START;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            ensure!(Instant::now() < deadline, "sshd does not listen on port {port}");
            std::thread::sleep(Duration::from_millis(20));
        }
        fs::create_dir(baseline.source())?;
        fs::create_dir(baseline.destination())?;
        content::fill(&baseline.source(), 0)?;
        baseline.rsync()?;
        Ok(baseline)
    }

    /// Makes the change of a case and brings it over. How long that took, in seconds.
    ///
    /// # Errors
    /// rsync fails.
    pub fn measure(&self, case: Case, number: usize) -> Result<f64> {
        content::change(&self.source(), case, number, 0)?;
        rustix::fs::sync();
        self.rsync()
    }

    fn rsync(&self) -> Result<f64> {
        let mut rsync = Command::new("rsync");
        rsync.arg("-aAhHSxz").arg("--delete");
        rsync.arg(format!("--rsh=ssh -F {}", self.folder.path().join("ssh_config").display()));
        rsync.arg(format!("{}/", self.source().display()));
        rsync.arg(format!("loopback:{}/", self.destination().display()));
        let began = Instant::now();
        run(&mut rsync)?;
        Ok(began.elapsed().as_secs_f64())
    }

    fn source(&self) -> PathBuf {
        self.folder.path().join("source")
    }

    fn destination(&self) -> PathBuf {
        self.folder.path().join("destination")
    }
}

impl Drop for Baseline {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.sshd.kill();
        let _ = self.sshd.wait();
    }
}

fn sshd_config(folder: &Path, port: u16) -> String {
    let folder = folder.display();
    format!(
        "ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\n\
         StrictModes no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\nPidFile none\nUsePAM no\n"
    )
}

fn ssh_config(folder: &Path, port: u16) -> String {
    let folder = folder.display();
    format!(
        "Host loopback\nHostName 127.0.0.1\nPort {port}\nIdentityFile {folder}/user\nIdentitiesOnly yes\n\
         StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nLogLevel ERROR\nBatchMode yes\n"
    )
}
