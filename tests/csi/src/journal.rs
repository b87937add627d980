//! The journal of calls: one line of JSON each, for tests to count.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use jiff::Timestamp;
use serde::Serialize;

/// Where the lines go.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
}

/// One line.
#[derive(Debug, Serialize)]
pub struct Entry<'a> {
    /// When the line was written: for a result, when the call ended.
    pub time: Timestamp,
    /// The gRPC method, without its service.
    pub method: &'a str,
    /// The caller's name for what is made, where something is made.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub name: &'a str,
    /// The volume's or snapshot's id.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub id: &'a str,
    /// The id of the volume or snapshot that is copied.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub source: &'a str,
    /// `OK`, the gRPC code, or `held` for a call that a fault holds: its result follows in a line of its own.
    pub result: &'a str,
    /// What was answered besides the code.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub message: &'a str,
}

impl Journal {
    /// The journal of a state directory.
    pub fn new(state_dir: &Path) -> Self {
        Self { path: state_dir.join("calls.jsonl") }
    }

    /// Appends one line. Lines of calls that end together never mix: each is one write to a file opened to append.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn append(&self, entry: &Entry<'_>) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(entry).context("write a journal entry as JSON")?;
        line.push(b'\n');
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path)
            .and_then(|mut file| file.write_all(&line))
            .with_context(|| format!("append to {}", self.path.display()))
    }
}
