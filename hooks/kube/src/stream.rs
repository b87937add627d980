//! A command in a container, as a WebSocket: the protocol `v5.channel.k8s.io`.
//!
//! Not kube's own attached process: it writes and reads in turn, so that a command that reads and writes much stops both, and an end that arrives while
//! stdin is still being written is lost.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use http::{Method, Request};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::Client;
use scribe_hooks::sanitize;
use scribe_hooks_contract::effects::ExecError;
use scribe_hooks_contract::limits::fixed;
use scribe_hooks_contract::undo::Place;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::api::{self, PATIENCE, with_query};
use crate::cause::chain;
use crate::pods::refused;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
/// Says that the channel named behind it has ended.
const CLOSE: u8 = 255;

/// Bytes of stdin that are sent at once.
const CHUNK: usize = 32 << 10;
/// Between two signs of life.
const PING: Duration = Duration::from_secs(10);
/// Without any from the other side, it is taken for gone.
const SILENCE: Duration = Duration::from_secs(45);

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// What a command wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Stdout,
    Stderr,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Exited(i32),
    /// It was not started, or not seen to end.
    Lost(String),
}

/// A command that was started. To drop it closes the stream, which ends its stdin; the command itself goes on if it does not care.
pub(crate) struct Stream {
    socket: Socket,
}

/// Starts a command.
pub(crate) async fn open(
    client: &Client,
    namespace: &str,
    place: &Place,
    argv: &[String],
) -> Result<Stream, ExecError> {
    let path = api::pods(namespace).path(Some(&place.pod), Some("exec")).map_err(refused)?;
    let mut query =
        vec![("container", place.container.as_str()), ("stdin", "1"), ("stdout", "1"), ("stderr", "1")];
    query.extend(argv.iter().map(|argument| ("command", argument.as_str())));
    let request = Request::builder().method(Method::GET).uri(with_query(path, &query)).body(Vec::new());
    let request = request.map_err(|error| ExecError::Unavailable(error.to_string()))?;
    let connecting = tokio::time::timeout(PATIENCE, client.connect(request)).await;
    let connection = connecting
        .map_err(|_| ExecError::Unavailable("the API server does not answer".to_owned()))?
        .map_err(|error| explain(error, place))?;
    if !connection.supports_stream_close() {
        return Err(ExecError::Unavailable(
            "the API server cannot end a command's stdin: Kubernetes 1.30 or later is needed".to_owned(),
        ));
    }
    Ok(Stream { socket: connection.into_stream() })
}

fn explain(error: kube::Error, place: &Place) -> ExecError {
    let kube::Error::Api(status) = error else {
        return ExecError::Unavailable(chain(&error));
    };
    let message = sanitize::line(&status.message, fixed::MESSAGE_BYTES);
    match status.code {
        401 | 403 => ExecError::Denied(message),
        404 => ExecError::NoSuchTarget(format!("there is no pod {}", place.pod)),
        _ if message.contains("container not found") || message.contains("is not running") => {
            ExecError::NotRunning(message)
        }
        _ => ExecError::Unavailable(message),
    }
}

impl Stream {
    /// Writes stdin and ends it when `release` is done, and reads until the command ends.
    pub async fn run(
        self,
        stdin: &[u8],
        release: impl Future<Output = ()>,
        mut sink: impl FnMut(Output, &[u8]),
    ) -> End {
        let (mut sender, mut receiver) = self.socket.split();
        let write = async {
            for chunk in stdin.chunks(CHUNK) {
                let mut message = Vec::with_capacity(chunk.len() + 1);
                message.push(STDIN);
                message.extend_from_slice(chunk);
                sender.send(Message::Binary(message.into())).await?;
            }
            let mut pings = interval_at(Instant::now() + PING, PING);
            pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut release = std::pin::pin!(release);
            let mut is_open = true;
            loop {
                tokio::select! {
                    () = &mut release, if is_open => {
                        is_open = false;
                        sender.send(Message::Binary(Bytes::from_static(&[CLOSE, STDIN]))).await?;
                    }
                    _ = pings.tick() => sender.send(Message::Ping(Bytes::new())).await?,
                }
            }
        };
        let read = async {
            // Only a server that has answered a sign of life once is expected to go on doing so.
            let (mut answers, mut silent_at) = (false, Instant::now() + SILENCE);
            loop {
                let message = tokio::select! {
                    message = receiver.next() => message,
                    () = tokio::time::sleep_until(silent_at), if answers => {
                        return End::Lost(format!("nothing was heard for {} s", SILENCE.as_secs()));
                    }
                };
                silent_at = Instant::now() + SILENCE;
                match message {
                    Some(Ok(Message::Binary(message))) => match message.split_first() {
                        Some((&STDOUT, bytes)) => sink(Output::Stdout, bytes),
                        Some((&STDERR, bytes)) => sink(Output::Stderr, bytes),
                        Some((&STATUS, status)) if !status.is_empty() => return end(status),
                        _ => {}
                    },
                    Some(Ok(message)) => answers |= message.is_pong(),
                    Some(Err(error)) => return End::Lost(chain(&error)),
                    None => return End::Lost("the stream was closed".to_owned()),
                }
            }
        };
        let write = async {
            let result: Result<std::convert::Infallible, tokio_tungstenite::tungstenite::Error> = write.await;
            let Err(error) = result;
            tracing::debug!(error = %chain(&error), "stdin was not taken");
            // A command that ends without reading is told by its status, which is still to be read.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            end = read => end,
            () = write => End::Lost("the stream was closed".to_owned()),
        }
    }
}

/// What the status says: success, the exit code, or why the command was not run.
fn end(status: &[u8]) -> End {
    let Ok(status) = serde_json::from_slice::<Status>(status) else {
        return End::Lost("the kubelet's answer cannot be read".to_owned());
    };
    if status.status.as_deref() == Some("Success") {
        return End::Exited(0);
    }
    let causes = status.details.and_then(|details| details.causes).unwrap_or_default();
    let code = causes
        .iter()
        .filter(|cause| cause.reason.as_deref() == Some("ExitCode"))
        .find_map(|cause| cause.message.as_deref()?.parse().ok());
    match code {
        Some(code) => End::Exited(code),
        None => {
            let message = status.message.unwrap_or_else(|| "no reason given".to_owned());
            End::Lost(sanitize::line(&message, fixed::MESSAGE_BYTES))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ended(status: serde_json::Value) -> End {
        end(status.to_string().as_bytes())
    }

    #[test]
    fn the_status_tells_the_exit_code() {
        assert_eq!(ended(json!({ "status": "Success" })), End::Exited(0));
        let failure = json!({ "status": "Failure", "reason": "NonZeroExitCode", "message": "command terminated with exit code 3",
            "details": { "causes": [{ "reason": "ExitCode", "message": "3" }] } });
        assert_eq!(ended(failure), End::Exited(3));
    }

    #[test]
    fn a_command_that_was_not_run_has_no_exit_code() {
        let failure =
            json!({ "status": "Failure", "reason": "InternalError", "message": "exec: \"x\": not found\n" });
        assert_eq!(ended(failure), End::Lost("exec: \"x\": not found\\n".into()));
        assert!(matches!(end(b"no json"), End::Lost(_)));
        let odd = json!({ "status": "Failure", "details": { "causes": [{ "reason": "ExitCode", "message": "x" }] } });
        assert!(matches!(ended(odd), End::Lost(_)));
    }
}
