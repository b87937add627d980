//! A module's own store for one object: a ConfigMap that the object owns.
//!
//! Not a Secret: the controller does not read those. Written with the controller's rights, so a hook's ServiceAccount needs none, and can neither read nor
//! forge the store of another.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::PostParams;
use kube::{Api, Client};
use scribe_crds::names;
use scribe_hooks_contract::effects::{Entry, StateError};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::cause::chain;
use crate::host::Subject;
use crate::object::Tries;

/// The key of the ConfigMap that holds it all.
const KEY: &str = "store.json";

/// What the ConfigMap holds.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Contents {
    /// The last revision that was given. A key that comes back does not come back with an old one.
    last: u64,
    entries: BTreeMap<String, Stored>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    revision: u64,
    /// Base64.
    value: String,
}

/// The store of one module for one object.
pub(crate) struct Store<'a> {
    pub own: &'a Client,
    pub subject: &'a Subject,
    pub module: &'a str,
}

/// A short name for an object and a module: 16 hexadecimal digits, of which no two are alike.
pub(crate) fn digest(subject: &Subject, module: &str) -> String {
    let hash = Sha256::new().chain_update(&subject.uid).chain_update([0]).chain_update(module).finalize();
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

impl Store<'_> {
    pub async fn get(&self, key: &str) -> Result<Option<Entry>, StateError> {
        let (_, contents) = self.read().await?;
        contents.entries.get(key).map(entry).transpose()
    }

    pub async fn keys(&self, prefix: &str) -> Result<Vec<String>, StateError> {
        let (_, contents) = self.read().await?;
        Ok(contents.entries.into_keys().filter(|key| key.starts_with(prefix)).collect())
    }

    pub async fn put(
        &self,
        key: &str,
        value: &[u8],
        expect: Option<u64>,
        most: u64,
    ) -> Result<u64, StateError> {
        self.change(|contents| contents.put(key, value, expect, most)).await
    }

    pub async fn delete(&self, key: &str, expect: Option<u64>) -> Result<(), StateError> {
        self.change(|contents| contents.delete(key, expect)).await
    }

    fn api(&self) -> Api<ConfigMap> {
        Api::namespaced(self.own.clone(), &self.subject.namespace)
    }

    fn name(&self) -> String {
        format!("scribe-hook-{}", digest(self.subject, self.module))
    }

    /// What is there now, and under which version. Nothing, under none, where there is no ConfigMap.
    async fn read(&self) -> Result<(Option<String>, Contents), StateError> {
        let Some(found) = self.api().get_opt(&self.name()).await.map_err(unavailable)? else {
            return Ok((None, Contents::default()));
        };
        if !self.is_ours(&found) {
            return Err(StateError::Unavailable(format!(
                "ConfigMap {} is there and was not made by Scribe for this hook: rename it or delete it",
                self.name()
            )));
        }
        let text = found.data.as_ref().and_then(|data| data.get(KEY)).map_or("", String::as_str);
        let contents = serde_json::from_str(text).map_err(|error| {
            StateError::Unavailable(format!("ConfigMap {} cannot be read, delete it: {error}", self.name()))
        })?;
        Ok((Some(found.metadata.resource_version.unwrap_or_default()), contents))
    }

    async fn change<T>(
        &self,
        work: impl Fn(&mut Contents) -> Result<T, StateError>,
    ) -> Result<T, StateError> {
        let mut tries = Tries::default();
        loop {
            let (version, mut contents) = self.read().await?;
            let before = contents.last;
            let answer = work(&mut contents)?;
            // Every change takes a revision: without one there is nothing to write.
            if contents.last == before {
                return Ok(answer);
            }
            let object = self.object(version.clone(), &contents)?;
            let params = PostParams {
                field_manager: Some(names::HOOK_FIELD_MANAGER.to_owned()),
                ..PostParams::default()
            };
            let written = match version {
                Some(_) => self.api().replace(&self.name(), &params, &object).await,
                None => self.api().create(&params, &object).await,
            };
            match written {
                Ok(_) => return Ok(answer),
                // Made, written or deleted by another: judge again.
                Err(kube::Error::Api(status))
                    if [StatusCode::CONFLICT, StatusCode::NOT_FOUND]
                        .map(|code| code.as_u16())
                        .contains(&status.code)
                        && tries.again().await => {}
                Err(error) => return Err(unavailable(error)),
            }
        }
    }

    fn object(&self, version: Option<String>, contents: &Contents) -> Result<ConfigMap, StateError> {
        let Subject { api_version, kind, name, uid, namespace } = self.subject;
        let text =
            serde_json::to_string(contents).map_err(|error| StateError::Unavailable(error.to_string()))?;
        let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        Ok(ConfigMap {
            metadata: ObjectMeta {
                name: Some(self.name()),
                namespace: Some(namespace.clone()),
                labels: Some(BTreeMap::from([
                    label(names::MANAGED_BY, names::MANAGED_BY_VALUE),
                    label(names::OWNER_UID, uid),
                ])),
                annotations: Some(BTreeMap::from([label(names::HOOK_MODULE, self.module)])),
                owner_references: Some(vec![OwnerReference {
                    api_version: api_version.clone(),
                    kind: kind.clone(),
                    name: name.clone(),
                    uid: uid.clone(),
                    ..OwnerReference::default()
                }]),
                resource_version: version,
                ..ObjectMeta::default()
            },
            data: Some(BTreeMap::from([(KEY.to_owned(), text)])),
            ..ConfigMap::default()
        })
    }

    fn is_ours(&self, found: &ConfigMap) -> bool {
        let meta = &found.metadata;
        let is = |map: &Option<BTreeMap<String, String>>, key: &str, value: &str| {
            map.as_ref().and_then(|map| map.get(key)).is_some_and(|found| found == value)
        };
        is(&meta.labels, names::MANAGED_BY, names::MANAGED_BY_VALUE)
            && is(&meta.labels, names::OWNER_UID, &self.subject.uid)
            && is(&meta.annotations, names::HOOK_MODULE, self.module)
            && meta.owner_references.iter().flatten().any(|owner| owner.uid == self.subject.uid)
    }
}

