//! The mover proper: reads the job, does it, and turns the end into an exit code.

use crate::args::RunArgs;
use crate::state::StateCell;
use crate::{control, destination, environment, source};
use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use scribe_mover_contract::OLDEST_PROTOCOL;
use scribe_mover_contract::job::{JOB_VARIABLE, Job};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How long the end waits for what still runs in threads.
const LEAVE: Duration = Duration::from_secs(5);

/// Does the job and returns the exit code.
///
/// # Errors
/// The job or the environment is not as it has to be, or the control API cannot be served.
pub fn run(args: &RunArgs) -> Result<u8> {
    // Without its supervisor nobody would stop it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).context("follow the supervisor")?;
    let text = std::env::var(JOB_VARIABLE).with_context(|| format!("read the variable {JOB_VARIABLE}"))?;
    let job: Job =
        serde_json::from_str(&text).with_context(|| format!("parse the variable {JOB_VARIABLE}"))?;
    let protocol = match &job {
        Job::Source(job) => job.protocol,
        Job::Destination(job) => job.protocol,
    };
    ensure!(protocol >= OLDEST_PROTOCOL, "the controller speaks protocol {protocol}, which is too old");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the runtime")?;
    let code = runtime.block_on(work(args, job));
    // A thread that waits for storage which does not answer would hold it up for ever.
    runtime.shutdown_timeout(LEAVE);
    code
}

async fn work(args: &RunArgs, job: Job) -> Result<u8> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let stop = async move {
        terminate.recv().await;
        tracing::info!("told to end");
    };
    environment::check_login().await?;
    let state = StateCell::new();
    let listener = control::listen(args).await?;
    let token = control::token(args)?;
    match job {
        Job::Source(job) => {
            let serving = tokio::spawn(control::serve(listener, token, state.clone(), control::NoOrders));
            let code = source::run(args, *job, &state, stop).await;
            serving.abort();
            code
        }
        Job::Destination(job) => destination::run(args, job, state, listener, token, stop).await,
    }
}
