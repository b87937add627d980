//! One question to the destination, and its answer: a document each way, over the control connection.

use openssh::{Session, Stdio};
use scribe_mover_contract::REFUSED_EXIT;
use scribe_mover_contract::peer::MAX_DOCUMENT;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// The connection broke, or the other side failed: connect and ask again.
    #[error("{0}")]
    Lost(String),
    /// The forced command refused: the session is not ours any more.
    #[error("{0}")]
    Refused(String),
}

/// Asks `request` with `document`, and gives up after `limit`: ssh notices a dead network and a dead host, but not a mover that hangs.
///
/// # Errors
/// See [`NoAnswer`].
pub async fn exchange_within<A: DeserializeOwned>(
    limit: Duration,
    session: &Session,
    request: &str,
    document: &impl Serialize,
) -> Result<A, NoAnswer> {
    let answered = tokio::time::timeout(limit, exchange(session, request, document)).await;
    answered.unwrap_or_else(|_| Err(NoAnswer::Lost(format!("{request}: no answer in {} s", limit.as_secs()))))
}

/// Asks `request` with `document`.
///
/// # Errors
/// See [`NoAnswer`].
pub async fn exchange<A: DeserializeOwned>(
    session: &Session,
    request: &str,
    document: &impl Serialize,
) -> Result<A, NoAnswer> {
    let lost = |error: &dyn std::fmt::Display| NoAnswer::Lost(format!("{request}: {error}"));
    let question = serde_json::to_vec(document).map_err(|error| lost(&error))?;
    let mut command = session.raw_command(request);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().await.map_err(|error| lost(&error))?;
    let (stdin, stdout, stderr) = (child.stdin().take(), child.stdout().take(), child.stderr().take());
    let ask = async {
        if let Some(mut stdin) = stdin {
            // If it breaks here, the exit code tells why.
            let _ = stdin.write_all(&question).await;
        }
    };
    let ((), answer, errors) = tokio::join!(ask, read(stdout), read(stderr));
    let status = child.wait().await.map_err(|error| lost(&error))?;
    match status.code() {
        Some(0) => serde_json::from_slice(&answer).map_err(|error| lost(&error)),
        Some(REFUSED_EXIT) => Err(NoAnswer::Refused(words(&errors))),
        _ => Err(NoAnswer::Lost(format!("{request}: {}", words(&errors)))),
    }
}

async fn read(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        // What was cut short does not parse.
        let _ = stream.take(MAX_DOCUMENT as u64).read_to_end(&mut bytes).await;
    }
    bytes
}

fn words(errors: &[u8]) -> String {
    let text = String::from_utf8_lossy(errors);
    let text = text.trim();
    let text = text.strip_prefix("scribe: refused: ").unwrap_or(text);
    if text.is_empty() { "the connection broke".to_owned() } else { text.chars().take(512).collect() }
}
