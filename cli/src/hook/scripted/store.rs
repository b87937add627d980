//! A module's store, in memory.

use std::collections::BTreeMap;

use scribe_hooks::contract::effects::{Entry, StateError};
use serde_json::{Map, Value};

use crate::hook::case::text;

/// A module's store, in memory.
#[derive(Debug, Default)]
pub struct Store {
    entries: BTreeMap<String, Entry>,
    revision: u64,
}

impl Store {
    /// A store that holds that to begin with.
    pub fn new(values: BTreeMap<String, text::Text>) -> Self {
        let mut store = Self::default();
        for (key, value) in values {
            store.revision += 1;
            store.entries.insert(key, Entry { value: value.0, revision: store.revision });
        }
        store
    }

    pub fn get(&self, key: &str) -> Option<Entry> {
        self.entries.get(key).cloned()
    }

    fn check(&self, key: &str, expect: Option<u64>) -> Result<(), StateError> {
        let found = self.entries.get(key).map_or(0, |entry| entry.revision);
        if expect.is_none_or(|expected| expected == found) {
            Ok(())
        } else {
            Err(StateError::Conflict(found))
        }
    }

    pub fn put(
        &mut self,
        key: String,
        value: Vec<u8>,
        expect: Option<u64>,
        most: u64,
    ) -> Result<u64, StateError> {
        self.check(&key, expect)?;
        let others = self.entries.iter().filter(|(other, _)| **other != key);
        let held: usize = others.map(|(key, entry)| key.len() + entry.value.len()).sum();
        if (held + key.len() + value.len()) as u64 > most {
            return Err(StateError::TooLarge(most));
        }
        self.revision += 1;
        self.entries.insert(key, Entry { value, revision: self.revision });
        Ok(self.revision)
    }

    pub fn delete(&mut self, key: &str, expect: Option<u64>) -> Result<(), StateError> {
        self.check(key, expect)?;
        self.entries.remove(key);
        Ok(())
    }

    pub fn keys(&self, prefix: &str) -> Vec<String> {
        self.entries.keys().filter(|key| key.starts_with(prefix)).cloned().collect()
    }

    /// What it holds, as a case writes it.
    pub fn show(&self) -> Map<String, Value> {
        self.entries.iter().map(|(key, entry)| (key.clone(), text::show(&entry.value))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_compared_and_bounded() {
        let mut store = Store::new(BTreeMap::from([("a".to_owned(), text::Text(b"1".to_vec()))]));
        assert_eq!(store.put("a".into(), b"2".to_vec(), Some(0), 100), Err(StateError::Conflict(1)));
        assert_eq!(store.put("a".into(), b"2".to_vec(), Some(1), 100), Ok(2));
        assert_eq!(store.put("b".into(), b"3".to_vec(), Some(0), 3), Err(StateError::TooLarge(3)));
        assert_eq!(store.put("b".into(), b"3".to_vec(), Some(0), 4), Ok(3));
        assert_eq!(store.delete("a", Some(1)), Err(StateError::Conflict(2)));
        assert_eq!((store.keys(""), store.delete("a", None)), (vec!["a".to_owned(), "b".to_owned()], Ok(())));
        assert_eq!(store.get("a"), None);
    }
}
