//! A small store of the hook's own for each object that names it, with compare-and-swap.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::imports::state as import;
use crate::HookError;

pub use crate::bindings::host::scribe::hooks::state::{Entry, Error};

/// How often [`update`] begins anew when others write the same key.
const ATTEMPTS: u32 = 8;

/// What is stored under `key`.
///
/// # Errors
/// The store cannot be reached.
pub fn get(key: &str) -> Result<Option<Entry>, Error> {
    import::get(key)
}

/// Stores bytes and answers the new revision. With `expect`, writes only over that revision; 0 means that there must be none.
///
/// # Errors
/// `conflict` where another revision is there, `too-large` where there is no room.
pub fn put(key: &str, value: &[u8], expect: Option<u64>) -> Result<u64, Error> {
    import::put(key, value, expect)
}

/// Removes a key; one that is not there is no error without `expect`.
///
/// # Errors
/// `conflict` where another revision is there.
pub fn delete(key: &str, expect: Option<u64>) -> Result<(), Error> {
    import::delete(key, expect)
}

/// The keys that begin with `prefix`, sorted.
///
/// # Errors
/// The store cannot be reached.
pub fn keys(prefix: &str) -> Result<Vec<String>, Error> {
    import::keys(prefix)
}

/// Changes a value that is stored as JSON, so that nobody else's change is lost, and answers what it is now.
///
/// # Errors
/// Those of [`put`]; what is there is not JSON of that type; others wrote it each time it was tried.
pub fn update<T>(key: &str, change: impl Fn(Option<T>) -> T) -> Result<T, HookError>
where
    T: Serialize + DeserializeOwned,
{
    for _ in 0..ATTEMPTS {
        let entry = get(key)?;
        let revision = entry.as_ref().map_or(0, |entry| entry.revision);
        let old = entry.map(|entry| serde_json::from_slice(&entry.value)).transpose()?;
        let new = change(old);
        match put(key, &serde_json::to_vec(&new)?, Some(revision)) {
            Ok(_) => return Ok(new),
            Err(Error::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(HookError::failed(format!("state: others have written {key} {ATTEMPTS} times: try again later")))
}

impl From<Error> for HookError {
    fn from(error: Error) -> Self {
        Self::Failed(match error {
            Error::TooLarge(limit) => format!("state: no more than {limit} bytes are granted"),
            Error::Conflict(revision) => {
                format!("state: somebody else wrote it: its revision is now {revision}")
            }
            Error::Unavailable(why) => format!("state: unavailable: {why}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::testing::Host;

    #[test]
    fn an_update_begins_anew_where_somebody_else_has_written() {
        let host = Host::new();
        put("count", b"1", None).unwrap();
        let interferes = Cell::new(true);
        let count = update("count", |old: Option<u32>| {
            if interferes.take() {
                put("count", b"10", None).unwrap();
            }
            old.unwrap_or(0) + 1
        });
        assert_eq!(count, Ok(11));
        assert_eq!(host.stored("count").unwrap(), b"11");
    }

    #[test]
    fn an_update_gives_up_and_loses_nothing() {
        let host = Host::new();
        let writes = Cell::new(0);
        let failed = update("count", |_: Option<u32>| {
            writes.set(writes.get() + 1);
            put("count", writes.get().to_string().as_bytes(), None).unwrap();
            0
        });
        assert!(failed.is_err());
        assert_eq!(host.stored("count").unwrap(), writes.get().to_string().as_bytes());
    }

    #[test]
    fn a_key_that_was_deleted_has_never_its_old_revision_again() {
        let _host = Host::new();
        let old = put("key", b"a", Some(0)).unwrap();
        delete("key", Some(old)).unwrap();
        let new = put("key", b"b", Some(0)).unwrap();
        assert_eq!(put("key", b"c", Some(old)), Err(Error::Conflict(new)));
        assert_eq!(delete("key", Some(old)), Err(Error::Conflict(new)));
        assert_eq!(keys("k"), Ok(vec!["key".to_owned()]));
    }
}
