//! What stands in the Lease, and what follows from it: no requests here.

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use std::time::{Duration, Instant};

/// Whose the Lease is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// This process'.
    Ours,
    /// Nobody's, or that of somebody who has not renewed it in time.
    Free,
    /// Somebody else's.
    Held(String),
}

/// A process that wants the Lease, and what it has seen of it.
#[derive(Debug)]
pub struct Candidate {
    /// The Lease's name.
    pub name: String,
    instance: String,
    /// Instance and a random part: a container that is started anew in its pod is another process.
    identity: String,
    duration: Duration,
    /// The version seen last, and when it was seen first.
    seen: Option<(String, Instant)>,
}

impl Candidate {
    pub fn new(name: String, instance: String, duration: Duration) -> Self {
        let identity = format!("{instance}_{:016x}", rand::random::<u64>());
        Self { name, instance, identity, duration, seen: None }
    }

    /// Whose the Lease is that was read at `now`.
    pub fn standing(&mut self, lease: &Lease, now: Instant) -> Standing {
        let spec = lease.spec.clone().unwrap_or_default();
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let since = match &self.seen {
            Some((seen, since)) if *seen == version => *since,
            _ => now,
        };
        self.seen = Some((version, since));
        let Some(holder) = spec.holder_identity.filter(|holder| !holder.is_empty()) else {
            return Standing::Free;
        };
        if holder == self.identity {
            return Standing::Ours;
        }
        // An earlier process of this very instance is dead: it is the same pod.
        let is_own_past = holder.rsplit_once('_').is_some_and(|(instance, _)| instance == self.instance);
        let asked = u64::try_from(spec.lease_duration_seconds.unwrap_or_default()).unwrap_or_default();
        if is_own_past || now.duration_since(since) >= Duration::from_secs(asked) {
            Standing::Free
        } else {
            Standing::Held(holder)
        }
    }

    /// The Lease, where there is none yet.
    pub fn first(&self, now: Timestamp) -> Lease {
        let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
        self.taken(&Lease { metadata, spec: None }, now)
    }

    /// The Lease as ours, from now on.
    pub fn taken(&self, found: &Lease, now: Timestamp) -> Lease {
        let before = found.spec.as_ref().and_then(|spec| spec.lease_transitions);
        let spec = LeaseSpec {
            acquire_time: Some(MicroTime(now)),
            lease_transitions: Some(before.map_or(0, |count| count.saturating_add(1))),
            ..LeaseSpec::default()
        };
        self.renewed(&Lease { metadata: found.metadata.clone(), spec: Some(spec) }, now)
    }

    /// The Lease, ours for longer.
    pub fn renewed(&self, held: &Lease, now: Timestamp) -> Lease {
        let spec = LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            // Rounded up: who waits for less than was asked for would come too early.
            lease_duration_seconds: Some(self.duration.as_secs_f64().ceil() as i32),
            renew_time: Some(MicroTime(now)),
            ..held.spec.clone().unwrap_or_default()
        };
        Lease { metadata: held.metadata.clone(), spec: Some(spec) }
    }

    /// The Lease, free for whoever comes.
    pub fn released(&self, held: &Lease) -> Lease {
        let spec = LeaseSpec { holder_identity: None, ..held.spec.clone().unwrap_or_default() };
        Lease { metadata: held.metadata.clone(), spec: Some(spec) }
    }
}
