//! The data plane of Scribe: runs in pods and moves bytes with rsync over ssh.
//!
//! One binary for both ends. `run` reads the job from its environment and is a [`source`] or a [`destination`]; `session` is the
//! command that a destination's sshd forces upon whoever logs in. It holds no Kubernetes credentials and judges nothing: what a
//! peer asks goes to the controller through the [`control`] API.

mod abilities;
mod args;
mod control;
mod destination;
mod environment;
mod exit;
mod init;
mod keys;
mod reason;
mod rsync;
mod source;
mod state;
mod telemetry;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match args::Args::parse().command {
        args::Command::Run(run) => init::run(&run),
        args::Command::Session(session) => destination::forced_command::run(&session),
    }
}
