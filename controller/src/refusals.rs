//! Remembers what the API server refused, until the core has been told.

use scribe_core::observed::Refusal;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// The refusals of each object's last pass, by the object's uid.
///
/// They live in memory: after a restart the write is tried again, and refused again if need be.
#[derive(Default)]
pub struct Refusals(Mutex<HashMap<String, Entry>>);

#[derive(Default)]
struct Entry {
    generation: Option<i64>,
    refusals: Vec<Refusal>,
}

impl Refusals {
    /// What was refused in the last pass. A changed spec makes it moot.
    pub fn of(&self, uid: &str, generation: Option<i64>) -> Vec<Refusal> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = all.get(uid).filter(|entry| entry.generation == generation);
        entry.map(|entry| entry.refusals.clone()).unwrap_or_default()
    }

    /// A write was refused. Whether that is news is the answer.
    pub fn add(&self, uid: &str, generation: Option<i64>, refusal: &Refusal) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = all.entry(uid.to_owned()).or_default();
        let is_news = entry.generation != generation || !entry.refusals.contains(refusal);
        *entry = Entry { generation, refusals: vec![refusal.clone()] };
        is_news
    }

    /// The core was told, and what it made of it stands in the status: the next pass may try again.
    pub fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_kept_until_the_spec_changes() {
        let refusals = Refusals::default();
        let refusal =
            Refusal { object: "Pod/a".to_owned(), quota: true, message: "exceeded quota".to_owned() };
        assert!(refusals.add("1", Some(1), &refusal));
        assert!(!refusals.add("1", Some(1), &refusal));
        assert_eq!(refusals.of("1", Some(1)), std::slice::from_ref(&refusal));
        assert!(refusals.of("1", Some(2)).is_empty());
        assert!(refusals.of("2", Some(1)).is_empty());
        assert!(refusals.add("1", Some(2), &refusal));
        refusals.forget("1");
        assert!(refusals.of("1", Some(2)).is_empty());
    }
}
