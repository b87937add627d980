//! Waiting for a value in an object.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use kube::Client;
use scribe_hooks_contract::effects::KubeError;
use scribe_hooks_contract::grants::KubePermit;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout_at};

use crate::api::{Accept, Address, ApiError, OBJECT_BYTES, begin, with_query};
use crate::cause::chain;
use crate::object::{check_uid, read_value, uid};

/// Before another watch where one has ended.
const PAUSE: Duration = Duration::from_secs(1);

/// Waits until the value at `pointer` is `equals`: the text itself for a string, else JSON. `false` if it is not within the time.
///
/// The object must be there, and stay.
pub(crate) async fn wait_for(
    client: &Client,
    permit: &KubePermit,
    pointer: &str,
    equals: &str,
    patience: Duration,
) -> Result<bool, KubeError> {
    let deadline = Instant::now() + patience;
    let met = |object: &Value| is_equal(object.pointer(pointer).unwrap_or(&Value::Null), equals);
    let waiting = async {
        loop {
            let object = match read_value(client, permit).await {
                Err(KubeError::Unavailable(_)) => {
                    sleep(PAUSE).await;
                    continue;
                }
                read => read?,
            };
            if met(&object) {
                return Ok(true);
            }
            let version = object.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or("0");
            match watch(client, permit, version, &met).await {
                Ok(true) => return Ok(true),
                // It has ended, as watches do, or knows no longer what we have seen: look again.
                Ok(false) => {}
                Err(error) if error.is_transient() => {}
                Err(error) => return Err(error.into()),
            }
            sleep(PAUSE).await;
        }
    };
    timeout_at(deadline, waiting).await.unwrap_or(Ok(false))
}

#[derive(Deserialize)]
struct Event {
    r#type: String,
    object: Value,
}

/// Whether a watch has seen it. Ends when the watch does.
async fn watch(
    client: &Client,
    permit: &KubePermit,
    version: &str,
    met: &impl Fn(&Value) -> bool,
) -> Result<bool, ApiError> {
    let path = Address::from(permit).path(None, None)?;
    let selector = format!("metadata.name={}", permit.name);
    let query = [("watch", "1"), ("fieldSelector", &selector), ("resourceVersion", version)];
    let body = begin(client, Method::GET, with_query(path, &query), Accept::Json, None).await?;
    let mut frames = body.into_data_stream().map_err(|error| ApiError::Unanswered(chain(&error))).boxed();
    let mut lines = Lines::default();
    while let Some(frame) = frames.try_next().await? {
        for line in lines.push(&frame)? {
            let event: Event = serde_json::from_slice(&line).map_err(ApiError::Unreadable)?;
            let is_it = check_uid(permit, uid(&event.object)).is_ok();
            match event.r#type.as_str() {
                "ADDED" | "MODIFIED" if is_it && met(&event.object) => return Ok(true),
                "ADDED" | "MODIFIED" => {}
                "DELETED" => {
                    return Err(ApiError::Status {
                        code: StatusCode::NOT_FOUND,
                        message: "it was deleted".to_owned(),
                    });
                }
                // An error: what we have seen may be too long ago.
                _ => return Ok(false),
            }
        }
    }
    Ok(false)
}

/// Lines of a stream, none longer than an object may be.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn push(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, ApiError> {
        let mut lines = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.0.len() + part.len() > OBJECT_BYTES {
                return Err(ApiError::TooLarge(OBJECT_BYTES));
            }
            self.0.extend_from_slice(part);
            if part.ends_with(b"\n") {
                lines.push(std::mem::take(&mut self.0));
            }
        }
        Ok(lines)
    }
}

fn is_equal(value: &Value, wanted: &str) -> bool {
    match value {
        Value::String(text) => text == wanted,
        other => serde_json::from_str::<Value>(wanted).is_ok_and(|wanted| wanted == *other),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_string_is_compared_as_text_and_the_rest_as_json() {
        assert!(is_equal(&json!("Running"), "Running"));
        assert!(!is_equal(&json!("Running"), "\"Running\""));
        assert!(is_equal(&json!(0), "0"));
        assert!(!is_equal(&json!("0"), "1"));
        assert!(is_equal(&json!(true), "true"));
        assert!(is_equal(&Value::Null, "null"));
        assert!(is_equal(&json!({ "a": 1 }), "{ \"a\": 1 }"));
        assert!(!is_equal(&json!(1), "one"));
    }

    #[test]
    fn a_line_may_come_in_pieces_and_has_an_end() {
        let mut lines = Lines::default();
        assert!(lines.push(b"ab").unwrap().is_empty());
        assert_eq!(lines.push(b"c\nd\ne").unwrap(), [b"abc\n".to_vec(), b"d\n".to_vec()]);
        assert!(lines.push(&vec![b'x'; OBJECT_BYTES]).is_err());
    }
}
