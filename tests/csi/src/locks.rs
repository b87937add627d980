//! One operation at a time per volume or snapshot.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Locks by name. Several names are taken at once, so that two operations can never wait for each other.
#[derive(Debug, Default)]
pub struct Locks {
    held: Mutex<HashSet<String>>,
    freed: Condvar,
}

/// Holds its names until dropped.
#[derive(Debug)]
pub struct Held<'a> {
    locks: &'a Locks,
    names: Vec<String>,
}

impl Locks {
    /// Waits until none of `names` is held, then holds all of them. Blocks the thread.
    pub fn hold(&self, names: &[&str]) -> Held<'_> {
        let mut held = self.names();
        while names.iter().any(|name| held.contains(*name)) {
            held = self.freed.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
        // A name given twice (a volume cloned onto its own name) is held once.
        let names: Vec<String> = names
            .iter()
            .filter(|name| held.insert((**name).to_owned()))
            .map(|name| (*name).to_owned())
            .collect();
        Held { locks: self, names }
    }

    fn names(&self) -> MutexGuard<'_, HashSet<String>> {
        // A panic while the set is locked leaves it whole: it is only ever inserted into or removed from.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut held = self.locks.names();
        for name in &self.names {
            held.remove(name);
        }
        self.locks.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crossed_names_do_not_deadlock() {
        let locks = Locks::default();
        std::thread::scope(|scope| {
            for names in [["a", "b"], ["b", "a"]] {
                let locks = &locks;
                scope.spawn(move || {
                    for _ in 0..500 {
                        drop(locks.hold(&names));
                    }
                });
            }
        });
        assert!(locks.names().is_empty());
    }

    #[test]
    fn a_name_given_twice_is_freed() {
        let locks = Locks::default();
        drop(locks.hold(&["a", "a"]));
        assert!(locks.names().is_empty());
    }
}
