//! How many movers run, and how many syncs wait for one.

use super::registered;
use prometheus::{IntGaugeVec, Opts, Registry};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

/// By namespace. Both gauges have the same namespaces, those with any, so that a sum is never short.
pub struct Movers {
    running: IntGaugeVec,
    waiting: IntGaugeVec,
    shown: Mutex<BTreeSet<String>>,
}

impl Movers {
    /// Registers them.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| {
            registered(registry, IntGaugeVec::new(Opts::new(name, help), &["namespace"])?)
        };
        Ok(Self {
            running: gauge("scribe_source_movers_running", "Source movers that run or are being started.")?,
            waiting: gauge(
                "scribe_syncs_waiting",
                "Syncs that wait because as many movers run as are allowed to.",
            )?,
            shown: Mutex::default(),
        })
    }

    /// Shows these numbers, and no others.
    pub fn show(&self, numbers: &BTreeMap<&str, (i64, i64)>) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        for (namespace, (running, waiting)) in numbers {
            self.running.with_label_values(&[namespace]).set(*running);
            self.waiting.with_label_values(&[namespace]).set(*waiting);
        }
        for gone in shown.iter().filter(|namespace| !numbers.contains_key(namespace.as_str())) {
            for gauge in [&self.running, &self.waiting] {
                // That it was never there is no error.
                let _ = gauge.remove_label_values(&[gone]);
            }
        }
        *shown = numbers.keys().map(|namespace| (*namespace).to_owned()).collect();
    }
}
