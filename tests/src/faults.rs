//! Faults in the storage of a cluster, for as long as a test holds them.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::cluster::Cluster;

/// The rules in force, by the driver's state folder. Tests of one process share the driver, each with rules for volumes of its own.
static RULES: Mutex<BTreeMap<PathBuf, Vec<Rule>>> = Mutex::new(BTreeMap::new());

#[derive(Debug)]
struct Rule {
    id: u64,
    method: String,
    rule: Value,
}

/// A fault that is in force until this is dropped.
#[derive(Debug)]
pub struct Fault {
    id: u64,
    state: PathBuf,
}

impl Fault {
    /// Makes the driver treat its calls of a method so, when they are about `volume`: as its README describes.
    ///
    /// # Errors
    /// The rules cannot be written.
    pub fn new(cluster: &Cluster, method: &str, volume: &str, mut rule: Value) -> Result<Self> {
        rule["match"] = json!(volume);
        let state = cluster.csi_state();
        let mut all = RULES.lock().unwrap_or_else(PoisonError::into_inner);
        let rules = all.entry(state.clone()).or_default();
        let id = rules.iter().map(|rule| rule.id).max().unwrap_or(0) + 1;
        rules.push(Rule { id, method: method.into(), rule });
        write(&state, rules)?;
        Ok(Self { id, state })
    }

    /// Ends it, and says if that failed.
    ///
    /// # Errors
    /// The rules cannot be written.
    pub fn end(self) -> Result<()> {
        self.remove()
    }

    fn remove(&self) -> Result<()> {
        let mut all = RULES.lock().unwrap_or_else(PoisonError::into_inner);
        let rules = all.entry(self.state.clone()).or_default();
        rules.retain(|rule| rule.id != self.id);
        write(&self.state, rules)
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        // A test that failed must not leave its fault to the others; a second removal does nothing.
        let _ = self.remove();
    }
}

/// Whole or not at all: the driver reads it at any time.
fn write(state: &std::path::Path, rules: &[Rule]) -> Result<()> {
    let mut by_method: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for rule in rules {
        by_method.entry(&rule.method).or_default().push(&rule.rule);
    }
    let new = state.join("faults.json.new");
    fs::write(&new, serde_json::to_vec(&by_method)?).with_context(|| format!("write {}", new.display()))?;
    fs::rename(&new, state.join("faults.json")).context("put the faults in place")
}
