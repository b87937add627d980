//! A client that writes numbered rows and remembers which of them PostgreSQL acknowledged, and when: outside the cluster, so that the
//! memory survives it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use jiff::Timestamp;
use scribe_tests::kubectl::Kubectl;

/// One row a twentieth of a second, each a transaction; psql prints a row's number after its commit was acknowledged.
const WRITE: &str = "INSERT INTO ledger DEFAULT VALUES RETURNING 'ack ' || id;\n\\watch 0.05\n";

/// What was acknowledged, in order.
pub type Acknowledged = Vec<(i64, Timestamp)>;

/// The client, at work until it is stopped or its database is gone.
pub struct Ledger {
    client: Child,
    reader: JoinHandle<()>,
    acknowledged: Arc<Mutex<Acknowledged>>,
}

impl Ledger {
    /// Starts to write.
    ///
    /// # Errors
    /// kubectl cannot be started.
    pub fn start(kubectl: &Kubectl, namespace: &str) -> Result<Self> {
        let script =
            "printf '%s' \"$0\" | stdbuf -oL psql --quiet --no-align --tuples-only -v ON_ERROR_STOP=1";
        let exec = ["exec", "--namespace", namespace, "postgres", "--", "sh", "-c", script, WRITE];
        let mut command = kubectl.command(&exec);
        let mut client = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("start the writing client")?;
        let output = client.stdout.take().context("the client has an output")?;
        let acknowledged = Arc::new(Mutex::new(Acknowledged::new()));
        let seen = Arc::clone(&acknowledged);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let Some(id) = line.strip_prefix("ack ").and_then(|id| id.trim().parse().ok()) else {
                    continue;
                };
                seen.lock().unwrap_or_else(PoisonError::into_inner).push((id, Timestamp::now()));
            }
        });
        Ok(Self { client, reader, acknowledged })
    }

    /// How many rows are acknowledged so far.
    pub fn count(&self) -> usize {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Ends the client, if its database's end has not done so, and returns what it was told.
    ///
    /// # Errors
    /// The client cannot be ended.
    pub fn stop(mut self) -> Result<Acknowledged> {
        // It may have ended by itself, which is not an error here.
        let _ = self.client.kill();
        self.client.wait().context("wait for the writing client")?;
        let _ = self.reader.join();
        Ok(std::mem::take(&mut *self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}
