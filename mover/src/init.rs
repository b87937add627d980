//! The first process of the pod: starts the mover proper, passes signals on, and buries orphans.
//!
//! It is a process of its own because of the burying: as process 1 it inherits every process whose parent has died (ssh masters
//! put themselves in the background, a killed rsync leaves its second half), and `waitpid` for any of them would steal the exit
//! codes that the mover waits for.

use crate::args::RunArgs;
use crate::{environment, exit, telemetry};
use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use std::process::{Command, ExitCode};
use tokio::signal::unix::{SignalKind, signal};

/// Set for the mover proper, so that it knows that it has a parent that does all this.
const SUPERVISED: &str = "SCRIBE_SUPERVISED";
/// What a mover exits with that could not even start.
const FAILED: u8 = 1;

/// Runs the mover: as the supervisor when called by the pod, as the mover when called by the supervisor.
pub fn run(args: &RunArgs) -> ExitCode {
    telemetry::start(args.log_format);
    let result = if std::env::var_os(SUPERVISED).is_some() { exit::run(args) } else { supervise(args) };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::from(FAILED)
        }
    }
}

fn supervise(args: &RunArgs) -> Result<u8> {
    let variables = environment::prepare(args)?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        // Before the child exists: a signal that comes at once must not be lost.
        let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
        let mut children = signal(SignalKind::child()).context("listen for SIGCHLD")?;
        // Where the pod shares its process namespace this is not process 1, and would not inherit anybody.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .context("become a subreaper")?;
        let this = std::env::current_exe().context("find the mover's own executable")?;
        let child = Command::new(this)
            .args(std::env::args_os().skip(1))
            .envs(variables)
            .env(SUPERVISED, "1")
            .spawn()
            .context("start the mover")?;
        let mover = Pid::from_child(&child);
        loop {
            tokio::select! {
                _ = terminate.recv() => forward(mover),
                _ = interrupt.recv() => forward(mover),
                _ = children.recv() => if let Some(code) = bury(mover) { return Ok(code) },
            }
        }
    })
}

fn forward(mover: Pid) {
    // It may be gone already; then its exit code is on its way.
    let _ = rustix::process::kill_process(mover, Signal::TERM);
}

/// Collects every dead child; the exit code of the mover if it is among them.
fn bury(mover: Pid) -> Option<u8> {
    let mut code = None;
    while let Ok(Some((pid, status))) = rustix::process::waitpid(None, WaitOptions::NOHANG) {
        if pid == mover {
            code = Some(exit_code(status));
        }
    }
    code
}

fn exit_code(status: WaitStatus) -> u8 {
    status.exit_status().and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED)
}
