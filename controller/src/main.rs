//! The process `scribe-controller`.

use clap::Parser;
use scribe_controller::args::{Args, COMPILE_HOOK};
use scribe_controller::{run, telemetry};
use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    // Hidden: how the controller compiles modules, in a process that has nothing else.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == COMPILE_HOOK) {
        return Ok(scribe_hooks::worker_main());
    }
    let args = Args::parse();
    telemetry::init(&args.log_filter, args.log_format)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run::run(args))?;
    Ok(ExitCode::SUCCESS)
}
