//! The Secrets of the made-up cluster: what they hold, and under which version.

use super::{World, is_ours};
use k8s_openapi::api::core::v1::Secret;
use scribe_core::destination::are_keys_open;
use scribe_core::observed::{KeySecrets, SecretSeen};
use scribe_crds::names;
use std::collections::BTreeMap;
use std::ops::Deref;

/// A Secret as the API server holds it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoredSecret {
    entries: BTreeMap<String, String>,
    relationship: Option<String>,
    version: u64,
}

impl Deref for StoredSecret {
    type Target = BTreeMap<String, String>;
    fn deref(&self) -> &Self::Target {
        &self.entries
    }
}

/// A write that came too late: the object is another than the one that was seen.
#[derive(Debug, PartialEq, Eq)]
pub struct Conflict;

pub const OWN: &str = "scribe-dst-db";
pub const SOURCE: &str = "scribe-dst-db-source";

impl World {
    pub fn look_at(&self, name: &str) -> SecretSeen {
        self.secrets.get(name).map_or(SecretSeen::Missing, |secret| SecretSeen::Ours {
            resource_version: secret.version.to_string(),
            relationship: secret.relationship.clone(),
        })
    }

    pub(super) fn observe_secrets(&mut self) {
        self.seen.key_secrets = self.look_at_keys();
    }

    /// The Secrets with the keys, while they are looked at.
    pub fn look_at_keys(&self) -> Option<KeySecrets> {
        let look = || KeySecrets { own: self.look_at(OWN), source: self.look_at(SOURCE) };
        are_keys_open(&self.seen.destination).then(look)
    }

    pub(super) fn create_secret(&mut self, secret: &Secret) -> Result<(), Conflict> {
        let name = secret.metadata.name.as_ref().unwrap();
        if self.secrets.contains_key(name) { Err(Conflict) } else { self.apply_secret(secret) }
    }

    pub(super) fn apply_secret(&mut self, secret: &Secret) -> Result<(), Conflict> {
        assert!(is_ours(&secret.metadata));
        let name = secret.metadata.name.as_ref().unwrap();
        let version = secret.metadata.resource_version.as_deref();
        let mut entries = self.unchanged(name, version)?.map(|stored| stored.entries).unwrap_or_default();
        for (key, value) in secret.data.iter().flatten() {
            entries.insert(key.clone(), String::from_utf8(value.0.clone()).unwrap());
        }
        let annotations = secret.metadata.annotations.iter().flatten();
        let relationship = annotations
            .filter(|(key, _)| *key == names::RELATIONSHIP)
            .map(|(_, relationship)| relationship.clone())
            .next();
        self.store(name, entries, relationship);
        Ok(())
    }

    pub(super) fn write_address(
        &mut self,
        name: &str,
        version: Option<&str>,
        address: [(&str, String); 2],
    ) -> Result<(), Conflict> {
        let mut stored = self.unchanged(name, version)?.expect("the Secret that the address goes into");
        stored.entries.extend(address.map(|(key, value)| (key.to_owned(), value)));
        self.store(name, stored.entries, stored.relationship);
        Ok(())
    }

    /// What is stored, if it still is what was seen.
    fn unchanged(&self, name: &str, version: Option<&str>) -> Result<Option<StoredSecret>, Conflict> {
        let stored = self.secrets.get(name).cloned();
        let found = stored.as_ref().map(|stored| stored.version.to_string());
        if version.is_none() || version == found.as_deref() { Ok(stored) } else { Err(Conflict) }
    }

    fn store(&mut self, name: &str, entries: BTreeMap<String, String>, relationship: Option<String>) {
        let before = self.secrets.get(name).cloned().unwrap_or_default();
        if before.entries == entries && before.relationship == relationship {
            return;
        }
        self.version += 1;
        let version = self.version;
        self.secrets.insert(name.to_owned(), StoredSecret { entries, relationship, version });
        self.check_keys();
    }

    /// Once the keys are published, both Secrets and the status hold the same ones, for ever.
    pub(super) fn check_keys(&self) {
        let status = self.seen.destination.status.clone().unwrap_or_default();
        if !status.method_status.contains_key("sshKeys")
            || self.seen.destination.metadata.deletion_timestamp.is_some()
        {
            return;
        }
        let recorded = status.key_fingerprints.expect("keys that are published are recorded");
        let (own, source) = (&self.secrets[OWN], &self.secrets[SOURCE]);
        assert_eq!(
            source["relationship"], recorded.relationship,
            "the source's keys are not those of the status"
        );
        assert_eq!(
            own.relationship.as_ref(),
            Some(&recorded.relationship),
            "the destination's keys are others"
        );
        assert_eq!(own["source.pub"], source["source.pub"], "halves of different pairs");
        assert_eq!(own["destination.pub"], source["destination.pub"], "halves of different pairs");
    }
}