fn unavailable(error: kube::Error) -> StateError {
    StateError::Unavailable(chain(&error))
}

fn entry(stored: &Stored) -> Result<Entry, StateError> {
    let value = STANDARD.decode(&stored.value);
    let value = value.map_err(|_| StateError::Unavailable("the stored value cannot be read".to_owned()))?;
    Ok(Entry { value, revision: stored.revision })
}

impl Contents {
    /// Bytes of all keys and values, but of one key.
    fn bytes_without(&self, key: &str) -> u64 {
        let others = self.entries.iter().filter(|(other, _)| *other != key);
        let sizes = others.map(|(key, stored)| key.len() + base64::decoded_len_estimate(stored.value.len()));
        sizes.sum::<usize>() as u64
    }

    fn check(&self, key: &str, expect: Option<u64>) -> Result<(), StateError> {
        let now = self.entries.get(key).map_or(0, |stored| stored.revision);
        match expect {
            Some(expected) if expected != now => Err(StateError::Conflict(now)),
            _ => Ok(()),
        }
    }

    fn put(&mut self, key: &str, value: &[u8], expect: Option<u64>, most: u64) -> Result<u64, StateError> {
        self.check(key, expect)?;
        if self.bytes_without(key) + (key.len() + value.len()) as u64 > most {
            return Err(StateError::TooLarge(most));
        }
        self.last += 1;
        let stored = Stored { revision: self.last, value: STANDARD.encode(value) };
        self.entries.insert(key.to_owned(), stored);
        Ok(self.last)
    }

    fn delete(&mut self, key: &str, expect: Option<u64>) -> Result<(), StateError> {
        self.check(key, expect)?;
        if self.entries.remove(key).is_some() {
            self.last += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_never_comes_back() {
        let mut contents = Contents::default();
        assert_eq!(contents.put("a", b"1", Some(0), 100), Ok(1));
        assert_eq!(contents.put("a", b"2", Some(0), 100), Err(StateError::Conflict(1)));
        assert_eq!(contents.put("a", b"2", Some(1), 100), Ok(2));
        assert_eq!(contents.delete("a", Some(1)), Err(StateError::Conflict(2)));
        assert_eq!(contents.delete("a", Some(2)), Ok(()));
        assert_eq!(contents.put("a", b"3", Some(2), 100), Err(StateError::Conflict(0)));
        assert_eq!(contents.put("a", b"3", None, 100), Ok(4));
    }

    #[test]
    fn all_of_it_together_is_bounded() {
        let mut contents = Contents::default();
        assert_eq!(contents.put("a", &[0; 60], None, 100), Ok(1));
        assert_eq!(contents.put("b", &[0; 60], None, 100), Err(StateError::TooLarge(100)));
        assert_eq!(contents.put("a", &[0; 99], None, 100), Ok(2), "what is replaced does not count");
        assert_eq!(contents.delete("c", None), Ok(()));
        assert_eq!(contents.last, 2);
    }

    #[test]
    fn bytes_come_back_as_they_were() {
        let mut contents = Contents::default();
        contents.put("a", &[0, 255, 10], None, 100).unwrap();
        let text = serde_json::to_string(&contents).unwrap();
        let read: Contents = serde_json::from_str(&text).unwrap();
        assert_eq!(entry(&read.entries["a"]).unwrap().value, [0, 255, 10]);
    }
}
