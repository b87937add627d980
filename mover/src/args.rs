//! The command line. Pods use the defaults; the paths and ports can be given so that both ends can run on one machine.

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use scribe_mover_contract as contract;
use std::net::IpAddr;
use std::path::PathBuf;

/// Moves the data of one volume to another, with rsync over ssh. A Scribe controller starts it.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Does the job in the environment variable SCRIBE_JOB.
    Run(RunArgs),
    /// Answers one request of a source; sshd starts it.
    #[command(hide = true)]
    Session(SessionArgs),
}

#[derive(Clone, Debug, ClapArgs)]
pub struct RunArgs {
    /// How log lines are written.
    #[arg(long, value_enum, default_value_t = LogFormat::Text, env = "SCRIBE_LOG_FORMAT")]
    pub log_format: LogFormat,
    /// Where the volume is mounted.
    #[arg(long, default_value = contract::DATA_DIR, hide = true)]
    pub data_dir: PathBuf,
    /// Where the ssh keys are mounted.
    #[arg(long, default_value = contract::KEYS_DIR, hide = true)]
    pub keys_dir: PathBuf,
    /// Where the control token is mounted.
    #[arg(long, default_value = contract::CONTROL_DIR, hide = true)]
    pub control_dir: PathBuf,
    /// A writable folder, in memory.
    #[arg(long, default_value = contract::RUN_DIR, hide = true)]
    pub run_dir: PathBuf,
    /// The address to listen on; all of IPv6 and IPv4 if none is given.
    #[arg(long, hide = true)]
    pub listen: Option<IpAddr>,
    /// The port of sshd.
    #[arg(long, default_value_t = contract::SSH_PORT, hide = true)]
    pub ssh_port: u16,
    /// The port of the control API.
    #[arg(long, default_value_t = contract::CONTROL_PORT, hide = true)]
    pub control_port: u16,
    /// Where a source leaves its last words.
    #[arg(long, default_value = "/dev/termination-log", hide = true)]
    pub termination_file: PathBuf,
}

impl RunArgs {
    /// A folder that only this mover can look into: keys, sockets and configurations.
    pub fn private_dir(&self) -> PathBuf {
        self.run_dir.join("private")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

#[derive(Clone, Debug, ClapArgs)]
pub struct SessionArgs {
    /// The socket of the mover that started sshd.
    #[arg(long)]
    pub socket: PathBuf,
    /// Where the volume is mounted.
    #[arg(long)]
    pub data_dir: PathBuf,
}
