//! The command that sshd forces upon every login: one request of a source, checked, and passed on to the mover.
//!
//! An rsync server *becomes* this process, and it inherits the socket to the mover: so long as any process of the transfer lives,
//! the mover sees the socket open, and it is a fact, not a guess, that nobody writes any more when it is closed.

use super::request::{Request, is_rehearsal};
use super::wire::{Reply, Wanted};
use crate::args::SessionArgs;
use anyhow::{Context, Result, bail, ensure};
use rustix::io::FdFlags;
use scribe_mover_contract::REFUSED_EXIT;
use scribe_mover_contract::peer::MAX_DOCUMENT;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// What a source sees of a problem that is not its own.
const FAILED: u8 = 1;

/// Serves the request in `SSH_ORIGINAL_COMMAND`.
pub fn run(args: &SessionArgs) -> ExitCode {
    match serve(args) {
        Ok(Served::Done) => ExitCode::SUCCESS,
        Ok(Served::Refused(message)) => {
            eprintln!("scribe: refused: {message}");
            ExitCode::from(u8::try_from(REFUSED_EXIT).unwrap_or(FAILED))
        }
        Err(error) => {
            eprintln!("scribe: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

enum Served {
    Done,
    Refused(String),
}

fn serve(args: &SessionArgs) -> Result<Served> {
    // A process group of its own, so that the mover can end all of it. sshd has usually made one already.
    if rustix::process::getpgrp() != rustix::process::getpid() {
        rustix::process::setsid().context("start a session")?;
    }
    let command = std::env::var("SSH_ORIGINAL_COMMAND").unwrap_or_default();
    let request = match Request::parse(&command) {
        Ok(request) => request,
        Err(error) => {
            let message = error.to_string();
            // Only for the mover's log; its answer changes nothing.
            let _ = Mover::connect(args)
                .and_then(|mut mover| mover.ask(&Wanted::NotAllowed { message: message.clone() }));
            return Ok(Served::Refused(message));
        }
    };
    let mut mover = Mover::connect(args)?;
    match request {
        Request::Handshake => mover.document(&Wanted::Handshake { document: read_document()? }),
        Request::Progress { token } => {
            mover.document(&Wanted::Progress { token, document: read_document()? })
        }
        Request::Guarded { token } => mover.document(&Wanted::Guarded { token, document: read_document()? }),
        Request::Commit { token } => mover.document(&Wanted::Commit { token, document: read_document()? }),
        Request::Published => mover.document(&Wanted::Published { document: read_document()? }),
        Request::Rsync { token, arguments } => {
            let rehearses = is_rehearsal(&arguments);
            match mover.ask(&Wanted::Rsync { token, rehearses })? {
                Reply::Go => Err(mover.become_rsync(args, &arguments)),
                Reply::Refused { message } => Ok(Served::Refused(message)),
                Reply::Document { .. } => bail!("the mover answered with a document"),
            }
        }
    }
}

fn read_document() -> Result<String> {
    let mut document = String::new();
    let limit = u64::try_from(MAX_DOCUMENT).unwrap_or(u64::MAX) + 1;
    std::io::stdin().take(limit).read_to_string(&mut document).context("read the document")?;
    ensure!(document.len() <= MAX_DOCUMENT, "the document is longer than {MAX_DOCUMENT} bytes");
    Ok(document)
}

/// The connection to the mover.
struct Mover {
    stream: BufReader<UnixStream>,
}

impl Mover {
    fn connect(args: &SessionArgs) -> Result<Self> {
        let stream = UnixStream::connect(&args.socket).context("reach the mover")?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    fn ask(&mut self, wanted: &Wanted) -> Result<Reply> {
        let line = serde_json::to_string(wanted).context("write the request")?;
        writeln!(self.stream.get_mut(), "{line}").context("send the request to the mover")?;
        let mut reply = String::new();
        self.stream.read_line(&mut reply).context("read the mover's answer")?;
        ensure!(!reply.is_empty(), "the mover ended the session");
        serde_json::from_str(&reply).context("parse the mover's answer")
    }

    fn document(&mut self, wanted: &Wanted) -> Result<Served> {
        match self.ask(wanted)? {
            Reply::Document { document } => {
                std::io::stdout().write_all(document.as_bytes()).context("send the answer")?;
                Ok(Served::Done)
            }
            Reply::Refused { message } => Ok(Served::Refused(message)),
            Reply::Go => bail!("the mover answered without a document"),
        }
    }

    /// Returns only if it failed.
    fn become_rsync(self, args: &SessionArgs, arguments: &[String]) -> anyhow::Error {
        let stream = self.stream.into_inner();
        if let Err(error) = rustix::io::fcntl_setfd(&stream, FdFlags::empty()) {
            return anyhow::Error::from(error).context("hand the socket on to rsync");
        }
        let mut rsync = Command::new("rsync");
        rsync.args(confined(arguments, args));
        rsync.current_dir(&args.data_dir).env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C");
        anyhow::Error::from(rsync.exec()).context("start rsync")
    }
}

/// Adds what the peer has no say in: option paths and filter files stay within the volume.
fn confined(arguments: &[String], args: &SessionArgs) -> Vec<std::ffi::OsString> {
    let mut all: Vec<_> = arguments.iter().map(Into::into).collect();
    let mut root = std::ffi::OsString::from("--confine-root=");
    root.push(&args.data_dir);
    // After `--server`, which has to come first.
    all.insert(1, root);
    all
}
