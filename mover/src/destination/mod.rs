//! The receiving end: listens for as long as its pod lives, and lets its controller decide.

pub mod forced_command;
mod processes;
mod questions;
mod request;
mod service;
mod sessions;
mod sshd;
mod volume;
mod wire;

use crate::args::RunArgs;
use crate::control;
use crate::state::StateCell;
use anyhow::{Context, Result, bail};
use scribe_mover_contract::control::Activity;
use scribe_mover_contract::job::{DestinationJob, Outcome};
use service::Service;
use std::sync::Arc;
use tokio::net::{TcpListener, UnixListener};

/// Listens until it is told to stop.
///
/// # Errors
/// sshd or the control API cannot be served (any more).
pub async fn run(
    args: &RunArgs,
    job: DestinationJob,
    state: StateCell,
    listener: TcpListener,
    token: String,
    stop: impl Future<Output = ()>,
) -> Result<u8> {
    let socket = args.private_dir().join("mover.sock");
    // A container that is started again finds the socket of the one before.
    let _ = std::fs::remove_file(&socket);
    let commands = UnixListener::bind(&socket).with_context(|| format!("listen on {}", socket.display()))?;
    let service = Arc::new(Service::new(args.data_dir.clone(), &job, state.clone())?);
    let mut sshd = sshd::start(args, &job.timeouts, &socket)?;
    state.change(|state| state.activity = Activity::Listening);
    tracing::info!(port = args.ssh_port, "listening, sealed");
    let api = control::serve(listener, token, state, service::Controlled(service.clone()));
    tokio::select! {
        () = stop => {}
        result = api => result.context("serve the control API")?,
        status = sshd.wait() => bail!("sshd ended: {}", status.context("wait for sshd")?),
        () = service.clone().serve(commands) => {}
        () = service.follow_processes() => {}
    }
    service.shut_down().await;
    Ok(Outcome::Transient.exit_code())
}
