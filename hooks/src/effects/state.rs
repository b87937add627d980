//! The module's own store.

use std::sync::Arc;

use scribe_hooks_contract::effects::{Entry, StateError};
use scribe_hooks_contract::grants::Denied;
use scribe_hooks_contract::limits::fixed;

use super::{Answer, PATIENCE, within};
use crate::host::Host;
use crate::state::CallState;

impl CallState {
    /// The host, and how many bytes the store may hold.
    fn store(
        &mut self,
        name: &'static str,
        key: &str,
    ) -> wasmtime::Result<Result<(Arc<dyn Host>, u64), StateError>> {
        self.count(name)?;
        let granted = self.effects(name).and_then(|effects| {
            let state = effects.grants.state.as_ref();
            let state = state.ok_or_else(|| Denied::because(format!("{name}: no state grant")))?;
            Ok((effects.host.clone(), state.bytes()))
        });
        let is_key = key.len() <= fixed::STATE_KEY_BYTES
            && key
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/'));
        Ok(match granted {
            Ok(_) if !is_key => Err(StateError::Unavailable(format!(
                "a key has at most {} letters, digits, `-`, `_`, `.` and `/`",
                fixed::STATE_KEY_BYTES
            ))),
            Ok(store) => Ok(store),
            Err(denied) => Err(StateError::Unavailable(self.denied(denied))),
        })
    }

    pub async fn state_get(&mut self, key: String) -> Answer<Option<Entry>, StateError> {
        let (host, most) = match self.store("state.get", &key)? {
            Ok(store) => store,
            Err(error) => return Ok(Err(error)),
        };
        let found = within(PATIENCE, self.remaining(), host.state_get(key)).await.unwrap_or_else(no_answer);
        Ok(match found {
            Ok(Some(entry)) if entry.value.len() as u64 > most => Err(StateError::TooLarge(most)),
            other => other,
        })
    }

    pub async fn state_put(
        &mut self,
        key: String,
        value: Vec<u8>,
        expect: Option<u64>,
    ) -> Answer<u64, StateError> {
        let (host, most) = match self.store("state.put", &key)? {
            Ok(store) => store,
            Err(error) => return Ok(Err(error)),
        };
        if key.is_empty() {
            return Ok(Err(StateError::Unavailable("a key must not be empty".to_owned())));
        }
        if (key.len() + value.len()) as u64 > most {
            return Ok(Err(StateError::TooLarge(most)));
        }
        let written = within(PATIENCE, self.remaining(), host.state_put(key, value, expect, most)).await;
        Ok(written.unwrap_or_else(no_answer))
    }

    pub async fn state_delete(&mut self, key: String, expect: Option<u64>) -> Answer<(), StateError> {
        let (host, _) = match self.store("state.delete", &key)? {
            Ok(store) => store,
            Err(error) => return Ok(Err(error)),
        };
        let deleted = within(PATIENCE, self.remaining(), host.state_delete(key, expect)).await;
        Ok(deleted.unwrap_or_else(no_answer))
    }

    pub async fn state_keys(&mut self, prefix: String) -> Answer<Vec<String>, StateError> {
        let (host, _) = match self.store("state.keys", &prefix)? {
            Ok(store) => store,
            Err(error) => return Ok(Err(error)),
        };
        Ok(within(PATIENCE, self.remaining(), host.state_keys(prefix)).await.unwrap_or_else(no_answer))
    }
}

fn no_answer<T>() -> Result<T, StateError> {
    Err(StateError::Unavailable("the store does not answer".to_owned()))
}
