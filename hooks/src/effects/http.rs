//! HTTP requests.

use scribe_hooks_contract::effects::{HttpError, Request, Response};
use scribe_hooks_contract::limits::fixed;

use super::{Answer, seconds, within};
use crate::state::CallState;

/// What a response may have of headers.
const MOST_HEADERS: usize = 128;
const MOST_HEADER_BYTES: usize = 64 << 10;

impl CallState {
    pub async fn http_send(&mut self, request: Request) -> Answer<Response, HttpError> {
        self.count("http.send")?;
        let permitted = self.effects("http.send").and_then(|effects| {
            let permit = effects.grants.permit_http(&request)?;
            Ok((effects.host.clone(), permit, effects.http_left))
        });
        let (host, permit, left) = match permitted {
            Ok(permitted) => permitted,
            Err(denied) => return Ok(Err(HttpError::Denied(self.denied(denied)))),
        };
        if request.body.len() as u64 > fixed::HTTP_BODY_BYTES {
            return Ok(Err(HttpError::TooLarge(fixed::HTTP_BODY_BYTES)));
        }
        // The whole of it: a body that comes by drips ends here too.
        let limit = seconds(request.timeout_seconds);
        let sent = within(limit, self.patience(), host.http_send(permit, request, left)).await;
        let response = match sent {
            Some(Ok(response)) => response,
            Some(Err(error)) => return Ok(self.heard(Err(error))),
            None => return Ok(Err(HttpError::TimedOut)),
        };
        let header_bytes: usize = response.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        if response.headers.len() > MOST_HEADERS || header_bytes > MOST_HEADER_BYTES {
            return Ok(Err(HttpError::Protocol("the response has too many headers".to_owned())));
        }
        let bytes = response.body.len() as u64;
        if bytes > left {
            return Ok(Err(HttpError::TooLarge(left)));
        }
        if let Some(effects) = &mut self.effects {
            effects.http_left -= bytes;
        }
        Ok(Ok(response))
    }
}
