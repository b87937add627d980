//! kubectl and a client for one cluster: a development cluster, or any that a kubeconfig knows.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::cluster::Cluster;
use crate::command::run;

/// How to talk to a cluster.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
}

impl Kubectl {
    /// As the administrator of a development cluster.
    #[must_use]
    pub fn of(cluster: &Cluster) -> Self {
        let program = cluster.binaries().program("kubectl");
        Self { program, kubeconfig: Some(cluster.kubeconfig()), context: None }
    }

    /// A context of the user's own kubeconfig, with the kubectl on the PATH.
    #[must_use]
    pub fn context(name: &str) -> Self {
        Self { program: "kubectl".into(), kubeconfig: None, context: Some(name.into()) }
    }

    /// A command line to which the caller adds.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        if let Some(kubeconfig) = &self.kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        if let Some(context) = &self.context {
            command.args(["--context", context]);
        }
        command.args(arguments);
        command
    }

    /// Runs it and returns what it prints.
    ///
    /// # Errors
    /// It fails: the error holds its words.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        run(&mut self.command(arguments))
    }

    /// Applies manifests.
    ///
    /// # Errors
    /// One is refused.
    pub fn apply(&self, manifests: &str) -> Result<()> {
        let mut command = self.command(&["apply", "--server-side", "--filename", "-"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("start kubectl")?;
        let mut stdin = child.stdin.take().context("kubectl has a standard input")?;
        stdin.write_all(manifests.as_bytes()).context("hand kubectl the manifests")?;
        drop(stdin);
        let output = child.wait_with_output().context("wait for kubectl")?;
        if !output.status.success() {
            bail!("kubectl apply: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// A client with the same rights.
    ///
    /// # Errors
    /// The kubeconfig cannot be read, or has no such context.
    pub async fn client(&self) -> Result<Client> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let kubeconfig = match &self.kubeconfig {
            Some(path) => {
                Kubeconfig::read_from(path).with_context(|| format!("read {}", Path::display(path)))?
            }
            None => Kubeconfig::read().context("read your kubeconfig")?,
        };
        let config =
            Config::from_custom_kubeconfig(kubeconfig, &options).await.context("use the kubeconfig")?;
        Client::try_from(config).context("make a client")
    }
}
