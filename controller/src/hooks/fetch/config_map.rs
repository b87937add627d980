//! A module in a ConfigMap.

use super::FetchError;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use scribe_hooks_kube::chain;

/// Reads the module from `binaryData`.
pub async fn read(client: &Client, namespace: &str, name: &str, key: &str) -> Result<Vec<u8>, FetchError> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let found = api.get_opt(name).await;
    let found =
        found.map_err(|error| FetchError::Api { what: format!("ConfigMap {name}"), why: chain(&error) })?;
    let Some(map) = found else {
        return Err(FetchError::Missing(format!("ConfigMap {name} does not exist")));
    };
    if let Some(bytes) = map.binary_data.as_ref().and_then(|data| data.get(key)) {
        return Ok(bytes.0.clone());
    }
    if map.data.as_ref().is_some_and(|data| data.contains_key(key)) {
        let words = format!(
            "ConfigMap {name} holds {key} as text: make it with --from-file, so that it is in binaryData"
        );
        return Err(FetchError::Wrong(words));
    }
    let keys: Vec<&str> = map.binary_data.iter().flatten().map(|(key, _)| key.as_str()).take(10).collect();
    let there = if keys.is_empty() { "nothing".to_owned() } else { keys.join(", ") };
    Err(FetchError::Missing(format!("ConfigMap {name} has no {key} in its binaryData: there is {there}")))
}
