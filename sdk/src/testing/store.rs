use std::collections::BTreeMap;

use crate::state::{Entry, Error};

/// The store of one hook for one object, with the real one's compare-and-swap.
#[derive(Debug, Default)]
pub(super) struct Store {
    entries: BTreeMap<String, Entry>,
    /// Grows with every write, so that a key that was deleted and written again has not the old revision.
    last: u64,
}

impl Store {
    pub(super) fn get(&self, key: &str) -> Option<Entry> {
        self.entries.get(key).cloned()
    }

    pub(super) fn put(&mut self, key: &str, value: &[u8], expect: Option<u64>) -> Result<u64, Error> {
        self.check(key, expect)?;
        self.last += 1;
        self.entries.insert(key.to_owned(), Entry { value: value.to_vec(), revision: self.last });
        Ok(self.last)
    }

    pub(super) fn delete(&mut self, key: &str, expect: Option<u64>) -> Result<(), Error> {
        self.check(key, expect)?;
        self.entries.remove(key);
        Ok(())
    }

    pub(super) fn keys(&self, prefix: &str) -> Vec<String> {
        self.entries.keys().filter(|key| key.starts_with(prefix)).cloned().collect()
    }

    fn check(&self, key: &str, expect: Option<u64>) -> Result<(), Error> {
        let revision = self.entries.get(key).map_or(0, |entry| entry.revision);
        if expect.is_some_and(|expect| expect != revision) {
            return Err(Error::Conflict(revision));
        }
        Ok(())
    }
}
