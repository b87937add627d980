//! What the forced command and the mover say to each other over a local socket: one line of JSON each way.

use anyhow::{Context, Result, ensure};
use scribe_mover_contract::peer::MAX_DOCUMENT;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// A document within a line: every byte of it may need an escape of six.
const MAX_LINE: u64 = 6 * MAX_DOCUMENT as u64 + 1024;

/// What the forced command wants, after it parsed the source's request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "wanted", rename_all = "camelCase")]
pub enum Wanted {
    Handshake {
        document: String,
    },
    Commit {
        token: u64,
        document: String,
    },
    Published {
        document: String,
    },
    Progress {
        token: u64,
        document: String,
    },
    Guarded {
        token: u64,
        document: String,
    },
    /// To become an rsync server.
    Rsync {
        token: u64,
        /// It is a dry run.
        rehearses: bool,
    },
    /// Nothing: it refused by itself, and this is for the log.
    NotAllowed {
        message: String,
    },
}

/// The mover's answer.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "camelCase")]
pub enum Reply {
    /// The JSON to pass on to the source.
    Document { document: String },
    /// The rsync server may start.
    Go,
    /// No, and why.
    Refused { message: String },
}

impl Reply {
    pub fn refused(message: impl Into<String>) -> Self {
        Self::Refused { message: message.into() }
    }

    pub fn document(value: &impl Serialize) -> Result<Self> {
        Ok(Self::Document { document: serde_json::to_string(value).context("write the answer")? })
    }
}

/// The mover's end of the socket.
pub struct Wire {
    stream: BufReader<UnixStream>,
}

impl Wire {
    pub fn new(stream: UnixStream) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    /// Reads the request.
    ///
    /// # Errors
    /// The other end is gone, or sends something else.
    pub async fn wanted(&mut self) -> Result<Wanted> {
        let mut line = String::new();
        (&mut self.stream).take(MAX_LINE).read_line(&mut line).await.context("read a request")?;
        ensure!(line.ends_with('\n'), "a request was cut short or too long");
        serde_json::from_str(&line).context("parse a request")
    }

    /// Sends the answer.
    ///
    /// # Errors
    /// The other end is gone.
    pub async fn reply(&mut self, reply: &Reply) -> Result<()> {
        let mut line = serde_json::to_string(reply).context("write an answer")?;
        line.push('\n');
        self.stream.write_all(line.as_bytes()).await.context("send an answer")
    }

    /// Waits until every process that holds the other end is gone.
    pub async fn closed(&mut self) {
        let mut byte = [0];
        // Nobody sends anything more; whatever ends the connection is the end.
        while matches!(self.stream.read(&mut byte).await, Ok(1)) {}
    }
}
