//! An etcd and a kube-apiserver on loopback, without a cluster around them: for what only a real API server can prove.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::Client;

use crate::cluster::{Authority, Binaries, Identity, api_server_flags, cache_dir, client, etcd_flags};
use crate::command::tail;
use crate::wait::eventually;

/// How long the API server may take to answer. Two seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Tells the folders of one process's servers apart.
static SERVERS: AtomicU32 = AtomicU32::new(0);

/// A running API server. It and its etcd die with this value or with this process, however that ends.
#[derive(Debug)]
pub struct ApiServer {
    folder: PathBuf,
    /// Dropped first: the keeper then kills the processes.
    stop: Option<mpsc::Sender<()>>,
    keeper: Option<JoinHandle<()>>,
}

impl ApiServer {
    /// Starts both on free ports and waits until the API server is ready. Needs no root.
    ///
    /// # Errors
    /// The programs cannot be built or started, or do not answer in time: the error holds the end of the log.
    pub async fn start() -> Result<Self> {
        let binaries = Binaries::ensure()?;
        let folder = new_folder()?;
        let [etcd, peer, port] = free_ports()?;
        let pki = folder.join("pki");
        issue_certificates(&pki, port, &folder)?;
        let commands = vec![
            etcd_command(&binaries, &folder, etcd, peer)?,
            server_command(&binaries, &folder, etcd, port)?,
        ];
        let (stop, keeper) = keep(commands).await?;
        let server = Self { folder, stop: Some(stop), keeper: Some(keeper) };
        let client = server.client().await?;
        eventually(PATIENCE, "the API server answers", || ready(&client))
            .await
            .with_context(|| format!("start an API server\n{}", server.log_tail()))?;
        Ok(server)
    }

    /// The administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// A client with the administrator's rights. It belongs to the runtime that it is made in.
    ///
    /// # Errors
    /// The kubeconfig cannot be used.
    pub async fn client(&self) -> Result<Client> {
        client(&self.kubeconfig()).await
    }

    fn log_tail(&self) -> String {
        let logs = ["etcd", "kube-apiserver"].map(|name| self.folder.join(format!("{name}.log")));
        logs.map(|log| tail(&fs::read_to_string(log).unwrap_or_default(), 15)).join("\n")
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

async fn ready(client: &Client) -> Result<()> {
    let request = http::Request::get("/readyz").body(Vec::new()).context("build a request")?;
    client.request_text(request).await.context("ask the API server whether it is ready")?;
    Ok(())
}

/// A folder of this process. Those of dead ones go: a server in a `static` is never dropped, its processes die all the same.
fn new_folder() -> Result<PathBuf> {
    let parent = cache_dir()?.join("api-servers");
    for folder in fs::read_dir(&parent).into_iter().flatten().flatten() {
        let owner =
            folder.file_name().to_string_lossy().split('-').next().and_then(|pid| pid.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            let _ = fs::remove_dir_all(folder.path());
        }
    }
    let folder = parent.join(format!("{}-{}", std::process::id(), SERVERS.fetch_add(1, Ordering::Relaxed)));
    // Of a dead process that had our id.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    Ok(folder)
}

fn free_ports<const N: usize>() -> Result<[u16; N]> {
    // All are held until all are known, or the kernel could give one of them twice.
    let mut listeners = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
        *port = listener.local_addr().context("read the port that was found")?.port();
        listeners.push(listener);
    }
    Ok(ports)
}

fn issue_certificates(pki: &Path, port: u16, folder: &Path) -> Result<()> {
    let authority = Authority::create(pki)?;
    authority.server(
        "api-server",
        &[IpAddr::from(Ipv4Addr::LOCALHOST)],
        &["localhost", "kubernetes.default.svc"],
    )?;
    authority.service_account_key()?;
    let admin = Identity { file: "admin", user: "admin", group: Some("system:masters") };
    authority.kubeconfig(
        admin,
        &format!("https://127.0.0.1:{port}"),
        "api-server",
        &folder.join("kubeconfig"),
    )
}

fn etcd_command(binaries: &Binaries, folder: &Path, client: u16, peer: u16) -> Result<Command> {
    let mut command = detached(&binaries.program("server"), folder, "etcd")?;
    command.arg("--data-dir").arg(folder.join("etcd")).args(etcd_flags(client, peer));
    Ok(command)
}

fn server_command(binaries: &Binaries, folder: &Path, etcd: u16, port: u16) -> Result<Command> {
    let mut command = detached(&binaries.program("kube-apiserver"), folder, "kube-apiserver")?;
    let pki = |file: &str| folder.join("pki").join(file).to_string_lossy().into_owned();
    command.args(api_server_flags(&pki, etcd, port));
    // No controller manager makes service accounts here, and pods without one would be refused.
    command.arg("--disable-admission-plugins=ServiceAccount");
    command.args([
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        "--service-cluster-ip-range=10.0.0.0/24",
    ]);
    // Its own endpoints would need an address that is not loopback.
    command.arg("--endpoint-reconciler-type=none");
    Ok(command)
}

/// A program that the kernel kills when the thread that started it ends.
fn detached(program: &Path, folder: &Path, name: &str) -> Result<Command> {
    let path = folder.join(format!("{name}.log"));
    let log = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    let errors = log.try_clone().with_context(|| format!("share {}", path.display()))?;
    let mut command = Command::new("setpriv");
    command.arg("--pdeathsig=KILL").arg("--").arg(program);
    command.current_dir(folder).stdin(Stdio::null()).stdout(log).stderr(errors);
    Ok(command)
}

/// Runs the commands from a thread of their own until the sender is dropped. The thread of a test would not do: it ends, and takes
/// its children along, while other tests still use the server.
async fn keep(commands: Vec<Command>) -> Result<(mpsc::Sender<()>, JoinHandle<()>)> {
    let (stop, stopped) = mpsc::channel::<()>();
    let (started, outcome) = tokio::sync::oneshot::channel();
    let keeper = std::thread::Builder::new().name("api-server".into()).spawn(move || {
        let (children, result) = spawn_all(commands);
        let _ = started.send(result);
        let _ = stopped.recv();
        // The API server first: without its etcd it would ignore signals for long, and SIGKILL spares us even that.
        for mut child in children.into_iter().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
    });
    let keeper = keeper.context("start a thread")?;
    match outcome.await {
        Ok(result) => result.map(|()| (stop, keeper)),
        Err(_) => bail!("the thread of the API server ended"),
    }
}

fn spawn_all(commands: Vec<Command>) -> (Vec<Child>, Result<()>) {
    let mut children = Vec::new();
    for mut command in commands {
        match command.spawn().context("start setpriv") {
            Ok(child) => children.push(child),
            Err(error) => return (children, Err(error)),
        }
    }
    (children, Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ() {
        let [a, b, c] = free_ports().unwrap();
        assert!(a != b && b != c && a != c && a != 0);
    }
}
